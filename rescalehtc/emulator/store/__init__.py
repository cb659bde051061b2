"""The emulator's state in an SQLite file. Thread-safe."""

from __future__ import annotations

from .database import Row, now, time_text
from .jobs import Job, Jobs
from .logs import Logs
from .manifests import Manifest, Manifests
from .metadata import Metadata
from .rules import UNLIMITED

__all__ = ["UNLIMITED", "Job", "Manifest", "Row", "Store", "now", "time_text"]


class Store(Jobs, Logs, Manifests, Metadata):
    """The emulator's state. Every method that changes something commits before it returns."""
