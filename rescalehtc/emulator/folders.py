"""The folders of the emulator."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import sqlite3
import stat
import tempfile
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..exceptions import HtcFileError
from .descriptors import is_out_of_descriptors
from .engine import remove_containers_of
from .processes import end_strays_below

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import IO

_log = logging.getLogger("rescalehtc.emulator")

STATE_FILE: Final = "state.sqlite3"
_LOCK_FILE: Final = "lock"
_JOBS: Final = "jobs"
_TEMPORARY: Final = "rescalehtc-emulator-"

# The path of a socket has at most 103 bytes on macOS and 107 on Linux. A program that creates a
# socket in its TMPDIR adds about 35 bytes.
_SHORT_FOLDER: Final = Path("/tmp")  # noqa: S108 - only mkdtemp makes something there
_SHORT_PREFIX: Final = "htc-"
_LINK: Final = "jobs"

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Folders:
    """The subfolders of the emulator's folder.

    Attributes:
        root: The emulator's folder.
        jobs: Contains one folder per running job.
        tasks: Contains one folder per task, which its jobs share.
        uploads: Contains incomplete uploads.
    """

    def __init__(self, root: Path) -> None:
        self.root: Path = root
        self.jobs: Path = root / _JOBS
        self.tasks: Path = root / "tasks"
        self.uploads: Path = root / "uploads"
        self._changing = threading.Lock()

    def clear(self) -> None:
        """Remove the leftovers of an emulator that was killed."""
        remove(self.jobs)
        remove(self.uploads)

    @contextmanager
    def short_jobs(self) -> Generator[Path]:
        """A short path to the folder of running jobs, wherever the folder is."""
        self.jobs.mkdir(exist_ok=True)
        for abandoned in _SHORT_FOLDER.glob(f"{_SHORT_PREFIX}*"):
            with suppress(OSError):  # not a link of an emulator
                linked = (abandoned / _LINK).readlink()
                is_own = abandoned.lstat().st_uid == os.getuid()
                if is_own and (linked == self.jobs or not linked.exists()):  # of a killed one
                    remove(abandoned)
        in_folder = _SHORT_FOLDER if os.access(_SHORT_FOLDER, os.W_OK) else None
        folder = Path(tempfile.mkdtemp(prefix=_SHORT_PREFIX, dir=in_folder))
        try:
            (folder / _LINK).symlink_to(self.jobs)
            yield folder / _LINK
        finally:
            remove(folder)

    def project(self, project_id: str) -> Path:
        """The folder that a project's jobs share. Created if it does not exist."""
        return self._make(self.root / "projects" / project_id)

    def task(self, task_id: str) -> Path:
        """The folder that a task's jobs share. Created if it does not exist."""
        return self._make(self.tasks / task_id)

    def hide_task(self, task_id: str) -> None:
        """Rename the folder of a deleted task, whose jobs may still run."""
        with self._changing, suppress(OSError):  # `remove_task` removes it if this fails
            (self.tasks / task_id).rename(self._hidden(task_id))

    def remove_task(self, task_id: str) -> None:
        """Remove the folder of a deleted task, whose jobs have ended."""
        remove(self._hidden(task_id))
        remove(self.tasks / task_id)

    def _hidden(self, task_id: str) -> Path:
        return self.tasks / f"{task_id}-deleted"

    def _make(self, folder: Path) -> Path:
        # Without the lock, a thread could remove the folder that another one has just created.
        with self._changing:
            if folder.is_symlink() or not folder.is_dir():  # a job may have replaced it
                remove(folder)
            folder.mkdir(parents=True, exist_ok=True)
        return folder


# ---- the emulator's folder: locking and removing it


