"""Handlers of operations, one module for each topic with a table HANDLERS."""
