"""Threads, forks and interrupts."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import HtcSession, api
from rescalehtc.exceptions import HtcTimeoutError

from ..limits import HANG_SECONDS, SHORT_SECONDS
from .canary import API_KEY, caught
from .conftest import session
from .matrix import row
from .wire import (
    Step,
    Wire,
    answer,
    compressed,
    computed,
    held,
    interrupt_main_thread,
    reset,
    truncated,
)

if TYPE_CHECKING:
    from pathlib import Path

    from .wire import ReceivedRequest

PROJECT = "GET /htc/projects/p"


def echo(request: ReceivedRequest) -> Step:
    return answer({"projectId": request.path.rpartition("/")[2]})


@row("64 threads share a session", "every request", "each thread gets its own response")
def test_64_threads(wire: Wire, rescale: HtcSession) -> None:
    names = [f"p{number}" for number in range(640)]
    for number, name in enumerate(names):
        steps: list[Step] = [computed(echo)]
        if number % 5 == 0:  # inject a few faults, within the retry budget
            found = {"projectId": name}
            steps.insert(0, [reset, truncated(found), compressed(found, cut=-4)][number % 3])
        wire.on(f"GET /htc/projects/{name}", *(steps if number % 40 == 0 else steps[-1:]))

    def ask(name: str) -> str:
        return str(api.get_htc_projects(rescale, name)["projectId"])

    with ThreadPoolExecutor(64) as threads:
        assert list(threads.map(ask, names)) == names


@row("30 requests in parallel", "every request", "each request has its own connection")
def test_many_requests_at_once(wire: Wire) -> None:
    gate = threading.Event()
    wire.on(PROJECT, held(gate, answer({"projectId": "p"})))
    with session(wire.url) as rescale:
        rescale.do_authenticate()
        hasty = rescale.with_options(timeout_seconds=SHORT_SECONDS, max_retries=0)
        with ThreadPoolExecutor(30) as threads:
            calls = [threads.submit(api.get_htc_projects, hasty, "p") for _ in range(30)]
            for call in calls:
                with caught(HtcTimeoutError):
                    call.result()
        gate.set()
        assert api.get_htc_projects(rescale, "p") == {"projectId": "p"}
    assert len({request.connection for request in wire.requests}) <= 11 + len(calls)


def in_child(wire: Wire, parent: str, child: str) -> str:
    """Run a program that forks. Return the output of the child and then of the parent."""
    program = (
        "import os, sys, threading, time\n"
        "from rescalehtc import HtcSession, api\n"
        f"rescale = HtcSession(api_key={API_KEY!r}, base_url={wire.url!r}, timeout_seconds={HANG_SECONDS})\n"
        "def ask(name): return api.get_htc_projects(rescale, name)['projectId']\n"
        "def say(*names): sys.stdout.write(' '.join(map(ask, names)) + '\\n')\n"
        f"{parent}\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        f"    {child}\n"
        "    sys.stdout.flush(); os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        f"{child}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def echoing(wire: Wire) -> Wire:
    for name in ("p", "q"):
        wire.on(f"GET /htc/projects/{name}", computed(echo))
    return wire


@row(
    "a process forks while its session is idle", "every request", "the child opens a new connection"
)
def test_a_fork(echoing: Wire) -> None:
    output = in_child(echoing, "ask('p')", "say('p', 'q')")
    assert output == "p q\np q\n"
    connections = [request.connection for request in echoing.requests]
    in_parent, of_child, afterwards = connections[1], connections[2:4], connections[4:]
    assert in_parent not in of_child
    assert afterwards == [in_parent, in_parent]


@row(
    "a process forks while a thread receives a response",
    "every request",
    "parent and child get their own responses",
)
def test_a_fork_in_the_middle_of_an_answer(echoing: Wire, tmp_path: Path) -> None:
    gate = threading.Event()

    def wait_for_the_child(request: ReceivedRequest) -> Step:
        (tmp_path / "asked").touch()
        gate.wait(HANG_SECONDS)
        return echo(request)

    def child_asks(request: ReceivedRequest) -> Step:
        gate.set()
        return echo(request)

    echoing.on("GET /htc/projects/slow", computed(wait_for_the_child))
    echoing.on("GET /htc/projects/child", computed(child_asks))
    parent = (
        "ask('p')\n"
        "thread = threading.Thread(target=lambda: say('slow')); thread.start()\n"
        f"while not os.path.exists({str(tmp_path / 'asked')!r}): time.sleep(0.01)\n"
    )
    output = in_child(echoing, parent, "say('child')")
    assert sorted(output.split()) == ["child", "child", "slow"]


@row(
    "two threads of a forked child use its session at once",
    "every request",
    "neither uses a connection of the parent",
)
def test_a_fork_with_two_threads_in_the_child(echoing: Wire) -> None:
    parent = """
