"""Short runs of the soak; `make soak` runs it long."""

from pathlib import Path

import pytest

from .__main__ import soak
from .interrupts import interrupt_submissions


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_doubled_or_untold(tmp_path: Path, seed: int) -> None:
    figures = soak(runs=2, steps=25, chosen=seed, folder=tmp_path / "data")
    assert figures["faulted"]


def test_an_interrupt_at_any_moment_loses_and_doubles_nothing() -> None:
    assert interrupt_submissions(count=40, seed=1)["jobs"]
