"""Sessions and an emulator, driven through submissions, interrupts, faults and restarts."""

from __future__ import annotations

import json
import pickle
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import httpx

import rescalehtc
from rescalehtc import HtcSession, htcjobs, htctasks
from rescalehtc.exceptions import HtcException, SubmissionUncertainError

from ..clock import inject_clock
from ..limits import HANG_SECONDS
from .interrupts import INTERRUPT, Interrupts
from .ledger import Finding, Submission, check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rescalehtc._client.http_request import HttpRequest
    from rescalehtc._client.io import Io
    from rescalehtc._wire.answer import Response

    from .server import Server

    Fault = tuple[str, str, dict[str, Any]]

LATE_SECONDS = 0.3
MOST_SECONDS_BEFORE_INTERRUPT = 0.02
MOST_SECONDS_BEFORE_KILL = 0.03
SETTLE_SECONDS = 0.02
# The faults that can lose the response of a submission that was carried out.
LOSING = ("reset_after", "status_after", "truncate", "truncate_gzip", "delay")
DIFFERENCES = ("envs", "tags", "claims", "nothing")

# The frequency of each step, and the maximum per round if it takes long.
_WEIGHTS = {
    "one batch": 3,
    "one job": 2,
    "one call": 4,
    "several calls": 5,
    "several sessions": 2,
    "interrupted": 6,
    "late answer": 1,
    "killed service": 1,
    "restart": 1,
    "cancel": 1,
}
_MOST = {"late answer": 3, "killed service": 1, "restart": 1, "cancel": 3}
_PLACES = [*["submitJobs"] * 6, "listJobs", "getImageStatus", "getToken", "*"]
_KINDS: list[tuple[str, dict[str, Any]]] = [
    ("reset_before", {}),
    ("reset_after", {}),
    ("truncate", {}),
    ("truncate_gzip", {}),
    ("expire_token", {}),
    ("status_before", {"status": 429}),
    ("status_before", {"status": 429, "retry_after": 0}),
    *(("status_before", {"status": status}) for status in (403, 408, 500, 502, 503, 504)),
    *(("status_after", {"status": status}) for status in (408, 500, 502, 503, 504)),
    ("nulls", {}),
    ("nulls", {"field": "tags"}),
    ("nulls", {"field": "parentJobId"}),
    ("unknown", {}),
    ("repeat_next", {}),
    ("foreign_next", {}),
]


@dataclass
class Draft:
    """A submission before it is sent."""

    submission: Submission
    call: Callable[[HtcSession, Draft], htcjobs.HtcJobBatch | htcjobs.HtcJob]

    def payload(self) -> list[dict[str, Any]]:
        return [
            {
                "batchSize": size,
                "htcJobDefinition": {
                    "imageName": "image",
                    "execTimeoutSeconds": 60,
                    "commands": ["true"],
                    **self.submission.definition(label),
                },
            }
            for label, size in self.submission.sizes.items()
        ]


