"""Which requests are retried, and when: the decisions, and the session's loop."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rescalehtc import HtcSession, api
from rescalehtc._client import retry
from rescalehtc._client.retry import (
    Retries,
    RetrySettings,
    is_outcome_unknown,
    may_retry,
    parse_retry_after,
)
from rescalehtc.exceptions import (
    HtcConnectionError,
    HtcCredentialsError,
    HtcException,
    HtcRateLimitError,
    HtcResponseError,
    HtcServerError,
    HtcStatusError,
    HtcTimeoutError,
)

from .clock import TestIo, inject_clock
from .service import TOKEN, Answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .service import Service

NOW = 1_700_000_000.0
PROJECTS = "GET /htc/projects"
SUBMIT = "POST /htc/projects/p/tasks/t/jobs/batch"
CANCEL = "POST /htc/projects/p/tasks/t/jobs/cancel"
NO_PROJECTS = Answer({"items": []})

seconds = st.floats(0, 1e6)
chances = st.floats(0, 1)


# ---- waits


@given(seconds, st.integers(0, 10_000), chances)
@example(1.0, 0, 1.0)
@example(1.0, 4, 1.0)
@example(1.0, 5, 1.0)
def test_the_wait_is_at_least_half_of_a_backoff_that_doubles_up_to_30_s(
    backoff: float, retries: int, chance: float
) -> None:
    wait = RetrySettings(5, backoff, 900.0).wait(retries, None, chance)
    longest = min(30.0, backoff * 2.0 ** min(retries, 60))
    assert wait == pytest.approx(longest * (1 + chance) / 2)
    assert longest / 2 <= wait <= 30


@given(seconds, st.integers(0, 100), seconds)
@example(1.0, 0, 0.0)
@example(0.0, 0, 59.9)
@example(0.0, 0, 60.1)
def test_the_wait_is_what_the_service_requests_but_at_most_60_s(
    backoff: float, retries: int, requested: float
) -> None:
    wait = RetrySettings(5, backoff, 900.0).wait(retries, requested, 0.5)
    assert wait == min(requested, 60.0)


@given(st.integers(0, 999_999_999), st.sampled_from(["{}", " {} ", "\t{}"]))
def test_a_number_of_seconds_is_read(seconds: int, form: str) -> None:
    assert parse_retry_after(form.format(seconds), NOW) == seconds


@given(st.integers(-100_000, 100_000), st.integers(-12, 14))
def test_a_date_is_read_in_any_zone_and_one_that_has_passed_is_no_wait(
    ahead: int, hours: int
) -> None:
    date = datetime.fromtimestamp(NOW + ahead, timezone(timedelta(hours=hours)))
    assert parse_retry_after(format_datetime(date), NOW) == max(0, ahead)
    in_utc = date.astimezone(UTC)
    assert parse_retry_after(format_datetime(in_utc, usegmt=True), NOW) == max(0, ahead)
    # In RFC 5322, -0000 is an unknown time zone. HTTP dates are in UTC.
    assert parse_retry_after(format_datetime(in_utc.replace(tzinfo=None)), NOW) == max(0, ahead)


def test_a_date_without_a_zone_is_in_utc_wherever_the_clock_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "XXX-5")
    time.tzset()
    try:
        assert parse_retry_after("Tue, 14 Nov 2023 22:13:27 -0000", NOW) == 7
        assert parse_retry_after("Tue, 14 Nov 2023 22:13:27", NOW) == 7
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ \S*"))
@example("Mon, 01 Jan 99999999999 00:00:00 GMT")
@example("Mon, 01 Jan 0000 00:00:00 GMT")
@example("Mon, 01 Jan 0001 00:00:00 +2359")
@example("9" * 5000)
@example("٣")
@example("²")
@example("-1")
@example("1.5")
@example("nan")
@example("")
@example(",")
def test_whatever_a_retry_after_says_it_is_a_wait_or_nothing(text: str) -> None:
    wait = parse_retry_after(text, NOW)
    assert wait is None or 0 <= wait < math.inf
    if text in ("٣", "²", "-1", "1.5", "nan", "", ","):
        assert wait is None


def test_no_header_requests_nothing() -> None:
    assert parse_retry_after(None, NOW) is None


# ---- number of retries


def waits(policy: RetrySettings, answers: list[int]) -> list[float | None]:
    """The waits after failures, each with the number of answers that the session had by then."""
    retries = Retries(policy, 0)
    return [retries.next_wait(answered, None, 1.0) for answered in answers]


def test_failures_are_counted_while_the_service_answers_nothing() -> None:
    assert waits(RetrySettings(3, 1.0, 900.0), [0] * 5) == [1, 2, 4, None, None]


def test_an_answer_to_another_request_starts_the_count_again() -> None:
    assert waits(RetrySettings(3, 1.0, 900.0), [0, 0, 1, 1, 1, 1]) == [1, 2, 1, 2, 4, None]


@pytest.mark.parametrize("max_retries", [0, 1, 5])
def test_a_request_is_retried_four_times_max_retries_at_most(max_retries: int) -> None:
    found = waits(RetrySettings(max_retries, 1.0, 900.0), list(range(100)))
    assert found == [1.0] * (4 * max_retries) + [None] * (100 - 4 * max_retries)


# ---- what


class Interrupted(HtcException):
    """An unknown exception."""


NOT_SENT = HtcConnectionError("x", request_sent=False)
ERRORS: list[tuple[HtcException, bool, bool, bool]] = [
    # error, may a GET be retried, may a submission be retried, is the outcome unknown
    (NOT_SENT, True, True, False),
    (HtcTimeoutError("x", request_sent=False), True, True, False),
    (HtcConnectionError("x"), True, False, True),
    (HtcTimeoutError("x"), True, False, True),
    (HtcRateLimitError("o", 429), True, True, False),
    (HtcStatusError("o", 408), True, False, True),
    *((HtcServerError("o", status), True, False, True) for status in (500, 502, 503, 504)),
    *((HtcServerError("o", status), False, False, True) for status in (501, 505, 599)),
    *(
        (HtcStatusError("o", status), False, False, False)
        for status in (400, 401, 403, 404, 407, 409, 410, 422, 428, 430, 499)
    ),
    (HtcResponseError("x", is_garbled=True), True, False, True),
    (HtcResponseError("x"), False, False, True),
    (HtcCredentialsError("x"), False, False, False),
    (Interrupted("x"), False, False, False),
]


@pytest.mark.parametrize(
    ("error", "repeats", "submits_again", "unknown"),
    ERRORS,
    ids=[f"{type(error).__name__}-{error.status_code}-{vars(error)}" for error, *_ in ERRORS],
)
def test_what_is_retried_and_what_stays_unknown(
    error: HtcException, repeats: bool, submits_again: bool, unknown: bool
) -> None:
    for operation in (api.LIST_JOBS, api.CANCEL_JOBS):
        assert may_retry(operation, error) is repeats
        assert not is_outcome_unknown(operation, error)
    assert may_retry(api.SUBMIT_JOBS, error) is submits_again
    assert is_outcome_unknown(api.SUBMIT_JOBS, error) is unknown


def test_what_changes_something_more_each_time_is_known() -> None:
    """GET, PUT and DELETE are idempotent, and some other operations."""
    operations = {v.id: v for v in vars(api).values() if hasattr(v, "is_idempotent")}
    for operation in operations.values():
        if operation.method in ("GET", "PUT", "DELETE"):
            assert operation.is_idempotent, operation.id
    once = {name for name, operation in operations.items() if not operation.is_idempotent}
    assert {"submitJobs", "createTask", "createProject"} <= once
    assert once.isdisjoint({"cancelJobs", "createRepository"})


# ---- the session's loop


@pytest.fixture
def waiting(service: Service) -> Iterator[HtcSession]:
    """A session with maximum waits, on a clock that skips them."""
    with HtcSession(api_key="k", base_url=service.url, max_retries=7) as rescale:
        inject_clock(rescale).chance = 1.0
        yield rescale


@pytest.fixture
def clock(waiting: HtcSession) -> TestIo:
    """The clock of that session."""
    assert isinstance(waiting.client.io, TestIo)
    return waiting.client.io


def projects(rescale: HtcSession) -> Any:
    return rescale.send(api.LIST_PROJECTS.call())


def submit(rescale: HtcSession) -> Any:
    return rescale.send(api.SUBMIT_JOBS.call({"projectId": "p", "taskId": "t"}, body=[{}]))


def cancel(rescale: HtcSession) -> Any:
    return rescale.send(api.CANCEL_JOBS.call({"projectId": "p", "taskId": "t"}))


def test_a_call_that_fails_is_retried_max_retries_times_after_growing_waits(
    service: Service, waiting: HtcSession, clock: TestIo
) -> None:
    service.on(PROJECTS, Answer(status=503))
    with pytest.raises(HtcServerError) as info:
        projects(waiting)
    assert clock.slept == [1, 2, 4, 8, 16, 30, 30]
    assert len(service.requests_to(PROJECTS)) == 8
    assert not info.value.outcome_unknown


@pytest.mark.parametrize("max_retries", [0, 1, 3])
def test_max_retries_is_how_often_a_call_is_retried(service: Service, max_retries: int) -> None:
    service.on(PROJECTS, Answer(status=500))
    service.on("GET /auth/token", Answer(TOKEN))
    with (
        HtcSession(
            api_key="k", base_url=service.url, max_retries=max_retries, backoff_seconds=0
        ) as rescale,
        pytest.raises(HtcServerError),
    ):
        projects(rescale)
    assert len(service.requests_to(PROJECTS)) == 1 + max_retries


def test_a_call_that_succeeds_in_the_end_returns(
    service: Service, waiting: HtcSession, clock: TestIo
) -> None:
    service.on(PROJECTS, Answer(b"{", status=200), Answer(status=408), NO_PROJECTS)
    assert projects(waiting) == []
    assert clock.slept == [1, 2]


@pytest.mark.parametrize(("retry_after", "waits"), [("7", [7]), ("0", [0]), ("3600", [60])])
def test_retry_after_is_respected_also_by_submissions_that_were_rejected(
    service: Service, waiting: HtcSession, clock: TestIo, retry_after: str, waits: list[float]
) -> None:
    service.on(SUBMIT, Answer(status=429, headers={"Retry-After": retry_after}), Answer([]))
    assert submit(waiting) == []
    assert clock.slept == waits


def test_a_date_in_retry_after_is_held_against_the_clock_on_the_wall(
    service: Service, waiting: HtcSession, clock: TestIo
) -> None:
    clock.time_ahead = 5000.0
    date = datetime.fromtimestamp(clock.time() + 30, UTC)
    headers = {"Retry-After": format_datetime(date, usegmt=True)}
    service.on(PROJECTS, Answer(status=503, headers=headers), NO_PROJECTS)
    projects(waiting)
    assert clock.slept == [pytest.approx(30, abs=2)]


def test_what_can_not_be_repeated_is_sent_once(
    service: Service, waiting: HtcSession, clock: TestIo
) -> None:
    for status, unknown in ((503, True), (400, False)):
        service.on(SUBMIT, Answer(status=status))
        with pytest.raises(HtcStatusError) as info:
            submit(waiting)
        assert info.value.outcome_unknown is unknown
    assert len(service.requests_to(SUBMIT)) == 2
    assert clock.slept == []


def test_a_cancellation_can_be_repeated(service: Service, waiting: HtcSession) -> None:
    service.on(CANCEL, Answer(status=503), Answer())
    cancel(waiting)
    assert len(service.requests_to(CANCEL)) == 2


def test_nothing_is_retried_that_would_come_after_the_deadline(service: Service) -> None:
    service.on(PROJECTS, Answer(status=503))
    with HtcSession(
        api_key="k", base_url=service.url, max_retries=100, deadline_seconds=14
    ) as rescale:
        clock = inject_clock(rescale)
        clock.chance = 1.0
        with pytest.raises(HtcServerError):
            projects(rescale)
    assert clock.slept == [1, 2, 4]


def test_the_deadline_restarts_with_each_call(
    service: Service, waiting: HtcSession, clock: TestIo
) -> None:
    service.on(PROJECTS, NO_PROJECTS)
    for _ in range(3):
        clock.ahead += 1000
        assert projects(waiting) == []


def test_a_service_that_only_asks_to_wait_is_asked_max_retries_times_more(
    service: Service, waiting: HtcSession, clock: TestIo
) -> None:
    service.on(PROJECTS, Answer(status=429, headers={"Retry-After": "1"}))
    with pytest.raises(HtcRateLimitError):
        projects(waiting)
    assert clock.slept == [1] * 7


def test_a_rejected_token_does_not_count_as_a_retry(service: Service) -> None:
    renewed = Answer({**TOKEN, "tokenValue": "token-2"})
    service.on("GET /auth/token", Answer(TOKEN), renewed)
    service.on(SUBMIT, Answer(status=401), Answer([]))
    with HtcSession(api_key="k", base_url=service.url, max_retries=0) as rescale:
        clock = inject_clock(rescale)
        assert submit(rescale) == []
    assert clock.slept == []


def test_a_key_that_is_rejected_is_not_retried(service: Service) -> None:
    service.on("GET /auth/token", Answer(status=401))
    with (
        HtcSession(api_key="k", base_url=service.url) as rescale,
        pytest.raises(HtcCredentialsError),
    ):
        projects(rescale)
    assert len(service.requests_to("GET /auth/token")) == 1


def test_the_numbers_are_the_documented_ones() -> None:
    assert frozenset({408, 429, 500, 502, 503, 504}) == retry.TRANSIENT_STATUSES
