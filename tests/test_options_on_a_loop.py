"""Asynchronous sessions have the same options, hooks, log lines and spans as blocking ones."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from rescalehtc import otel
from rescalehtc.aio import AsyncHtcSession, htcjobs, htcprojects
from rescalehtc.exceptions import (
    HtcServerError,
    HtcValidationError,
    SubmissionIncompleteError,
)

from .service import Answer
from .test_hooks import JOB, NO_PROJECTS, PROJECTS, SUBMIT, Watch, jobs, watch
from .test_otel import Spans, spans

if TYPE_CHECKING:
    from rescalehtc.htctasks import HtcTask

    from .service import Service

__all__ = ["jobs", "spans", "watch"]  # fixtures


def session(service: Service, **settings: Any) -> AsyncHtcSession:
    quick = {"backoff_seconds": 0.0, "settle_seconds": 0.0, **settings}
    return AsyncHtcSession(api_key="key-1", base_url=service.url, **quick)


def test_with_options_shares_the_token_and_has_its_own_retries(service: Service) -> None:
    service.on(PROJECTS, Answer(status=503))

    async def use() -> None:
        async with session(service, max_retries=2) as rescale:
            quick = rescale.with_options(max_retries=0)
            assert type(quick) is AsyncHtcSession
            for item in (quick, rescale):
                with pytest.raises(HtcServerError):
                    await htcprojects.get_projects(item)
            with pytest.raises(HtcValidationError, match=r"AsyncHtcSession\.with_options"):
                rescale.with_options(max_retries=-1)

    anyio.run(use)
    assert len(service.requests_to(PROJECTS)) == 1 + 3
    assert len(service.requests_to("GET /auth/token")) == 1


def test_hooks_log_lines_and_spans_are_there_for_each_attempt(
    service: Service, watch: Watch, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    service.on(PROJECTS, Answer(None, 503, {"x-request-id": "id-1"}), NO_PROJECTS)
    caplog.set_level(logging.INFO)

    async def use() -> None:
        hooks: Any = {"on_request": watch.on_request, "on_response": watch.on_response}
        async with session(service, **hooks) as rescale:
            otel.instrument(rescale, tracer_provider=spans.provider)
            await htcprojects.get_projects(rescale)

    anyio.run(use)
    seen = [(r.operation, r.attempt, r.status_code, r.request_id) for r in watch.responses]
    assert seen == [
        ("getToken", 1, 200, None),
        ("listProjects", 1, 503, "id-1"),
        ("listProjects", 2, 200, None),
    ]
    assert len(watch.requests) == 3
    assert sum(record.name == "rescalehtc" for record in caplog.records) == 3
    assert [(span.name, spans.parent(span)) for span in spans.ended] == [
        ("GET /auth/token", "getToken"),
        ("getToken", "listProjects"),
        ("GET /htc/projects", "listProjects"),
        ("GET /htc/projects", "listProjects"),
        ("listProjects", None),
    ]


@pytest.mark.parametrize("kind", [ValueError, HtcServerError])
def test_an_exception_of_a_hook_leaves_unchanged_and_lists_the_jobs_that_may_exist(
    service: Service, watch: Watch, scripted_task: HtcTask, jobs: list[Any], kind: type[Exception]
) -> None:
    error = kind("mine", 503)
    watch.after = ("submitJobs", error)

    async def use() -> None:
        async with session(service, on_response=watch.on_response) as rescale:
            arguments: Any = (rescale, scripted_task, 1, "ON_DEMAND_ECONOMY", "i", 60)
            with pytest.raises(kind) as caught:
                await htcjobs.create_job_batch(*arguments)
            assert caught.value is error
            assert isinstance(error.__cause__, SubmissionIncompleteError)
            watch.after = None
            batch = await htcjobs.recheck(rescale, error.__cause__.uncertain[0])
            assert [job.json["jobUUID"] for job in batch.to_jobs()] == [jobs[0]["jobUUID"]]
            watch.after = ("listProjects", error)
            service.on(PROJECTS, NO_PROJECTS)
            with pytest.raises(kind):
                [page async for page in htcprojects.iter_projects(rescale)]

    anyio.run(use)
    assert "may have been submitted: 1 jobs" in error.__notes__[0]


def test_an_exception_of_a_hook_in_a_task_ends_the_submission_of_several_calls(
    service: Service, watch: Watch, scripted_task: HtcTask, jobs: list[Any]
) -> None:
    error = HtcServerError("mine", 503)
    watch.after = ("submitJobs", error)

    async def use() -> None:
        async with session(service, on_response=watch.on_response) as rescale:
            with pytest.raises(HtcServerError) as caught:
                await htcjobs.submit(rescale, scripted_task, [{"htcJobDefinition": JOB}] * 250)
            assert caught.value is error
            watch.after = None
            service.on(PROJECTS, NO_PROJECTS)
            assert await htcprojects.get_projects(rescale) == []

    anyio.run(use)
    incomplete = error.__cause__
    assert isinstance(incomplete, SubmissionIncompleteError)
    assert sum(item.sent for item in incomplete.uncertain) + len(incomplete.unsent) == 250


def test_calls_side_by_side_are_children_of_one_submission(
    service: Service, spans: Spans, scripted_task: HtcTask, jobs: list[Any]
) -> None:
    async def use() -> None:
        async with session(service) as rescale:
            otel.instrument(rescale, tracer_provider=spans.provider, trace_jobs=True)
            await htcjobs.submit(rescale, scripted_task, [{"htcJobDefinition": JOB}] * 250)

    anyio.run(use)
    assert [spans.parent(call) for call in spans.named("submitJobs")] == ["submit"] * 3
    sent = [
        pair["value"]
        for request in service.requests_to(SUBMIT)
        for item in request.json
        for pair in item["htcJobDefinition"]["envs"]
    ]
    assert (len(sent), len(set(sent))) == (250, 1)
