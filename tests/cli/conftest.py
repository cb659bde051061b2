"""The command with pipes or on a terminal.

It runs in the process of the tests, which is fast, except where signals, closed streams or typed input
matter.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import pytest

from rescalehtc.cli import main

from ..limits import HANG_SECONDS
from ..programs import DEVNULL, PIPE, Process, without_notice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from rescalehtc.emulator import Emulator

    from ..programs import Stream

COMMAND = [sys.executable, "-m", "rescalehtc.cli"]


def said(errors: str) -> tuple[str, str]:
    """The base URL that a command prints, and its other messages."""
    errors = without_notice(errors)
    found = re.match(r"rescalehtc: using the service at (\S+)\n", errors)
    return (found[1], errors[found.end() :]) if found else ("", errors)


@dataclass
class Done:
    """A process that has ended."""

    status: int
    output: str
    errors: str
    address: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.output)

    @property
    def rows(self) -> list[list[str]]:
        """The words of a table's lines, without the header."""
        return [line.split() for line in self.output.splitlines()[1:]]


def run_in_this_process(arguments: Sequence[str], text: bytes) -> Done:
    """Run the command with pipes for standard streams, but in this process."""
    stdin, stdout, stderr = (
        io.TextIOWrapper(io.BytesIO(content), "utf-8", newline="\n") for content in (text, b"", b"")
    )
    status = _run_with(arguments, stdin, stdout, stderr)
    for stream in (stdout, stderr):
        stream.seek(0)
    return _done(status, stdout.read(), stderr.read())


def _run_on_terminal(arguments: Sequence[str]) -> Done:
    """Run the command on a terminal, but in this process."""
    master, slave = pty.openpty()
    with os.fdopen(master, "rb", buffering=0) as screen, ThreadPoolExecutor(1) as pool:
        shown = pool.submit(lambda: b"".join(_read_until_closed(screen)))
        with (
            os.fdopen(slave, encoding="utf-8") as stdin,
            os.fdopen(slave, "w", buffering=1, encoding="utf-8", closefd=False) as stdout,
            os.fdopen(slave, "w", buffering=1, encoding="utf-8", closefd=False) as stderr,
        ):
            status = _run_with(arguments, stdin, stdout, stderr)
    return _done_on_terminal(status, shown.result())


def _read_until_closed(screen: io.FileIO) -> Iterator[bytes]:
    with contextlib.suppress(OSError):  # the end of a terminal
        while read := screen.read(65536):
            yield read


def _run_with(arguments: Sequence[str], stdin: TextIO, stdout: TextIO, stderr: TextIO) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["rescalehtc", *arguments])
        for name, stream in (("stdin", stdin), ("stdout", stdout), ("stderr", stderr)):
            patch.setattr(sys, name, stream)
        with pytest.raises(SystemExit) as info:
            main()
    assert isinstance(info.value.code, int)
    return info.value.code


def _done(status: int, output: str, errors: str) -> Done:
    assert "Traceback" not in errors, errors
    assert "Exception ignored" not in errors, errors
    return Done(status, output, *reversed(said(errors)))


def _done_on_terminal(status: int, shown: bytes) -> Done:
    assert b"Traceback" not in shown, shown.decode()
    address, output = said(shown.decode().replace("\r\n", "\n"))
    return Done(status, output, "", address)


