"""Time and memory beside release 1.1.0, against the same server of fixed answers."""
