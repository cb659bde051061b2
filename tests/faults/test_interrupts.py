"""Exceptions of signal handlers are raised immediately and unchanged, and the session still works.

`make fuzz` interrupts more often.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import HtcSession, api, htcprojects
from rescalehtc.htcjobs import HtcJob

from ..certificates import server_context
from ..leftovers import leftovers_closed
from ..limits import HANG_SECONDS
from .canary import API_KEY, TOKEN
from .conftest import session
from .matrix import row
from .wire import Step, Wire, answer, computed, drip, held, interrupt_main_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from rescalehtc.htctasks import HtcTask

    from .wire import ReceivedRequest


class Interrupt(BaseException):
    """Like KeyboardInterrupt, which would end pytest if it escaped; see sigint.py."""


KINDS: list[type[BaseException]] = [
    TimeoutError,
    ConnectionResetError,
    OSError,
    ValueError,
    RuntimeError,
    Interrupt,
]
ROOT = Path(__file__).parent.parent.parent
ATTEMPTS = int(os.environ.get("FUZZ_EXAMPLES", "25")) * 4


class Strikes:
    """A signal handler that raises, and its exceptions."""

    def __init__(self) -> None:
        self.raised: list[BaseException] = []
        self.kind: type[BaseException] = Interrupt
        self.left = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.left:
            self.left -= 1
            if self.left:
                signal.setitimer(signal.ITIMER_REAL, 0.0005)
            self.raised.append(self.kind("a limit of the program's own"))
            raise self.raised[-1]

    def during(
        self, call: Callable[[], object], seconds: float, kind: type[BaseException], times: int = 1
    ) -> object:
        """Interrupt a call. It must raise the exception of the handler."""
        self.raised.clear()
        self.kind = kind
        returned: object = None
        try:
            try:
                try:
                    self.left = times
                    signal.setitimer(signal.ITIMER_REAL, seconds)
                    returned = call()
                finally:
                    self.left = 0
            except BaseException as error:
                self.left = 0
                if not self.has_raised(error):
                    raise
        except tuple(KINDS) as error:  # the second one, while handling the first one
            self.left = 0
            if not self.has_raised(error):
                raise
        return returned

    def has_raised(self, error: BaseException) -> bool:
        return any(error is item for item in self.raised)


@pytest.fixture
def strikes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Strikes]:
    strikes = Strikes()
    before = signal.signal(signal.SIGALRM, strikes)
    # Exceptions that can't be raised are reported here. It may happen again.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    logging.disable()  # an exception can leave a lock of the module logging held
    with leftovers_closed():
        yield strikes
        strikes.raised.clear()
    logging.disable(logging.NOTSET)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


# ---- in each kind of wait


@pytest.fixture
def folder(empty_home: Path) -> Path:
    """The default workspace's folder with a key."""
    folder = empty_home / ".config" / "rescalehtc" / "default"
    folder.mkdir(parents=True)
    (folder / "rescale_api_token.txt").write_text(API_KEY)
    (folder / "rescale_api_token.txt").chmod(0o600)
    return folder


@contextmanager
def for_an_answer(wire: Wire, folder: Path, task: HtcTask) -> Iterator[Callable[[], object]]:
    gate = threading.Event()
    wire.on("GET /htc/projects/p", held(gate, answer({"projectId": "p"})))
    with session(wire.url) as rescale:
        rescale.do_authenticate()
        yield lambda: api.get_htc_projects(rescale, "p")
        gate.set()
        assert api.get_htc_projects(rescale, "p") == {"projectId": "p"}


@contextmanager
def for_a_tls_handshake(wire: Wire, folder: Path, task: HtcTask) -> Iterator[Callable[[], object]]:
    wire.at_connect = [drip(b"\x16\x03\x03\x3f\xff")]
    with session(wire.url.replace("http:", "https:")) as rescale:
        yield rescale.do_authenticate


@contextmanager
def for_a_retry(wire: Wire, folder: Path, task: HtcTask) -> Iterator[Callable[[], object]]:
    wire.on("GET /htc/projects/p", answer(status=503, headers={"Retry-After": "50"}))
    with session(wire.url) as rescale:
        rescale.do_authenticate()
        yield lambda: api.get_htc_projects(rescale, "p")


@contextmanager
def for_another_thread(wire: Wire, folder: Path, task: HtcTask) -> Iterator[Callable[[], object]]:
    gate = threading.Event()
    wire.on("GET /auth/token", held(gate, answer({"tokenValue": TOKEN, "expiresIn": 600})))
    with session(wire.url) as rescale:
        thread = threading.Thread(target=rescale.do_authenticate)
        thread.start()
        yield rescale.do_authenticate
        gate.set()
        thread.join()
        rescale.do_authenticate()


@contextmanager
def for_another_process(wire: Wire, folder: Path, task: HtcTask) -> Iterator[Callable[[], object]]:
    with (folder / "rescale_api_token.txt").open("r+") as key_file:
        fcntl.flock(key_file, fcntl.LOCK_EX)  # like another process
        with HtcSession(base_url=wire.url) as rescale:
            yield rescale.reauthenticate_if_needed
            fcntl.flock(key_file, fcntl.LOCK_UN)
            rescale.reauthenticate_if_needed()


