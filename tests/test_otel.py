"""OpenTelemetry: a span per call, a child per attempt, and traces that continue in jobs."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from rescalehtc import HtcSession, htcjobs, htcprojects, otel
from rescalehtc.exceptions import HtcForbiddenError, HtcServerError, HtcValidationError

from .limits import NOBODY
from .service import Answer
from .test_hooks import IMAGE, JOB, JOBS, NO_PROJECTS, PROJECTS, SUBMIT, submit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rescalehtc.emulator import Emulator
    from rescalehtc.htctasks import HtcTask

    from .service import ReceivedRequest, Service

TRACEPARENT = "TRACEPARENT"


class Spans:
    """A tracer provider, and its finished spans."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def ended(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.ended if span.name == name]

    def parent(self, span: ReadableSpan) -> str | None:
        names = {item.context.span_id: item.name for item in self.ended if item.context}
        return names.get(span.parent.span_id) if span.parent else None

    def instrumented(self, url: str, **options: Any) -> HtcSession:
        rescale = HtcSession(api_key="key-1", base_url=url, backoff_seconds=0.0, settle_seconds=0.0)
        otel.instrument(rescale, tracer_provider=self.provider, **options)
        return rescale


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    yield spans
    spans.provider.shutdown()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_call_is_a_span_and_each_attempt_a_child_with_the_standard_attributes(
    service: Service, spans: Spans
) -> None:
    ids = {"x-request-id": "id-1"}
    service.on("GET /htc/projects/p", Answer(None, 503, ids), Answer({"projectId": "p"}))
    with spans.instrumented(service.url) as rescale:
        rescale.do_authenticate()
        htcprojects.get_project_with_id(rescale, "p")
    [call] = spans.named("getProject")
    assert (call.kind, call.status.status_code) == (SpanKind.INTERNAL, StatusCode.UNSET)
    first, second = spans.named("GET /htc/projects/{projectId}")
    assert spans.parent(first) == spans.parent(second) == "getProject"
    assert first.kind is second.kind is SpanKind.CLIENT
    host, port = service.origin.removeprefix("http://").split(":")
    always = {
        "http.request.method": "GET",
        "url.full": f"{service.url}/htc/projects/p",
        "url.template": "/htc/projects/{projectId}",
        "server.address": host,
        "server.port": int(port),
    }
    assert attributes(first) == {
        **always,
        "http.response.status_code": 503,
        "rescalehtc.request_id": "id-1",
        "error.type": "503",
    }
    assert first.status.status_code is StatusCode.ERROR
    assert attributes(second) == {
        **always,
        "http.response.status_code": 200,
        "http.request.resend_count": 1,
    }
    assert second.status.status_code is StatusCode.UNSET


def test_the_token_is_fetched_within_the_call_that_needs_it(service: Service, spans: Spans) -> None:
    service.on(PROJECTS, NO_PROJECTS)
    with (
        spans.instrumented(service.url) as rescale,
        spans.provider.get_tracer("the user's").start_as_current_span("the user's own"),
    ):
        htcprojects.get_projects(rescale)
    assert [(span.name, spans.parent(span)) for span in spans.ended] == [
        ("GET /auth/token", "getToken"),
        ("getToken", "listProjects"),
        ("GET /htc/projects", "listProjects"),
        ("listProjects", "the user's own"),
        ("the user's own", None),
    ]


def test_a_failed_call_says_so(service: Service, spans: Spans) -> None:
    service.on(PROJECTS, Answer({"errorType": "no"}, 403))
    with spans.instrumented(service.url) as rescale, pytest.raises(HtcForbiddenError):
        htcprojects.get_projects(rescale)
    for name in ("listProjects", "GET /htc/projects"):
        [span] = spans.named(name)
        assert attributes(span)["error.type"] == "403"
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "listProjects failed with HTTP 403: no"
        assert not span.events


