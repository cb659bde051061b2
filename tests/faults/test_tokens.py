"""Bearer tokens are always renewed once, by one process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from rescalehtc import HtcSession, api, htcjobs
from rescalehtc.exceptions import (
    HtcAuthenticationError,
    HtcConnectionError,
    HtcCredentialsError,
    HtcException,
    HtcResponseError,
)

from .. import programs
from ..clock import inject_clock
from ..limits import HANG_SECONDS
from .books import JOBS
from .canary import API_KEY, MARK, REFRESH_TOKEN, TOKEN, TOKEN_2, caught
from .conftest import session
from .matrix import row
from .wire import Step, Wire, answer, computed, held, reset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rescalehtc.htctasks import HtcTask

    from .wire import ReceivedRequest

TOKENS = "GET /auth/token"
PROJECT = "GET /htc/projects/p"
SECOND = answer({"tokenValue": TOKEN_2, "expiresIn": 21600})


@pytest.fixture
def folder(empty_home: Path) -> Path:
    """The default workspace's folder with a key."""
    folder = empty_home / ".config" / "rescalehtc" / "default"
    folder.mkdir(parents=True)
    key_file = folder / "rescale_api_token.txt"
    key_file.write_text(f"{API_KEY}\n")
    key_file.chmod(0o600)
    return folder


def keep(folder: Path, seconds: float, **fields: object) -> Path:
    """Write a token file."""
    path = folder / "rescale_bearer_token.json"
    end = (datetime.now() + timedelta(seconds=seconds)).isoformat()
    stored = {"tokenValue": f"{MARK}-kept", "expiresIn": 21600, "expiresAt": end, **fields}
    path.write_text(json.dumps(stored))
    return path


def needs(token: str, step: Step) -> Step:
    """Accept only requests with this token."""

    def check(request: ReceivedRequest) -> Step:
        right = request.headers.get("authorization") == f"Bearer {token}"
        return step if right else answer({"error": "expired"}, status=401)

    return computed(check)


def renewals(wire: Wire) -> int:
    return len(wire.requests_to(TOKENS))


@row("401 in the middle of a listing", "listing", "one renewal; no page is lost or repeated")
def test_401_in_the_middle(wire: Wire, rescale: HtcSession, task: HtcTask) -> None:
    rescale.do_authenticate()
    wire.on(TOKENS, SECOND)
    pages = [
        answer({"items": [{"jobUUID": f"j:{n}"}], "next": f"?page={n + 1}" if n < 4 else None})
        for n in range(5)
    ]

    def page(request: ReceivedRequest) -> Step:
        number = int(request.query.get("page", ["0"])[0])
        return needs(TOKEN if number < 2 else TOKEN_2, pages[number])

    wire.on(JOBS, computed(page))
    listed = [job.json["jobUUID"] for job in htcjobs.iter_jobs(rescale, task)]
    assert listed == [f"j:{n}" for n in range(5)]
    assert renewals(wire) == 2
    assert len(wire.requests_to(JOBS)) == 6


@row("401 on every attempt", "every request", "one renewal, then HtcAuthenticationError")
def test_401_on_every_attempt(wire: Wire, rescale: HtcSession) -> None:
    wire.on(PROJECT, answer(status=401))
    with caught(HtcAuthenticationError):
        api.get_htc_projects(rescale, "p")
    assert (renewals(wire), len(wire.requests_to(PROJECT))) == (2, 2)


@row(
    "the credential is rejected",
    "getToken",
    "HtcCredentialsError that names the credential's source",
)
@pytest.mark.parametrize("where", ["argument", "variable", "refresh", "file"])
def test_rejected_credential(
    wire: Wire, folder: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    wire.on(TOKENS, answer(status=401))
    variable = {"variable": "RESCALE_API_KEY", "refresh": "RESCALE_HTC_REFRESH_TOKEN"}.get(where)
    if variable:
        monkeypatch.setenv(variable, REFRESH_TOKEN if where == "refresh" else API_KEY)
    key = API_KEY if where == "argument" else None
    found_in = variable or {"argument": "api_key", "file": "rescale_api_token.txt"}[where]
    with HtcSession(api_key=key, base_url=wire.url) as rescale:
        with caught(HtcCredentialsError, found_in):
            api.get_htc_projects(rescale, "p")
        assert MARK not in repr(rescale) + repr(vars(rescale))


@row("getToken sends an invalid response", "getToken", "HtcResponseError or HtcConnectionError")
@pytest.mark.parametrize(
    "step",
    [
        reset,
        answer({"tokenValue": TOKEN}),
        answer({"tokenValue": f"{TOKEN} and more", "expiresIn": 60}),
        answer({"tokenValue": TOKEN, "expiresIn": "soon"}),
        answer([TOKEN]),
        answer(f'{{"tokenValue": "{TOKEN}", "expi'.encode()),
        answer(f"<html>{TOKEN}</html>".encode()),
        answer({"message": "your key is wrong"}, status=302, headers={"Location": "/x"}),
    ],
)
def test_nonsense_for_a_token(wire: Wire, rescale: HtcSession, step: Step) -> None:
    wire.on(TOKENS, step)
    with caught(HtcException) as info:
        rescale.do_authenticate()
    assert isinstance(info.value, HtcResponseError | HtcConnectionError)


@row("getToken fails while threads wait for it", "getToken", "one request, not one per thread")
def test_a_failing_token_is_requested_once(
    wire: Wire, until: Callable[[Callable[[], bool]], None]
) -> None:
    gate = threading.Event()
    wire.on(TOKENS, held(gate, answer(status=403)))
    with session(wire.url) as rescale, ThreadPoolExecutor(20) as threads:
        calls = [threads.submit(api.get_htc_projects, rescale, "p") for _ in range(20)]
        until(lambda: renewals(wire) == 1 and threads_in("exclusively") == 19)
        gate.set()
        for call in calls:
            with caught(HtcException):
                call.result()
    assert renewals(wire) <= 10


def threads_in(function: str) -> int:
    """The number of threads in a function with this name, but not in a function that it calls."""
    return sum(frame.f_code.co_name == function for frame in sys._current_frames().values())


@row("a token expires while many threads use it", "every request", "one renewal for all of them")
def test_many_threads_and_a_rejected_token(wire: Wire, rescale: HtcSession) -> None:
    rescale.do_authenticate()
    wire.on(TOKENS, SECOND)
    wire.on(PROJECT, needs(TOKEN_2, answer({"projectId": "p"})))
    with ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(lambda _: api.get_htc_projects(rescale, "p"), range(64)))
    assert answers == [{"projectId": "p"}] * 64
    assert renewals(wire) == 2


