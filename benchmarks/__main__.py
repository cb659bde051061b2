"""Measure all rows, or one, and print them with their bars and verdicts: `make bench`."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
from importlib.metadata import version
from statistics import median
from typing import NamedTuple

from .measure import ROOT, Bench, Run, RunError, Taken
from .picture import draw
from .rows import GROWING, ROWS, Bar, Row

PAGE = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "_static" / "growth.svg"
MARKS = re.compile(r"(<!-- make bench WRITE=1 -->\n).*?(<!-- end -->)", re.DOTALL)


class Line(NamedTuple):
    """A line of the table."""

    row: str
    about: str
    label: str
    bar: str
    figure: str
    verdict: str


def main() -> int:
    """Measure, print the table, and return status 1 unless every bar was met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [row.name for row in ROWS]
    parser.add_argument("--row", choices=names, help="only this row")
    parser.add_argument("--rounds", type=int, default=7, help="number of rounds")
    parser.add_argument("--write", action="store_true", help="write the table and the picture")
    arguments = parser.parse_args()
    if arguments.write and arguments.row:
        parser.error("--write is for the whole table")
    rows = [row for row in ROWS if arguments.row in (None, row.name)]
    runs = [run for row in rows for bar in row.bars for run in _runs(bar)]
    if arguments.write:
        runs += [run for line in GROWING.values() for run in line]
    measured, failed = _measure(runs, arguments.rounds)
    lines = [_line(row, bar, measured, failed) for row in rows for bar in row.bars]
    title = Line("row", "work", "of", "bar", "figure", "verdict")
    table = _table([title, *lines])
    print(f"\n{table}\n")
    for run, reason in failed.items():
        print(f"not measured: {run}: {reason}")
    about = f"{_machine()}; {arguments.rounds} rounds."
    print(about)
    if arguments.write:
        page = PAGE.read_text(encoding="utf-8")
        written = MARKS.sub(lambda marks: f"{marks[1]}{about}\n\n{table}\n{marks[2]}", page)
        PAGE.write_text(written, encoding="utf-8")
        series = {
            name: [(run.size, measured[run][0].seconds) for run in runs if measured[run]]
            for name, runs in GROWING.items()
            if not any(run in failed for run in runs)
        }
        PICTURE.write_text(draw("Time by size", series), encoding="utf-8")
    return 0 if all(line.verdict == "met" for line in lines) else 1


def _measure(runs: list[Run], rounds: int) -> tuple[dict[Run, list[Taken]], dict[Run, str]]:
    """Measure each run once per round, so that a slow moment of the machine affects all of them."""
    measured: dict[Run, list[Taken]] = {run: [] for run in runs}
    failed: dict[Run, str] = {}
    with Bench() as bench:
        for number in range(1, rounds + 1):
            for run, results in measured.items():
                if run in failed or (run.once and number > 1):
                    continue
                _progress(f"round {number} of {rounds}: {run}")
                try:
                    results.append(bench.measure(run))
                except RunError as error:
                    failed[run] = str(error)
    _progress("")
    return measured, failed


def _runs(bar: Bar) -> list[Run]:
    return [run for run in (bar.run, bar.against, bar.beyond) if isinstance(run, Run)]


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def _line(row: Row, bar: Bar, measured: dict[Run, list[Taken]], failed: dict[Run, str]) -> Line:
    start = (row.name, row.about, bar.label, f"≤ {bar.limit:.2f}")
    if any(run in failed for run in _runs(bar)):
        return Line(*start, "none", "NOT MET")
    if _differ(bar, measured):
        return Line(*start, "another outcome", "NOT MET")

    def value(run: Run) -> float:
        results: list[float] = [getattr(result, bar.quantity) for result in measured[run]]
        # A disturbance makes work slower, never faster.
        return median(results) if bar.quantity == "peak_kib" else min(results)

    below = value(bar.beyond) if bar.beyond else 0.0
    against = value(bar.against) - below if isinstance(bar.against, Run) else bar.against
    figure = (value(bar.run) - below) / against
    return Line(*start, f"{figure:.3f}", "met" if figure <= bar.limit else "NOT MET")


def _differ(bar: Bar, measured: dict[Run, list[Taken]]) -> bool:
    """Whether the outcome differs from that of the other side, or is incomplete."""
    outcomes = {result.outcome for result in measured[bar.run]}
    if not isinstance(bar.against, Run):
        return outcomes != {str(bar.run.size)}
    if bar.run.size != bar.against.size:
        return False
    return len(outcomes | {result.outcome for result in measured[bar.against]}) > 1


def _table(lines: list[Line]) -> str:
    """A Markdown table with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([texts[0], rule, *texts[1:]])


def _machine() -> str:
    """A description of the machine and of the packages."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("pydantic", "httpx", "requests"))
    return (
        f"{os.cpu_count()} cores ({platform.machine()}, {platform.system()}), "
        f"Python {platform.python_version()}, {packages}"
    )


if __name__ == "__main__":
    sys.exit(main())
