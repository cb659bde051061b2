"""Writes rescalehtc/models.py and rescalehtc/api.py from openapi/htc.yaml."""