def open_data(data: str | Path) -> tuple[Path, IO[str]]:
    """Create a folder for persistent state, or open the folder of an emulator that has ended.

    Returns:
        The folder, and an open file with a lock, which marks the folder as in use.

    Raises:
        HtcFileError: The folder can't be used, contains other files, or another emulator uses it.
    """
    if data == "":  # Path would take the working directory
        raise HtcFileError("the path of the data folder is empty; give the path of a folder")
    folder = Path(os.path.realpath(data))  # unlike Path.resolve, accepts a loop of links
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_own(folder)
        return folder, _lock_file((folder / _LOCK_FILE).open("a"))
    except HtcFileError:
        raise
    except BlockingIOError as error:
        raise HtcFileError(f"another emulator uses {folder}") from error
    except OSError as error:
        raise HtcFileError(f"can't store data in {folder}: {error.strerror}") from error


def open_temporary() -> tuple[Path, IO[str]]:
    """Create a folder that is removed at the end, or by the next emulator after a kill.

    Returns, raises:
        The same as `open_data`.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY)).resolve()
        # Lock it before it gets its name. Otherwise it would look abandoned.
        unnamed = folder / "new-lock"
        lock = _lock_file(unnamed.open("a"))
        unnamed.rename(folder / _LOCK_FILE)
    except OSError as error:
        raise HtcFileError(f"can't create a temporary folder: {error.strerror}") from error
    return folder, lock


def remove_abandoned() -> None:
    """Remove the temporary folders and jobs of this user's killed emulators.

    Only a running emulator holds the lock of its folder.
    """
    try:
        parent = Path(tempfile.gettempdir()).resolve()
    except FileNotFoundError:
        return  # there is no writable folder
    for folder in parent.glob(f"{_TEMPORARY}*"):
        # It is in use, was removed, or does not belong to an emulator.
        with suppress(OSError):
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                continue
            with _lock_file((folder / _LOCK_FILE).open("r+")):
                _check_own(folder)
                end_leftovers(folder)
                remove_temporary(folder)


def remove_temporary(folder: Path) -> None:
    """Remove the temporary folder of an emulator.

    The files by which the next emulator recognizes it are the last ones.
    """
    marks = (folder / STATE_FILE, folder / _LOCK_FILE)
    with suppress(FileNotFoundError):
        for path in {*folder.iterdir()} - {*marks}:
            remove(path)
    for mark in marks:
        remove(mark)
    remove(folder)


def end_leftovers(folder: Path) -> None:
    """End the processes and containers that jobs of the emulator with this folder left behind."""
    end_strays_below(folder / _JOBS)
    remove_containers_of(folder)


def _lock_file(file: IO[str]) -> IO[str]:
    """Open a file and hold its lock until the file is closed.

    Raises:
        BlockingIOError: Another process holds the lock.
    """
    with ExitStack() as stack:
        stack.enter_context(file)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        stack.pop_all()
    return file


def _check_own(folder: Path) -> None:
    """Reject a folder with other files, because the emulator could confuse them with its own."""
    for own in (folder / _LOCK_FILE, folder / STATE_FILE):  # opening a pipe would wait
        if own.exists() and not own.is_file():
            raise HtcFileError(f"{own} is not a regular file; choose a new folder")
    names = {
        path.name for path in folder.iterdir() if path.lstat().st_size or path.name != _LOCK_FILE
    }
    if names and STATE_FILE not in names:
        raise HtcFileError(
            f"{folder} contains other files; choose a new folder or the folder of an emulator"
        )


# ---- files


def is_full(error: Exception) -> bool:
    """Whether an error means that there is no space left.

    The disk is full, or a quota or a limit of the process was reached.
    """
    if isinstance(error, sqlite3.OperationalError):
        return error.sqlite_errorname in ("SQLITE_FULL", "SQLITE_IOERR_WRITE")
    return isinstance(error, OSError) and error.errno in _FULL


def remove(folder: Path) -> None:
    """Remove a folder with its content, as far as possible.

    Raises:
        OSError: There is no free file descriptor.
    """
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            folder.unlink()
            return
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
    """Make folders writable, so that read-only folders of a job can be removed."""
    folder.chmod(0o700)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            _make_writable(path)
