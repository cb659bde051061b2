"""Handlers of operations. Each module has a table HANDLERS."""
