"""Build and validate requests. No I/O."""