@contextmanager
def for_a_log_s_destination(
    wire: Wire, folder: Path, task: HtcTask
) -> Iterator[Callable[[], object]]:
    os.mkfifo(folder / "log")
    job = HtcJob({"projectId": "p", "taskId": "t", "jobUUID": "j"}, task)
    with session(wire.url) as rescale:
        yield lambda: job.get_logs_to_file(rescale, folder / "log")


PLACES = [
    for_an_answer,
    for_a_tls_handshake,
    for_a_retry,
    for_another_thread,
    for_another_process,
    for_a_log_s_destination,
]


@row("a signal handler raises any exception", "every wait", "raised immediately and unchanged")
@pytest.mark.parametrize("place", PLACES, ids=[place.__name__ for place in PLACES])
@pytest.mark.parametrize("kind", [TimeoutError, OSError, ValueError, RuntimeError])
def test_waiting(
    wire: Wire,
    folder: Path,
    task: HtcTask,
    strikes: Strikes,
    place: Any,
    kind: type[BaseException],
) -> None:
    with place(wire, folder, task) as wait:
        assert strikes.during(wait, 0.05, kind) is None
        assert len(strikes.raised) == 1


# ---- at any moment


def calls_of(rescale: HtcSession) -> list[Callable[[str], object]]:
    def read(name: str) -> object:
        return api.get_htc_projects(rescale, name)["projectId"]

    def write(name: str) -> object:
        return api.patch_htc_projects(rescale, name, {"regions": ["r" * 5000]})["projectId"]

    def connect(name: str) -> object:
        rescale.close()
        return read(name)

    def renew(name: str) -> object:
        rescale.do_authenticate()
        return read(name)

    return [read, write, connect, renew]


@row(
    "a signal handler raises at any moment, once or twice",
    "every request",
    "the session still works",
)
@pytest.mark.filterwarnings("ignore")  # of coroutines and sockets that an interrupt left behind
@pytest.mark.parametrize("is_tls", [False, True])
def test_at_any_moment(
    certificate: tuple[Path, Path],
    folder: Path,
    strikes: Strikes,
    monkeypatch: pytest.MonkeyPatch,
    is_tls: bool,
) -> None:
    """At any moment, each request gets its own response, and no lock stays held."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    context = server_context(certificate)

    def echo(request: ReceivedRequest) -> Step:
        return answer({"projectId": request.path.rpartition("/")[2]})

    with Wire(context if is_tls else None) as wire, HtcSession(base_url=wire.url) as rescale:
        calls = calls_of(rescale)
        over = threading.Event()

        def renew_too() -> None:
            while not over.wait(0.003):
                rescale.do_authenticate()

        other = threading.Thread(target=renew_too)
        other.start()
        try:
            name = ""
            for number in range(ATTEMPTS):
                name = f"p{number}"
                for method in ("GET", "PATCH"):
                    wire.on(f"{method} /htc/projects/{name}", computed(echo))
                moment = 0.0002 + number * 7919 % 4000 / 1e6
                call = partial(calls[number % len(calls)], name)
                kind = KINDS[number % len(KINDS)]
                returned = strikes.during(call, moment, kind, 1 + number % 3 // 2)
                assert returned in (None, name)
                assert calls[0](name) == name
        finally:
            over.set()
            other.join()
        assert [call(name) for call in calls] == [name] * len(calls)


@row("a signal handler raises while a host name is encoded", "every request", "not possible")
@pytest.mark.parametrize("is_tls", [False, True])
def test_no_codec_is_interrupted(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, is_tls: bool
) -> None:
    """Python 3.11 replaces an exception that a handler raises in the codec for host names."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    context = server_context(certificate)
    modules: set[str] = set()
    with Wire(context if is_tls else None) as wire, session(wire.url) as rescale:
        sys.setprofile(lambda frame, _, __: modules.add(frame.f_globals["__name__"]))
        try:
            rescale.do_authenticate()
        finally:
            sys.setprofile(None)
    assert "rescalehtc._client.deadline" in modules
    assert not {module for module in modules if module.startswith("encodings.")}


@row(
    "Ctrl-C at any moment, once or twice",
    "every request",
    "KeyboardInterrupt; the session still works",
)
@pytest.mark.parametrize("is_tls", [False, True])
def test_keyboard_interrupts(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, is_tls: bool
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    options = ["--certificate", *map(str, certificate)] if is_tls else []
    command = [sys.executable, "-m", "tests.faults.sigint", "--count", str(ATTEMPTS // 2), *options]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["interrupted"]


@row("a signal handler uses the session", "every request", "no deadlock, even during a renewal")
def test_a_handler_that_uses_the_session(wire: Wire) -> None:
    wire.on("GET /htc/projects", answer({"items": []}))
    token = answer({"tokenValue": TOKEN, "expiresIn": 21600})

    def interrupt(connection: socket.socket, request: ReceivedRequest) -> object:
        interrupt_main_thread(signal.SIGUSR1)
        assert used.wait(HANG_SECONDS)
        return token(connection, request)

    used = threading.Event()
    wire.on("GET /auth/token", interrupt, token)
    with session(wire.url) as rescale:

        def use(*_: object) -> None:
            htcprojects.get_projects(rescale)
            used.set()

        before = signal.signal(signal.SIGUSR1, use)
        try:
            assert htcprojects.get_projects(rescale) == []
        finally:
            signal.signal(signal.SIGUSR1, before)
    assert used.is_set()
