"""Sessions with other settings that share connections and tokens: `with_options`."""

from __future__ import annotations

import inspect
import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import HtcSession, htcjobs, htcprojects
from rescalehtc.exceptions import (
    HtcServerError,
    HtcTimeoutError,
    HtcValidationError,
)

from .clock import inject_clock
from .faults.wire import Wire, answer, held
from .limits import HANG_SECONDS, SHORT_SECONDS
from .service import Answer, Service
from .test_pickling import SETTINGS, WAYS, Named

if TYPE_CHECKING:
    from collections.abc import Callable

    from rescalehtc.htctasks import HtcTask

    from .service import ReceivedRequest

PROJECTS = "GET /htc/projects"
NO_PROJECTS = Answer({"items": []})
FAILED = Answer(status=503)


def test_it_takes_each_setting_of_a_call_with_none_for_no_change() -> None:
    parameters = inspect.signature(HtcSession.with_options).parameters.values()
    taken = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    assert taken == list(SETTINGS)
    assert all(p.default is None for p in parameters if p.name != "self")


def test_both_sessions_use_the_same_token_whichever_fetched_it(service: Service) -> None:
    service.on(PROJECTS, NO_PROJECTS)
    with HtcSession(api_key="key", base_url=service.url) as rescale:
        quick = rescale.with_options(max_retries=0)
        for session in (quick, rescale, quick.with_options(timeout_seconds=HANG_SECONDS)):
            htcprojects.get_projects(session)
        quick.do_authenticate()
        htcprojects.get_projects(rescale)
    assert len(service.requests_to("GET /auth/token")) == 2


def test_both_sessions_use_the_same_connections() -> None:
    with Wire() as wire, HtcSession(api_key="key", base_url=wire.url) as rescale:
        wire.on(PROJECTS, answer({"items": []}))
        for session in (rescale, rescale.with_options(max_retries=0), rescale):
            htcprojects.get_projects(session)
        assert {request.connection for request in wire.requests} == {wire.requests[0].connection}


def test_retries_are_each_session_s_own(service: Service) -> None:
    service.on(PROJECTS, FAILED)
    with HtcSession(api_key="key", base_url=service.url, backoff_seconds=0.0) as rescale:
        with pytest.raises(HtcServerError):
            htcprojects.get_projects(rescale.with_options(max_retries=1))
        assert len(service.requests_to(PROJECTS)) == 2
        with pytest.raises(HtcServerError):
            htcprojects.get_projects(rescale)
    assert len(service.requests_to(PROJECTS)) == 2 + 6


def test_a_token_is_fetched_with_the_settings_of_the_session_that_needs_it(
    service: Service,
) -> None:
    service.on("GET /auth/token", FAILED)
    with HtcSession(api_key="key", base_url=service.url, backoff_seconds=0.0) as rescale:
        with pytest.raises(HtcServerError):
            htcprojects.get_projects(rescale.with_options(max_retries=0))
        assert len(service.requests_to("GET /auth/token")) == 1


def test_the_waits_are_each_session_s_own(service: Service) -> None:
    service.on(PROJECTS, FAILED)
    with HtcSession(api_key="key", base_url=service.url) as rescale:
        rescale.do_authenticate()
        patient = rescale.with_options(backoff_seconds=16.0, deadline_seconds=30.0)
        clock = inject_clock(patient)
        clock.chance = 1.0
        with pytest.raises(HtcServerError):
            htcprojects.get_projects(patient)
        assert clock.slept == [16.0]


def test_the_time_limit_is_each_session_s_own() -> None:
    gate = threading.Event()
    with Wire() as wire, HtcSession(api_key="key", base_url=wire.url) as rescale:
        rescale.do_authenticate()
        hasty = rescale.with_options(timeout_seconds=SHORT_SECONDS, max_retries=0)
        wire.on(PROJECTS, held(gate, answer({"items": []})))
        with pytest.raises(HtcTimeoutError, match=f"within {SHORT_SECONDS:.3g} s"):
            htcprojects.get_projects(hasty)
        gate.set()
        assert htcprojects.get_projects(rescale) == []


def test_the_other_settings_are_carried_and_this_session_s_stay(service: Service) -> None:
    with HtcSession("named", api_key="key", base_url=service.url) as rescale:
        rescale.status_refresh_seconds = 9.5  # changed after creation
        before = rescale.__getstate__()
        other = rescale.with_options(image_wait_seconds=1.5, mark_submissions=False)
        assert (other.workspace, other.base_url) == ("named", service.url)
        assert (other.status_refresh_seconds, other.settle_seconds) == (9.5, 60.0)
        assert (other.image_wait_seconds, other.mark_submissions) == (1.5, False)
        assert rescale.__getstate__() == before
        assert rescale.mark_submissions


