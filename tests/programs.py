"""Run Python programs in processes that start immediately.

A new interpreter needs half a second to import the command line, most of the time of a command.
Here, one process per worker imports everything, and is forked for each program. The
child gets the arguments, variables, working directory, streams and terminal that you pass, and
exits like a Python program. tools/test_programs.py compares it with a new interpreter. Use `subprocess` in
tests of a program's start, or of variables that Python reads at start.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import gc
import importlib
import io
import json
import os
import pkgutil
import re
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn, Self, TextIO

from .limits import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
PIPE: Final = subprocess.PIPE
STDOUT: Final = subprocess.STDOUT
DEVNULL: Final = subprocess.DEVNULL
CLOSED: Final = -4  # the program is started without the stream

Stream = int | IO[Any]

# The original values, before any test changes them.
_VARIABLES: Final = dict(os.environ)
_READ_AT_THE_START: Final = ("PYTHON", "LC_", "LANG")
_NUMBER: Final = struct.Struct("i")
_GRACE_SECONDS: Final = 10


def without_notice(output: str) -> str:
    """Remove the message about a service that is slow to respond, as it is on a busy machine."""
    return re.sub(r"^rescalehtc: waiting for http.*\n", "", output, flags=re.MULTILINE)


class Process:
    """A running Python program, with the interface of `subprocess.Popen`.

    Args:
        command: The interpreter, then a script, `-m` and a module, or `-c` and code, then arguments.
        env: Its variables. None for those of this process.
        cwd: Its working directory.
        stdin: As for Popen, or CLOSED. Pipes are text files that do not convert line ends.
        stdout: The same.
        stderr: The same.
        terminal: Whether its standard input is its controlling terminal.
    """

    returncode: int | None = None

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | str | None = None,
        stdin: Stream = DEVNULL,
        stdout: Stream = PIPE,
        stderr: Stream = PIPE,
        terminal: bool = False,
    ) -> None:
        interpreter, *arguments = command
        assert interpreter == sys.executable
        variables = dict(os.environ if env is None else env)
        _check_variables(variables)
        self._zygote = _zygote()
        with contextlib.ExitStack() as stack:
            ours: dict[int, TextIO] = {}
            theirs: dict[int, int] = {}
            for number, stream in enumerate((stdin, stdout, stderr)):
                if stream == CLOSED:
                    continue
                if stream == STDOUT:
                    stream = theirs[1]
                if stream == PIPE:
                    reading, writing = os.pipe()
                    mine, stream = (writing, reading) if number == 0 else (reading, writing)
                    stack.callback(os.close, stream)
                    mode = "w" if number == 0 else "r"
                    ours[number] = os.fdopen(mine, mode, encoding="utf-8", newline="")
                elif stream == DEVNULL:
                    stream = os.open(os.devnull, os.O_RDWR)
                    stack.callback(os.close, stream)
                theirs[number] = stream if isinstance(stream, int) else stream.fileno()
            self.stdin, self.stdout, self.stderr = (ours.get(number) for number in range(3))
            request = {
                "arguments": arguments,
                "variables": variables,
                "folder": str(cwd or Path.cwd()),
                "streams": [*theirs],
                "terminal": terminal,
            }
            self._status = self._zygote.start(request, [*theirs.values()])
            self.pid = self._receive()

    def _receive(self) -> int:
        received = self._status.recv(_NUMBER.size, socket.MSG_WAITALL)
        if not received:
            self._zygote.fail()
        return _NUMBER.unpack(received)[0]

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._status.settimeout(timeout)
            self.returncode = self._receive()
            self._status.close()
        return self.returncode

    def sleeps(self) -> bool:
        """Whether the program is waiting, for example for input.

        If a signal arrives right before a read, Python handles it only after the read.
        """
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].startswith("S")

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, text: str = "", timeout: float | None = None) -> tuple[str, str]:
        """Write to its input, wait until it ends, and return its output from the pipes."""
        with ThreadPoolExecutor(2) as pool:
            output = pool.submit(_read_all, self.stdout)
            errors = pool.submit(_read_all, self.stderr)
            try:
                if self.stdin:
                    with contextlib.suppress(BrokenPipeError), self.stdin:
                        self.stdin.write(text)
                self.wait(timeout)
            except BaseException:
                self.kill()
                raise
        return output.result(), errors.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error is not None:
            self.kill()
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self.wait()


def without_coverage() -> dict[str, str]:
    """The environment without the variables of `make coverage`, which imports modules and writes."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


