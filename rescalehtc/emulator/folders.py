"""The folders that the emulator keeps files in."""

from __future__ import annotations

import errno
import logging
import shutil
import sqlite3
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger("rescalehtc.emulator")


_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Folders:
    """Where everything is, below one folder.

    Attributes:
        root: That folder.
        jobs: Has a folder for each running job.
        tasks: Has a folder for each task, which its jobs share.
        uploads: Has files that are still being received.
    """

    def __init__(self, root: Path) -> None:
        self.root: Path = root
        self.jobs: Path = root / "jobs"
        self.tasks: Path = root / "tasks"
        self.uploads: Path = root / "uploads"

    def clear(self) -> None:
        """Remove what an emulator that was killed left behind."""
        remove(self.jobs)
        remove(self.uploads)

    def project(self, project_id: str) -> Path:
        """The folder that a project's jobs share, made if it is not there."""
        return _made(self.root / "projects" / project_id)

    def task(self, task_id: str) -> Path:
        """The folder that a task's jobs share, made if it is not there."""
        return _made(self.tasks / task_id)

    def remove_task(self, task_id: str) -> None:
        """Remove the folder that a task's jobs share."""
        remove(self.tasks / task_id)


def is_full(error: Exception) -> bool:
    """Whether something could not be written for want of room.

    The disk has none left, or a quota or a limit of the process does not let it have any.
    """
    if isinstance(error, sqlite3.OperationalError):
        return error.sqlite_errorname in ("SQLITE_FULL", "SQLITE_IOERR_WRITE")
    return isinstance(error, OSError) and error.errno in _FULL


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it, if it is there and as far as possible."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        _log.warning("%s can't be removed: %s", folder, error)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
