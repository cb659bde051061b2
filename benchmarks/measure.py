"""Run work in a new process, and measure its time and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic_core import from_json

from tests.certificates import make_certificate

ROOT = Path(__file__).resolve().parent.parent
# Only the packages that each side needs. `make bench` installs both.
CORE = ROOT / ".venv" / "core"
UNTYPED = ROOT / ".venv" / "rescalehtc-1.1.0"
LIMIT_SECONDS = 300


class RunError(Exception):
    """The work failed, or sent a batch twice."""


@dataclass(frozen=True)
class Run:
    """A piece of work.

    Attributes:
        side: This package, 1.1.0, a raw socket, this package with the emulator, or this package
            with all extras.
        work: The function of `<side>.py` or `work.py`.
        size: Number of jobs or lines.
        latency_ms: The server's delay before each response.
        once: Whether one round is enough, as for peaks of memory and for slow work.
        is_tls: Whether the requests use https.
    """

    side: Literal["ours", "untyped", "floor", "emulated", "installed"]
    work: str
    size: int = 0
    latency_ms: int = 0
    once: bool = False
    is_tls: bool = False

    def __str__(self) -> str:
        latency = f" at {self.latency_ms} ms" if self.latency_ms else ""
        latency += " over https" if self.is_tls else ""
        return f"{self.side}.{self.work} {self.size:,}{latency}"


@dataclass(frozen=True)
class Taken:
    """The result of a measurement.

    Attributes:
        seconds: The time of the work alone.
        process_seconds: The time of the whole process.
        peak_kib: The peak memory of the process.
        outcome: The outcome, as a string.
    """

    seconds: float
    process_seconds: float
    peak_kib: int
    outcome: str


class Bench:
    """Measures runs. The server runs in another process until the block ends."""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        self._certificate, key = make_certificate(Path(self._folder.name))
        self._server = subprocess.Popen(
            [sys.executable, "-P", "-m", "benchmarks.server", self._certificate, key],
            env=_environment(ROOT),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._server.stdout is not None
        self._origin, self._tls_origin = self._server.stdout.readline().split()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()  # the server exits when its input ends
        self._folder.cleanup()

    def measure(self, run: Run) -> Taken:
        """Do the work in a new process.

        Raises:
            RunError: The work failed, took too long, or sent a batch twice.
        """
        command = [f"{ROOT}/benchmarks/{run.side}.py", run.work, str(run.size)]
        if run.side == "emulated":
            emulator = ["-P", "-m", "rescalehtc.emulator", "--", sys.executable, "-P"]
            command, environment = [*emulator, *command], _environment(ROOT)
        else:
            paths = {"untyped": (UNTYPED, ROOT), "installed": (ROOT,)}.get(run.side, (ROOT, CORE))
            options = ["-P"] if run.side == "installed" else ["-P", "-S"]
            command, environment = [*options, *command], _environment(*paths)
            origin = self._tls_origin if run.is_tls else self._origin
            environment["RESCALE_API_BASE_URL"] = f"{origin}/{run.latency_ms}"
            for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
                environment[name] = str(self._certificate)
        self._request_counts()  # forget the requests of an earlier run that failed
        started = time.perf_counter()
        try:
            done = subprocess.run(
                [sys.executable, *command],
                env=environment,
                capture_output=True,
                text=True,
                timeout=LIMIT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise RunError(f"it did not end within {LIMIT_SECONDS} s") from None
        process_seconds = time.perf_counter() - started
        if done.returncode:
            reason = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
            raise RunError(reason)
        twice = [
            name for name, times in self._request_counts().items() if "batch" in name and times > 1
        ]
        if twice:
            raise RunError(f"sent more than once: {', '.join(twice)}")
        seconds, peak_kib, outcome = done.stdout.strip().split(" ", 2)
        return Taken(float(seconds), process_seconds, int(peak_kib), outcome)

    def _request_counts(self) -> dict[str, int]:
        """The number of requests per operation since the last call."""
        with urllib.request.urlopen(f"{self._origin}/0/counts") as answer:
            counts: dict[str, int] = from_json(answer.read())
        return counts


def _environment(*paths: Path) -> dict[str, str]:
    """Return the environment without variables that would affect a session or Python."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RESCALE_", "PYTHON")) and not name.lower().endswith("_proxy")
    }
    return {**variables, "PYTHONPATH": os.pathsep.join(map(str, paths))}
