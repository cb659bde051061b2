"""Compare a published description with openapi/htc.yaml."""


class InputError(Exception):
    """An input can't be compared. The message has one line."""
