"""Short runs of the soak; `make soak` runs it long."""

from pathlib import Path

import pytest

from .__main__ import Figures, soak
from .interrupts import interrupt_submissions


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_doubled_untold_or_mixed_up(tmp_path: Path, seed: int) -> None:
    figures = Figures()
    findings = soak(rounds=1, steps=50, seed=seed, folder=tmp_path / "data", figures=figures)
    assert findings == []
    assert figures.by_kind["all"]["faulted"]


def test_an_interrupt_at_any_moment_loses_and_doubles_nothing() -> None:
    assert interrupt_submissions(count=40, seed=1)["jobs"]
