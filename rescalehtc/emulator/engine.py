"""Run docker or podman for the emulator, without a shell."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from .._docker import find_programs
from .._environment import process_environment
from ..exceptions import HtcException
from .descriptors import retry_if_out_of_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from .._docker import ContainerProgram

_log = logging.getLogger("rescalehtc.emulator")

# The label of every container of an emulator. Its value is the emulator's folder.
LABEL: Final = "rescalehtc.emulator"
# A file in that folder while containers may exist.
_MARK: Final = "containers"
_MAX_REASON_CHARACTERS: Final = 500
# An engine that hangs must not hang the emulator.
COMMAND_SECONDS: Final = 120.0
# For commands that copy an image.
COPY_SECONDS: Final = 3600.0
_LONG_ID: Final = re.compile(" ?[0-9a-f]{64}")  # of a container that no longer exists


class EngineError(Exception):
    """A command of the engine failed. The message is the engine's reason."""


class EngineTimeoutError(EngineError):
    """A command of the engine took too long and was killed."""


class Engine:
    """The program that runs containers: docker or podman."""

    def __init__(self, program: ContainerProgram) -> None:
        self.name: str = program.name
        self.registry_options: Callable[[str], list[str]] = program.registry_options
        self._path = program.path

    @classmethod
    def find(cls) -> Engine:
        """Return docker or podman, the first one that works.

        Raises:
            HtcException: Neither is installed, or neither works.
        """
        reasons: list[str] = []
        for program in find_programs("to run jobs in containers"):
            engine = cls(program)
            try:
                engine.run("ps", "--quiet")
            except EngineError as error:
                reasons.append(str(error))
            else:
                return engine
        raise HtcException(f"jobs can't run in containers: {'; '.join(reasons)}")

    def run(
        self,
        *arguments: str,
        text: str = "",
        variables: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> str:
        """Run a command and return its output.

        Args:
            arguments: The command's arguments.
            text: The command's standard input.
            variables: Environment variables, in addition to the emulator's own.
            seconds: The command is killed after this time, by default COMMAND_SECONDS.

        Raises:
            EngineTimeoutError: The command took too long.
            EngineError: The command failed.
        """
        seconds = COMMAND_SECONDS if seconds is None else seconds
        try:
            with retry_if_out_of_descriptors(
                lambda: subprocess.Popen(  # noqa: S603 - no shell; users' names come after options
                    [self._path, *arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env={**(variables or {}), **process_environment()},
                    start_new_session=True,  # Ctrl-C ends the emulator, which then cleans up
                )
            ) as process:
                try:
                    output, errors = process.communicate(text.encode(), seconds)
                except BaseException:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    raise
        except subprocess.TimeoutExpired:
            raise EngineTimeoutError(
                f"{self.name} {arguments[0]} did not end within {seconds:g} seconds;"
                f" run `{self.name} ps` to check that {self.name} works"
            ) from None
        except (OSError, ValueError) as error:  # ValueError: a NUL among the commands or envs
            reason = (isinstance(error, OSError) and error.strerror) or str(error)
            raise EngineError(f"{self.name} can't be run: {reason}") from error
        if process.returncode != 0:
            raise EngineError(f"{self.name}: {reason_in(errors)}")
        return output.decode(errors="replace").strip()

    def attach(self, container: str, folder: Path) -> subprocess.Popen[bytes]:
        """Start a container and return a process with its output and exit code.

        Args:
            container: The name of the container.
            folder: The working directory, in which podman leaves a file if memory runs out.
        """
        with open(os.devnull, "rb") as null:  # noqa: PTH123 - faster
            return subprocess.Popen(  # noqa: S603 - see above
                [self._path, "start", "--attach", container],
                cwd=folder,
                stdin=null,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                start_new_session=True,
            )

    def remove(self, containers: Iterable[str]) -> None:
        """Kill and remove containers with their anonymous volumes."""
        for container in containers:
            self.run("rm", "--force", "--volumes", container)


def mark(folder: Path) -> None:
    """Mark an emulator's folder, because containers of the emulator may exist."""
    (folder / _MARK).touch()


def remove_containers_of(folder: Path) -> None:
    """Remove the remaining containers of an emulator, which has ended or was killed."""
    if not (folder / _MARK).exists():
        return
    try:
        engine = Engine.find()
        listed = engine.run("ps", "--all", "--quiet", f"--filter=label={LABEL}={folder}")
        engine.remove(listed.split())
        with suppress(FileNotFoundError):
            (folder / _MARK).unlink()
    except (EngineError, HtcException) as error:
        _log.warning("containers of an emulator that was killed can't be removed: %s", error)


def reason_in(output: bytes) -> str:
    """Return the last line of a command's output, without control characters."""
    lines = [
        "".join(character for character in line if character.isprintable()).strip()
        for line in output.decode(errors="replace").splitlines()
    ]
    last = next((line for line in reversed(lines) if line), "it printed no reason")
    return _LONG_ID.sub("", last.removeprefix("Error: "))[:_MAX_REASON_CHARACTERS]