def test_a_submission_goes_by_the_options(service: Service, scripted_task: HtcTask) -> None:
    service.on("GET /htc/projects/p/container-registry/images/i", Answer({"status": "READY"}))
    answer = {"projectId": "p", "taskId": "t", "parentJobId": "j", "batchSize": 1}
    service.on("POST /htc/projects/p/tasks/t/jobs/batch", Answer([answer]))
    with HtcSession(api_key="key", base_url=service.url) as rescale:
        for session in (rescale, rescale.with_options(mark_submissions=False)):
            htcjobs.create_job_batch(session, scripted_task, 1, "ON_DEMAND_ECONOMY", "i", 60)
    marked, bare = service.requests_to("POST /htc/projects/p/tasks/t/jobs/batch")
    assert b"rescalehtc-submission" in marked.body
    assert b"rescalehtc-submission" not in bare.body


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_of_it_is_a_session_with_its_settings_on_its_own(
    service: Service, way: Callable[[HtcSession], HtcSession]
) -> None:
    service.on(PROJECTS, NO_PROJECTS)
    with HtcSession(api_key="key", base_url=service.url) as rescale:
        again = way(rescale.with_options(**SETTINGS))
        assert again.__getstate__() == rescale.with_options(**SETTINGS).__getstate__()
        htcprojects.get_projects(rescale)
        htcprojects.get_projects(again)
        again.close()
    assert len(service.requests_to("GET /auth/token")) == 2


def test_it_is_made_of_a_copy_that_was_not_used_yet(service: Service) -> None:
    service.on(PROJECTS, NO_PROJECTS)
    again = pickle.loads(pickle.dumps(HtcSession(api_key="key", base_url=service.url)))
    with again, again.with_options(max_retries=0) as quick:
        htcprojects.get_projects(quick)
        htcprojects.get_projects(again)
    assert len(service.requests_to("GET /auth/token")) == 1


def test_closing_either_leaves_both_usable() -> None:
    with Wire() as wire, HtcSession(api_key="key", base_url=wire.url) as rescale:
        wire.on(PROJECTS, answer({"items": []}))
        with rescale.with_options(max_retries=0) as quick:
            htcprojects.get_projects(quick)
        htcprojects.get_projects(rescale)
        rescale.close()
        htcprojects.get_projects(quick)
        assert len({request.connection for request in wire.requests}) == 3


def test_a_session_of_the_user_s_own_kind_stays_one(service: Service) -> None:
    with Named("mine", service.url) as rescale:
        other = rescale.with_options(max_retries=0)
        assert (type(other), other.name) == (Named, "mine")
        assert repr(other) == f"Named(workspace='default', base_url={service.url!r})"


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("value", ["5", -1, float("nan"), b""])
def test_an_invalid_option_is_rejected_by_name_as_in_the_constructor(name: str, value: Any) -> None:
    rescale = HtcSession(api_key="key", base_url="http://htc.example")
    with pytest.raises(HtcValidationError) as at_first:
        HtcSession(api_key="key", **{name: value})
    with pytest.raises(HtcValidationError) as later:
        rescale.with_options(**{name: value})
    [problem] = later.value.problems
    assert problem == at_first.value.problems[0]
    assert problem.where == name
    assert "HtcSession.with_options" in str(later.value)


def test_all_invalid_options_are_listed() -> None:
    rescale = HtcSession(api_key="key", base_url="http://htc.example")
    with pytest.raises(HtcValidationError) as caught:
        rescale.with_options(max_retries=True, timeout_seconds=0.0, mark_submissions=1)  # type: ignore[arg-type]
    assert [str(problem) for problem in caught.value.problems] == [
        "timeout_seconds: must be a number of seconds of at least 0.001",
        "max_retries: must be an integer of at least 0",
        "mark_submissions: must be True or False",
    ]


def test_what_one_session_learns_of_page_sizes_the_other_knows(
    service: Service, scripted_task: HtcTask
) -> None:
    def pages(request: ReceivedRequest) -> Answer:
        return Answer({"items": []}) if request.query["pageSize"] == ["500"] else Answer(status=400)

    service.on("GET /htc/projects/p/tasks/t/jobs", pages)
    with HtcSession(api_key="key", base_url=service.url) as rescale:
        for session in (rescale, rescale.with_options(max_retries=0)):
            htcjobs.get_jobs(session, scripted_task)
    sizes = [request.query["pageSize"] for request in service.requests if "tasks" in request.path]
    assert sizes == [["1000"], ["500"], ["500"]]


def test_the_environment_sets_the_interval_unless_the_argument_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RESCALEHTC_STATUS_REFRESH_SECONDS", " 0.5 ")
    assert HtcSession(api_key="k").status_refresh_seconds == 0.5
    assert HtcSession(api_key="k", status_refresh_seconds=0).status_refresh_seconds == 0
    monkeypatch.setenv("RESCALEHTC_STATUS_REFRESH_SECONDS", "")
    assert HtcSession(api_key="k").status_refresh_seconds == 30.0


@pytest.mark.parametrize("value", ["soon", "-1", "nan", "inf", "1e300"])
def test_an_invalid_interval_in_the_environment_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("RESCALEHTC_STATUS_REFRESH_SECONDS", value)
    with pytest.raises(
        HtcValidationError,
        match="RESCALEHTC_STATUS_REFRESH_SECONDS: must be a number of seconds of at least 0",
    ):
        HtcSession(api_key="k")
    assert HtcSession(api_key="k", status_refresh_seconds=1).status_refresh_seconds == 1
