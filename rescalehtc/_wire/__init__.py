"""The service's interface as values: operations, calls, and reading answers. No I/O."""