CHILDREN = 50


@row("50 processes start with an expired token", "getToken", "one renewal; no partial file is read")
def test_fifty_processes(wire: Wire, folder: Path) -> None:
    keep(folder, -10, baseUrl=wire.url)
    gate = threading.Event()
    wire.on(TOKENS, held(gate, answer({"tokenValue": TOKEN_2, "expiresIn": 21600})))
    program = (
        "import os, sys\n"
        "from rescalehtc import HtcSession, api\n"
        "from rescalehtc._client import tokens, transport\n"
        "children = []\n"
        f"for _ in range({CHILDREN}):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        f"        tokens.LOCK_WAIT_SECONDS = {HANG_SECONDS}\n"
        f"        rescale = HtcSession(base_url={wire.url!r})\n"
        f"        os._exit(rescale.run(rescale.client.tokens.get()) != {TOKEN_2!r})\n"
        "    children.append(child)\n"
        "print('started', flush=True)\n"
        "print([os.waitpid(child, 0)[1] for child in children])\n"
    )
    with programs.Process([sys.executable, "-c", program]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        gate.set()
        assert process.stdout.read() == f"{[0] * CHILDREN}\n"
    assert renewals(wire) == 1


@row(
    "the process that renews the token is killed",
    "getToken",
    "the next process renews it immediately",
)
def test_a_killed_renewer(
    wire: Wire, folder: Path, until: Callable[[Callable[[], bool]], None]
) -> None:
    gate = threading.Event()
    wire.on(TOKENS, held(gate, reset), SECOND)
    program = f"from rescalehtc import HtcSession\nrescale = HtcSession(base_url={wire.url!r})\nrescale.run(rescale.client.tokens.get())\n"
    process = subprocess.Popen([sys.executable, "-c", program])
    until(lambda: renewals(wire) == 1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with HtcSession(base_url=wire.url) as rescale:
        assert rescale.run(rescale.client.tokens.get()) == TOKEN_2
    gate.set()


@row("the cached token's file is partial or broken", "getToken", "one renewal")
@pytest.mark.parametrize("text", ["", "{", '{"tokenValue": "x', "[]", "\x00\xff", "9" * 5000])
def test_a_torn_file(wire: Wire, folder: Path, text: str) -> None:
    keep(folder, 3600).write_text(text, encoding="latin-1")
    with HtcSession(base_url=wire.url) as rescale:
        assert rescale.run(rescale.client.tokens.get()) == TOKEN
    assert renewals(wire) == 1


@row("the clock jumps forward or back", "every request", "at most one renewal")
@pytest.mark.parametrize("jump", [-1e8, -3600.0, 3600.0, 1e8])
def test_the_clock_jumps(wire: Wire, rescale: HtcSession, jump: float) -> None:
    clock = inject_clock(rescale)
    wire.on(PROJECT, answer({"projectId": "p"}))
    api.get_htc_projects(rescale, "p")
    clock.time_ahead += jump
    for _ in range(5):
        api.get_htc_projects(rescale, "p")
    assert renewals(wire) <= 2


@row("the clock was wrong when the token was cached", "cached token", "used for its lifetime")
@pytest.mark.parametrize("seconds", [1e8, 1e9])
def test_a_kept_token_from_the_future(wire: Wire, folder: Path, seconds: float) -> None:
    keep(folder, seconds, baseUrl=wire.url, expiresIn=100)
    with HtcSession(base_url=wire.url) as rescale:
        clock = inject_clock(rescale)
        assert rescale.run(rescale.client.tokens.get()) == f"{MARK}-kept"
        clock.ahead += 100
        assert rescale.run(rescale.client.tokens.get()) == TOKEN


@row("other users can read the key file", "HtcSession", "a warning in the log")
def test_a_key_for_all_eyes(wire: Wire, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    HtcSession(base_url=wire.url)
    assert "other users can read" not in caplog.text
    (folder / "rescale_api_token.txt").chmod(0o644)
    HtcSession(base_url=wire.url)
    assert "other users can read the key in" in caplog.text
