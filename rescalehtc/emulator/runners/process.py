"""Runs each job as a process group on this machine, in its own empty folder."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import ExitStack, suppress
from functools import partial
from typing import IO, TYPE_CHECKING, Final, Self

from ..._environment import process_environment
from .. import lifecycle
from ..descriptors import retry_if_out_of_descriptors
from ..folders import remove
from ..processes import end_strays_of, signal_group, start
from . import RunningJob, StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ..folders import Folders
    from ..lifecycle import Ending
    from ..store import Job

_INHERITED: Final = ("PATH", "LANG", "TZ")


class ProcessRunner:
    """Starts jobs as processes."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._jobs_path = self._stack.enter_context(self._folders.short_jobs())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(
        self,
        job: Job,
        attempt: int,  # noqa: ARG002 - every runner gets it
        variables: Mapping[str, str],
        is_stopped: Callable[[], bool],  # noqa: ARG002 - a process starts immediately
    ) -> RunningJob:
        """Start a job's command."""
        definition = job.request["htcJobDefinition"]
        commands: list[str] | None = definition.get("commands")
        if not commands:
            raise StartError(
                "the job has no commands, and the emulator does not run the command of an image"
            )
        folder = self._folders.jobs / job.id.replace(":", "-")
        environment = {**self._variables(job, folder), **variables}
        try:
            process = retry_if_out_of_descriptors(
                lambda: start(commands, folder, definition.get("workingDir", ""), environment)
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL among the commands or envs
            retry_if_out_of_descriptors(partial(remove, folder))
            reason = (isinstance(error, OSError) and error.strerror) or str(error)
            raise StartError(f"can't start {commands[0][:200]!r}: {reason}") from error
        return _Process(process, folder)

    def _variables(self, job: Job, folder: Path) -> dict[str, str]:
        host = {
            name: value
            for name, value in process_environment().items()
            if name in _INHERITED or name.startswith("LC_")
        }
        return {
            "PATH": os.defpath,
            **host,
            "HOME": str(folder),
            "TMPDIR": str(self._jobs_path / folder.name),
            "PROJECT_SHARED_FOLDER": str(self._folders.project(job.project_id)),
            "TASK_SHARED_FOLDER": str(self._folders.task(job.task_id)),
        }


class _Process:
    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        assert process.stdout is not None
        self.output: IO[bytes] = process.stdout
        self._process = process
        self._folder = folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._process.__exit__(None, None, None)
        finally:
            retry_if_out_of_descriptors(partial(remove, self._folder))

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def wait(self, seconds: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode is not None

    def terminate(self) -> None:
        signal_group(self._process, signal.SIGTERM)

    def kill(self) -> None:
        signal_group(self._process, signal.SIGKILL)

    def finish(self) -> None:
        self.kill()
        end_strays_of(self._folder)

    def ending(self) -> Ending:
        assert self._process.returncode is not None
        return lifecycle.exited(self._process.returncode)
