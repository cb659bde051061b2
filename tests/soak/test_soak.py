"""Short runs of the soak test. `make soak` runs it longer."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from rescalehtc.emulator import Emulator

from .__main__ import Figures, soak
from .async_round import AsyncRound
from .interrupts import interrupt_submissions
from .runs import interrupt, kill


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(slots=4) as emulator:
        yield emulator


def test_nothing_is_lost_duplicated_unreported_or_mixed_up(tmp_path: Path) -> None:
    figures = Figures()
    findings = soak(rounds=1, steps=50, seed=1, folder=tmp_path / "data", figures=figures)
    assert findings == []
    assert figures.by_kind["all"]["faulted"]


def test_with_asynchronous_sessions(tmp_path: Path) -> None:
    """Tasks are cancelled instead of interrupted."""
    figures = Figures()
    with start_blocking_portal() as AsyncRound.portal:
        findings = soak(1, 30, 3, tmp_path / "data", figures, AsyncRound)
    assert findings == []
    assert figures.by_kind["all"]["faulted"]


def test_an_interrupt_at_any_moment_loses_and_doubles_nothing() -> None:
    assert interrupt_submissions(count=40, seed=1)["jobs"]


def test_a_signal_at_any_moment_of_a_run_leaves_no_job_that_is_not_named(
    emulator: Emulator,
) -> None:
    assert interrupt(emulator, count=3, seed=1)["interrupted"] == 3


def test_a_killed_run_goes_on_and_each_job_succeeds_once(
    emulator: Emulator, tmp_path: Path
) -> None:
    assert kill(emulator, count=1, seed=1, folder=tmp_path)["killed"] >= 1
