import signal
from itertools import pairwise

import pytest

from rescalehtc.emulator import lifecycle
from rescalehtc.emulator.lifecycle import COUNTED, STARTED, STEPS, WAITING, Container
from rescalehtc.models import HTCJobErrorCodeName as FailureCode
from rescalehtc.models import RescaleJobStatus as Status


def test_the_documented_path_is_allowed_step_by_step():
    path = [WAITING, *STARTED, Status.SUCCEEDED]
    for before, after in pairwise(path):
        lifecycle.check_step(before, after)


@pytest.mark.parametrize("before", COUNTED)
def test_no_step_leads_back_to_waiting_or_skips_to_success(before):
    assert WAITING not in STEPS[before]
    if before is not Status.RUNNING:
        with pytest.raises(ValueError, match=f"from {before} to SUCCEEDED"):
            lifecycle.check_step(before, Status.SUCCEEDED)


@pytest.mark.parametrize("end", [Status.SUCCEEDED, Status.FAILED])
def test_an_ended_job_goes_nowhere(end):
    assert not STEPS[end]


@pytest.mark.parametrize("status", [s for s in COUNTED if STEPS[s]])
def test_every_job_that_has_not_ended_can_fail(status):
    lifecycle.check_step(status, Status.FAILED)


def test_exit_code_zero_is_success():
    ending = lifecycle.exited(0)
    assert (ending.status, ending.failure_code, ending.container) == (
        Status.SUCCEEDED,
        None,
        Container(0, None),
    )
    assert not ending.may_retry


def test_another_exit_code_is_a_failure_that_may_be_retried():
    ending = lifecycle.exited(3)
    assert (ending.status, ending.failure_code) == (
        Status.FAILED,
        FailureCode.ERROR_NON_ZERO_CONTAINER_EXIT_CODE,
    )
    assert ending.container == Container(3, None)
    assert ending.reason == "the command ended with exit code 3"
    assert ending.may_retry


@pytest.mark.parametrize(
    ("number", "name"),
    [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGKILL, "SIGKILL"), (signal.SIGRTMIN + 1, "signal 3")],
)
def test_a_signal_is_128_above_its_number_and_named(number, name):
    ending = lifecycle.exited(-number)
    assert ending.container is not None
    assert ending.container.exit_code == 128 + number
    assert name in (ending.container.reason or "")
    assert name in (ending.reason or "")


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (lifecycle.timed_out(60, -15), FailureCode.ERROR_TIMEOUT),
        (lifecycle.cancelled(-15), None),
        (lifecycle.cancelled(), None),
        (lifecycle.interrupted("why"), FailureCode.ERROR_INFRASTRUCTURE_FAULT),
    ],
)
def test_what_was_made_to_end_fails_with_its_own_code_and_is_not_retried(ending, code):
    assert (ending.status, ending.failure_code, ending.may_retry) == (Status.FAILED, code, False)
    assert ending.reason


def test_only_a_cancelled_job_is_marked_as_cancelled():
    assert lifecycle.cancelled().cancelled
    assert not lifecycle.timed_out(60, -15).cancelled
    assert not lifecycle.exited(1).cancelled
