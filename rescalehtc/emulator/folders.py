"""The folders that the emulator keeps files in."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import sqlite3
import stat
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..exceptions import HtcFileError
from .descriptors import is_out_of_descriptors
from .processes import end_strays_below

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import IO

_log = logging.getLogger("rescalehtc.emulator")

STATE_FILE: Final = "state.sqlite3"
_LOCK_FILE: Final = "lock"
_JOBS: Final = "jobs"
_TEMPORARY: Final = "rescalehtc-emulator-"

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
        self.jobs: Path = root / _JOBS
        self.tasks: Path = root / "tasks"
        self.uploads: Path = root / "uploads"

    def clear(self) -> None:
        """Remove the leftovers of an emulator that was killed."""
        remove(self.jobs)
        remove(self.uploads)

    @contextmanager
    def short_jobs(self) -> Generator[Path]:
        """Another path of the folder of running jobs, short wherever that folder is."""
        self.jobs.mkdir(exist_ok=True)
        for left in _SHORT_FOLDER.glob(f"{_SHORT_PREFIX}*"):
            with suppress(OSError):  # it is not an emulator's
                linked = (left / _LINK).readlink()
                is_own = left.lstat().st_uid == os.getuid()
                if is_own and (linked == self.jobs or not linked.exists()):  # it was killed
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
        return _make_folder(self.root / "projects" / project_id)

    def task(self, task_id: str) -> Path:
        """The folder that a task's jobs share, made if it is not there."""
        return _make_folder(self.tasks / task_id)

    def remove_task(self, task_id: str) -> None:
        """Remove the folder that a task's jobs share."""
        remove(self.tasks / task_id)


# ---- the folder above them: who uses it, and what becomes of it


def open_data(data: str | Path) -> tuple[Path, IO[str]]:
    """Make a folder to keep data in, or use that of an emulator that has ended.

    Returns:
        The folder, and the file whose lock shows as long as it is open that the folder is in use.

    Raises:
        HtcFileError: It can't be used, holds something else, or another emulator uses it.
    """
    folder = Path(data).resolve()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_own(folder)
        return folder, _lock_file((folder / _LOCK_FILE).open("a"))
    except HtcFileError:
        raise
    except BlockingIOError as error:
        raise HtcFileError(f"another emulator uses {folder}") from error
    except OSError as error:
        raise HtcFileError(f"can't keep data in {folder}: {error.strerror}") from error


def open_temporary() -> tuple[Path, IO[str]]:
    """Make a folder that is removed in the end, by the next emulator if need be.

    Returns, raises:
        The same as `open_data`.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY)).resolve()
        # Under its name it is locked from the first moment, or it would seem to be abandoned.
        unnamed = folder / "new-lock"
        lock = _lock_file(unnamed.open("a"))
        unnamed.rename(folder / _LOCK_FILE)
    except OSError as error:
        raise HtcFileError(f"can't make a temporary folder: {error.strerror}") from error
    return folder, lock


def remove_abandoned() -> None:
    """Remove the temporary folders of this user's emulators that were killed, and their jobs.

    An emulator that runs holds the lock of its folder, and no other process does.
    """
    try:
        parent = Path(tempfile.gettempdir()).resolve()
    except FileNotFoundError:
        return  # no folder can be written to, so there is none
    for folder in parent.glob(f"{_TEMPORARY}*"):
        # It is in use, is gone by now, or is not an emulator's.
        with suppress(OSError):
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            with _lock_file((folder / _LOCK_FILE).open("r+")):
                _check_own(folder)
                end_strays_below(folder / _JOBS)
                remove(folder)


def _lock_file(file: IO[str]) -> IO[str]:
    """A file with a lock, until it is closed.

    Raises:
        BlockingIOError: Another process has it.
    """
    with ExitStack() as stack:
        stack.enter_context(file)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        stack.pop_all()
    return file


def _check_own(folder: Path) -> None:
    """Refuse a folder with other things in it: some would be taken for the emulator's."""
    found = {
        path.name for path in folder.iterdir() if path.stat().st_size or path.name != _LOCK_FILE
    }
    if found and STATE_FILE not in found:
        raise HtcFileError(
            f"{folder} holds something else: name a new folder, or one of an emulator"
        )


# ---- files


def is_full(error: Exception) -> bool:
    """Whether something could not be written for want of room.

    The disk has none left, or a quota or a limit of the process does not let it have any.
    """
    if isinstance(error, sqlite3.OperationalError):
        return error.sqlite_errorname in ("SQLITE_FULL", "SQLITE_IOERR_WRITE")
    return isinstance(error, OSError) and error.errno in _FULL


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it, if it is there and as far as possible.

    Raises:
        OSError: There is no file descriptor to read the folder with.
    """
    try:
        try:
            shutil.rmtree(folder)
        except PermissionError:
            _make_writable(folder)
            shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except (OSError, RecursionError) as error:
        if is_out_of_descriptors(error):
            raise
        _log.warning("%s can't be removed: %s", folder, error)


def _make_writable(folder: Path) -> None:
    """Make folders writable so that they can be removed; a job may have made read-only ones."""
    folder.chmod(0o700)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            _make_writable(path)


def _make_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
