"""Submissions with lost responses are recognised only by their marks."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import HtcSession, htcjobs
from rescalehtc._jobs import submission
from rescalehtc.exceptions import (
    HtcBadRequestError,
    HtcConnectionError,
    HtcException,
    HtcForbiddenError,
    HtcImagePendingError,
    HtcResponseError,
    HtcServerError,
    HtcStatusError,
    SubmissionIncompleteError,
    SubmissionUncertainError,
)

from .clock import inject_clock
from .limits import HANG_SECONDS
from .service import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rescalehtc.htctasks import HtcTask

    from .service import ReceivedRequest, Service

IMAGE = "GET /htc/projects/p/container-registry/images/image"
SUBMIT = "POST /htc/projects/p/tasks/t/jobs/batch"
JOBS = "GET /htc/projects/p/tasks/t/jobs"
TAG = "rescalehtc-submission"
BROKEN = Answer(b"[{", status=200)
LOST = Answer(status=503)


class Jobs:
    """The jobs of the task `t` on the scripted service.

    Attributes:
        records: Their records.
        repeats: Whether records and responses contain tags.
    """

    def __init__(self, service: Service) -> None:
        self.records: list[dict[str, Any]] = []
        self.repeats = True
        self._lock = threading.Lock()
        self._parents = iter("abcdefghijklmnopqrstuvwxyz")
        service.on(IMAGE, Answer({"status": "READY"}))
        service.on(SUBMIT, self.taken)
        service.on(JOBS, self.listed)

    def taken(self, received: ReceivedRequest) -> Answer:
        """Create the jobs of a submission, and respond like the service."""
        return Answer([self.make(received, request) for request in received.json])

    def make(
        self, received: ReceivedRequest, request: dict[str, Any], seen: int | None = None
    ) -> Any:
        """Create the jobs of a request, list only the first ones, and return its response."""
        group = received.query["group"][0] if "group" in received.query else "default"
        definition = request["htcJobDefinition"]
        tags = definition.get("tags", {}) if self.repeats else {}
        with self._lock:
            parent = next(self._parents)
            for index in range(request.get("batchSize", 1) if seen is None else seen):
                self.records.append(
                    {
                        "jobUUID": f"{parent}:{index}",
                        "group": group,
                        "tags": [{"key": key, "value": value} for key, value in tags.items()],
                    }
                )
        answer = {**request, "htcJobDefinition": {**definition, "tags": tags}}
        ids = {"projectId": "p", "taskId": "t", "group": group, "parentJobId": parent}
        return {**answer, **ids}

    def lost(self, received: ReceivedRequest) -> Answer:
        """Create the jobs of a submission, and lose the response."""
        self.taken(received)
        return LOST

    def listed(self, received: ReceivedRequest) -> Answer:
        group = received.query["group"][0]
        with self._lock:
            return Answer({"items": [job for job in self.records if job["group"] == group]})


@pytest.fixture(autouse=True)
def jobs(service: Service) -> Jobs:
    return Jobs(service)


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls with two requests each, sent one after the other."""
    monkeypatch.setattr(submission, "PARALLEL_CALLS", 1)
    monkeypatch.setattr(submission, "MAX_REQUESTS", 2)


@pytest.fixture
def unmarked(service: Service) -> Iterator[HtcSession]:
    """A session that sends no marks."""
    with HtcSession(
        api_key="key-1",
        base_url=service.url,
        backoff_seconds=0.0,
        settle_seconds=0.0,
        mark_submissions=False,
    ) as rescale:
        yield rescale


def request(size: int | None = 1, **definition: Any) -> dict[str, Any]:
    definition = {"imageName": "image", "execTimeoutSeconds": 60, **definition}
    sized = {} if size is None else {"batchSize": size}
    return {**sized, "regions": ["AWS_EU_WEST_1"], "htcJobDefinition": definition}


def send(
    rescale: HtcSession, task: HtcTask, *requests: Mapping[str, Any], group: str | None = "g"
) -> htcjobs.HtcJobBatch:
    return htcjobs.create_job_batch_raw(rescale, task, requests, group=group)


