"""Running one piece of work in a fresh process, and what it took."""

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
# What each side needs and nothing else; both are installed by `make bench`.
CORE = ROOT / ".venv" / "core"
UNTYPED = ROOT / ".venv" / "rescalehtc-1.1.0"
LIMIT_SECONDS = 300


class RunError(Exception):
    """The work failed, or did something that it must not do."""


@dataclass(frozen=True)
class Run:
    """A piece of work.

    Attributes:
        side: Who does it: this package, 1.1.0, a raw socket, this package with the emulator, or
            this package as it is installed with all extras.
        work: The function of `<side>.py` or `work.py`.
        size: Number of jobs or lines.
        latency_ms: How long the server waits before each answer.
        once: Whether one round is enough: for peaks of memory, and for what takes long.
        is_tls: Whether the server is asked over https.
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
    """What it took.

    Attributes:
        seconds: The work alone.
        process_seconds: The whole process, from its start to its end.
        peak_kib: The most memory that the process held.
        outcome: What came of it, as text.
    """

    seconds: float
    process_seconds: float
    peak_kib: int
    outcome: str


class Bench:
    """Measures runs, with the server in a process of its own for the length of the block."""

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
        self._server.communicate()  # its input ends, and so does it
        self._folder.cleanup()

    def measure(self, run: Run) -> Taken:
        """Do the work in a fresh process.

        Raises:
            RunError: It failed, took too long, or sent a batch twice.
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
        self._asked()  # what a run before this one asked, if it failed, is not this one's
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
        twice = [name for name, times in self._asked().items() if "batch" in name and times > 1]
        if twice:
            raise RunError(f"sent more than once: {', '.join(twice)}")
        seconds, peak_kib, outcome = done.stdout.strip().split(" ", 2)
        return Taken(float(seconds), process_seconds, int(peak_kib), outcome)

    def _asked(self) -> dict[str, int]:
        """How often the server was asked for each operation since the last time."""
        with urllib.request.urlopen(f"{self._origin}/0/asked") as answer:
            asked: dict[str, int] = from_json(answer.read())
        return asked


def _environment(*paths: Path) -> dict[str, str]:
    """This process's, without what would point a session or Python elsewhere."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RESCALE_", "PYTHON")) and not name.lower().endswith("_proxy")
    }
    return {**kept, "PYTHONPATH": os.pathsep.join(map(str, paths))}
