"""Sessions and an emulator, driven through submissions, interrupts, faults and restarts."""

from __future__ import annotations

import json
import pickle
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks
from rescalehtc.exceptions import HtcException, SubmissionUncertainError

from ..limits import HANG_SECONDS
from .interrupts import INTERRUPT, Interrupts
from .ledger import Submission, check

if TYPE_CHECKING:
    from collections.abc import Callable

    from rescalehtc._client.io import Io
    from rescalehtc._client.transport import HttpRequest
    from rescalehtc._wire.answer import Response

    from .server import Server

    Fault = tuple[str, str, dict[str, Any]]
    Call = Callable[[HtcSession, Submission], htcjobs.HtcJobBatch | htcjobs.HtcJob]

LATE_SECONDS = 0.3
MOST_SECONDS_BEFORE_INTERRUPT = 0.02
# How often in a run what costs much time is done at most.
MOST_A_RUN = {"late": 5, "kill": 2, "restart": 1, "cancel": 5, "interrupt": 12}
# What may have cost the answer of a submission that was carried out.
LOSING = ("reset_after", "status_after", "truncate", "truncate_gzip", "delay")

# ---- what is drawn. None of it depends on what happened, so a seed draws the same again.

_PLACES = [*["submitJobs"] * 5, *["listJobs"] * 2, "getImageStatus", "getToken", "*"]
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


def _possible(fault: Fault) -> bool:
    operation, kind, _ = fault
    if kind in ("repeat_next", "foreign_next"):
        return operation in ("listJobs", "*")
    return kind != "expire_token" or operation != "getToken"


faults = st.builds(
    lambda operation, kind, options: (operation, kind[0], {**kind[1], **options}),
    st.sampled_from(_PLACES),
    st.sampled_from(_KINDS),
    st.sampled_from([1, 1, 1, 2, 3, 8]).map(lambda times: {"times": times})
    # So that a listing may fail after the submission that it follows, and not before.
    | st.integers(0, 99).map(lambda seed: {"probability": 0.5, "seed": seed}),
).filter(_possible)
some_faults = st.integers(0, 9).flatmap(
    lambda chosen: st.lists(faults, min_size=min(chosen, 1), max_size=min(chosen, 2))
)
# Several names, each used several times in a run; None is no group, 0 a new one.
groups = st.sampled_from([None, 0, 0, 0, 1, 2])
sizes = st.integers(1, 4)
differences = st.sampled_from(["envs", "tags", "claims", "nothing"])
drafts = st.tuples(st.lists(sizes, min_size=1, max_size=4), groups, differences)


class Figures(Counter[str]):
    """What was counted in all runs."""