ask('p')
inside, continues = threading.Event(), threading.Event()
drop = rescale.client.io.after_fork
def drop_late():
    inside.set()
    continues.wait()
    drop()
rescale.client.io.after_fork = drop_late
def ask_at_once():
    threads = [threading.Thread(target=ask, args=[name]) for name in 'pq']
    threads[0].start()
    inside.wait()
    threads[1].start()
    threads[1].join(0.1)  # it would end if it used the parent's connection
    continues.set()
    for thread in threads:
        thread.join()
"""
    in_child(echoing, parent, "child == 0 and ask_at_once()")
    in_parent, *of_child = (request.connection for request in echoing.requests[1:])
    assert len(of_child) == 2
    assert in_parent not in of_child


@row("a process forks while a thread requests a token", "every request", "the child does not hang")
def test_a_fork_while_the_token_s_lock_is_held(echoing: Wire, tmp_path: Path) -> None:
    gate = threading.Event()
    token = {"tokenValue": "of-the-child", "expiresIn": 600}

    def thread_asks(connection: Any, request: ReceivedRequest) -> object:
        (tmp_path / "asked").touch()
        return held(gate, answer(token))(connection, request)

    def child_asks(connection: Any, request: ReceivedRequest) -> object:
        gate.set()
        return answer(token)(connection, request)

    echoing.on("GET /auth/token", thread_asks, child_asks)
    parent = (
        "thread = threading.Thread(target=ask, args=['p']); thread.start()\n"
        f"while not os.path.exists({str(tmp_path / 'asked')!r}): time.sleep(0.01)\n"
    )
    assert in_child(echoing, parent, "print(ask('q'))") == "q\nq\n"


@row("Ctrl-C", "every request", "KeyboardInterrupt; the session works on another connection")
@pytest.mark.parametrize("number", range(3))
def test_an_interrupt(wire: Wire, rescale: HtcSession, number: int) -> None:
    rescale.do_authenticate()
    gate = threading.Event()

    def interrupt(connection: Any, request: ReceivedRequest) -> object:
        interrupt_main_thread()
        gate.wait(HANG_SECONDS)
        return answer({"projectId": "of the interrupted"})(connection, request)

    wire.on(PROJECT, interrupt, answer({"projectId": "p"}))
    with caught(KeyboardInterrupt):
        api.get_htc_projects(rescale, "p")
    gate.set()
    for _ in range(12):  # no connection was lost
        assert api.get_htc_projects(rescale, "p") == {"projectId": "p"}


@row("Ctrl-C during a token request", "every request", "the next call requests the token")
def test_an_interrupted_renewal(wire: Wire, rescale: HtcSession) -> None:
    gate = threading.Event()
    token = answer({"tokenValue": "after", "expiresIn": 600})

    def interrupt(connection: Any, request: ReceivedRequest) -> object:
        interrupt_main_thread()
        return gate.wait(HANG_SECONDS)

    wire.on("GET /auth/token", interrupt, token)
    wire.on(PROJECT, answer({"projectId": "p"}))
    with caught(KeyboardInterrupt):
        api.get_htc_projects(rescale, "p")
    gate.set()
    assert api.get_htc_projects(rescale, "p") == {"projectId": "p"}
