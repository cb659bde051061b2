"""A policy decides by its arguments alone, within its limits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescalehtc import models
from rescalehtc._facts import MAX_MEMORY_MIB, MAX_TIMEOUT_SECONDS
from rescalehtc.exceptions import HtcValidationError
from rescalehtc.htcjobs import JobFailure, RetryPolicy

CODES = [*map(str, models.HTCJobErrorCodeName), "ErrorAddedLater", None]

policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 20),
    memory_factor=st.floats(1, 100),
    max_memory_mib=st.integers(4, MAX_MEMORY_MIB),
    timeout_factor=st.floats(1, 100),
    max_timeout_seconds=st.integers(60, MAX_TIMEOUT_SECONDS),
    exit_codes=st.sets(st.integers(0, 255), max_size=4),
    backoff_seconds=st.floats(0, 1e6),
    stop_if_failed=st.none() | st.floats(0, 1),
)
failures = st.builds(
    JobFailure,
    failure_code=st.sampled_from(CODES) | st.text(max_size=5),
    exit_code=st.none() | st.integers(0, 255),
    memory_mib=st.none() | st.integers(4, MAX_MEMORY_MIB),
    timeout_seconds=st.none() | st.integers(60, MAX_TIMEOUT_SECONDS),
)


@given(policies, failures, st.integers(1, 1000))
def test_a_decision_keeps_every_limit(
    policy: RetryPolicy, failure: JobFailure, attempts: int
) -> None:
    decision = policy.decide(failure, attempts)
    assert decision == policy.decide(failure, attempts), "it depends on its arguments alone"
    assert decision.reason
    if not decision.again:
        assert decision.memory_mib is decision.timeout_seconds is None
        return
    assert attempts < policy.max_attempts
    assert 0 <= decision.wait_seconds <= 3600
    if decision.memory_mib is not None:
        assert failure.memory_mib is not None
        assert failure.memory_mib < decision.memory_mib <= policy.max_memory_mib
    if decision.timeout_seconds is not None:
        assert failure.timeout_seconds is not None
        assert failure.timeout_seconds < decision.timeout_seconds <= policy.max_timeout_seconds


def test_a_huge_factor_gives_the_maximum() -> None:
    policy = RetryPolicy(memory_factor=1e308, max_memory_mib=1000)
    failure = JobFailure("ErrorNotEnoughMemory", memory_mib=100)
    assert policy.decide(failure, 1).memory_mib == 1000


@given(policies, failures, st.integers(1, 30))
def test_waits_never_become_shorter(
    policy: RetryPolicy, failure: JobFailure, attempts: int
) -> None:
    first, second = policy.decide(failure, attempts), policy.decide(failure, attempts + 1)
    assert not second.again or first.wait_seconds <= second.wait_seconds


@given(st.floats(0, 1), st.integers(1, 1000), st.data())
def test_a_run_is_stopped_when_more_than_the_share_has_failed(
    share: float, total: int, data: st.DataObject
) -> None:
    ended = data.draw(st.integers(0, total))
    failed = data.draw(st.integers(0, ended))
    is_exceeded = RetryPolicy(stop_if_failed=share).is_exceeded(failed, ended, total)
    is_judged = ended >= 10 or ended == total
    assert is_exceeded is (is_judged and failed > share * ended)
    assert not RetryPolicy().is_exceeded(failed, ended, total)


@pytest.mark.parametrize(
    ("code", "again"),
    [
        ("ErrorInstanceTermination", True),
        ("ErrorInfrastructureFault", True),
        ("ErrorProviderDown", True),
        ("ErrorProviderRegionDown", True),
        ("ErrorNotEnoughMemory", True),
        ("ErrorTimeout", True),
        ("ErrorNonZeroContainerExitCode", False),
        ("ErrorStartingContainer", False),
        ("ErrorCostExceeded", False),
        ("ErrorUnknownFailure", False),
        ("ErrorAddedLater", False),
        (None, False),
    ],
)
def test_what_each_failure_code_leads_to(code: str | None, again: bool) -> None:
    failure = JobFailure(code, 1, memory_mib=1000, timeout_seconds=600)
    decision = RetryPolicy().decide(failure, 1)
    assert decision.again is again
    assert decision.memory_mib == (2000 if code == "ErrorNotEnoughMemory" else None)
    assert decision.timeout_seconds == (1200 if code == "ErrorTimeout" else None)


def test_exit_codes_in_the_list_are_run_again() -> None:
    policy = RetryPolicy(exit_codes=[75], max_attempts=2, backoff_seconds=7)
    failed = JobFailure("ErrorNonZeroContainerExitCode", 75)
    assert policy.decide(failed, 1).again
    assert policy.decide(failed, 1).wait_seconds == 7
    last = policy.decide(failed, 2)
    assert (last.again, last.reason) == (
        False,
        "exit code 75 is one of exit_codes, but this was attempt 2 of 2",
    )


@pytest.mark.parametrize(
    ("memory", "policy", "reason"),
    [
        (None, RetryPolicy(), "its memory is not known, so it can't be raised"),
        (4000, RetryPolicy(memory_factor=1), "can't be raised"),
        (4000, RetryPolicy(max_memory_mib=4000), "at most 4000 MiB"),
        (MAX_MEMORY_MIB, RetryPolicy(), "at most 235520 MiB"),
    ],
)
def test_memory_that_can_t_grow_ends_it(
    memory: int | None, policy: RetryPolicy, reason: str
) -> None:
    decision = policy.decide(JobFailure("ErrorNotEnoughMemory", memory_mib=memory), 1)
    assert not decision.again
    assert reason in decision.reason


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"max_attempts": True},
        {"memory_factor": 0.5},
        {"memory_factor": float("nan")},
        {"max_memory_mib": 235521},
        {"timeout_factor": "2"},
        {"max_timeout_seconds": 59},
        {"exit_codes": "12"},
        {"exit_codes": [1.0]},
        {"backoff_seconds": -1},
        {"backoff_seconds": float("inf")},
        {"stop_if_failed": 20},
        {"stop_if_failed": float("nan")},
    ],
)
def test_values_out_of_range_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(HtcValidationError) as caught:
        RetryPolicy(**wrong)
    assert [problem.where for problem in caught.value.problems] == [*wrong]
