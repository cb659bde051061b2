"""All that the emulator knows, in one SQLite file. Safe to use from many threads."""

from __future__ import annotations

from .database import Row, now, time_text
from .jobs import Job, Jobs
from .logs import Logs
from .rules import UNLIMITED

__all__ = ["UNLIMITED", "Job", "Row", "Store", "now", "time_text"]


class Store(Jobs, Logs):
    """The emulator's state. Every method that changes something commits before it returns."""
