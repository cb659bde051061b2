"""A plan is an upper bound of the usage on the emulator. A budget rejects before anything is sent."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks
from rescalehtc import aio as twins
from rescalehtc.emulator import Emulator
from rescalehtc.exceptions import HtcFileError, HtcValidationError

from ..service import Answer, Service
from .conftest import request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RATES = {
    "ON_DEMAND_ECONOMY": {"vcpu_hour": 0.02, "gib_hour": 0.003},
    "default": {"vcpu_hour": 0.05, "gib_hour": 0.01},
}
WHOLE = {"maxVCpus": 2, "maxMemory": 2048, "priority": "ON_DEMAND_ECONOMY"}
HOUR = {**WHOLE, "execTimeoutSeconds": 3570}  # with the time to end, an hour


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """A separate emulator, in which a timeout of 60 s takes 0.3 s."""
    with Emulator(slots=4, clock_rate=200) as emulator:
        yield emulator


payloads = st.lists(
    st.builds(
        lambda size, script, vcpus, memory, priority, retries: {
            **request(
                *(size, script),
                execTimeoutSeconds=60,
                maxVCpus=vcpus,
                maxMemory=memory,
                priority=priority,
            ),
            "retryStrategy": {"maxRetries": retries},
        },
        st.integers(1, 3),
        # The last one has to be killed after its timeout.
        st.sampled_from(["true", "exit 1", "sleep 0.1", "trap '' TERM; sleep 0.5"]),
        st.integers(1, 64),
        st.integers(4, 235520),
        st.sampled_from(["ON_DEMAND_ECONOMY", "ON_DEMAND_PRIORITY"]),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=3,
)


@settings(
    max_examples=3,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(payloads)
def test_the_emulator_never_uses_more_than_was_planned(
    fast: HtcSession, task: htctasks.HtcTask, payload: list[dict[str, Any]]
) -> None:
    plan = htcjobs.plan(payload, task.project, fast, RATES)
    batch = htcjobs.submit(fast, task, payload)
    batch.wait(fast)
    usage = htcjobs.usage(fast, batch, RATES)
    assert plan.most
    assert plan.cost is not None
    assert usage.cost is not None
    assert usage.jobs == plan.jobs
    assert usage.running == 0
    assert 0 <= usage.wasted.vcpu_hours <= usage.used.vcpu_hours <= plan.most.vcpu_hours
    assert 0 <= usage.wasted.gib_hours <= usage.used.gib_hours <= plan.most.gib_hours
    assert usage.cost <= plan.cost


@given(
    timeout=st.integers(60, 1209600),
    retries=st.integers(0, 10),
    size=st.integers(1, 5000),
    vcpus=st.integers(1, 64),
    memory=st.integers(4, 235520),
)
def test_a_plan_counts_each_job_with_all_of_its_time(
    timeout: int, retries: int, size: int, vcpus: int, memory: int
) -> None:
    limits: dict[str, Any] = {"execTimeoutSeconds": timeout, "maxVCpus": vcpus, "maxMemory": memory}
    submission = {**request(size, **limits), "retryStrategy": {"maxRetries": retries}}
    plan = htcjobs.plan([submission], htcprojects.HtcProject({"projectId": "p"}))
    assert plan.jobs == size
    assert plan.batches == -(-size // 1000)
    assert plan.calls == 1
    assert plan.most
    assert plan.most.vcpu_hours >= size * (1 + retries) * timeout * vcpus / 3600
    assert plan.most.gib_hours >= size * (1 + retries) * timeout * memory / 1024 / 3600


PROJECT = htcprojects.HtcProject({"projectId": "p", "workspaceId": "w"})


def test_a_plan_in_words() -> None:
    plan = htcjobs.plan([request(10, **HOUR), request(2500, **HOUR)], PROJECT, rates=RATES)
    assert str(plan).splitlines() == [
        "2510 jobs in 4 batches, 1 call",
        "at most 5,020.00 vCPU-hours, 5,020.00 GiB-hours",
        "costs at most 115.46",
    ]


@pytest.mark.parametrize("missing", ["execTimeoutSeconds", "maxVCpus", "maxMemory"])
def test_what_requests_leave_out_is_not_made_up(missing: str) -> None:
    submission = request(1, **HOUR)
    del submission["htcJobDefinition"][missing]
    plan = htcjobs.plan([request(1, **HOUR), submission], PROJECT, rates=RATES)
    assert (plan.most, plan.cost) == (None, None)
    assert "at most: unknown" in str(plan)
    with pytest.raises(HtcValidationError, match="can't be checked"):
        htcjobs.plan([submission], PROJECT, rates=RATES, budget=1000)


def test_limits_that_hold_jobs_back_are_named(service: Service, scripted: HtcSession) -> None:
    service.on("GET /htc/projects/p/limits", Answer([{"vCPUs": 8}, {"vCPUs": 100}]))
    service.on("GET /htc/workspaces/w/limits", Answer(status=404))
    big = request(2, **{**HOUR, "maxVCpus": 16})
    plan = htcjobs.plan([request(10, **HOUR), big], PROJECT, scripted)
    assert plan.waits == [
        "limit of the project: 8 vCPUs; 2 jobs need more and can never start",
        "limit of the project: 8 vCPUs; the jobs need 52 to run at the same time, so some wait",
    ]
    assert htcjobs.plan([request(1, **HOUR)], PROJECT, scripted).waits == []
    assert not [received for received in service.requests if received.method != "GET"]


@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_rates_come_from_a_file(tmp_path: Path, suffix: str) -> None:
    lines = [
        f"[{name}]\nvcpu_hour = {rate['vcpu_hour']}\ngib_hour = {rate['gib_hour']}"
        for name, rate in RATES.items()
    ]
    file = tmp_path / f"rates.{suffix}"
    file.write_text("\n".join(lines) if suffix == "toml" else json.dumps(RATES))
    cost = htcjobs.plan([request(1, **HOUR)], PROJECT, rates=file).cost
    assert cost == pytest.approx(0.046)
    other = {**HOUR, "priority": "ON_DEMAND_PRIORITY"}
    assert htcjobs.plan([request(1, **other)], PROJECT, rates=str(file)).cost == pytest.approx(0.12)


@pytest.mark.parametrize(
    ("rates", "where"),
    [
        ({}, "rates"),
        ([], "rates"),
        ({"default": {"vcpu_hour": 1}}, "rates['default'].gib_hour"),
        ({"default": {"vcpu_hour": True, "gib_hour": 0}}, "rates['default'].vcpu_hour"),
        ({"default": {"vcpu_hour": -1, "gib_hour": float("nan")}}, "rates['default'].vcpu_hour"),
        ({"ON_DEMAND_PRIORITY": {"vcpu_hour": 1, "gib_hour": 1}}, "rates"),
    ],
)
def test_wrong_rates_are_refused_by_place(rates: Any, where: str) -> None:
    with pytest.raises(HtcValidationError) as caught:
        htcjobs.plan([request(1, **HOUR)], PROJECT, rates=rates)
    assert caught.value.problems[0].where == where


def test_a_file_of_rates_that_can_t_be_read(tmp_path: Path) -> None:
    with pytest.raises(HtcFileError, match=r"none\.toml can.t be read: No such file"):
        htcjobs.plan([request(1)], PROJECT, rates=tmp_path / "none.toml")
    (tmp_path / "odd.toml").write_text("not TOML")
    with pytest.raises(HtcValidationError, match="TOML"):
        htcjobs.plan([request(1)], PROJECT, rates=tmp_path / "odd.toml")


def test_a_budget_refuses_what_may_cost_more() -> None:
    requests = [request(100, **HOUR)]
    assert htcjobs.plan(requests, PROJECT, rates=RATES, budget=4.6001).cost == pytest.approx(4.6)
    with pytest.raises(HtcValidationError, match=r"at least 4\.60.*got 4\.59"):
        htcjobs.plan(requests, PROJECT, rates=RATES, budget=4.59)
    for budget in (-1, "1", True, float("nan")):
        with pytest.raises(HtcValidationError, match="budget"):
            htcjobs.plan(requests, PROJECT, rates=RATES, budget=budget)  # type: ignore[arg-type]
    with pytest.raises(HtcValidationError, match="give rates"):
        htcjobs.plan(requests, PROJECT, budget=1)


def test_invalid_requests_have_no_plan() -> None:
    with pytest.raises(HtcValidationError, match="batchSize"):
        htcjobs.plan([request(0)], PROJECT)


# ---- usage


def job(job_id: str, status: str, *, minutes: int | None = 30, **more: Any) -> dict[str, Any]:
    times = {"createdAt": "2026-11-29T10:00:00Z"}
    if minutes is not None:
        times |= {"startedAt": "2026-11-29T10:15:00Z"}
        times |= {"completedAt": f"2026-11-29T10:{15 + minutes}:00Z"}
    size = {"maxVCpus": 4, "maxMemory": 2048}
    ids = {"projectId": "p", "taskId": "t", "jobUUID": job_id, "status": status}
    return {**ids, **times, **size, **more}


def test_usage_counts_what_was_used_wasted_and_waited_for(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    again = [{"key": "rescalehtc-attempt", "value": "a:1:2"}]
    items = [
        job("a:0", "SUCCEEDED"),
        job("a:1", "FAILED"),
        job("a:2", "RUNNING", minutes=None),
        job("a:3", "FAILED", minutes=None, completedAt="2026-11-29T10:15:00Z"),
        job("b:0", "SUCCEEDED", tags=again),
        job("c:0", "SUCCEEDED"),  # of another batch
    ]
    service.on("GET /htc/projects/p/tasks/t/jobs", Answer({"items": items}))
    answer = {"projectId": "p", "taskId": "t", "parentJobId": "a", "batchSize": 4, "group": "g"}
    batch = htcjobs.HtcJobBatch(answer, scripted_task)
    usage = htcjobs.usage(scripted, batch, RATES)
    assert (usage.jobs, usage.running) == (5, 1)
    assert usage.used == htcjobs.Amount(6.0, 3.0)
    assert usage.wasted == htcjobs.Amount(2.0, 1.0)
    assert usage.idle_hours == 1.0
    assert usage.cost == pytest.approx(6 * 0.05 + 3 * 0.01)
    assert str(usage).splitlines() == [
        "5 jobs, 1 unfinished",
        "used: 6.00 vCPU-hours, 3.00 GiB-hours",
        "used by failed jobs: 2.00 vCPU-hours, 1.00 GiB-hours",
        "waited: 1.00 hours",
        "cost: 0.33",
    ]


def test_on_an_event_loop_it_is_the_same(
    emulator: Emulator, fast: HtcSession, task: htctasks.HtcTask
) -> None:
    requests = [request(2, **HOUR)]
    batch = htcjobs.submit(fast, task, requests)
    batch.wait(fast)

    async def main() -> tuple[Any, Any]:
        async with emulator.async_session() as rescale:
            plan = await twins.htcjobs.plan(requests, task.project, rescale)
            found = await twins.htcjobs.get_batch(rescale, task, group=batch.json["group"])
            assert found
            return plan, await twins.htcjobs.usage(rescale, found)

    plan, usage = asyncio.run(main())
    assert plan == htcjobs.plan(requests, task.project, fast)
    assert usage == htcjobs.usage(fast, batch)