class Round:
    """Many submissions to one task, after which all jobs of the task are checked.

    Attributes:
        figures: The counts.
        submissions: The submissions.
    """

    def __init__(self, server: Server, chance: random.Random, labels: Iterator[int]) -> None:
        self.figures = Counter[str]({"rounds": 1})
        self.submissions: list[Submission] = []
        self._server = server
        self._chance = chance
        self._labels = labels
        self._done = Counter[str]()
        self._sessions: list[HtcSession] = []
        self._calm = self._session(backoff_seconds=0.05)
        self._late = self._session(backoff_seconds=0.0, timeout_seconds=LATE_SECONDS / 2)
        self._patient = self._session(backoff_seconds=0.1, max_retries=8)
        self._hasty = [self._session(is_hasty=True) for _ in range(4)]
        project = self._run(self.modules.htcprojects.get_projects(self._calm))[0]
        created = self.modules.htctasks.create_task_with_name(self._calm, project, "soak")
        self._task: htctasks.HtcTask = self._run(created)

    def _session(self, *, is_hasty: bool = False, **settings: Any) -> HtcSession:
        """A session. A hasty session does not sleep, but moves its clock."""
        settle_seconds = self._chance.choice([0.0, SETTLE_SECONDS]) if is_hasty else SETTLE_SECONDS
        rescale = self.kind(
            base_url=self._server.url,
            api_key=self._server.api_key,
            settle_seconds=settle_seconds,
            **{"timeout_seconds": 20.0, "max_retries": 4, **settings},
        )
        if is_hasty:
            inject_clock(rescale)
        rescale.client.io = WatchedIo(rescale.client.io)  # type: ignore[assignment]
        self._sessions.append(rescale)
        return rescale

    # ---- overridden for asynchronous sessions

    kind: type[Any] = HtcSession
    modules: Any = rescalehtc

    def _run(self, created: Any) -> Any:
        """Run a call that takes a session, and return its result."""
        return created

    @contextmanager
    def _interrupting(self, seconds: float, count: int) -> Iterator[list[BaseException]]:
        """Interrupt a call after some seconds and again shortly after. List the interrupts."""
        interrupts = Interrupts(random.Random(self._chance.random()))
        with interrupts.after(seconds, count):
            yield interrupts.raised

    def _is_interrupt(self, error: BaseException) -> bool:
        return INTERRUPT in error.args

    def play(self, steps: int) -> None:
        """Run random steps. They do not depend on previous results."""
        for _ in range(steps):
            names = [name for name in _WEIGHTS if self._done[name] < _MOST.get(name, steps)]
            (name,) = self._chance.choices(names, [_WEIGHTS[name] for name in names])
            self._done[name] += 1
            faults = self._drawn_faults()
            match name:
                case "restart":
                    self._server.restart()
                case "cancel":
                    self._cancel(faults)
                case "killed service":
                    self._submit_to_killed_service(faults)
                case "interrupted":
                    self._submit_interrupted(faults)
                case "late answer":
                    draft = self._draft(name, self._create_parts)
                    place = self._chance.choice(_PLACES)
                    delay = (place, "delay", {"seconds": LATE_SECONDS, "times": 1})
                    self._submit(self._late, draft, [delay, *faults])
                case "several sessions":
                    self._submit_side_by_side(faults)
                case "one batch":
                    self._submit(self._hasty[0], self._draft(name, self._create_batch, 1), faults)
                case "one job":
                    draft = self._draft(name, self._create_job, 1, 1)
                    self._submit(self._hasty[0], draft, faults)
                case "one call":
                    self._submit(self._hasty[0], self._draft(name, self._create_raw), faults)
                case _:
                    draft = self._draft(name, self._create_parts, 9)
                    self._submit(self._hasty[0], draft, faults)
        self.figures.update({f"steps: {name}": count for name, count in self._done.items()})

    # ---- drawing

    def _drawn_faults(self) -> list[Fault]:
        count = self._chance.choice([0, *[1] * 5, *[2] * 4])
        return [self._drawn_fault() for _ in range(count)]

    def _drawn_fault(self) -> Fault:
        place = self._chance.choice(_PLACES)
        kind, options = self._chance.choice(_KINDS)
        if kind in ("repeat_next", "foreign_next"):
            place = "listJobs"
        if kind == "expire_token" and place == "getToken":
            place = "submitJobs"
        if self._chance.random() < 0.8:
            times: dict[str, Any] = {"times": self._chance.choice([1, 1, 1, 2, 3, 8])}
        else:  # let the listing after a submission fail, not one before
            times = {"probability": 0.5, "seed": self._chance.randrange(100)}
        return place, kind, {**options, **times}

    def _draft(
        self, kind: str, call: Any, most_requests: int = 4, most_jobs: int = 4, group: str = ""
    ) -> Draft:
        labels = [next(self._labels) for _ in range(self._chance.randint(1, most_requests))]
        # Repeated names, new names, or none.
        new, old = f"new {labels[0]}", f"group {self._chance.randrange(8)}"
        submission = Submission(
            kind=kind,
            sizes={label: self._chance.randint(1, most_jobs) for label in labels},
            group=group or self._chance.choice([None, new, new, new, old, old]),
            differs_in=self._chance.choice(DIFFERENCES),
        )
        self.submissions.append(submission)
        return Draft(submission, call)

    # ---- submitting

    def _submit(self, rescale: HtcSession, draft: Draft, faults: list[Fault]) -> None:
        self._set(faults)
        self._carry_out(rescale, draft)
        struck = self._lift()
        draft.submission.is_faulted = bool(struck)
        lost = any(place == "submitJobs" and kind in LOSING for place, kind in struck)
        if lost and not draft.submission.uncertain:
            self.figures["found by its mark"] += bool(draft.submission.told)

    def _submit_side_by_side(self, faults: list[Fault]) -> None:
        count = self._chance.randint(2, len(self._hasty))
        group = self._chance.choice(["", f"shared {next(self._labels)}", "group 1"])
        name = "several sessions, one group" if group else "several sessions"
        drafts = [self._draft(name, self._create_raw, group=group) for _ in range(count)]
        self._set(faults)
        with ThreadPoolExecutor(count) as threads:
            list(threads.map(self._carry_out, self._hasty, drafts))
        # Only one of them was affected.
        drafts[0].submission.is_faulted = bool(self._lift())

    def _submit_interrupted(self, faults: list[Fault]) -> None:
        call = self._chance.choice([self._create_parts, self._create_raw])
        draft = self._draft("interrupted", call)
        rescale = self._hasty[0]
        self._set(faults)
        seconds = self._chance.uniform(0.0005, MOST_SECONDS_BEFORE_INTERRUPT)
        with self._interrupting(seconds, self._chance.randint(1, 2)) as interrupts:
            self._carry_out(rescale, draft)
        struck = self._lift()
        draft.submission.interrupts = len(interrupts)
        draft.submission.is_faulted = bool(struck or interrupts)

    def _submit_to_killed_service(self, faults: list[Fault]) -> None:
        draft = self._draft("killed service", self._create_parts)
        seconds = self._chance.uniform(0, MOST_SECONDS_BEFORE_KILL)
        killed_at: list[float] = []

        def kill_soon() -> None:
            time.sleep(seconds)
            killed_at.append(time.monotonic())
            self._server.kill()

        thread = threading.Thread(target=kill_soon)
        self._set(faults)
        thread.start()
        self._carry_out(self._patient, draft)
        ended_at = time.monotonic()
        thread.join()
        draft.submission.is_faulted = bool(self._lift() or killed_at[0] < ended_at)

    def _cancel(self, faults: list[Fault]) -> None:
        self._set(faults)
        try:
            self._run(self._task.cancel_jobs_in_task(self._hasty[0]))
        except HtcException:
            self.figures["cancellations that failed"] += 1
        self._lift()

    def _set(self, faults: list[Fault]) -> None:
        for fault in faults:
            self._server.fault(*fault)

    def _lift(self) -> Counter[tuple[str, str]]:
        struck = self._server.lift()
        for (_, kind), count in struck.items():
            self.figures[f"strikes of {kind}"] += count
        return struck

    def _carry_out(self, rescale: HtcSession, draft: Draft) -> None:
        try:
            _watched(rescale).submission = draft.submission
            created = draft.call(rescale, draft)
        except BaseException as error:
            if not isinstance(error, HtcException) and not self._is_interrupt(error):
                raise
            draft.submission.raised(error)
        else:
            draft.submission.returned(created)

    # ---- the calls

    def _create_batch(self, rescale: HtcSession, draft: Draft) -> htcjobs.HtcJobBatch:
        (size,) = draft.submission.sizes.values()
        jobs = self.modules.htcjobs
        return self._run(jobs.create_job_batch(rescale, self._task, size, **_arguments(draft)))

    def _create_job(self, rescale: HtcSession, draft: Draft) -> htcjobs.HtcJob:
        jobs = self.modules.htcjobs
        return self._run(jobs.create_single_job(rescale, self._task, **_arguments(draft)))

    def _create_raw(self, rescale: HtcSession, draft: Draft) -> htcjobs.HtcJobBatch:
        group = draft.submission.group
        jobs, payload = self.modules.htcjobs, draft.payload()
        return self._run(jobs.create_job_batch_raw(rescale, self._task, payload, group=group))

    def _create_parts(self, rescale: HtcSession, draft: Draft) -> htcjobs.HtcJobBatch:
        group = draft.submission.group
        jobs, payload = self.modules.htcjobs, draft.payload()
        return self._run(jobs.submit(rescale, self._task, payload, group=group))

    # ---- checks at the end

    def finish(self) -> list[Finding]:
        """Compare the results of the users with the existing jobs, before and after rechecks."""
        time.sleep(0.1)  # the threads of an interrupted submission may still send requests
        for rescale in self._sessions:
            _watched(rescale).wait_for_workers()
        records = self._records()
        findings = check(self.submissions, records)
        self.figures["jobs"] += len(records)
        for item in self.submissions:
            self.figures["uncertain"] += len(item.uncertain)
            self.figures["not taken"] += bool(item.unsent)
            for number, error in enumerate(item.uncertain):
                self._recheck(item, error, is_pickled=number % 2 == 0)
            item.was_rechecked = True
        for rescale in self._sessions:
            rescale.close()
        return findings or check(self.submissions, records)

    def _records(self) -> list[dict[str, Any]]:
        token = self._run(self._calm.get_bearer_token()).encoded_token
        ids = self._task.json
        address = f"{self._server.url}/htc/projects/{ids['projectId']}/tasks/{ids['taskId']}/jobs"
        address += "?pageSize=500"
        found: list[dict[str, Any]] = []
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(headers=headers, timeout=HANG_SECONDS) as http:
            while address:
                page = http.get(address).raise_for_status().json()
                found += page["items"]
                address = str(httpx.URL(address).join(page["next"])) if "next" in page else ""
        return found

    def _recheck(self, item: Submission, error: SubmissionUncertainError, is_pickled: bool) -> None:
        """Without faults, all existing jobs are found."""
        copied = pickle.loads(pickle.dumps(error)) if is_pickled else error
        self.figures["rechecks of pickles"] += is_pickled
        try:
            batch = self._run(self.modules.htcjobs.recheck(self._calm, copied))
        except SubmissionUncertainError as again:
            assert again is copied
            self.figures["uncertain, and not found by a recheck"] += 1
            return
        self.figures["uncertain, and found by a recheck"] += 1
        item.rechecked(error, batch)


