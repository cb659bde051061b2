"""Hooks: `HtcSession(on_request=..., on_response=...)`, called for each attempt."""

from __future__ import annotations

import dataclasses
import io
import pickle
import threading
import traceback
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import HtcSession, htcjobs, htcprojects
from rescalehtc.exceptions import (
    HtcAuthenticationError,
    HtcException,
    HtcForbiddenError,
    HtcNotFoundError,
    HtcServerError,
    HtcValidationError,
    SubmissionIncompleteError,
)
from rescalehtc.hooks import RequestInfo, ResponseInfo

from .limits import NOBODY
from .service import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from rescalehtc.htctasks import HtcTask

    from .service import ReceivedRequest, Service

PROJECTS = "GET /htc/projects"
PATH = "/api/v1/htc/projects"
NO_PROJECTS = Answer({"items": []})
IMAGE = "GET /htc/projects/p/container-registry/images/i"
SUBMIT = "POST /htc/projects/p/tasks/t/jobs/batch"
JOBS = "GET /htc/projects/p/tasks/t/jobs"
JOB: dict[str, Any] = {
    "imageName": "i",
    "execTimeoutSeconds": 60,
    "priority": "ON_DEMAND_ECONOMY",
    "architecture": "AARCH64",
    "maxVCpus": 1,
    "maxMemory": 4000,
    "commands": [],
}


class Watch:
    """Hooks that record their arguments, and raise on demand."""

    def __init__(self) -> None:
        self.requests: list[RequestInfo] = []
        self.responses: list[ResponseInfo] = []
        self.before: tuple[str, Exception] | None = None
        self.after: tuple[str, Exception] | None = None

    def __bool__(self) -> bool:
        return False

    def on_request(self, request: RequestInfo) -> None:
        self.requests.append(request)
        self._raise(self.before, request.operation)

    def on_response(self, response: ResponseInfo) -> None:
        self.responses.append(response)
        self._raise(self.after, response.operation)

    def _raise(self, when: tuple[str, Exception] | None, operation: str) -> None:
        if when and when[0] == operation:
            a_variable_of_the_hook = when[1]
            raise a_variable_of_the_hook

    def session(self, url: str, **settings: Any) -> HtcSession:
        quick = {"backoff_seconds": 0.0, "settle_seconds": 0.0, **settings}
        return HtcSession(
            api_key="key-1",
            base_url=url,
            on_request=self.on_request,
            on_response=self.on_response,
            **quick,
        )


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def jobs(service: Service) -> list[dict[str, Any]]:
    """The jobs of the scripted service, which accepts every submission."""
    taken: list[dict[str, Any]] = []
    lock = threading.Lock()

    def take(received: ReceivedRequest) -> Answer:
        answers: list[dict[str, Any]] = []
        for request in received.json:
            with lock:
                parent = f"j{len(taken)}"
                tags = request["htcJobDefinition"].get("tags", {})
                pairs = [{"key": key, "value": value} for key, value in tags.items()]
                taken.append({"jobUUID": f"{parent}:0", "tags": pairs})
            ids = {"projectId": "p", "taskId": "t", "parentJobId": parent}
            answers.append({**request, **ids})
        return Answer(answers)

    service.on(IMAGE, Answer({"status": "READY"}))
    service.on(SUBMIT, take)
    service.on(JOBS, lambda received: Answer({"items": taken}))
    return taken


def submit(rescale: HtcSession, task: HtcTask) -> htcjobs.HtcJobBatch:
    return htcjobs.create_job_batch(rescale, task, 1, "ON_DEMAND_ECONOMY", "i", 60)


