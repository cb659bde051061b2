"""Start the processes of jobs, kill process groups, and find processes that left their group."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from .descriptors import retry_if_out_of_descriptors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# This variable is in the environment of every process of a job. Its value is the job's initial
# folder. It identifies processes that left their process group or survived a killed emulator.
MARKER: Final = "RESCALE_EMULATOR_JOB"

# Processes that are started during a round are found in the next round.
_STRAY_ROUNDS: Final = 20
_ROUND_SECONDS: Final = 0.05


def start(
    commands: list[str], folder: Path, working_folder: str, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a job's command in a new process group.

    Raises:
        OSError: The command can't be started.
        ValueError: The command or the variables contain NUL.
    """
    # Absolute paths are relative to the job's folder too, and no path may leave it.
    inside = os.path.normpath(f"/{working_folder}").lstrip("/")
    cwd = folder / inside
    cwd.mkdir(parents=True, exist_ok=True)
    # DEVNULL would leak a descriptor if there is none for the pipe.
    with open(os.devnull, "rb") as null:  # noqa: PTH123 - faster
        return subprocess.Popen(  # noqa: S603 - running what users submit is the purpose
            commands,
            cwd=cwd,
            env={**environment, MARKER: str(folder)},
            stdin=null,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
        )


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to the remaining processes of a group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def end_strays_of(folder: Path) -> None:
    """Kill all processes of the job with this initial folder."""
    _end_strays(f"{MARKER}={folder}\0")


def end_strays_below(folder: Path) -> None:
    """Kill all processes of all jobs with an initial folder below this one."""
    _end_strays(f"{MARKER}={folder}{os.sep}")


def _end_strays(mark: str) -> None:
    """Kill all processes with this string in their environment. Does nothing without /proc."""
    searched = os.fsencode(f"\0{mark}")
    for _ in range(_STRAY_ROUNDS):
        pids = retry_if_out_of_descriptors(lambda: _processes_with(searched))
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(int(pid), signal.SIGKILL)
        if not pids:
            return
        time.sleep(_ROUND_SECONDS)


def _processes_with(searched: bytes) -> list[str]:
    return [pid for pid in _processes() if searched in b"\0" + _environment(pid)]


def _processes() -> list[str]:
    try:
        return [name for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - faster
    except FileNotFoundError:
        return []


def _environment(pid: str) -> bytes:
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:  # noqa: PTH123 - faster
            return file.read()
    except (ProcessLookupError, FileNotFoundError, PermissionError):
        return b""  # the process has ended, or belongs to another user
