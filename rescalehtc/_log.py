"""Logging to standard error without any set-up: the variable RESCALEHTC_LOG."""

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
    """Writes to what standard error is at that time."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def set_up(environ: Mapping[str, str]) -> None:
    """Log to standard error as the variable says.

    Only the package's own logger gets a handler. A level that the program set on it stays.

    Raises:
        ValueError: The variable is invalid. The message says what it must be.
    """
    name = environ.get(VARIABLE, "").strip().lower()
    if not name:
        return
    if name not in _LEVELS:
        raise ValueError(f"must be debug or info, or not set; got {name!r}")
    if any(isinstance(handler, _StandardError) for handler in _logger.handlers):
        return
    handler = _StandardError()
    handler.setLevel(_LEVELS[name])
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s: %(message)s"))
    _logger.addHandler(handler)
    if _logger.level == logging.NOTSET:
        _logger.setLevel(_LEVELS[name])
