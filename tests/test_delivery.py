"""What a submission's user is told when its answer is lost, at a service that is scripted."""

from __future__ import annotations

import pickle
import signal
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import HtcSession, _delivery, htcjobs
from rescalehtc.exceptions import (
    HtcBadRequestError,
    HtcConnectionError,
    HtcException,
    HtcImagePendingError,
    HtcResponseError,
    HtcServerError,
    HtcStatusError,
    SubmissionIncompleteError,
    SubmissionUncertainError,
)

from .clock import Ticks
from .limits import HANG_SECONDS, SHORT_SECONDS
from .service import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rescalehtc.htctasks import HtcTask

    from .service import Asked, Service

IMAGE = "GET /htc/projects/p/container-registry/images/image"
SUBMIT = "POST /htc/projects/p/tasks/t/jobs/batch"
JOBS = "GET /htc/projects/p/tasks/t/jobs"
BROKEN = Answer(b"[{", status=200)
LOST = Answer(status=503)


@pytest.fixture(autouse=True)
def _images(service: Service) -> None:
    service.on(IMAGE, Answer({"status": "READY"}))


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of two requests, sent one after the other."""
    monkeypatch.setattr(_delivery, "PARALLEL_CALLS", 1)
    monkeypatch.setattr(_delivery, "MAX_REQUESTS", 2)


def request(size: int | None = 1, *commands: str, **envs: str) -> dict[str, Any]:
    definition: dict[str, Any] = {
        "imageName": "image",
        "execTimeoutSeconds": 60,
        "commands": list(commands) or ["true"],
    }
    if envs:
        definition["envs"] = [{"name": n, "value": v} for n, v in envs.items()]
    sized = {} if size is None else {"batchSize": size}
    return {**sized, "regions": ["AWS_EU_WEST_1"], "htcJobDefinition": definition}


def taken(*parents: str) -> Callable[[Asked], Answer]:
    """The answer to a submission that made these batches."""

    def answer(asked: Asked) -> Answer:
        ids = {"projectId": "p", "taskId": "t", "group": asked.query.get("group", ["?"])[0]}
        pairs = zip(asked.json, parents, strict=True)
        return Answer([{**one, **ids, "parentJobId": parent} for one, parent in pairs])

    return answer


def jobs(parent: str, size: int, *commands: str, **fields: Any) -> list[dict[str, Any]]:
    """The records of a batch's jobs."""
    shown = {"commands": list(commands) or ["true"], "execTimeoutSeconds": 60, **fields}
    return [{"jobUUID": f"{parent}:{i}", "status": "RUNNABLE", **shown} for i in range(size)]


def listed(*batches: list[dict[str, Any]]) -> Answer:
    return Answer({"items": [job for batch in batches for job in batch]})


def send(
    rescale: HtcSession, task: HtcTask, *requests: dict[str, Any], group: str | None = "g"
) -> htcjobs.HtcJobBatch:
    return htcjobs.create_job_batch_raw(rescale, task, requests, group=group)


def ids(made: htcjobs.HtcJobBatch) -> list[str]:
    return [job.json["jobUUID"] for job in made.to_jobs()]


def uncertain(
    rescale: HtcSession, task: HtcTask, *requests: dict[str, Any], group: str | None = "g"
) -> SubmissionUncertainError:
    with pytest.raises(SubmissionUncertainError) as info:
        send(rescale, task, *requests, group=group)
    return info.value


# ---- what is certain


@pytest.mark.parametrize("group", [None, "g"])
def test_an_answer_that_arrives_is_the_batch(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, group: str | None
) -> None:
    service.on(JOBS, listed())
    service.on(SUBMIT, taken("a", "b"))
    made = send(scripted, scripted_task, request(2), request(None), group=group)
    assert ids(made) == ["a:0", "a:1", "b:0"]
    assert len(service.asked_for(SUBMIT)) == 1
    assert len(service.asked_for(JOBS)) == (0 if group is None else 1)
    assert service.asked_for(SUBMIT)[0].query == ({} if group is None else {"group": ["g"]})