def test_an_attempt_without_an_answer_names_the_exception(spans: Spans) -> None:
    with spans.instrumented(NOBODY) as rescale, pytest.raises(ConnectionError):
        htcprojects.get_projects(rescale.with_options(max_retries=0))
    [attempt] = spans.named("GET /auth/token")
    assert attributes(attempt)["error.type"] == "HtcConnectionError"
    assert "http.response.status_code" not in attributes(attempt)


def test_hooks_run_within_the_attempt_and_what_they_raise_is_named(
    service: Service, spans: Spans
) -> None:
    def hook(_: object) -> None:
        trace.get_current_span().set_attribute("mine", 1)
        raise HtcServerError("mine", 500)

    rescale = HtcSession(api_key="key-1", base_url=service.url, on_request=hook)
    otel.instrument(rescale, tracer_provider=spans.provider)
    with rescale, pytest.raises(HtcServerError):
        rescale.do_authenticate()
    [attempt] = spans.named("GET /auth/token")
    assert attributes(attempt)["mine"] == 1
    assert attributes(attempt)["error.type"] == "500"


def test_no_secret_is_in_a_span(service: Service, spans: Spans) -> None:
    service.on("PUT /s3cret", Answer(b"s3cret", 403))
    service.on(PROJECTS, Answer({"items": [], "next": "/api/v1/htc/projects?pageIndex=s3cret"}))
    with spans.instrumented(service.url) as rescale:
        with pytest.raises(HtcForbiddenError):
            rescale.upload(f"{service.url}/s3cret?sig=s3cret", io.BytesIO(b"s3cret"))
        with pytest.raises(Exception, match="listProjects"):
            htcprojects.get_projects(rescale)
    [upload] = spans.named("PUT")
    assert spans.parent(upload) == "upload"
    assert attributes(upload)["url.full"] == f"{service.origin}/REDACTED"
    errors = "".join(span.to_json() for span in spans.ended)
    assert not [secret for secret in ("s3cret", "key-1", "token-1") if secret in errors]


def test_sessions_of_with_options_make_spans_and_copies_are_apart(
    service: Service, spans: Spans
) -> None:
    service.on(PROJECTS, NO_PROJECTS)
    with HtcSession(api_key="key-1", base_url=service.url) as rescale:
        quick = rescale.with_options(max_retries=0)
        with copy.copy(rescale) as before:
            otel.instrument(rescale, tracer_provider=spans.provider)
            htcprojects.get_projects(before)
        assert spans.ended == []
        htcprojects.get_projects(quick)
        assert spans.named("listProjects")


