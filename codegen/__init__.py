"""Writes the generated files from openapi/htc.yaml."""