def run(
    command: Sequence[str], text: str = "", timeout: float | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program like `subprocess.run`, with pipes by default."""
    with Process(command, **{"stdin": PIPE, **options}) as process:
        output, errors = process.communicate(text, timeout)
    assert process.returncode is not None
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


@contextlib.contextmanager
def unwritable(how: str) -> Iterator[Stream]:
    """A stream that is "closed", "full", or a "pipe" without a reader."""
    if how == "closed":
        yield CLOSED
    elif how == "full":
        with Path("/dev/full").open("wb") as full:
            yield full
    else:
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            yield pipe


def _read_all(stream: TextIO | None) -> str:
    if stream is None:
        return ""
    with stream:
        return stream.read()


def _check_variables(variables: Mapping[str, str]) -> None:
    for name in {*variables, *_VARIABLES}:
        if name.startswith(_READ_AT_THE_START) and variables.get(name) != _VARIABLES.get(name):
            raise ValueError(f"Python reads {name} when it starts: start it with `subprocess`")


class _Zygote:
    """The process that forks the programs. It ends when this process ends or is killed."""

    def __init__(self) -> None:
        with contextlib.ExitStack() as stack:
            self._control, theirs = socket.socketpair()
            stack.enter_context(self._control)
            self._errors = stack.enter_context(tempfile.TemporaryFile())
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", __name__, str(theirs.fileno())],
                    env=_VARIABLES,
                    cwd=ROOT,
                    stdin=DEVNULL,
                    stdout=DEVNULL,
                    stderr=self._errors,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            stack.pop_all()
        atexit.register(self.end)

    def start(self, request: dict[str, Any], streams: list[int]) -> socket.socket:
        """Start a program. Return a connection that sends its process id, and later its status."""
        connection, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self._control, [b"."], [theirs.fileno(), *streams])
            connection.sendall(f"{json.dumps(request)}\n".encode())
        except (BrokenPipeError, ConnectionResetError):
            self.fail()
        return connection

    def fail(self) -> NoReturn:
        status = self._process.wait(HANG_SECONDS)
        self._errors.seek(0)
        raise RuntimeError(
            f"the process that programs are forked from ended with exit status {status}:\n"
            f"{self._errors.read().decode(errors='replace')}"
        )

    def end(self) -> None:
        self._control.close()
        self._process.wait()
        self._errors.close()


_zygote = functools.cache(_Zygote)


# ---- in the process that forks the programs


# Modules that running programs import, but our modules don't.
_LATE: Final = ("encodings.idna", "tomlkit", "uvicorn.lifespan.off", "uvicorn.loops.asyncio")


def _serve(control: socket.socket) -> None:
    """Fork programs until the other end of the connection is closed."""
    _import_all()
    running: dict[int, socket.socket] = {}
    woken, waker = socket.socketpair()
    for end in (woken, waker):
        end.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready = select.select([control, woken], [], [])[0]
        if woken in ready:
            woken.recv(4096)
            _collect(running)
        if control not in ready:
            continue
        message, descriptors, *_ = socket.recv_fds(control, 1, 4)
        if not message:
            break
        connection = socket.socket(fileno=descriptors[0])
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for other in (control, woken, waker, *running.values()):
                other.close()
            with connection, connection.makefile() as file:
                request = json.loads(file.readline())
            _become(request, descriptors[1:])
            _run_to_its_end(request["arguments"], request["folder"])
            return
        for descriptor in descriptors[1:]:
            os.close(descriptor)
        running[pid] = connection
        _tell(connection, pid)
    _end(running)


def _collect(running: dict[int, socket.socket]) -> None:
    """Send the exit statuses of the programs that have ended."""
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with running.pop(pid) as connection:
            _tell(connection, os.waitstatus_to_exitcode(status))


def _tell(connection: socket.socket, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # the receiver has ended
        connection.sendall(_NUMBER.pack(number))


def _end(running: dict[int, socket.socket]) -> None:
    """Kill all running programs."""
    deadline = time.monotonic() + _GRACE_SECONDS
    for pid in running:
        os.kill(pid, signal.SIGTERM)
    while running:
        _collect(running)
        if time.monotonic() > deadline:
            for pid in running:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _become(request: dict[str, Any], streams: list[int]) -> None:
    """Set up the process: streams, terminal, folder and variables."""
    for number in range(3):
        os.close(number)
    for number, stream in zip(request["streams"], streams, strict=True):
        os.dup2(stream, number)
    for stream in streams:
        os.close(stream)
    if request["terminal"]:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["variables"])
    time.tzset()
    sys.stdin = sys.__stdin__ = _standard_stream(0, sys.stdin)
    sys.stdout = sys.__stdout__ = _standard_stream(1, sys.stdout)
    sys.stderr = sys.__stderr__ = _standard_stream(2, sys.stderr)


def _standard_stream(number: int, like: Any) -> Any:
    """A standard stream like this one on another descriptor, as Python makes it at start."""
    try:
        os.fstat(number)
    except OSError:
        return None
    mode, is_buffered = like.mode, not like.write_through
    binary: Any = os.fdopen(
        number, f"{mode}b", -1 if is_buffered or mode == "r" else 0, closefd=False
    )
    getattr(binary, "raw", binary).name = like.name
    is_flushed = is_buffered and (number == 2 or os.isatty(number))
    stream: Any = io.TextIOWrapper(
        binary, like.encoding, like.errors, "\n", is_flushed, write_through=not is_buffered
    )
    stream.mode = mode
    return stream


def _run(arguments: list[str], folder: str) -> None:
    """Run a program like an interpreter with these arguments."""
    what, *rest = arguments
    if what == "-m":
        sys.path[0] = folder
        sys.argv = rest
        sys.modules.pop(rest[0], None)
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif what == "-c":
        sys.path[0] = ""
        sys.argv = ["-c", *rest[1:]]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)
    else:
        sys.path[0] = str(Path(folder, what).parent)
        sys.argv = arguments
        runpy.run_path(what, run_name="__main__")


_status: int | None = None


def _run_to_its_end(arguments: list[str], folder: str) -> None:
    global _status
    try:
        _run(arguments, folder)
        _status = 0
    except SystemExit as error:
        code = error.code or 0
        _status = code if isinstance(code, int) else None
        raise


def _exit_at_once() -> None:
    """Exit without freeing all objects, if this makes no difference."""
    if _status is None:
        return
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except (OSError, ValueError):
        return  # Python reports the error
    os._exit(_status & 0xFF)


def _import_all() -> None:
    import rescalehtc

    for module in pkgutil.walk_packages(rescalehtc.__path__, f"{rescalehtc.__name__}."):
        if not module.name.endswith(("__main__", "pytest_plugin")):
            importlib.import_module(module.name)
    for name in _LATE:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    atexit.register(_exit_at_once)
    _serve(socket.socket(fileno=int(sys.argv[1])))