def _arguments(draft: Draft) -> dict[str, Any]:
    (request,) = draft.payload()
    definition = request["htcJobDefinition"]
    return {
        "priority": "ON_DEMAND_ECONOMY",
        "image_name": definition["imageName"],
        "exec_timeout_seconds": definition["execTimeoutSeconds"],
        "commands": definition["commands"],
        "envs": definition.get("envs", []),
        "claims": definition.get("claims", []),
        "job_tags": definition.get("tags", {}),
        "group": draft.submission.group,
    }


class WatchedIo:
    """An Io that records sent submit requests and the number of workers.

    Attributes:
        submission: The submission of the current thread or task.
    """

    def __init__(self, io: Io) -> None:
        self._io = io
        self._submission = ContextVar[Submission]("submission")
        self._started = SimpleQueue[None]()
        self._ended = SimpleQueue[None]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._io, name)

    @property
    def submission(self) -> Submission:
        return self._submission.get()

    @submission.setter
    def submission(self, submission: Submission) -> None:
        self._submission.set(submission)

    async def send(self, request: HttpRequest, expires_at: float) -> Response:
        if request.name == "submitJobs":
            assert isinstance(request.body, bytes)
            self.submission.note_sent(json.loads(request.body))
        return await self._io.send(request, expires_at)

    async def run_workers(self, worker: Any, count: int) -> None:
        submission, caller = self.submission, threading.get_ident()

        async def watched() -> None:
            if threading.get_ident() == caller:
                return await worker()
            self._started.put(None)
            self.submission = submission
            try:
                await worker()
            finally:
                self._ended.put(None)

        await self._io.run_workers(watched, count)

    def wait_for_workers(self) -> None:
        """Wait for workers that an interrupted thread left behind."""
        while not self._started.empty():
            self._started.get()
            self._ended.get(timeout=HANG_SECONDS)


def _watched(rescale: HtcSession) -> WatchedIo:
    return rescale.client.io  # type: ignore[return-value]
