"""Flows: several requests with one purpose. They take and return plain data."""
