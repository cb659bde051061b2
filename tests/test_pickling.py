"""Sessions, and objects that contain a session, in pickles, copies and process pools."""

from __future__ import annotations

import copy
import functools
import inspect
import multiprocessing
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import HtcSession, exceptions, htcjobs, htcprojects, htctasks, models
from rescalehtc.exceptions import HtcCredentialsError

from .service import Answer, Service

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROJECTS = "GET /htc/projects"
SETTINGS: dict[str, Any] = {
    "status_refresh_seconds": 1.5,
    "image_wait_seconds": 2.5,
    "timeout_seconds": 3.5,
    "max_retries": 4,
    "backoff_seconds": 0.25,
    "deadline_seconds": 6.5,
    "settle_seconds": 7.5,
    "mark_submissions": False,
}


def pickled(protocol: int) -> Callable[[HtcSession], HtcSession]:
    def through_pickle(session: HtcSession) -> HtcSession:
        again: HtcSession = pickle.loads(pickle.dumps(session, protocol))
        return again

    return through_pickle


WAYS = [copy.copy, copy.deepcopy, *map(pickled, range(pickle.HIGHEST_PROTOCOL + 1))]


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_is_made_as_the_session_was_and_works(
    service: Service, way: Callable[[HtcSession], HtcSession]
) -> None:
    service.on(PROJECTS, Answer({"items": [{"projectId": "p"}]}))
    with HtcSession("named", "/folder", "key-1", base_url=service.url, **SETTINGS) as first:
        assert len(htcprojects.get_projects(first)) == 1
        first.status_refresh_seconds = 9.5  # settings that were changed after creation
        again = way(first)
        assert len(htcprojects.get_projects(again)) == 1
    with again:
        assert len(htcprojects.get_projects(again)) == 1, "it has connections of its own"
    assert (again.workspace, again.base_url) == ("named", service.url)
    assert again.status_refresh_seconds == 9.5
    tokens = service.requests_to("GET /auth/token")
    assert [item.headers["authorization"] for item in tokens] == ["Token key-1"] * 2


def test_every_setting_is_carried() -> None:
    """A copy of a session has the values of all arguments, compared by their state."""
    keyword_only = [
        p.name
        for p in inspect.signature(HtcSession).parameters.values()
        if p.kind is p.KEYWORD_ONLY
    ]
    assert keyword_only == ["base_url", *SETTINGS, "on_request", "on_response", "transport"]
    first = HtcSession(api_key="key", base_url="http://htc.example", **SETTINGS)
    again = pickle.loads(pickle.dumps(first))
    assert again.__getstate__() == first.__getstate__()
    assert again._timeout_seconds == SETTINGS["timeout_seconds"]


def test_a_pickle_carries_a_given_key_but_no_token_and_no_key_that_was_found(
    service: Service, monkeypatch: pytest.MonkeyPatch, empty_home: Path
) -> None:
    service.on(PROJECTS, Answer({"items": []}))
    folder = empty_home / ".config/rescalehtc/default"
    folder.mkdir(parents=True)
    (folder / "rescale_api_token.txt").write_text("key-of-a-file")
    found = HtcSession(base_url=service.url)
    monkeypatch.setenv("RESCALE_API_KEY", "key-of-a-variable")
    for session, carried in [
        (HtcSession(api_key="key-given", base_url=service.url), True),
        (HtcSession(base_url=service.url), False),
        (found, False),
    ]:
        htcprojects.get_projects(session)
        content = pickle.dumps(session)
        assert b"token-1" not in content
        assert (b"key-" in content) == (b"key-given" in content) == carried
        session.close()


