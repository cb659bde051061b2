"""Find and run docker or podman."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from ._interrupts import is_from_signal_handler, suppressed
from ._secret import redact
from ._url import is_loopback
from .exceptions import HtcException

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROGRAMS = ("docker", "podman")
ID_DIGITS = 10
# The maximum output of a program in a message.
TAIL_LINES = 10
MAX_LINE_CHARACTERS = 500
# A program that should stop is killed if it has not stopped after this time.
END_SECONDS = 10.0
# A step that takes longer is stopped.
STEP_SECONDS = 120.0
PUSH_SECONDS = 6 * 3600.0
_READ_BYTES = 1 << 16
_IMAGE_ID = re.compile(f"(?:[a-z0-9]+:)?(?P<digits>[0-9a-f]{{{ID_DIGITS}}})[0-9a-f]*")
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_LINE_END = re.compile(r"[\r\n]+")


class ContainerProgram(NamedTuple):
    """A program that handles container images: docker or podman."""

    name: str
    path: str

    def works(self) -> bool:
        """Whether the program works. docker needs its daemon."""
        try:
            self.run(f"trying {self.name}", ["ps", "--quiet"], quiet=True)
        except HtcException:
            return False
        return True

    def registry_options(self, host: str) -> list[str]:
        """Return options for a registry. podman needs one for a local registry without TLS."""
        return (
            ["--tls-verify=false"]
            if self.name == "podman" and is_loopback(re.sub(r":\d+$", "", host))
            else []
        )

    def image_id(self, image: str) -> str:
        """Return the first digits of an image's id."""
        inspect = ["image", "inspect", "--format", "{{.Id}}", image]
        printed = self.run(f"looking for the image {image} on this machine", inspect, quiet=True)
        image_id = next((match for match in map(_IMAGE_ID.fullmatch, printed) if match), None)
        if image_id is None:
            raise HtcException(f"{self.name} did not print the id of the image {image}")
        return image_id["digits"]

    def run(
        self,
        step: str,
        arguments: Sequence[str],
        quiet: bool,
        password: str = "",
        seconds: float | None = None,
    ) -> list[str]:
        """Run the program and return the last lines of its output.

        Args:
            step: The purpose, for messages.
            arguments: The arguments of the program.
            quiet: Don't show the output.
            password: The standard input, which is redacted from the output.
            seconds: The program is stopped after this time, by default STEP_SECONDS.

        Raises:
            HtcException: The program can't be run, failed, or took too long.
        """
        seconds = STEP_SECONDS if seconds is None else seconds
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        try:
            process = subprocess.Popen(  # noqa: S603 - no shell, and the names were checked
                [self.path, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except (OSError, ValueError) as error:
            if is_from_signal_handler(error):
                raise
            fault = f"can't be run: {error}"
        else:
            expired = threading.Event()

            def expire() -> None:
                expired.set()
                _end(process)

            timer = threading.Timer(seconds, expire)
            with process:
                try:
                    timer.start()
                    _give(process, password)
                    for line in _printed_lines(process, password):
                        tail.append(line)
                        if not quiet:
                            _show(line)
                    process.wait()
                except BaseException:
                    _end(process)
                    raise
                finally:
                    timer.cancel()
            fault = _fault(process.returncode)
            if expired.is_set():
                fault = f"did not end within {seconds:g} seconds; run `{self.name} ps` to check it"
        if fault:
            raise HtcException("\n  ".join([f"{step} failed: {self.name} {fault}", *tail]))
        return list(tail)


def find_programs(purpose: str) -> list[ContainerProgram]:
    """Return the installed programs: docker, podman, or both.

    Args:
        purpose: The purpose, for the message.

    Raises:
        HtcException: Neither is installed.
    """
    paths = [(name, shutil.which(name)) for name in PROGRAMS]
    programs = [ContainerProgram(name, path) for name, path in paths if path]
    if not programs:
        raise HtcException(
            f"neither {' nor '.join(PROGRAMS)} was found; install one of them {purpose}"
        )
    return programs


def _give(process: subprocess.Popen[bytes], text: str) -> None:
    assert process.stdin is not None
    # A program that does not read its input reports a failure with its exit status.
    with suppressed(BrokenPipeError), process.stdin as stdin:
        stdin.write(text.encode())


def _printed_lines(process: subprocess.Popen[bytes], password: str) -> Iterator[str]:
    """Yield the lines of the output, without control characters and truncated to a maximum length."""
    output = process.stdout
    assert output is not None
    while chunk := output.readline(_READ_BYTES):
        incomplete = chunk
        while incomplete and not incomplete.endswith(b"\n"):  # leave out the end of a long line
            incomplete = output.readline(_READ_BYTES)
        for line in _LINE_END.split(chunk.decode("utf-8", "replace")):
            text = "".join(c for c in _ESCAPE_SEQUENCE.sub("", line) if c.isprintable())
            text = redact(text[: 8 * MAX_LINE_CHARACTERS], [password])
            if text.strip():
                yield text[:MAX_LINE_CHARACTERS]


def _show(line: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _fault(status: int) -> str:
    if status < 0:
        return f"was ended by signal {-status}"
    return f"ended with status {status}" if status else ""