def test_a_pickled_copy_is_instrumented_for_the_process_s_own_provider(
    service: Service, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Spans()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", there.provider)
    first = spans.instrumented(service.url, trace_jobs=True)
    with pickle.loads(pickle.dumps(first)) as again:
        again.do_authenticate()
        assert again.client.observers.job_variables() == {}  # outside of a span
    assert there.named("getToken")
    assert spans.ended == []
    there.provider.shutdown()


def test_only_a_session_can_be_instrumented() -> None:
    with pytest.raises(HtcValidationError, match="session: must be"):
        otel.instrument(5)  # type: ignore[arg-type]


# ---- traces that continue in jobs


@pytest.fixture
def taking(service: Service) -> Service:
    """A service that accepts submissions."""

    def take(request: ReceivedRequest) -> Answer:
        ids = [{"projectId": "p", "taskId": "t", "parentJobId": f"j{n}"} for n in range(100)]
        return Answer([{**item, **own} for item, own in zip(request.json, ids, strict=False)])

    service.on(IMAGE, Answer({"status": "READY"}))
    service.on(SUBMIT, take)
    service.on(JOBS, Answer({"items": []}))
    return service


def variables(request: ReceivedRequest) -> list[dict[str, str]]:
    return [
        {pair["name"]: pair["value"] for pair in item["htcJobDefinition"].get("envs", ())}
        for item in request.json
    ]


def test_jobs_get_the_trace_only_on_request(
    taking: Service, spans: Spans, scripted_task: HtcTask
) -> None:
    with spans.instrumented(taking.url) as rescale:
        submit(rescale, scripted_task)
    [request] = taking.requests_to(SUBMIT)
    assert variables(request) == [{}]


def test_jobs_continue_with_the_trace_of_their_submission(
    taking: Service, spans: Spans, scripted_task: HtcTask
) -> None:
    with (
        spans.instrumented(taking.url, trace_jobs=True) as rescale,
        spans.provider.get_tracer("the user's").start_as_current_span("the user's own"),
    ):
        submit(rescale, scripted_task)
    [submission] = spans.named("submit")
    assert submission.context
    [request] = taking.requests_to(SUBMIT)
    trace_id, span_id = submission.context.trace_id, submission.context.span_id
    [sent] = variables(request)
    assert list(sent) == [TRACEPARENT]
    assert sent[TRACEPARENT].startswith(f"00-{trace_id:032x}-{span_id:016x}-0")
    assert spans.parent(submission) == "the user's own"
    [call] = spans.named("submitJobs")
    assert spans.parent(call) == "submit"


def test_own_variables_stay_and_an_old_trace_is_replaced(
    taking: Service, spans: Spans, scripted_task: HtcTask
) -> None:
    envs = [{"name": "CASE", "value": "7"}, {"name": TRACEPARENT, "value": "old"}]
    with spans.instrumented(taking.url, trace_jobs=True) as rescale:
        htcjobs.create_job_batch(rescale, scripted_task, 1, "ON_DEMAND_ECONOMY", "i", 60, envs=envs)
    [request] = taking.requests_to(SUBMIT)
    [sent] = variables(request)
    assert sent["CASE"] == "7"
    assert sent[TRACEPARENT].startswith("00-")
    assert len(request.json[0]["htcJobDefinition"]["envs"]) == 2
    assert [env["value"] for env in envs] == ["7", "old"], "the caller's own is not changed"


def test_calls_side_by_side_are_children_of_one_submission(
    taking: Service, spans: Spans, scripted_task: HtcTask
) -> None:
    with spans.instrumented(taking.url, trace_jobs=True) as rescale:
        htcjobs.submit(rescale, scripted_task, [{"htcJobDefinition": JOB}] * 250)
    calls = spans.named("submitJobs")
    assert [spans.parent(call) for call in calls] == ["submit"] * 3
    sent = [
        item[TRACEPARENT] for request in taking.requests_to(SUBMIT) for item in variables(request)
    ]
    assert (len(sent), len(set(sent))) == (250, 1)


def test_a_job_sees_the_trace(emulator: Emulator, task: HtcTask, spans: Spans) -> None:
    with emulator.session() as rescale:
        rescale.status_refresh_seconds = 0.05
        otel.instrument(rescale, tracer_provider=spans.provider, trace_jobs=True)
        job = htcjobs.create_single_job(
            *(rescale, task, "ON_DEMAND_ECONOMY", "i:1", 60),
            commands=["sh", "-c", "echo $TRACEPARENT"],
        )
        job.wait(rescale)
        [line] = job.get_logs(rescale)
    [submission] = spans.named("submit")
    assert submission.context
    assert f"{submission.context.trace_id:032x}" in line


def test_without_a_provider_jobs_get_nothing(taking: Service, scripted_task: HtcTask) -> None:
    with HtcSession(api_key="key-1", base_url=taking.url) as rescale:
        otel.instrument(rescale, trace_jobs=True)
        submit(rescale, scripted_task)
    [request] = taking.requests_to(SUBMIT)
    assert variables(request) == [{}]


def test_without_the_extra_the_import_says_what_to_install_and_the_rest_works() -> None:
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from rescalehtc import HtcSession, htcjobs\n"
        "HtcSession(api_key='k')\n"
        "try:\n    import rescalehtc.otel\n"
        "except ModuleNotFoundError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert 'needs opentelemetry: pip install "rescalehtc[otel]>=2"' in done.stdout
    assert done.stderr == ""


def test_a_session_loads_nothing_of_opentelemetry() -> None:
    program = (
        "import sys\nfrom rescalehtc import HtcSession, htcjobs\nHtcSession(api_key='k')\n"
        "print([name for name in sys.modules if 'opentelemetry' in name])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n"