def machine(server: Server, figures: Figures) -> type[RuleBasedStateMachine]:
    """A state machine that drives the server, and counts."""
    labels = iter(range(1, 1 << 60))
    with HtcSession(base_url=server.url, api_key=server.api_key) as rescale:
        project = htcprojects.get_projects(rescale)[0]

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.submissions: list[Submission] = []
            self.new_groups = 0
            self.done = Counter[str]()
            self.sessions: list[HtcSession] = []
            self.calm = self.session(backoff_seconds=0.05)
            self.hasty = self.session(backoff_seconds=0.0)
            self.late = self.session(backoff_seconds=0.0, timeout_seconds=LATE_SECONDS / 2)
            self.patient = self.session(backoff_seconds=0.1, max_retries=8)
            self.task = htctasks.create_task_with_name(self.calm, project, "soak")
            figures["runs"] += 1

        def session(self, **settings: Any) -> HtcSession:
            rescale = HtcSession(
                base_url=server.url,
                api_key=server.api_key,
                settle_seconds=0.02,
                **{"timeout_seconds": 20.0, "max_retries": 4, **settings},
            )
            rescale.client.io = WatchedIo(rescale.client.io)  # type: ignore[assignment]
            self.sessions.append(rescale)
            return rescale

        def may(self, what: str) -> bool:
            return self.done[what] < MOST_A_RUN[what]

        # ---- what a user does

        @rule(draft=drafts, faults=some_faults)
        def one_batch(self, draft: Any, faults: list[Fault]) -> None:
            sizes, group, differs_in = draft
            self.submit(self.hasty, [([sizes[0]], group, differs_in, self.create_batch)], faults)

        @rule(draft=drafts, faults=some_faults)
        def one_job(self, draft: Any, faults: list[Fault]) -> None:
            _, group, differs_in = draft
            self.submit(self.hasty, [([1], group, differs_in, self.create_job)], faults)

        @rule(draft=drafts, faults=some_faults)
        def one_payload(self, draft: Any, faults: list[Fault]) -> None:
            self.submit(self.hasty, [(*draft, self.create_raw)], faults)

        @rule(draft=drafts, more=st.lists(sizes, max_size=5), faults=some_faults)
        def several_parts(self, draft: Any, more: list[int], faults: list[Fault]) -> None:
            sizes, group, differs_in = draft
            self.submit(
                self.hasty, [([*sizes, *more], group, differs_in, self.create_parts)], faults
            )

        @rule(drafts=st.lists(drafts, min_size=2, max_size=4), faults=some_faults)
        def several_threads(self, drafts: list[Any], faults: list[Fault]) -> None:
            drawn = [(*draft, self.create_raw) for draft in drafts]
            self.submit(self.hasty, drawn, faults)

        @precondition(lambda self: self.may("interrupt"))
        @rule(
            draft=drafts,
            faults=some_faults,
            parts=st.booleans(),
            seconds=st.floats(0.0005, MOST_SECONDS_BEFORE_INTERRUPT),
            count=st.integers(1, 2),
            seed=st.integers(0, 999),
        )
        def interrupted(
            self,
            draft: Any,
            faults: list[Fault],
            parts: bool,
            seconds: float,
            count: int,
            seed: int,
        ) -> None:
            self.done["interrupt"] += 1
            sizes, group, differs_in = draft
            call = self.create_parts if parts else self.create_raw
            rescale = self.session(backoff_seconds=0.0)  # its threads may go on afterwards
            rescale.get_bearer_token()
            interrupts = Interrupts(random.Random(seed))
            with interrupts.after(seconds, count):
                self.submit(rescale, [(sizes, group, differs_in, call)], faults)
            figures["interrupted"] += bool(interrupts.raised)
            figures["interrupted twice"] += len(interrupts.raised) > 1

        @precondition(lambda self: self.may("late"))
        @rule(draft=drafts, faults=some_faults, place=st.sampled_from(_PLACES))
        def late_answers(self, draft: Any, faults: list[Fault], place: str) -> None:
            self.done["late"] += 1
            delay = (place, "delay", {"seconds": LATE_SECONDS, "times": 1})
            self.submit(self.late, [(*draft, self.create_parts)], [delay, *faults])

        @precondition(lambda self: self.may("kill"))
        @rule(draft=drafts, faults=some_faults, seconds=st.floats(0, 0.03))
        def killed_service(self, draft: Any, faults: list[Fault], seconds: float) -> None:
            self.done["kill"] += 1

            def kill_soon() -> None:
                time.sleep(seconds)
                server.kill()

            thread = threading.Thread(target=kill_soon)
            for fault in faults:
                server.fault(*fault)
            thread.start()
            drawn = [(*draft, self.create_parts)]
            self.submit(self.patient, drawn, [], while_killed=thread)
            figures["kills"] += 1

        @precondition(lambda self: self.may("restart"))
        @rule()
        def restarted_service(self) -> None:
            self.done["restart"] += 1
            server.restart()
            figures["restarts"] += 1

        @precondition(lambda self: self.may("cancel"))
        @rule(faults=some_faults)
        def cancel(self, faults: list[Fault]) -> None:
            self.done["cancel"] += 1
            for fault in faults:
                server.fault(*fault)
            try:
                self.task.cancel_jobs_in_task(self.hasty)
            except HtcException:
                figures["cancellations that failed"] += 1
            server.lift()
            figures["cancellations"] += 1

        # ---- how it is done

        def create_batch(self, rescale: HtcSession, draft: Draft) -> htcjobs.HtcJobBatch:
            arguments = self.arguments(draft)
            (size,) = draft.submission.sizes.values()
            return htcjobs.create_job_batch(rescale, self.task, size, **arguments)

        def create_job(self, rescale: HtcSession, draft: Draft) -> htcjobs.HtcJob:
            return htcjobs.create_single_job(rescale, self.task, **self.arguments(draft))

        def create_raw(self, rescale: HtcSession, draft: Draft) -> htcjobs.HtcJobBatch:
            group = draft.submission.group
            return htcjobs.create_job_batch_raw(rescale, self.task, draft.payload(), group=group)

        def create_parts(self, rescale: HtcSession, draft: Draft) -> htcjobs.HtcJobBatch:
            group = draft.submission.group
            return htcjobs.submit(rescale, self.task, draft.payload(), group=group)

        def arguments(self, draft: Draft) -> dict[str, Any]:
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

        def drafted(self, sizes: list[int], group: int | None, differs_in: str, call: Any) -> Draft:
            name = None if group is None else f"group {group}"
            if group == 0:
                self.new_groups += 1
                name = f"new group {self.new_groups}"
            labelled = {next(labels): size for size in sizes}
            return Draft(Submission(labelled, name, differs_in), call)

        def submit(
            self,
            rescale: HtcSession,
            drawn: list[Any],
            faults: list[Fault],
            while_killed: threading.Thread | None = None,
        ) -> None:
            drafts = [self.drafted(*one) for one in drawn]
            self.submissions += [draft.submission for draft in drafts]
            for fault in faults:
                server.fault(*fault)
            if len(drafts) == 1:
                self.carry_out(rescale, drafts[0])
            else:
                sessions = [self.session(backoff_seconds=0.0) for _ in drafts]
                with ThreadPoolExecutor(len(drafts)) as threads:
                    list(threads.map(self.carry_out, sessions, drafts))
            if while_killed:
                while_killed.join()
            struck = server.lift()
            figures["submissions"] += len(drafts)
            figures.update(f"strikes of {kind}" for _, kind in struck.elements())
            # Of several at once it is known only that one of them was struck.
            figures["faulted"] += bool(struck or while_killed)
            lost = any(place == "submitJobs" and kind in LOSING for place, kind in struck)
            if len(drafts) == 1 and lost and not drafts[0].submission.uncertain:
                figures["found in the group"] += bool(drafts[0].submission.told)

        def carry_out(self, rescale: HtcSession, draft: Draft) -> None:
            rescale.client.io.note_sent = draft.submission.note_sent  # type: ignore[attr-defined]
            try:
                made = draft.call(rescale, draft)
            except BaseException as error:
                if not isinstance(error, HtcException) and INTERRUPT not in error.args:
                    raise
                draft.submission.raised(error)
            else:
                draft.submission.returned(made)

        # ---- what must be true in the end

        def teardown(self) -> None:
            server.lift()
            for rescale in self.sessions:
                rescale.client.io.wait_for_workers()  # type: ignore[attr-defined]
            if self.done["interrupt"]:
                time.sleep(0.1)  # what an interrupted thread had sent is carried out
            records = self.records()
            check(self.submissions, records)
            figures["jobs"] += len(records)
            for one in self.submissions:
                figures["uncertain"] += len(one.uncertain)
                figures["not taken"] += bool(one.unsent)
                for number, error in enumerate(one.uncertain):
                    self.recheck(one, error, is_pickled=number % 2 == 0)
                one.was_rechecked = True
            check(self.submissions, records)
            for rescale in self.sessions:
                rescale.close()

        def records(self) -> list[dict[str, Any]]:
            token = self.calm.get_bearer_token().encoded_token
            address = f"{server.url}/htc/projects/{project.json['projectId']}/tasks"
            address = f"{address}/{self.task.json['taskId']}/jobs?pageSize=500"
            found: list[dict[str, Any]] = []
            with httpx.Client(
                verify=False, headers={"Authorization": f"Bearer {token}"}, timeout=HANG_SECONDS
            ) as http:
                while address:
                    page = http.get(address).raise_for_status().json()
                    found += page["items"]
                    address = str(httpx.URL(address).join(page["next"])) if "next" in page else ""
            return found

        def recheck(
            self, one: Submission, error: SubmissionUncertainError, is_pickled: bool
        ) -> None:
            """Now that the service behaves, all that is there is found."""
            kept = pickle.loads(pickle.dumps(error)) if is_pickled else error
            figures["pickled rechecks"] += is_pickled
            try:
                batch = htcjobs.recheck(self.calm, kept)
            except SubmissionUncertainError as again:
                assert again is kept
                figures["uncertain, and not found by a recheck"] += 1
                return
            figures["uncertain, and found by a recheck"] += 1
            one.rechecked(error, batch)

    class Draft:
        """A submission that is about to be sent."""

        def __init__(self, submission: Submission, call: Any) -> None:
            self.submission = submission
            self.call = call

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

    return Machine


class WatchedIo:
    """An Io that notes which submit requests are sent, and how many workers run.

    Attributes:
        note_sent: Called with the submit requests of each call before it is sent.
    """

    def __init__(self, io: Io) -> None:
        self.note_sent: Callable[[list[dict[str, Any]]], None]
        self._io = io
        self._workers = SimpleQueue[None]()
        self._started = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._io, name)

    async def send(self, request: HttpRequest, expires_at: float) -> Response:
        if request.name == "submitJobs":
            assert isinstance(request.body, bytes)
            self.note_sent(json.loads(request.body))
        return await self._io.send(request, expires_at)

    async def run_workers(self, worker: Any, count: int) -> None:
        async def watched() -> None:
            if threading.current_thread() is threading.main_thread():
                return await worker()
            self._started += 1
            try:
                await worker()
            finally:
                self._workers.put(None)

        await self._io.run_workers(watched, count)

    def wait_for_workers(self) -> None:
        """Wait for workers that an interrupted thread left behind."""
        for _ in range(self._started):
            self._workers.get(timeout=60)
        self._started = 0
