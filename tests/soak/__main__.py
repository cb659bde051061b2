"""Run the long soak test: `python -m tests.soak --runs 70 --seed 1`."""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from anyio.from_thread import start_blocking_portal

from rescalehtc._jobs import submission

from ..leftovers import leftovers_closed
from .async_round import AsyncRound
from .interrupts import interrupt_submissions
from .round import Round
from .server import Server

if TYPE_CHECKING:
    from .ledger import Finding, Submission

STEPS = 400
ROUNDS_A_SERVER = 5
INTERRUPTS_A_ROUND = 40
CALLS_A_ROUND = 60
REQUESTS_A_CALL = 4  # the service accepts 100; a lower limit gives more calls
COLUMNS = ("submissions", "faulted", "interrupted", "twice", "uncertain")
BROKEN = ("lost", "duplicated", "unreported", "mixed up")


class Figures:
    """Counts, in total and by the kind of submission.

    Attributes:
        counts: All other counts.
        by_kind: Counts of submissions, by kind.
    """

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self.by_kind: dict[str, Counter[str]] = {}

    def add(self, played: Round, findings: list[Finding]) -> None:
        """Add the counts of a round."""
        self.counts += played.figures
        for item in played.submissions:
            self._add_one(item, Counter(f.kind for f in findings if f.submission is item))

    def _add_one(self, item: Submission, broken: Counter[str]) -> None:
        counts = Counter(
            {
                "submissions": 1,
                "faulted": item.is_faulted,
                "interrupted": item.interrupts > 0,
                "twice": item.interrupts > 1,
                "uncertain": bool(item.uncertain),
                **broken,
            }
        )
        for kind in (item.kind, f"different {item.differs_in}", "all"):
            self.by_kind.setdefault(kind, Counter()).update(counts)

    def __str__(self) -> str:
        columns = [*COLUMNS, *BROKEN]
        lines = [f"{'':30}" + "".join(f"{column:>12}" for column in columns)]
        for kind, counts in sorted(self.by_kind.items()):
            lines.append(f"{kind:30}" + "".join(f"{counts[column]:>12,}" for column in columns))
        return "\n".join([*lines, "", *(f"{n:8,} {name}" for name, n in self.counts.items())])


def _ignore(_: object) -> None:
    pass


def soak(
    rounds: int, steps: int, seed: int, folder: Path, figures: Figures, kind: type[Round] = Round
) -> list[Finding]:
    """Run some rounds against one server. Return the broken guarantees."""
    chance = random.Random(seed)
    labels = itertools.count(1)
    findings: list[Finding] = []
    with (
        mock.patch.object(submission, "MAX_REQUESTS", REQUESTS_A_CALL),
        # Exceptions that a handler raises while an object is finalized, or while a warning about an
        # open socket is issued, can't be raised.
        mock.patch.object(sys, "unraisablehook", _ignore),
        warnings.catch_warnings(action="ignore"),
        leftovers_closed(),
        Server(folder) as server,
    ):
        for _ in range(rounds):
            played = kind(server, chance, labels)
            played.play(steps)
            found = played.finish()
            findings += found
            figures.add(played, found)
    return findings


def keyboard_interrupts(count: int, seed: int) -> dict[str, int]:
    """Interrupt calls of another process. After each call, its session must still work."""
    command = [sys.executable, "-m", "tests.faults.sigint", f"--count={count}", f"--seed={seed}"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(ended.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--runs", type=int, default=70, help="the number of rounds")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    logging.disable()  # the warnings are expected
    figures, on_loop = Figures(), Figures()
    findings: list[Finding] = []
    began = time.monotonic()
    for first in range(0, arguments.runs, ROUNDS_A_SERVER):
        seed, rounds = arguments.seed + first, min(ROUNDS_A_SERVER, arguments.runs - first)
        print(f"make soak SEED={seed} RUNS={rounds}", end="", flush=True)
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            found = soak(rounds, STEPS, seed, Path(folder) / "data", figures)
        interrupted = interrupt_submissions(rounds * INTERRUPTS_A_ROUND, seed)
        figures.counts.update({f"scripted service: {name}": n for name, n in interrupted.items()})
        sigint = keyboard_interrupts(rounds * CALLS_A_ROUND, seed)
        figures.counts.update({f"Ctrl-C at any moment: {name}": n for name, n in sigint.items()})
        faulted = figures.by_kind["all"]["faulted"]
        print(f": {faulted:,} faulted, {time.monotonic() - began:.0f} s", flush=True)
        with (
            tempfile.TemporaryDirectory(prefix="soak-") as folder,
            start_blocking_portal() as portal,
        ):
            AsyncRound.portal = portal
            found += soak(1, STEPS, seed, Path(folder) / "data", on_loop, AsyncRound)
        for finding in found:
            print(f"{finding.kind}: {finding.text} in {finding.submission}", flush=True)
        findings += found
    print(f"\nmake soak SEED={arguments.seed} RUNS={arguments.runs}\n{figures}")
    print(f"\nwith asynchronous sessions\n{on_loop}")
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