def test_a_copy_without_a_given_key_finds_its_credential_where_it_is_with_its_first_call(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool would hang or break if a worker could not unpickle its arguments."""
    service.on(PROJECTS, Answer({"items": []}))
    monkeypatch.setenv("RESCALE_API_BASE_URL", service.url)
    monkeypatch.setenv("RESCALE_API_KEY", "key-here")
    content = pickle.dumps(HtcSession())
    monkeypatch.delenv("RESCALE_API_BASE_URL")
    monkeypatch.delenv("RESCALE_API_KEY")
    with pickle.loads(content) as again:
        with pytest.raises(HtcCredentialsError, match="no API key or refresh token was found"):
            htcprojects.get_projects(again)
        monkeypatch.setenv("RESCALE_API_KEY", "key-there")
        htcprojects.get_projects(again)
    [request] = service.requests_to("GET /auth/token")
    assert request.headers["authorization"] == "Token key-there"


def test_threads_that_share_a_fresh_copy_ask_for_one_token(service: Service) -> None:
    service.on(PROJECTS, Answer({"items": []}))
    again = pickle.loads(pickle.dumps(HtcSession(api_key="key", base_url=service.url)))
    threads = [threading.Thread(target=htcprojects.get_projects, args=(again,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again.close()
    assert len(service.requests_to("GET /auth/token")) == 1


def test_a_session_in_use_by_a_thread_can_be_copied(service: Service) -> None:
    """A copy has no held locks."""
    service.on(PROJECTS, Answer({"items": []}))
    first = HtcSession(api_key="key", base_url=service.url)

    async def copied() -> HtcSession:
        again = copy.deepcopy(first)
        assert htcprojects.get_projects(again) == []
        return again

    again = first.run(first.client.io.exclusively("token", copied))
    first.close()
    again.close()


@dataclass
class Study:
    """A user's object that contains a session."""

    rescale: HtcSession
    name: str


class Named(HtcSession):
    """A user's subclass of a session."""

    def __init__(self, name: str, base_url: str) -> None:
        super().__init__(api_key="key", base_url=base_url)
        self.name = name


def test_objects_that_hold_a_session_can_be_copied(service: Service) -> None:
    service.on(PROJECTS, Answer({"items": []}))
    rescale = Named("mine", service.url)
    for again in (
        pickle.loads(pickle.dumps(Study(rescale, "wing"))).rescale,
        copy.deepcopy([rescale])[0],
        pickle.loads(pickle.dumps(functools.partial(htcprojects.get_projects, rescale))).args[0],
    ):
        assert (type(again), again.name) == (Named, "mine")
        assert htcprojects.get_projects(again) == []
        again.close()


def test_a_pool_of_spawned_processes_takes_a_session_and_jobs(service: Service) -> None:
    service.on(PROJECTS, Answer({"items": [{"projectId": "p"}]}))
    context = multiprocessing.get_context("spawn")
    with (
        HtcSession(api_key="key", base_url=service.url) as rescale,
        ProcessPoolExecutor(1, context) as pool,
    ):
        [project] = pool.submit(htcprojects.get_projects, rescale).result()
        assert project.json == {"projectId": "p"}


# ---- exceptions and objects

COUNTS = htcjobs.JobCounts({"RUNNING": 1}, 1)
ERRORS = [
    exceptions.HtcException("m", 418),
    exceptions.HtcValidationError("arguments", [exceptions.Problem("where", "message")]),
    exceptions.HtcCredentialsError("m", 401),
    exceptions.HtcConnectionError("m", request_sent=False),
    exceptions.HtcTimeoutError("m", request_sent=False),
    exceptions.HtcConfigurationError("m", request_sent=False),
    exceptions.HtcImagePendingError("m"),
    exceptions.HtcWaitTimeoutError("m", COUNTS),
    exceptions.HtcNotFoundError("getJob", 404, "type", "description"),
    exceptions.HtcResponseError("m", is_garbled=True),
    exceptions.HtcFileError("m"),
    exceptions.NotFetchedError("HTCJob", "status", "a call"),
]


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_exception_keeps_all_that_it_says(
    error: exceptions.HtcException, way: Callable[[Any], Any]
) -> None:
    error.outcome_unknown = True
    error.__notes__ = ["a note"]
    again = way(error)
    assert type(again) is type(error)
    assert (str(again), repr(again), vars(again)) == (str(error), repr(error), vars(error))


def test_objects_of_the_facade_survive_copies_and_pickles(scripted_task: htctasks.HtcTask) -> None:
    answer = {"projectId": "p", "taskId": "t", "parentJobId": "j", "batchSize": 2}
    batch = htcjobs.HtcJobBatch([answer, answer], scripted_task)
    request = models.HTCJobSubmitRequest.model_validate({"htcJobDefinition": {"imageName": "i"}})
    job = batch.to_jobs()[1]
    for item in (
        *(scripted_task.project, scripted_task, batch, job, COUNTS),
        htcjobs.FailedJob(job, 1, None, 2, "reason", ["line"]),
        htcjobs.Resubmission(scripted_task, [request], ["j:1"]),
    ):
        for again in (copy.copy(item), copy.deepcopy(item), pickle.loads(pickle.dumps(item))):
            assert (type(again), repr(again)) == (type(item), repr(item))
    assert [item.json for item in copy.deepcopy(batch).to_jobs()] == [
        item.json for item in batch.to_jobs()
    ]
