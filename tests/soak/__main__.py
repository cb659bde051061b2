"""Run the soak long: `python -m tests.soak --runs 500 --seed 1`."""

from __future__ import annotations

import argparse
import logging
import random
import tempfile
import time
from pathlib import Path
from unittest import mock

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from rescalehtc._jobs import submission

from .machine import Figures, machine
from .server import Server

STEPS = 50
RUNS_A_SERVER = 20
REQUESTS_A_CALL = 4  # the service takes 100; fewer make many calls of small submissions


def soak(runs: int, steps: int, chosen: int, folder: Path) -> Figures:
    """Run the state machine so often, on one server, and return what was counted."""
    figures = Figures()
    with (
        mock.patch.object(submission, "MAX_REQUESTS", REQUESTS_A_CALL),
        Server(folder) as server,
    ):
        driven = seed(chosen)(machine(server, figures))
        bounded = settings(
            max_examples=runs,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]
            print_blob=False,
        )
        run_state_machine_as_test(driven, settings=bounded)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    logging.disable()  # what it warns of is what was asked for
    figures = Figures()
    began = time.monotonic()
    for first in range(0, arguments.runs, RUNS_A_SERVER):
        chosen, runs = arguments.seed + first, min(RUNS_A_SERVER, arguments.runs - first)
        print(f"make soak SEED={chosen} RUNS={runs}", end="", flush=True)
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            figures += soak(runs, STEPS, chosen, Path(folder) / "data")
        print(f": {figures['faulted']} faulted, {time.monotonic() - began:.0f} s", flush=True)
    print(f"\nmake soak SEED={arguments.seed} RUNS={arguments.runs}")
    for name, count in figures.items():
        print(f"{count:8} {name}")


if __name__ == "__main__":
    main()
