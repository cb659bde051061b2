"""A program that receives SIGINT at random moments: `python -m tests.faults.sigint`.

It runs in its own process, because an uncaught KeyboardInterrupt would end pytest.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import random
import signal
import ssl
import sys
import threading
import time
import warnings
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from rescalehtc import api, htcjobs
from rescalehtc.htcjobs import HtcJob
from rescalehtc.htcprojects import HtcProject
from rescalehtc.htctasks import HtcTask

from ..limits import HANG_SECONDS
from .books import REQUEST, Books
from .conftest import IMAGE, session
from .wire import Step, Wire, answer, computed

if TYPE_CHECKING:
    from collections.abc import Callable

    from rescalehtc import HtcSession

    from .wire import ReceivedRequest

LOG = "GET /htc/projects/p/tasks/t/jobs/j/logs"


class Interrupts:
    """Interrupts calls with SIGINT, at a moment that a timer determines.

    Attributes:
        figures: The counts of the calls' outcomes.
    """

    def __init__(self, seed: int) -> None:
        self.figures = Counter[str]()
        self._chance = random.Random(seed)
        self._is_armed = self._is_second_left = False
        self._dropped: list[object] = []
        # The interpreter drops exceptions that are raised while an object is finalized.
        sys.unraisablehook = self._dropped.append

    def during(self, call: Callable[[], object], seconds: float) -> object:
        """Interrupt a call, once or twice, at a random moment.

        Returns:
            The return value of the call. None if it was interrupted.
        """
        self._dropped.clear()
        returned: object = None
        caught = 0
        self._is_second_left = self._chance.random() < 0.3
        # Without a second one, use the default handler of SIGINT.
        handler = self._interrupt_twice if self._is_second_left else signal.default_int_handler
        signal.signal(signal.SIGALRM, handler)
        self._is_armed = True
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, self._chance.uniform(1e-6, seconds * 1.1))
                returned = call()
                self._stop()
            except KeyboardInterrupt:
                caught = 1
                self._stop()
        except KeyboardInterrupt:
            caught = 2
        is_interrupted = self._stop() or caught
        self.figures["calls"] += 1
        self.figures["interrupted"] += bool(is_interrupted)
        self.figures["interrupted twice"] += caught > 1
        self.figures["dropped by the interpreter"] += bool(self._dropped)
        assert caught or self._dropped or not is_interrupted, "an interrupt had no effect"
        return returned

    def _stop(self) -> bool:
        """Stop interrupts. Return whether one was raised before."""
        left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        was_armed, self._is_armed = self._is_armed, False
        return was_armed and left == 0

    def _interrupt_twice(self, *_: object) -> None:
        if self._is_second_left:
            self._is_second_left = False
            signal.setitimer(signal.ITIMER_REAL, self._chance.uniform(1e-6, 0.0001))
        raise KeyboardInterrupt


def scripted(wire: Wire) -> None:
    Books(wire)
    wire.on(IMAGE, answer({"status": "READY"}))
    wire.on(LOG, answer({"items": [{"timestamp": 1, "message": "line"}]}))


def calls_of(wire: Wire, rescale: HtcSession) -> dict[str, Callable[[str], object]]:
    """Calls that return the name that they are passed."""
    task = HtcTask(
        {"projectId": "p", "taskId": "t"}, HtcProject({"projectId": "p", "regions": ["AWS"]})
    )
    job = HtcJob({"projectId": "p", "taskId": "t", "jobUUID": "j"}, task)

    def echo(request: ReceivedRequest) -> Step:
        return answer({"projectId": request.path.rpartition("/")[2]})

    def read(name: str) -> object:
        wire.on(f"GET /htc/projects/{name}", computed(echo))
        return api.get_htc_projects(rescale, name)["projectId"]

    def write(name: str) -> object:
        wire.on(f"PATCH /htc/projects/{name}", computed(echo))
        wire.on(f"PATCH /htc/projects/{name}", computed(echo))
        return api.patch_htc_projects(rescale, name, {"regions": ["r" * 5000]})["projectId"]

    def connect(name: str) -> object:
        rescale.close()
        return read(name)

    def renew(name: str) -> object:
        rescale.do_authenticate()
        return read(name)

    def new_session(name: str) -> object:
        wire.on(f"GET /htc/projects/{name}", computed(echo))
        with session(wire.url) as another:
            return api.get_htc_projects(another, name)["projectId"]

    def submit(name: str) -> object:
        definition = {**REQUEST["htcJobDefinition"], "tags": {"name": name}}
        requests = [{"batchSize": 1, "htcJobDefinition": definition}] * 3
        batch = htcjobs.submit(rescale, task, requests, group=name)
        (name,) = {item.json["htcJobDefinition"]["tags"]["name"] for item in batch.batches}
        return name

    def log(name: str) -> object:
        assert [*job.get_logs(rescale)] == ["line"]
        return name

    return {
        "read": read,
        "write": write,
        "connect": connect,
        "renew": renew,
        "new session": new_session,
        "submit": submit,
        "log": log,
    }


def interrupt(count: int, seed: int, tls: ssl.SSLContext | None) -> Counter[str]:
    """Interrupt calls of a session that another thread also uses. It must still work after each."""
    interrupts = Interrupts(seed)
    with Wire(tls) as wire, session(wire.url) as rescale:
        scripted(wire)
        calls = calls_of(wire, rescale)
        over = threading.Event()

        def renew_too() -> None:
            while not over.wait(0.003):
                rescale.do_authenticate()

        other = threading.Thread(target=renew_too)
        other.start()
        try:
            seconds: dict[str, float] = {}
            for kind, call in calls.items():
                assert call("first") == "first"
                began = time.monotonic()
                assert call("second") == "second"
                seconds[kind] = time.monotonic() - began
            for number in range(count):
                name = f"p{number}"
                kind = [*calls][number % len(calls)]
                returned = interrupts.during(partial(calls[kind], name), seconds[kind])
                assert returned in (None, name), f"{kind} returned {returned}"
                assert calls["read"](name) == name
            for call in calls.values():
                assert call("last") == "last"
        finally:
            over.set()
            other.join()
    return interrupts.figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.sigint", description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--certificate", nargs=2, metavar=("CERTIFICATE", "KEY"))
    arguments = parser.parse_args()
    context = None
    if arguments.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*arguments.certificate)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
    warnings.simplefilter("ignore")  # of coroutines and sockets that an interrupt left behind
    sys.stdout.write(json.dumps(interrupt(arguments.count, arguments.seed, context)))


if __name__ == "__main__":
    main()
