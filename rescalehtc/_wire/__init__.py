"""The operations of the service as values, and decoding of responses. No I/O."""