def test_they_are_called_for_each_attempt_of_each_request(service: Service, watch: Watch) -> None:
    service.on(PROJECTS, Answer(status=503), Answer({"items": []}, 200, {"x-request-id": "id-1"}))
    with watch.session(service.url) as rescale:
        htcprojects.get_projects(rescale)
    assert watch.requests == [
        RequestInfo("getToken", "GET", "/api/v1/auth/token", 1),
        RequestInfo("listProjects", "GET", PATH, 1),
        RequestInfo("listProjects", "GET", PATH, 2),
    ]
    responses = [(r.operation, r.attempt, r.status_code, r.request_id) for r in watch.responses]
    assert responses == [
        ("getToken", 1, 200, None),
        ("listProjects", 1, 503, None),
        ("listProjects", 2, 200, "id-1"),
    ]
    assert [type(response.error) for response in watch.responses] == [
        type(None),
        HtcServerError,
        type(None),
    ]
    assert all(response.seconds > 0 for response in watch.responses)
    for request, response in zip(watch.requests, watch.responses, strict=True):
        shared = {field.name for field in dataclasses.fields(request)}
        assert {name: getattr(response, name) for name in shared} == vars(request)


def test_one_may_be_left_out(service: Service, watch: Watch) -> None:
    service.on(PROJECTS, NO_PROJECTS)
    for name in ("on_request", "on_response"):
        hook: Any = {name: getattr(watch, name)}
        with HtcSession(api_key="key-1", base_url=service.url, **hook) as rescale:
            htcprojects.get_projects(rescale)
    assert len(watch.requests) == len(watch.responses) == 2


def test_a_token_that_is_rejected_is_an_attempt(service: Service, watch: Watch) -> None:
    service.on("GET /auth/token", Answer({"tokenValue": "t1", "expiresIn": 900}), Answer({"tokenValue": "t2", "expiresIn": 900}))  # fmt: skip
    service.on(PROJECTS, Answer(status=401), NO_PROJECTS)
    with watch.session(service.url) as rescale:
        htcprojects.get_projects(rescale)
    seen = [(r.operation, r.attempt, r.status_code) for r in watch.responses]
    assert seen == [
        ("getToken", 1, 200),
        ("listProjects", 1, 401),
        ("getToken", 1, 200),
        ("listProjects", 2, 200),
    ]
    assert isinstance(watch.responses[1].error, HtcAuthenticationError)


def test_without_an_answer_there_is_no_status(watch: Watch) -> None:
    with watch.session(NOBODY, max_retries=1) as rescale, pytest.raises(ConnectionError) as caught:
        htcprojects.get_projects(rescale)
    first, second = watch.responses
    assert (first.attempt, first.status_code, first.request_id) == (1, None, None)
    assert second.error is caught.value


def test_an_address_that_is_a_secret_is_not_shown(service: Service, watch: Watch) -> None:
    service.on("PUT /s3cret", Answer(None, 403, {"x-amz-request-id": "id-1"}))
    with watch.session(service.url) as rescale, pytest.raises(HtcForbiddenError):
        rescale.upload(f"{service.url}/s3cret?sig=s3cret", io.BytesIO(b"s3cret"))
    [request], [response] = watch.requests, watch.responses
    assert request == RequestInfo("upload", "PUT", "", 1)
    assert (response.status_code, response.request_id) == (403, "id-1")
    assert "s3cret" not in repr((request, response, response.error))


def test_the_query_is_not_shown(service: Service, watch: Watch) -> None:
    service.on(PROJECTS, Answer({"items": [], "next": "/api/v1/htc/projects?pageIndex=s3cret"}))
    with watch.session(service.url) as rescale, pytest.raises(HtcException):
        htcprojects.get_projects(rescale)
    assert {request.path for request in watch.requests[1:]} == {PATH}


def test_they_can_not_be_changed(service: Service, watch: Watch) -> None:
    with watch.session(service.url) as rescale:
        rescale.do_authenticate()
    for info in (*watch.requests, *watch.responses):
        with pytest.raises(dataclasses.FrozenInstanceError):
            info.operation = "another"  # type: ignore[misc]


def test_sessions_with_other_options_have_the_same_hooks(service: Service, watch: Watch) -> None:
    with watch.session(service.url) as rescale:
        rescale.with_options(max_retries=0).do_authenticate()
    assert len(watch.requests) == len(watch.responses) == 1


