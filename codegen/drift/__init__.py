"""Compares a published description with openapi/htc.yaml."""


class InputError(Exception):
    """An input can't be compared; the message says why in one line."""
