"""Short runs of the soak; `make soak` runs it long."""

from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from .__main__ import Figures, soak
from .async_round import AsyncRound
from .interrupts import interrupt_submissions


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_doubled_untold_or_mixed_up(tmp_path: Path, seed: int) -> None:
    figures = Figures()
    findings = soak(rounds=1, steps=50, seed=seed, folder=tmp_path / "data", figures=figures)
    assert findings == []
    assert figures.by_kind["all"]["faulted"]


def test_with_asynchronous_sessions(tmp_path: Path) -> None:
    """Their tasks are cancelled where threads are interrupted."""
    figures = Figures()
    with start_blocking_portal() as AsyncRound.portal:
        findings = soak(1, 50, 3, tmp_path / "data", figures, AsyncRound)
    assert findings == []
    assert figures.by_kind["all"]["faulted"]


def test_an_interrupt_at_any_moment_loses_and_doubles_nothing() -> None:
    assert interrupt_submissions(count=40, seed=1)["jobs"]
