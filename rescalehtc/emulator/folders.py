"""The folders that the emulator keeps files in."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sqlite3
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Generator

_log = logging.getLogger("rescalehtc.emulator")


# Sockets have paths of at most 103 bytes on macOS, 107 on Linux; a program that makes one in its
# TMPDIR adds some 35 of them.
_SHORT_FOLDER: Final = Path("/tmp")  # noqa: S108 - only mkdtemp makes something there
_SHORT_PREFIX: Final = "htc-"
_LINK: Final = "jobs"

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

    @contextmanager
    def short_jobs(self) -> Generator[Path]:
        """Another path of the folder of running jobs, short wherever that folder is."""
        self.jobs.mkdir(exist_ok=True)
        for left in _SHORT_FOLDER.glob(f"{_SHORT_PREFIX}*"):
            with suppress(OSError):  # it is not an emulator's
                linked = (left / _LINK).readlink()
                if linked == self.jobs or not linked.exists():  # the emulator was killed
                    remove(left)
        in_folder = _SHORT_FOLDER if os.access(_SHORT_FOLDER, os.W_OK) else None
        made = Path(tempfile.mkdtemp(prefix=_SHORT_PREFIX, dir=in_folder))
        try:
            (made / _LINK).symlink_to(self.jobs)
            yield made / _LINK
        finally:
            remove(made)

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
