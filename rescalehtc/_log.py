"""Log to standard error with the variable RESCALEHTC_LOG."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "RESCALEHTC_LOG"
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO}
_logger = logging.getLogger("rescalehtc")


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stderr`."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def set_up(environ: Mapping[str, str]) -> None:
    """Log to standard error at the level in the variable.

    Only the package's logger gets a handler. A level that the program set on it does not change.

    Raises:
        ValueError: The variable is invalid. The message lists the valid values.
    """
    name = environ.get(VARIABLE, "").strip().lower()
    if not name:
        return
    if name not in _LEVELS:
        raise ValueError(f"must be debug, info or unset, got {name!r}")
    if any(isinstance(handler, _StandardError) for handler in _logger.handlers):
        return
    handler = _StandardError()
    handler.setLevel(_LEVELS[name])
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s: %(message)s"))
    _logger.addHandler(handler)
    if _logger.level == logging.NOTSET:
        _logger.setLevel(_LEVELS[name])