def seen_by_a_copy(request: RequestInfo) -> None:
    SEEN.append(request)


SEEN: list[RequestInfo] = []


def test_a_pickle_takes_functions_of_modules_along(service: Service) -> None:
    SEEN.clear()
    first = HtcSession(api_key="key-1", base_url=service.url, on_request=seen_by_a_copy)
    with pickle.loads(pickle.dumps(first)) as again:
        again.do_authenticate()
    assert [request.operation for request in SEEN] == ["getToken"]


@pytest.mark.parametrize("name", ["on_request", "on_response"])
def test_what_is_not_a_plain_function_is_rejected(name: str) -> None:
    async def asynchronous(info: object) -> None: ...

    for wrong in ("a name", 5, asynchronous):
        hook: Any = {name: wrong}
        with pytest.raises(HtcValidationError, match=f"{name}: must be a synchronous function"):
            HtcSession(api_key="key-1", **hook)


# ---- a hook that raises

ERRORS = [ValueError("no"), OSError("no"), HtcServerError("o", 503), HtcNotFoundError("o", 404)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("when", ["before", "after"])
def test_its_exception_ends_the_call_unchanged_and_the_session_works_afterwards(
    service: Service, watch: Watch, error: Exception, when: str
) -> None:
    service.on(PROJECTS, Answer({"items": []}))
    with watch.session(service.url) as rescale:
        setattr(watch, when, ("listProjects", error))
        for call in (htcprojects.get_projects, lambda r: list(htcprojects.iter_projects(r))):
            with pytest.raises(type(error)) as caught:
                call(rescale)
            assert caught.value is error
            assert (error.__cause__, error.__context__) == (None, None)
        assert len(service.requests_to(PROJECTS)) == (0 if when == "before" else 2)
        watch.before = watch.after = None
        assert htcprojects.get_projects(rescale) == []


def test_one_about_the_token_ends_the_call_too(service: Service, watch: Watch) -> None:
    service.on(PROJECTS, NO_PROJECTS)
    watch.after = ("getToken", HtcServerError("o", 500))
    with watch.session(service.url) as rescale:
        with pytest.raises(HtcServerError) as caught:
            htcprojects.get_projects(rescale)
        assert caught.value is watch.after[1]
        assert len(watch.requests) == 1
        watch.after = None
        assert htcprojects.get_projects(rescale) == []


def test_a_failed_attempt_is_the_context_of_an_exception_after_it(
    service: Service, watch: Watch
) -> None:
    service.on(PROJECTS, Answer(status=503))
    watch.after = ("listProjects", ValueError("no"))
    with watch.session(service.url) as rescale, pytest.raises(ValueError, match="no") as caught:
        htcprojects.get_projects(rescale)
    assert isinstance(caught.value.__context__, HtcServerError)
    assert len(service.requests_to(PROJECTS)) == 1


def test_its_traceback_shows_the_hook_and_not_the_package_s_variables(
    service: Service, watch: Watch
) -> None:
    watch.after = ("getToken", ValueError("no"))
    with watch.session(service.url) as rescale, pytest.raises(ValueError, match="no") as caught:
        rescale.do_authenticate()
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    assert "a_variable_of_the_hook" in (frames[-1].locals or {})
    assert "key-1" not in repr([f.locals for f in frames if "rescalehtc/_client" in f.filename])
    assert "client.py" not in {frame.filename.rpartition("/")[2] for frame in frames}


def test_the_progress_function_of_a_wait_is_shown_as_well(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    def progress(counts: htcjobs.JobCounts) -> None:
        raise ValueError(counts)

    service.on(JOBS, Answer({"items": [{"jobUUID": "j:0", "status": "SUCCEEDED"}]}))
    answer = {"projectId": "p", "taskId": "t", "parentJobId": "j", "batchSize": 1}
    batch = htcjobs.HtcJobBatch([answer], scripted_task)
    with pytest.raises(ValueError, match="1 of 1") as caught:
        batch.wait(scripted, progress=progress)
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "progress"


@pytest.mark.parametrize("kind", [ValueError, HtcServerError])
def test_before_a_submission_nothing_is_submitted_and_nothing_uncertain(
    service: Service, watch: Watch, scripted_task: HtcTask, jobs: list[Any], kind: type[Exception]
) -> None:
    error = kind("submitJobs", 503)
    watch.before = ("submitJobs", error)
    with watch.session(service.url) as rescale, pytest.raises(kind) as caught:
        submit(rescale, scripted_task)
    assert caught.value is error
    assert not hasattr(error, "__notes__")
    assert error.__cause__ is None
    assert jobs == []


@pytest.mark.parametrize("kind", [ValueError, HtcServerError])
@pytest.mark.parametrize("status", [200, 500])
def test_after_a_submission_it_lists_the_jobs_that_may_exist_and_recheck_finds_it(
    service: Service,
    watch: Watch,
    scripted_task: HtcTask,
    jobs: list[Any],
    kind: type[Exception],
    status: int,
) -> None:
    if status == 500:
        taken: Callable[[ReceivedRequest], Answer] = service._answers[SUBMIT][0]  # type: ignore[assignment]
        service.on(SUBMIT, lambda request: Answer(taken(request).body, 500))
    error = kind("submitJobs", 503)
    watch.after = ("submitJobs", error)
    with watch.session(service.url) as rescale:
        with pytest.raises(kind) as caught:
            submit(rescale, scripted_task)
        assert caught.value is error
        assert "may have been submitted: 1 jobs" in error.__notes__[0]
        assert isinstance(error.__cause__, SubmissionIncompleteError)
        [uncertain] = error.__cause__.uncertain
        watch.after = None
        assert [job.json["jobUUID"] for job in htcjobs.recheck(rescale, uncertain).to_jobs()] == [
            jobs[0]["jobUUID"]
        ]
    assert len(service.requests_to(SUBMIT)) == 1


def test_after_a_rejected_submission_nothing_is_uncertain(
    service: Service, watch: Watch, scripted_task: HtcTask, jobs: list[Any]
) -> None:
    service.on(SUBMIT, Answer(status=400))
    watch.after = ("submitJobs", ValueError("no"))
    with watch.session(service.url) as rescale, pytest.raises(ValueError, match="no") as caught:
        submit(rescale, scripted_task)
    assert not hasattr(caught.value, "__notes__")


def test_a_submission_in_several_calls_says_the_outcome_of_each(
    service: Service, watch: Watch, scripted_task: HtcTask, jobs: list[Any]
) -> None:
    error = HtcServerError("a hook's own", 500)
    watch.after = ("listJobs", error)
    service.on(SUBMIT, Answer(status=500))
    with watch.session(service.url) as rescale, pytest.raises(HtcServerError) as caught:
        htcjobs.submit(rescale, scripted_task, [{"htcJobDefinition": JOB}] * 250)
    assert caught.value is error
    incomplete = error.__cause__
    assert isinstance(incomplete, SubmissionIncompleteError)
    assert incomplete.uncertain
    counted = sum(item.sent for item in incomplete.uncertain) + len(incomplete.unsent)
    assert counted == 250


def test_hooks_of_parallel_calls_see_the_caller_s_context(
    service: Service, scripted_task: HtcTask, jobs: list[Any]
) -> None:
    name = ContextVar("name", default="nobody")
    seen: set[str] = set()
    name.set("the caller")
    with HtcSession(
        api_key="key-1", base_url=service.url, on_request=lambda _: seen.add(name.get())
    ) as rescale:
        htcjobs.submit(rescale, scripted_task, [{"htcJobDefinition": JOB}] * 250)
    assert len(service.requests_to(SUBMIT)) == 3
    assert seen == {"the caller"}