class Command:
    """Runs the command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables: dict[str, str] = {}

    def environ(self, **variables: str) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
        return {**clean, **self.variables, **variables}

    def __call__(
        self,
        *arguments: str,
        stdin: str | Stream = "",
        stdout: Stream = PIPE,
        stderr: Stream = PIPE,
        **variables: str,
    ) -> Done:
        """Run it, with pipes by default.

        With pipes, it runs in this process, which is much faster than forking one.
        """
        if isinstance(stdin, str) and (stdout, stderr) == (PIPE, PIPE):
            with self._environment(variables):
                return run_in_this_process(arguments, stdin.encode())
        return self.apart(*arguments, stdin=stdin, stdout=stdout, stderr=stderr, **variables)

    def apart(
        self,
        *arguments: str,
        stdin: str | Stream = "",
        stdout: Stream = PIPE,
        stderr: Stream = PIPE,
        **variables: str,
    ) -> Done:
        """Run it in its own process."""
        text, stdin = (stdin, PIPE) if isinstance(stdin, str) else ("", stdin)
        with self.start(
            *arguments, stdin=stdin, stdout=stdout, stderr=stderr, **variables
        ) as process:
            output, errors = process.communicate(text, HANG_SECONDS)
            status = process.wait()
        return _done(status, output, errors)

    @contextlib.contextmanager
    def _environment(self, variables: dict[str, str]) -> Iterator[None]:
        """Let this process have the folder and the variables of the command."""
        with pytest.MonkeyPatch.context() as patch, contextlib.chdir(self.folder):
            # One by one: the emulator in this process starts jobs meanwhile, with PATH and HOME.
            expected = self.environ(**variables)
            for name in os.environ.keys() - expected.keys():
                patch.delenv(name)
            for name, value in expected.items():
                if os.environ.get(name) != value:
                    patch.setenv(name, value)
            yield

    def start(
        self,
        *arguments: str,
        stdin: Stream = DEVNULL,
        stdout: Stream = PIPE,
        stderr: Stream = PIPE,
        **variables: str,
    ) -> Process:
        """Start it."""
        return Process(
            [*COMMAND, *arguments],
            env=self.environ(**variables),
            cwd=self.folder,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )

    def refused(self, *arguments: str, status: int, **value: Any) -> str:
        """Run it, and return its error message."""
        done = self(*arguments, **value)
        assert (done.status, done.output) == (status, ""), done
        assert done.errors.startswith(("rescalehtc: error: ", "Usage: ", "Error: "))
        assert len(done.errors.splitlines()) <= 20, "more than a screen"
        return done.errors

    def under_terminal(
        self,
        *arguments: str,
        columns: int = 80,
        typed: dict[str, str] | None = None,
        program: list[str] | None = None,
        **variables: str,
    ) -> Done:
        """Run it on a terminal. When it shows a key of `typed`, enter the value."""
        variables = {"TERM": "xterm-256color", **variables}
        if typed is None and program is None and "COLUMNS" not in variables:
            with self._environment({"COLUMNS": str(columns), **variables}):
                return _run_on_terminal(arguments)
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        with Process(
            [*(program or COMMAND), *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=self.environ(**variables),
            cwd=self.folder,
            terminal=True,
        ) as process:
            os.close(slave)
            shown = b"".join(self._shown(process, master, dict(typed or {})))
            os.close(master)
            status = process.wait(HANG_SECONDS)
        return _done_on_terminal(status, shown)

    def _shown(self, process: Process, master: int, waiting: dict[str, str]) -> Iterator[bytes]:
        """The output of the terminal. When it shows a key of `waiting`, enter the value."""
        shown = ""
        deadline = time.monotonic() + HANG_SECONDS
        while time.monotonic() < deadline:
            if not select.select([master], [], [], 0.1)[0]:
                continue
            try:
                read = os.read(master, 65536)
            except OSError:  # the end of a terminal
                return
            yield read
            shown += read.decode(errors="replace")
            for sign in [sign for sign in waiting if sign in shown]:
                while not process.sleeps() and time.monotonic() < deadline:
                    time.sleep(0.01)
                os.write(master, waiting.pop(sign).encode())
        raise AssertionError(f"it did not end: {shown}")


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """The command without an account."""
    return Command(tmp_path)


@pytest.fixture
def htc(command: Command, emulator: Emulator) -> Command:
    """The command, connected to the emulator."""
    command.variables = {
        "RESCALE_API_BASE_URL": emulator.url,
        "RESCALE_API_KEY": emulator.api_key,
    }
    return command


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Run the command in this process. Return its status, output and error output."""

    def run(*arguments: str, stdout: Any = ..., stderr: Any = ...) -> tuple[int, str]:
        output, errors = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "argv", ["rescalehtc", *arguments])
        monkeypatch.setattr(sys, "stdin", None)
        monkeypatch.setattr(sys, "stdout", output if stdout is ... else stdout)
        monkeypatch.setattr(sys, "stderr", errors if stderr is ... else stderr)
        with pytest.raises(SystemExit) as info:
            main()
        assert "Traceback" not in errors.getvalue(), errors.getvalue()
        assert isinstance(info.value.code, int)
        return info.value.code, output.getvalue() + said(errors.getvalue())[1]

    return run


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write a submit request to a file, and return its name."""

    def write(*commands: str, name: str = "jobs.json", **changed: Any) -> str:
        (tmp_path / name).write_text(json.dumps(request_for(*commands, **changed), indent=2))
        return name

    return write


def request_for(*commands: str, **changed: Any) -> dict[str, Any]:
    return {
        "jobName": "a job",
        "batchSize": 1,
        "regions": ["AWS_US_EAST_1"],
        **changed,
        "htcJobDefinition": {
            "imageName": "python:3",
            "maxVCpus": 1,
            "maxMemory": 100,
            "maxDiskGiB": 1,
            "execTimeoutSeconds": 300,
            "priority": "ON_DEMAND_ECONOMY",
            "architecture": "AARCH64",
            "commands": list(commands) or ["true"],
            "tags": {},
            "envs": [],
            "claims": [],
        },
    }


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name for a task that no other test has."""
    return f"cli {os.getpid()} {request.node.name}"