def ids(batch: htcjobs.HtcJobBatch) -> list[str]:
    return [job.json["jobUUID"] for job in batch.to_jobs()]


def uncertain(
    rescale: HtcSession, task: HtcTask, *requests: Mapping[str, Any], group: str | None = "g"
) -> SubmissionUncertainError:
    with pytest.raises(SubmissionUncertainError) as info:
        send(rescale, task, *requests, group=group)
    return info.value


def sent(service: Service) -> list[dict[str, Any]]:
    """All received submit requests."""
    return [request for received in service.requests_to(SUBMIT) for request in received.json]


def marks(service: Service) -> list[str | None]:
    return [item["htcJobDefinition"].get("tags", {}).get(TAG) for item in sent(service)]


# ---- marks and groups


def test_every_request_has_a_mark_of_its_own(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    send(scripted, scripted_task, request(2), request(None), request(2))
    send(scripted, scripted_task, request(2))
    found = marks(service)
    assert None not in found
    assert len({*found}) == 4


def test_a_submission_without_a_group_gets_its_own(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    batches = [send(scripted, scripted_task, request(), group=None) for _ in range(2)]
    groups = [received.query["group"][0] for received in service.requests_to(SUBMIT)]
    assert len({*groups}) == 2
    assert all(group.startswith("rescalehtc-") for group in groups)
    assert [batch.json["group"] for batch in batches] == groups


def test_a_mark_is_a_tag_beside_the_users_and_replaces_one_of_its_name(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    value = request(tags={"study": "wing", TAG: "mine"})
    send(scripted, scripted_task, value)
    (tags,) = [item["htcJobDefinition"]["tags"] for item in sent(service)]
    assert {**tags, TAG: "?"} == {"study": "wing", TAG: "?"}
    assert tags[TAG] != "mine"
    assert value["htcJobDefinition"]["tags"] == {"study": "wing", TAG: "mine"}


def test_a_batch_that_is_submitted_again_gets_a_new_mark_and_group(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    batch = send(scripted, scripted_task, request(2), group=None)
    again = send(scripted, scripted_task, batch.json, group=None)
    assert len({*marks(service)}) == 2
    assert batch.json["group"] != again.json["group"]


def test_parts_of_a_large_request_have_marks_of_their_own(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    htcjobs.submit(scripted, scripted_task, [request(2500)], group="g")
    assert len({*marks(service)}) == 3


def test_marks_and_groups_can_be_switched_off(
    service: Service, unmarked: HtcSession, scripted_task: HtcTask
) -> None:
    batch = send(unmarked, scripted_task, request(2), group=None)
    send(unmarked, scripted_task, request(2, tags={"study": "wing"}))
    assert "group" not in service.requests_to(SUBMIT)[0].query
    assert [item["htcJobDefinition"].get("tags") for item in sent(service)] == [
        None,
        {"study": "wing"},
    ]
    assert ids(batch) == ["a:0", "a:1"]


def test_a_mark_does_not_survive_in_a_session_without_marks(
    service: Service, scripted: HtcSession, unmarked: HtcSession, scripted_task: HtcTask
) -> None:
    """Otherwise, two batches would have the same mark."""
    batch = send(scripted, scripted_task, request(2))
    send(unmarked, scripted_task, batch.json)
    assert marks(service)[1] is None


# ---- responses that arrive


@pytest.mark.parametrize("group", [None, "g"])
def test_an_answer_that_arrives_is_the_batch(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, group: str | None
) -> None:
    batch = send(scripted, scripted_task, request(2), request(None), group=group)
    assert ids(batch) == ["a:0", "a:1", "b:0"]
    assert len(service.requests_to(SUBMIT)) == 1
    assert not service.requests_to(JOBS)


@pytest.mark.parametrize("status", [400, 403, 404, 409])
def test_a_rejected_submission_is_not_uncertain(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, status: int
) -> None:
    service.on(SUBMIT, Answer(status=status))
    with pytest.raises(HtcStatusError) as info:
        send(scripted, scripted_task, request())
    assert (info.value.status_code, info.value.outcome_unknown) == (status, False)
    assert not service.requests_to(JOBS)


@pytest.mark.parametrize("size", [{}, {"batchSize": None}, {"batchSize": 3}])
def test_an_answer_need_not_repeat_size_or_tags(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, size: dict[str, Any]
) -> None:
    service.on(SUBMIT, Answer([{"parentJobId": "a", "projectId": "p", "taskId": "t", **size}]))
    assert ids(send(scripted, scripted_task, request(3))) == ["a:0", "a:1", "a:2"]


def test_answers_in_another_order_are_assigned_by_their_marks(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, jobs: Jobs
) -> None:
    service.on(SUBMIT, lambda received: Answer(jobs.taken(received).body[::-1]))
    batch = send(scripted, scripted_task, request(1), request(2), request(1))
    assert ids(batch) == ["a:0", "b:0", "b:1", "c:0"]


def test_answers_with_marks_of_another_submission_are_not_taken(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, jobs: Jobs
) -> None:
    stale: list[Any] = []

    def first(received: ReceivedRequest) -> Answer:
        stale.append(jobs.taken(received))
        return stale[0]

    def second(received: ReceivedRequest) -> Answer:
        jobs.taken(received)
        return stale[0]

    service.on(SUBMIT, first, second)
    assert ids(send(scripted, scripted_task, request(2))) == ["a:0", "a:1"]
    assert ids(send(scripted, scripted_task, request(2))) == ["b:0", "b:1"]


@pytest.mark.parametrize("definition", [None, [], "x", {"tags": 5}, {"tags": [None, {}]}])
def test_an_odd_definition_in_an_answer_has_no_mark(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, definition: Any
) -> None:
    answer = {"parentJobId": "a", "projectId": "p", "taskId": "t"}
    service.on(SUBMIT, Answer([{**answer, "htcJobDefinition": definition}]))
    assert ids(send(scripted, scripted_task, request(1))) == ["a:0"]


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [None],
        ["x"],
        [{}],
        [{"parentJobId": None, "projectId": "p", "taskId": "t"}],
        [{"parentJobId": "", "projectId": "p", "taskId": "t"}],
        [{"parentJobId": "a", "projectId": None, "taskId": "t"}],
        [{"parentJobId": "a", "projectId": "p"}],
        [{"parentJobId": "a", "projectId": "p", "taskId": "t", "batchSize": 2}],
        [{"parentJobId": "a", "projectId": "p", "taskId": "t"}] * 2,
    ],
)
def test_an_answer_that_does_not_name_the_jobs_is_a_lost_one(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, answer: Any
) -> None:
    service.on(SUBMIT, Answer(answer))
    error = uncertain(scripted, scripted_task, request(3))
    assert error.phase == "unreadable response"
    assert "1 submit requests were sent" in str(error.cause)


# ---- lost responses


@pytest.mark.parametrize(
    ("answer", "phase", "cause"),
    [
        (LOST, "server error", HtcServerError),
        (Answer(status=408), "server error", HtcStatusError),
        (BROKEN, "unreadable response", HtcResponseError),
        (Answer(b"<html>"), "unreadable response", HtcResponseError),
        (Answer(b"[", headers={"Content-Length": "99"}), "no response", HtcConnectionError),
    ],
)
def test_a_submission_that_is_not_found_is_uncertain(
    service: Service,
    scripted: HtcSession,
    scripted_task: HtcTask,
    answer: Answer,
    phase: str,
    cause: type[HtcException],
) -> None:
    service.on(SUBMIT, answer)
    if phase == "no response":
        with HtcSession(
            api_key="k", base_url=service.url, timeout_seconds=0.3, settle_seconds=0.0
        ) as hasty:
            error = uncertain(hasty, scripted_task, request(3), request(None))
    else:
        error = uncertain(scripted, scripted_task, request(3), request(None))
    assert (error.project_id, error.task_id, error.group) == ("p", "t", "g")
    assert (error.sent, error.seen, error.job_ids) == (4, 0, [])
    assert [(item.position, item.batch_size) for item in error.requests] == [(0, 3), (1, 1)]
    assert [item.mark for item in error.requests] == marks(service)
    assert error.phase == phase
    assert isinstance(error.cause, cause)
    assert error.outcome_unknown
    assert error.status_code == error.cause.status_code
    assert "the submission of 4 jobs to group 'g' of task t of project p" in str(error)
    assert "0 of 4 jobs were found in the group" in str(error)
    assert "the submission was not retried" in str(error)
    assert len(service.requests_to(SUBMIT)) == 1


@pytest.mark.parametrize("group", [None, "g"])
@pytest.mark.parametrize("answer", [LOST, BROKEN, Answer([])])
def test_a_submission_that_is_found_whole_is_returned(
    service: Service,
    scripted: HtcSession,
    scripted_task: HtcTask,
    jobs: Jobs,
    answer: Answer,
    group: str | None,
) -> None:
    send(scripted, scripted_task, request(2), group=group)
    service.on(SUBMIT, lambda received: (jobs.taken(received), answer)[1])
    batch = send(scripted, scripted_task, request(2), group=group)
    assert ids(batch) == ["b:0", "b:1"]
    expected = {"projectId": "p", "taskId": "t", "parentJobId": "b", "batchSize": 2}
    assert batch.json.items() >= expected.items()
    assert batch.json["htcJobDefinition"] == sent(service)[1]["htcJobDefinition"]
    groups = [received.query["group"][0] for received in service.requests_to(SUBMIT)]
    assert batch.json["group"] == groups[1]
    assert {received.query["group"][0] for received in service.requests_to(JOBS)} == {groups[1]}
    assert len(service.requests_to(SUBMIT)) == 2


@pytest.mark.parametrize(
    "alike",
    [
        [request(2, tags={"case": str(i)}) for i in range(3)],
        [request(2, claims=[{"name": "case", "value": str(i)}]) for i in range(3)],
        [request(2)] * 3,
    ],
    ids=["tags", "claims", "nothing"],
)
def test_requests_that_hardly_differ_get_their_own_jobs(
    service: Service,
    scripted: HtcSession,
    scripted_task: HtcTask,
    jobs: Jobs,
    alike: list[dict[str, Any]],
) -> None:
    """The service creates the jobs in another order."""

    def lost(received: ReceivedRequest) -> Answer:
        created.update((request["htcJobDefinition"]["tags"][TAG], jobs.make(received, request))
                    for request in received.json[::-1])  # fmt: skip
        return LOST

    created: dict[str, Any] = {}
    service.on(SUBMIT, lost)
    batch = send(scripted, scripted_task, *alike)
    expected = [created[mark or ""]["parentJobId"] for mark in marks(service)]
    assert [part.json["parentJobId"] for part in batch.batches] == expected == ["c", "b", "a"]


def test_the_batch_of_another_session_in_the_same_group_is_not_returned(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, jobs: Jobs
) -> None:
    """One session's POST does not arrive, but another session's POST with the same jobs does."""
    other = HtcSession(api_key="key-1", base_url=service.url)

    def not_taken(received: ReceivedRequest) -> Answer:
        service.on(SUBMIT, jobs.taken)
        send(other, scripted_task, request(2))
        return LOST

    service.on(SUBMIT, not_taken)
    error = uncertain(scripted, scripted_task, request(2))
    assert (error.seen, error.job_ids) == (0, [])
    with pytest.raises(SubmissionUncertainError):
        htcjobs.recheck(scripted, error)
    other.close()


def test_a_submission_is_searched_until_nothing_was_added_for_settle_seconds(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, jobs: Jobs
) -> None:
    clock = inject_clock(scripted)
    scripted.settle_seconds = 60.0
    service.on(SUBMIT, jobs.lost)
    counts = iter([*[0] * 6, *[1] * 6, *[3] * 6, 4])

    def look(received: ReceivedRequest) -> Answer:
        return Answer({"items": jobs.records[: next(counts)]})

    service.on(JOBS, look)
    assert ids(send(scripted, scripted_task, request(4))) == [f"a:{i}" for i in range(4)]
    assert clock.slept == [10.0] * 18

    # A listing that loses and regains jobs has not changed.
    clock.slept.clear()
    jobs.records.clear()
    counts = iter([1, 1, 1, 2, 1, 2, 1, 2, 1, 2])
    assert uncertain(scripted, scripted_task, request(4)).seen == 2
    assert clock.slept == [10.0] * (3 + 6)


@pytest.mark.parametrize("group", [None, "g"])
def test_a_submission_that_is_found_in_part_is_uncertain_until_it_is_whole(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, jobs: Jobs, group: str | None
) -> None:
    service.on(SUBMIT, jobs.lost)
    service.on(JOBS, lambda received: Answer({"items": jobs.records[:2]}))
    error = uncertain(scripted, scripted_task, request(3), group=group)
    assert (error.seen, error.job_ids) == (2, ["a:0", "a:1"])
    assert "2 of 3 jobs were found" in str(error)
    with pytest.raises(SubmissionUncertainError) as info:
        htcjobs.recheck(scripted, error)
    assert info.value is error
    service.on(JOBS, jobs.listed)
    assert ids(htcjobs.recheck(scripted, error)) == ["a:0", "a:1", "a:2"]
    assert error.seen == 3
    assert len(service.requests_to(SUBMIT)) == 1


def test_one_of_several_requests_that_is_missing_leaves_all_uncertain(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, jobs: Jobs
) -> None:
    service.on(SUBMIT, lambda received: (jobs.make(received, received.json[1]), LOST)[1])
    error = uncertain(scripted, scripted_task, request(1), request(2))
    assert (error.sent, error.seen, error.job_ids) == (3, 2, ["a:0", "a:1"])


def test_a_request_that_was_carried_out_twice_is_uncertain(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, jobs: Jobs
) -> None:
    """As if a proxy had repeated the request. Both batches cost money."""
    service.on(SUBMIT, lambda received: (jobs.taken(received), jobs.lost(received))[1])
    error = uncertain(scripted, scripted_task, request(2))
    assert error.job_ids == ["a:0", "a:1", "b:0", "b:1"]


def test_a_group_that_can_not_be_searched_leaves_it_uncertain(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, jobs: Jobs
) -> None:
    service.on(SUBMIT, jobs.lost)
    service.on(JOBS, Answer(status=403))
    error = uncertain(scripted, scripted_task, request(2))
    assert (error.seen, error.job_ids) == (None, [])
    assert "the jobs' group could not be searched: listJobs failed with HTTP 403" in str(error)
    with pytest.raises(HtcForbiddenError):
        htcjobs.recheck(scripted, error)
    service.on(JOBS, jobs.listed)
    assert ids(htcjobs.recheck(scripted, error)) == ["a:0", "a:1"]


@pytest.mark.parametrize("tags", [{TAG: "?"}, [{"key": TAG, "value": "?"}]])
def test_records_may_show_tags_as_a_list_or_an_object(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, tags: Any
) -> None:
    service.on(SUBMIT, LOST)

    def look(received: ReceivedRequest) -> Answer:
        (mark,) = marks(service)
        record = {"jobUUID": "a:0", "tags": pickle.loads(pickle.dumps(tags))}
        if isinstance(tags, dict):
            record["tags"][TAG] = mark
        else:
            record["tags"][0]["value"] = mark
        return Answer({"items": [{"jobUUID": "odd", "tags": [None, 5]}, record]})

    service.on(JOBS, look)
    assert ids(send(scripted, scripted_task, request(1))) == ["a:0"]


# ---- a service that does not return tags


def test_without_repeated_marks_a_single_request_is_found_in_its_own_group(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, jobs: Jobs
) -> None:
    jobs.repeats = False
    service.on(SUBMIT, jobs.lost)
    assert ids(send(scripted, scripted_task, request(2), group=None)) == ["a:0", "a:1"]


@pytest.mark.parametrize(
    ("requests", "group"), [([request(2)], "g"), ([request(1), request(2)], None)]
)
def test_without_repeated_marks_anything_else_is_uncertain(
    service: Service,
    scripted: HtcSession,
    scripted_task: HtcTask,
    jobs: Jobs,
    requests: list[dict[str, Any]],
    group: str | None,
) -> None:
    jobs.repeats = False
    service.on(SUBMIT, jobs.lost)
    error = uncertain(scripted, scripted_task, *requests, group=group)
    assert (error.seen, error.job_ids) == (0, [])
    assert "does not return the tags" in str(error)


def test_without_repeated_marks_part_of_a_request_is_uncertain(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, jobs: Jobs
) -> None:
    jobs.repeats = False
    service.on(SUBMIT, lambda received: (jobs.make(received, received.json[0], 1), LOST)[1])
    error = uncertain(scripted, scripted_task, request(2), group=None)
    assert error.job_ids == ["a:0"]


def test_without_repeated_marks_what_was_added_to_its_own_group_is_not_returned_later(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, jobs: Jobs
) -> None:
    jobs.repeats = False
    service.on(SUBMIT, LOST)
    error = uncertain(scripted, scripted_task, request(2), group=None)
    service.on(SUBMIT, jobs.taken)
    send(scripted, scripted_task, request(2), group=error.group)
    with pytest.raises(SubmissionUncertainError):
        htcjobs.recheck(scripted, error)


@pytest.mark.parametrize("group", [None, "g"])
def test_without_marks_a_lost_answer_is_uncertain_and_nothing_is_searched(
    service: Service, unmarked: HtcSession, scripted_task: HtcTask, jobs: Jobs, group: str | None
) -> None:
    service.on(SUBMIT, jobs.lost)
    error = uncertain(unmarked, scripted_task, request(2), group=group)
    assert (error.group, error.seen, error.job_ids) == (group, None, [])
    assert [item.mark for item in error.requests] == [None]
    assert "without marks, its jobs can't be distinguished" in str(error)
    with pytest.raises(SubmissionUncertainError) as info:
        htcjobs.recheck(unmarked, error)
    assert info.value is error
    assert not service.requests_to(JOBS)


# ---- rechecks


def test_a_recheck_never_returns_the_batch_of_a_later_submission(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, jobs: Jobs
) -> None:
    service.on(SUBMIT, LOST)
    error = uncertain(scripted, scripted_task, request(2))
    (lost,) = service.requests_to(SUBMIT)
    service.on(SUBMIT, jobs.taken)
    send(scripted, scripted_task, request(2))
    with pytest.raises(SubmissionUncertainError):
        htcjobs.recheck(scripted, error)
    assert error.seen == 0
    jobs.taken(lost)
    for _ in range(2):
        assert ids(htcjobs.recheck(scripted, error)) == ["b:0", "b:1"]


RECHECK = """
import pickle, sys
from rescalehtc import HtcSession, htcjobs
error = pickle.loads(sys.stdin.buffer.read())
with HtcSession(api_key="key-1", base_url=sys.argv[1]) as rescale:
    batch = htcjobs.recheck(rescale, error)
print(*[job.json["jobUUID"] for job in batch.to_jobs()])
"""


def test_a_pickled_exception_is_rechecked_in_another_process(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, jobs: Jobs
) -> None:
    service.on(SUBMIT, LOST)
    secretive = request(2, envs=[{"name": "KEY", "value": "s3cret"}])
    error = uncertain(scripted, scripted_task, secretive, request(1), group=None)
    pickled = pickle.dumps(error)
    assert b"s3cret" not in pickled
    assert "s3cret" not in repr(error) + str(error)
    again: SubmissionUncertainError = pickle.loads(pickled)
    assert str(again) == str(error)
    assert {**vars(again), "cause": None} == {**vars(error), "cause": None}
    assert str(again.cause) == str(error.cause)
    jobs.taken(service.requests_to(SUBMIT)[0])
    program = [sys.executable, "-c", RECHECK, service.url]
    done = subprocess.run(program, input=pickled, capture_output=True, check=False)
    assert done.stdout.split() == [b"a:0", b"a:1", b"b:0"], done.stderr


def test_a_recheck_takes_only_an_uncertain_submission(scripted: HtcSession) -> None:
    with pytest.raises(HtcException, match="must be of type SubmissionUncertainError"):
        htcjobs.recheck(scripted, ValueError("x"))  # type: ignore[arg-type]


# ---- several calls


def submit(
    rescale: HtcSession, task: HtcTask, requests: list[dict[str, Any]], group: str | None = "g"
) -> htcjobs.HtcJobBatch:
    return htcjobs.submit(rescale, task, requests, group=group)


def cases(count: int) -> list[dict[str, Any]]:
    return [request(envs=[{"name": "CASE", "value": str(i)}]) for i in range(count)]


def incomplete(
    rescale: HtcSession, task: HtcTask, requests: list[dict[str, Any]], group: str | None = "g"
) -> SubmissionIncompleteError:
    with pytest.raises(SubmissionIncompleteError) as info:
        submit(rescale, task, requests, group)
    error: SubmissionIncompleteError = pickle.loads(pickle.dumps(info.value))
    assert str(error) == str(info.value)
    return error


def by_case(received: ReceivedRequest) -> Answer:
    """Batches have the names of the requests."""
    place = {"projectId": "p", "taskId": "t"}
    values = [item["htcJobDefinition"]["envs"][0]["value"] for item in received.json]
    pairs = zip(received.json, values, strict=True)
    return Answer([{**item, **place, "parentJobId": f"j{value}"} for item, value in pairs])


def parents(error: SubmissionIncompleteError) -> list[str]:
    return [batch["parentJobId"] for batch in error.submitted]


def test_many_requests_are_sent_a_hundred_a_call_and_stay_in_order(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    service.on(SUBMIT, by_case)
    batch = submit(scripted, scripted_task, cases(250))
    assert ids(batch) == [f"j{i}:0" for i in range(250)]
    assert sorted(len(received.json) for received in service.requests_to(SUBMIT)) == [50, 100, 100]
    assert not service.requests_to(JOBS)


@pytest.mark.parametrize("group", [None, "g"])
def test_several_calls_are_sent_side_by_side_to_one_group(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, group: str | None
) -> None:
    together = threading.Barrier(3)

    def answer(received: ReceivedRequest) -> Answer:
        together.wait(HANG_SECONDS)
        return by_case(received)

    service.on(SUBMIT, answer)
    submit(scripted, scripted_task, cases(250), group)
    assert len({received.query["group"][0] for received in service.requests_to(SUBMIT)}) == 1


def test_an_image_is_polled_every_10_s_and_nothing_is_sent_before_it_is_ready(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    clock = inject_clock(scripted)
    scripted.image_wait_seconds = 25.0
    service.on(IMAGE, Answer({"status": "PENDING"}))
    for call in (submit, lambda *args: send(*args[:2], *args[2])):
        clock.slept.clear()
        with pytest.raises(HtcImagePendingError):
            call(scripted, scripted_task, cases(3))
        assert clock.slept == [10, 10, pytest.approx(5, abs=2)]
    assert not service.requests_to(SUBMIT)
    service.on(IMAGE, Answer({"status": "READY"}))
    submit(scripted, scripted_task, cases(3))


@pytest.mark.usefixtures("one_at_a_time")
def test_nothing_is_sent_after_a_call_that_was_rejected(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    service.on(SUBMIT, by_case, Answer(status=400), by_case)
    error = incomplete(scripted, scripted_task, cases(5))
    assert parents(error) == ["j0", "j1"]
    assert error.unsent == [(2, 1), (3, 1), (4, 1)]
    assert error.uncertain == []
    assert isinstance(error.cause, HtcBadRequestError)
    assert error.status_code == 400
    assert len(service.requests_to(SUBMIT)) == 2
    assert "batches submitted: 2, uncertain calls: 0, requests not submitted: 3" in str(error)
    batch = htcjobs.HtcJobBatch(error.submitted, scripted_task)
    assert ids(batch) == ["j0:0", "j1:0"]


@pytest.mark.usefixtures("one_at_a_time")
def test_parts_of_a_large_request_that_were_not_sent_are_counted_together(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, jobs: Jobs
) -> None:
    service.on(SUBMIT, jobs.taken, Answer(status=400))
    error = incomplete(scripted, scripted_task, [request(1), request(4500)])
    assert [batch["batchSize"] for batch in error.submitted] == [1, 1000]
    assert error.unsent == [(1, 3500)]


@pytest.mark.usefixtures("one_at_a_time")
def test_if_nothing_was_submitted_the_error_is_that_of_the_first_call(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    service.on(SUBMIT, Answer(status=400))
    with pytest.raises(HtcBadRequestError):
        submit(scripted, scripted_task, cases(5))
    assert len(service.requests_to(SUBMIT)) == 1


@pytest.mark.usefixtures("one_at_a_time")
@pytest.mark.parametrize(
    ("answers", "submitted", "unsent"), [([by_case, LOST], 2, 1), ([LOST], 0, 3)]
)
def test_what_follows_an_uncertain_call_is_not_sent(
    service: Service,
    scripted: HtcSession,
    scripted_task: HtcTask,
    answers: list[Any],
    submitted: int,
    unsent: int,
) -> None:
    service.on(SUBMIT, *answers)
    error = incomplete(scripted, scripted_task, cases(5))
    assert parents(error) == [f"j{i}" for i in range(submitted)]
    assert [item.sent for item in error.uncertain] == [2]
    assert str(error.cause) == str(error.uncertain[0].cause)
    assert len(error.unsent) == unsent


@pytest.mark.usefixtures("one_at_a_time")
def test_after_a_call_that_was_lost_and_found_the_rest_is_sent(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, jobs: Jobs
) -> None:
    service.on(SUBMIT, jobs.lost, jobs.taken, jobs.lost)
    assert ids(submit(scripted, scripted_task, cases(5))) == [f"{item}:0" for item in "abcde"]
    assert [len(received.json) for received in service.requests_to(SUBMIT)] == [2, 2, 1]


def test_of_two_lost_calls_the_one_that_was_carried_out_is_returned(
    service: Service,
    scripted: HtcSession,
    scripted_task: HtcTask,
    jobs: Jobs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The requests of the two submissions are identical."""
    monkeypatch.setattr(submission, "MAX_REQUESTS", 1)
    together = threading.Barrier(2)
    not_taken: list[ReceivedRequest] = []

    def lost(received: ReceivedRequest) -> Answer:
        if together.wait(60) == 0:
            jobs.taken(received)
        else:
            not_taken.append(received)
        return LOST

    service.on(SUBMIT, lost)
    error = incomplete(scripted, scripted_task, [request(2), request(2)])
    assert [batch["parentJobId"] for batch in error.submitted] == ["a"]
    assert [(item.sent, item.seen) for item in error.uncertain] == [(2, 0)]
    assert error.unsent == []
    with pytest.raises(SubmissionUncertainError):
        htcjobs.recheck(scripted, error.uncertain[0])
    jobs.taken(not_taken[0])
    assert ids(htcjobs.recheck(scripted, error.uncertain[0])) == ["b:0", "b:1"]


def test_sessions_that_submit_to_one_group_do_not_wait_for_each_other(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, jobs: Jobs
) -> None:
    together = threading.Barrier(3)
    found: list[Callable[[], list[str]]] = []

    def lost(received: ReceivedRequest) -> Answer:
        together.wait(60)
        return jobs.lost(received)

    def one() -> None:
        batch = send(scripted, scripted_task, request())
        found.append(lambda: ids(batch))

    service.on(SUBMIT, lost)
    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each()[0] for each in found) == ["a:0", "b:0", "c:0"]
