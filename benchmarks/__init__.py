"""Time and memory compared with release 1.1.0, against the same scripted server."""