@pytest.mark.parametrize("status", [400, 403, 404, 409])
def test_what_the_service_refuses_is_no_uncertain_submission(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, status: int
) -> None:
    service.on(JOBS, listed())
    service.on(SUBMIT, Answer(status=status))
    with pytest.raises(HtcStatusError) as info:
        send(scripted, scripted_task, request())
    assert (info.value.status_code, info.value.outcome_unknown) == (status, False)
    assert len(service.asked_for(JOBS)) == 1


def test_a_group_that_can_not_be_asked_before_is_not_submitted_to(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    service.on(JOBS, Answer(status=400))
    with pytest.raises(HtcBadRequestError):
        send(scripted, scripted_task, request())
    assert not service.asked_for(SUBMIT)


# ---- what is lost without a group


@pytest.mark.parametrize(
    ("answer", "phase", "cause"),
    [
        (LOST, "server error", HtcServerError),
        (Answer(status=408), "server error", HtcStatusError),
        (BROKEN, "unreadable answer", HtcResponseError),
        (Answer(b"<html>"), "unreadable answer", HtcResponseError),
        (Answer(b"[", headers={"Content-Length": "99"}), "no answer", HtcConnectionError),
    ],
)
def test_without_a_group_a_lost_answer_is_uncertain(
    service: Service,
    scripted: HtcSession,
    scripted_task: HtcTask,
    answer: Answer,
    phase: str,
    cause: type[HtcException],
) -> None:
    service.on(SUBMIT, answer)
    if phase == "no answer":
        with HtcSession(api_key="k", base_url=service.url, timeout_seconds=SHORT_SECONDS) as hasty:
            error = uncertain(hasty, scripted_task, request(3), request(None), group=None)
    else:
        error = uncertain(scripted, scripted_task, request(3), request(None), group=None)
    assert (error.project_id, error.task_id, error.group) == ("p", "t", None)
    assert (error.sent, error.seen, error.job_ids) == (4, None, [])
    assert error.phase == phase
    assert type(error.cause) is cause or isinstance(error.cause, cause)
    assert error.outcome_unknown
    assert error.status_code == error.cause.status_code
    message = str(error)
    assert "a submission of 4 jobs to task t of project p" in message
    assert "without a group its jobs can't be told from others" in message
    assert "nothing was sent a second time" in message
    assert len(service.asked_for(SUBMIT)) == 1
    with pytest.raises(SubmissionUncertainError) as info:
        error.recheck(scripted)
    assert info.value is error
    assert not service.asked_for(JOBS)


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
def test_an_answer_that_does_not_name_the_jobs_leaves_them_uncertain(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, answer: Any
) -> None:
    service.on(SUBMIT, Answer(answer))
    error = uncertain(scripted, scripted_task, request(3), group=None)
    assert error.phase == "unreadable answer"
    assert "1 submit requests were sent" in str(error.cause)


@pytest.mark.parametrize("said", [{}, {"batchSize": None}, {"batchSize": 3}])
def test_an_answer_need_not_repeat_the_size(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, said: dict[str, Any]
) -> None:
    service.on(SUBMIT, Answer([{"parentJobId": "a", "projectId": "p", "taskId": "t", **said}]))
    assert ids(send(scripted, scripted_task, request(3), group=None)) == ["a:0", "a:1", "a:2"]


# ---- what the group tells


@pytest.mark.parametrize("answer", [LOST, BROKEN, Answer([])])
def test_a_submission_that_landed_whole_is_found_in_its_group(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, answer: Answer
) -> None:
    service.on(SUBMIT, answer)
    service.on(JOBS, listed(jobs("old", 2)), listed(jobs("old", 2), jobs("new", 2)))
    made = send(scripted, scripted_task, request(2))
    assert made.json == {
        **request(2),
        "projectId": "p",
        "taskId": "t",
        "group": "g",
        "parentJobId": "new",
        "batchSize": 2,
        "htcJobDefinition": made.json["htcJobDefinition"],
    }
    assert made.json["htcJobDefinition"].items() >= request()["htcJobDefinition"].items()
    assert ids(made) == ["new:0", "new:1"]
    assert len(service.asked_for(SUBMIT)) == 1
    assert {tuple(asked.query["group"]) for asked in service.asked_for(JOBS)} == {("g",)}


def test_a_submission_that_did_not_land_is_uncertain_and_none_of_it_was_seen(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    service.on(SUBMIT, LOST)
    service.on(JOBS, listed(jobs("old", 2)))
    error = uncertain(scripted, scripted_task, request(2))
    assert (error.sent, error.seen, error.job_ids) == (2, 0, [])
    assert "2 jobs to group 'g' of task t of project p (server error)" in str(error)
    assert "0 of them were seen in the group" in str(error)
    assert len(service.asked_for(SUBMIT)) == 1


def test_what_is_there_in_part_is_uncertain_until_it_is_there_whole(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    service.on(SUBMIT, LOST)
    service.on(JOBS, listed(), listed(jobs("new", 2)))
    error = uncertain(scripted, scripted_task, request(3))
    assert (error.seen, error.job_ids) == (2, ["new:0", "new:1"])
    with pytest.raises(SubmissionUncertainError) as info:
        error.recheck(scripted)
    assert info.value is error
    service.on(JOBS, listed(jobs("new", 3)))
    assert ids(error.recheck(scripted)) == ["new:0", "new:1", "new:2"]
    assert error.seen == 3
    assert len(service.asked_for(SUBMIT)) == 1


def test_a_job_that_is_listed_twice_counts_once(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    first, second = jobs("new", 3)[:2]
    address = f"{service.url}{JOBS.split()[1]}?page=2"
    last = f"{service.url}{JOBS.split()[1]}?page=3"
    pages = {None: ([first], address), "2": ([second], last), "3": ([first], None)}

    def page(asked: Asked) -> Answer:
        items, following = pages[asked.query.get("page", [None])[0]]
        return Answer({"items": items} | ({"next": following} if following else {}))

    service.on(SUBMIT, LOST)
    service.on(JOBS, listed(), page)
    assert uncertain(scripted, scripted_task, request(3)).seen == 2


def test_it_is_looked_until_nothing_has_changed_for_settle_seconds(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = Ticks()
    monkeypatch.setattr(_delivery, "time", ticks)
    scripted.settle_seconds = 60.0
    whole = jobs("new", 4)
    looks = [whole[:0]] * 6 + [whole[:1]] * 6 + [whole[:3]] * 6 + [whole]
    service.on(SUBMIT, LOST)
    service.on(JOBS, listed(), *map(listed, looks))
    assert len(ids(send(scripted, scripted_task, request(4)))) == 4
    assert ticks.slept == [10.0] * 18

    ticks.slept.clear()
    service.on(JOBS, listed(), *map(listed, [whole[:1]] * 3 + [whole[:2]]))
    assert uncertain(scripted, scripted_task, request(4)).seen == 2
    assert ticks.slept == [10.0] * (3 + 6)


def test_a_group_that_can_not_be_asked_after_leaves_it_uncertain(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    service.on(SUBMIT, LOST)
    service.on(JOBS, listed(), Answer(status=400))
    error = uncertain(scripted, scripted_task, request(2))
    assert (error.seen, error.job_ids) == (None, [])
    assert "its group could not be asked: listJobs was answered with HTTP 400" in str(error)
    service.on(JOBS, listed(jobs("new", 2)))
    assert ids(error.recheck(scripted)) == ["new:0", "new:1"]


@pytest.mark.parametrize(
    "foreign",
    [
        jobs("new", 2, "false"),
        jobs("new", 3),
        jobs("new", 2, imageName="another"),
        jobs("new", 2, execTimeoutSeconds=61),
        jobs("new", 2, envs=[{"name": "CASE", "value": "2"}]),
        jobs("new", 2, envs=[]),
        [{**jobs("new", 1)[0], "jobUUID": "new:x"}],
    ],
)
def test_jobs_that_can_not_be_of_the_submission_are_not_taken_for_it(
    service: Service,
    scripted: HtcSession,
    scripted_task: HtcTask,
    foreign: list[dict[str, Any]],
) -> None:
    service.on(SUBMIT, LOST)
    service.on(JOBS, listed(), listed(foreign))
    error = uncertain(scripted, scripted_task, request(2, CASE="1"))
    assert (error.seen, error.job_ids) == (0, [])
    own = jobs("own", 2, imageName="image", envs=[{"name": "CASE", "value": "1"}])
    service.on(JOBS, listed(foreign, own))
    assert ids(error.recheck(scripted)) == ["own:0", "own:1"]


@pytest.mark.parametrize("shown", [{}, {"commands": None, "envs": None}])
def test_what_the_records_do_not_show_is_not_compared(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, shown: dict[str, Any]
) -> None:
    service.on(SUBMIT, LOST)
    service.on(JOBS, listed(), Answer({"items": [{"jobUUID": "new:0", **shown}]}))
    assert ids(send(scripted, scripted_task, request(1, CASE="1"))) == ["new:0"]


def test_more_new_jobs_than_were_sent_are_somebody_else_s_and_not_told_apart(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    service.on(SUBMIT, LOST)
    service.on(JOBS, listed(), listed(jobs("a", 2), jobs("b", 2)))
    error = uncertain(scripted, scripted_task, request(2))
    assert (error.seen, error.job_ids) == (None, [])
    assert "more new jobs like them than were submitted" in str(error)


def test_several_requests_are_told_apart_by_size_commands_and_variables(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    def case(value: str) -> dict[str, Any]:
        return {"envs": [{"name": "CASE", "value": value}]}

    there = [
        *(jobs("large", 3), jobs("small", 1), jobs("false", 2, "false")),
        *(jobs("second", 2, **case("2")), jobs("first", 2, **case("1"))),
    ]
    requests = [
        *(request(1), request(3), request(2, "false")),
        *(request(2, CASE="1"), request(2, CASE="2")),
    ]
    service.on(SUBMIT, LOST)
    service.on(JOBS, listed(), listed(*there))
    made = send(scripted, scripted_task, *requests)
    found = [batch.json["parentJobId"] for batch in made.batches]
    assert found == ["small", "large", "false", "first", "second"]


def test_one_of_several_requests_that_is_missing_leaves_all_uncertain(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    service.on(SUBMIT, LOST)
    service.on(JOBS, listed(), listed(jobs("b", 2, "false")))
    error = uncertain(scripted, scripted_task, request(1), request(2, "false"))
    assert (error.sent, error.seen, error.job_ids) == (3, 2, ["b:0", "b:1"])


@pytest.mark.parametrize("later", [htcjobs.create_job_batch_raw, htcjobs.submit])
def test_a_batch_of_a_later_submission_is_not_taken_for_an_earlier_one(
    service: Service,
    scripted: HtcSession,
    scripted_task: HtcTask,
    later: Callable[..., htcjobs.HtcJobBatch],
) -> None:
    service.on(JOBS, listed())
    service.on(SUBMIT, LOST, taken("later"), LOST)
    error = uncertain(scripted, scripted_task, request(2))
    later(scripted, scripted_task, [request(2)], group="g")
    service.on(JOBS, listed(jobs("later", 2)), listed(jobs("later", 2), jobs("found", 2)))
    found = later(scripted, scripted_task, [request(2)], group="g")
    assert ids(found) == ["found:0", "found:1"]
    with pytest.raises(SubmissionUncertainError):
        error.recheck(scripted)
    assert error.seen == 0
    service.on(JOBS, listed(jobs("later", 2), jobs("found", 2), jobs("own", 2)))
    for _ in range(2):
        assert ids(error.recheck(scripted)) == ["own:0", "own:1"]


def test_an_uncertain_submission_can_be_kept_in_a_file_and_holds_no_secret(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    service.on(SUBMIT, LOST)
    service.on(JOBS, listed())
    error = uncertain(scripted, scripted_task, request(2, "true", KEY="s3cret"))
    kept = pickle.dumps(error)
    assert b"s3cret" not in kept
    assert "s3cret" not in repr(error) + str(error) + repr(error.search)
    again = pickle.loads(kept)
    assert str(again) == str(error)
    assert (again.sent, again.seen, again.phase) == (2, 0, "server error")
    service.on(JOBS, listed(jobs("new", 2)))
    assert ids(again.recheck(scripted)) == ["new:0", "new:1"]


def test_submissions_to_one_group_take_turns(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    """Or the jobs of one would be new ones for the other."""
    order: list[str] = []

    def submitted(asked: Asked) -> Answer:
        order.append("begins")
        threading.Event().wait(0.05)
        order.append("ends")
        return taken(f"a{len(order)}")(asked)

    service.on(JOBS, listed())
    service.on(SUBMIT, submitted)
    threads = [
        threading.Thread(target=send, args=(scripted, scripted_task, request())) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order == ["begins", "ends"] * 3


def test_submissions_without_a_group_do_not_wait_for_each_other(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    together = threading.Barrier(2)

    def answer(asked: Asked) -> Answer:
        together.wait(HANG_SECONDS)
        return taken("a")(asked)

    service.on(SUBMIT, answer)

    def one(_: int) -> list[str]:
        return ids(send(scripted, scripted_task, request(), group=None))

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(one, range(2))) == [["a:0"]] * 2


# ---- several parts


def submit(
    rescale: HtcSession, task: HtcTask, requests: list[dict[str, Any]], group: str | None = "g"
) -> htcjobs.HtcJobBatch:
    return htcjobs.submit(rescale, task, requests, group=group)


def cases(count: int) -> list[dict[str, Any]]:
    return [request(1, "true", CASE=str(i)) for i in range(count)]


def left(error: SubmissionIncompleteError) -> list[str]:
    definitions = [one.to_json_dict()["htcJobDefinition"] for one in error.unsent]
    return [definition["envs"][0]["value"] for definition in definitions]


def by_case(asked: Asked) -> Answer:
    """Names batches after the requests."""
    values = [one["htcJobDefinition"]["envs"][0]["value"] for one in asked.json]
    return taken(*(f"j{value}" for value in values))(asked)


def test_many_requests_are_sent_a_hundred_a_call_and_stay_in_order(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    service.on(JOBS, listed())
    service.on(SUBMIT, by_case)
    made = submit(scripted, scripted_task, cases(250))
    assert ids(made) == [f"j{i}:0" for i in range(250)]
    assert sorted(len(asked.json) for asked in service.asked_for(SUBMIT)) == [50, 100, 100]
    assert len(service.asked_for(JOBS)) == 1


def test_several_calls_are_sent_at_once(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    together = threading.Barrier(3)

    def answer(asked: Asked) -> Answer:
        together.wait(HANG_SECONDS)
        return by_case(asked)

    service.on(SUBMIT, answer)
    submit(scripted, scripted_task, cases(250), group=None)


def test_an_image_is_looked_at_every_10_s_and_nothing_sent_while_it_is_not_ready(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = Ticks()
    monkeypatch.setattr(_delivery, "time", ticks)
    scripted.image_wait_seconds = 25.0
    service.on(IMAGE, Answer({"status": "PENDING"}))
    for submitting in (submit, lambda *args, **group: send(*args[:2], *args[2], **group)):
        ticks.slept.clear()
        with pytest.raises(HtcImagePendingError):
            submitting(scripted, scripted_task, cases(3), group=None)
        assert ticks.slept == [10, 10, pytest.approx(5)]
    assert not service.asked_for(SUBMIT)
    service.on(IMAGE, Answer({"status": "READY"}))
    service.on(SUBMIT, by_case)
    submit(scripted, scripted_task, cases(3), group=None)


@pytest.mark.usefixtures("one_at_a_time")
def test_nothing_is_sent_after_a_part_that_was_refused(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    service.on(SUBMIT, by_case, Answer(status=400), by_case)
    with pytest.raises(SubmissionIncompleteError) as info:
        submit(scripted, scripted_task, cases(5), group=None)
    error = info.value
    assert [batch.json["parentJobId"] for batch in error.batches] == ["j0", "j1"]
    assert left(error) == ["2", "3", "4"]
    assert error.uncertain == []
    assert isinstance(error.cause, HtcBadRequestError)
    assert error.status_code == 400
    assert len(service.asked_for(SUBMIT)) == 2
    positions = (error.batch_positions, error.uncertain_positions, error.unsent_positions)
    assert positions == ([0, 1], [], [2, 3, 4])
    assert pickle.loads(pickle.dumps(error)).batch_positions == [0, 1]
    counts = "2 batches were submitted, of 0 parts it is not known, 3 submit requests were not"
    assert counts in str(error)


@pytest.mark.usefixtures("one_at_a_time")
def test_if_nothing_was_taken_the_error_is_the_first_one_itself(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    service.on(SUBMIT, Answer(status=400))
    with pytest.raises(HtcBadRequestError):
        submit(scripted, scripted_task, cases(5), group=None)
    assert len(service.asked_for(SUBMIT)) == 1


@pytest.mark.usefixtures("one_at_a_time")
def test_a_part_whose_answer_was_lost_is_uncertain_and_what_follows_unsent(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    service.on(SUBMIT, by_case, LOST)
    with pytest.raises(SubmissionIncompleteError) as info:
        submit(scripted, scripted_task, cases(5), group=None)
    error = info.value
    assert [batch.json["parentJobId"] for batch in error.batches] == ["j0", "j1"]
    assert [one.sent for one in error.uncertain] == [2]
    assert error.cause is error.uncertain[0]
    assert left(error) == ["4"]


@pytest.mark.usefixtures("one_at_a_time")
def test_a_first_part_that_is_uncertain_is_told_with_what_is_unsent(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    service.on(SUBMIT, LOST)
    with pytest.raises(SubmissionIncompleteError) as info:
        submit(scripted, scripted_task, cases(3), group=None)
    assert info.value.batches == []
    assert [one.sent for one in info.value.uncertain] == [2]
    assert left(info.value) == ["2"]


@pytest.mark.usefixtures("one_at_a_time")
def test_after_a_part_that_was_lost_and_found_the_rest_is_sent(
    service: Service, scripted: HtcSession, scripted_task: HtcTask
) -> None:
    def there(*numbers: int) -> Answer:
        return listed(
            *(jobs(f"j{i}", 1, envs=[{"name": "CASE", "value": str(i)}]) for i in numbers)
        )

    service.on(JOBS, there(), there(0, 1), there(0, 1, 2, 3, 4))
    service.on(SUBMIT, LOST, by_case, LOST)
    made = submit(scripted, scripted_task, cases(5))
    assert ids(made) == [f"j{i}:0" for i in range(5)]
    assert [len(asked.json) for asked in service.asked_for(SUBMIT)] == [2, 2, 1]


@pytest.mark.parametrize("there", [0, 1])
def test_jobs_are_not_found_for_two_parts_that_are_alike(
    service: Service,
    scripted: HtcSession,
    scripted_task: HtcTask,
    monkeypatch: pytest.MonkeyPatch,
    there: int,
) -> None:
    monkeypatch.setattr(_delivery, "MAX_REQUESTS", 1)
    together = threading.Barrier(2)

    def lost(asked: Asked) -> Answer:
        together.wait(HANG_SECONDS)
        return LOST

    service.on(JOBS, listed(), *[listed(jobs("one", 2))] * there)
    service.on(SUBMIT, lost)
    with pytest.raises(SubmissionIncompleteError) as info:
        submit(scripted, scripted_task, [request(2), request(2)])
    told = [ids(batch) for batch in info.value.batches]
    service.on(JOBS, listed(jobs("one", 2)))
    told += found_again(info.value.uncertain, scripted)
    assert told == [["one:0", "one:1"]]
    service.on(JOBS, listed(jobs("one", 2), jobs("two", 2)))
    told += found_again(info.value.uncertain, scripted)
    assert sorted({tuple(one) for one in told}) == [("one:0", "one:1"), ("two:0", "two:1")]
    assert len(info.value.uncertain) == 2 - there


def found_again(lost: list[SubmissionUncertainError], rescale: HtcSession) -> list[list[str]]:
    found: list[list[str]] = []
    for error in lost:
        with suppress(SubmissionUncertainError):
            found.append(ids(error.recheck(rescale)))
    return found


def test_one_of_two_lost_parts_that_landed_is_told(
    service: Service,
    scripted: HtcSession,
    scripted_task: HtcTask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_delivery, "MAX_REQUESTS", 1)
    together = threading.Barrier(2)

    def lost(asked: Asked) -> Answer:
        together.wait(HANG_SECONDS)
        return LOST

    service.on(JOBS, listed(jobs("old", 1)), listed(jobs("old", 1), jobs("b", 2, "false")))
    service.on(SUBMIT, lost)
    with pytest.raises(SubmissionIncompleteError) as info:
        submit(scripted, scripted_task, [request(1), request(2, "false")])
    assert [batch.json["parentJobId"] for batch in info.value.batches] == ["b"]
    assert [(one.sent, one.seen) for one in info.value.uncertain] == [(1, 0)]
    assert info.value.unsent == []


# ---- interrupts


@pytest.fixture
def interrupt() -> Iterator[Callable[[], None]]:
    """Interrupts the main thread."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    main = threading.main_thread().ident
    assert main is not None
    yield lambda: signal.pthread_kill(main, signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_says_that_the_submission_may_have_been_taken(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, interrupt: Callable[[], None]
) -> None:
    over = threading.Event()

    def interrupted(asked: Asked) -> Answer:
        interrupt()
        over.wait(HANG_SECONDS)
        return LOST

    service.on(SUBMIT, interrupted, taken("a"))
    with pytest.raises(KeyboardInterrupt) as info:
        send(scripted, scripted_task, request(2), group=None)
    over.set()
    note = "rescalehtc: a submission of 2 jobs to task t of project p may have been taken"
    assert info.value.__notes__ == [note]
    assert ids(send(scripted, scripted_task, request(), group=None)) == ["a:0"]


def main_thread_is_in() -> set[str]:
    frame = sys._current_frames()[threading.main_thread().ident or 0]
    return {each.f_code.co_name for each, _ in traceback.walk_stack(frame)}


@pytest.mark.usefixtures("one_at_a_time")
@pytest.mark.parametrize("last", [LOST, Answer(status=400), None])
def test_an_interrupt_between_parts_says_what_was_submitted_and_the_rest_is_not_sent(
    service: Service,
    scripted: HtcSession,
    scripted_task: HtcTask,
    interrupt: Callable[[], None],
    until: Callable[[Callable[[], bool]], None],
    last: Answer | None,
) -> None:
    def second(asked: Asked) -> Answer:
        interrupt()
        until(lambda: "_wait_briefly" in main_thread_is_in())
        return last or by_case(asked)

    service.on(SUBMIT, by_case, second, by_case)
    with pytest.raises(KeyboardInterrupt) as info:
        submit(scripted, scripted_task, cases(5), group=None)
    told = "j0, j1" if last else "j0, j1, j2, j3"
    notes = [f"rescalehtc: these batches were submitted: {told}"]
    if last is LOST:
        notes.append("rescalehtc: more batches may have been taken")
    assert info.value.__notes__ == notes
    cause = info.value.__cause__
    assert isinstance(cause, SubmissionIncompleteError)
    assert cause.batch_positions == [int(name[1:]) for name in told.split(", ")]
    assert cause.uncertain_positions == ([[2, 3]] if last is LOST else [])
    assert len(service.asked_for(SUBMIT)) == 2


@pytest.mark.usefixtures("one_at_a_time")
def test_an_interrupt_does_not_wait_for_an_answer_that_does_not_come(
    service: Service, scripted: HtcSession, scripted_task: HtcTask, interrupt: Callable[[], None]
) -> None:
    over = threading.Event()

    def hanging(_: Asked) -> Answer:
        interrupt()
        over.wait(60)
        return LOST

    service.on(SUBMIT, by_case, hanging)
    with pytest.raises(KeyboardInterrupt) as info:
        submit(scripted, scripted_task, cases(5), group=None)
    assert not over.is_set()
    over.set()
    cause = info.value.__cause__
    assert isinstance(cause, SubmissionIncompleteError)
    assert cause.batch_positions == [0, 1]
    assert cause.uncertain_positions == [[2, 3]]
    assert cause.unsent_positions == [4]
