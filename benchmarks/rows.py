"""The rows of the table, with their bars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .measure import Run

Quantity = Literal["seconds", "process_seconds", "peak_kib"]

FLAT = 1.10
GROWTH = 11.0  # for ten times the size


@dataclass(frozen=True)
class Bar:
    """A ratio that must not be exceeded.

    Attributes:
        label: The name of the quantity in the table.
        limit: The maximum ratio.
        run: The measured work.
        against: The divisor: another run, or a number of seconds.
        quantity: The compared attribute of the results.
        beyond: A run that is subtracted from both.
    """

    label: str
    limit: float
    run: Run
    against: Run | float
    quantity: Quantity = "seconds"
    beyond: Run | None = None


@dataclass(frozen=True)
class Row:
    """A row: its name for `make bench ROW=name`, a description, and its bars."""

    name: str
    about: str
    bars: tuple[Bar, ...]


def _beside(
    run: Run,
    against: Run,
    wall: float,
    peak: float | None = None,
    flat: tuple[int, int] | None = None,
) -> tuple[Bar, ...]:
    """Bars for time and peak compared with another run, and for a peak that is constant by size."""
    bars = [Bar("wall", wall, run, against)]
    if peak is not None:
        bars.append(Bar("peak", peak, run, against, "peak_kib"))
    if flat is not None:
        small, large = (Run(run.side, run.work, size, once=True) for size in flat)
        title = f"peak at {flat[1]:,} ÷ at {flat[0]:,}"
        bars.append(Bar(title, FLAT, large, small, "peak_kib"))
    return tuple(bars)


def _whole(
    run: Run, against: Run, wall: float, peak: float, beyond: Run | None = None
) -> tuple[Bar, ...]:
    """Bars for the time and peak of whole processes."""
    return (
        Bar("wall", wall, run, against, "process_seconds", beyond),
        Bar("peak", peak, run, against, "peak_kib"),
    )


def _beside_aws(direction: str) -> Bar:
    package_run, aws_run = (
        Run("emulated", f"{tool}_{direction}", 1_000, once=True) for tool in ("files", "aws")
    )
    return Bar("wall", 0.5, package_run, aws_run)


_LISTED = Run("untyped", "get_jobs", 100_000)
_ITERATED = Run("ours", "iter_jobs", 100_000)
_SAVED = Run("ours", "get_logs_to_file", 1_000_000)

ROWS: tuple[Row, ...] = (
    Row(
        "import",
        "import rescalehtc, beyond a bare interpreter",
        _whole(
            Run("ours", "import_package"),
            Run("untyped", "import_package"),
            0.15,
            0.60,
            beyond=Run("ours", "do_nothing"),
        ),
    ),
    Row(
        "fresh",
        "fresh process: import, session, first page of jobs",
        _whole(Run("ours", "get_jobs", 100), Run("untyped", "get_jobs", 100), 0.98, 1.15),
    ),
    Row(
        "fresh-extras",
        "the same with all extras installed",
        _whole(Run("installed", "get_jobs", 100), Run("untyped", "get_jobs", 100), 2.00, 2.00),
    ),
    Row(
        "list",
        "get_jobs, 100,000 jobs, then the status of each",
        _beside(Run("ours", "get_jobs", 100_000), _LISTED, 0.36, 0.62),
    ),
    Row(
        "iter",
        "the same through iter_jobs",
        _beside(_ITERATED, _LISTED, 0.36, 0.09, (10_000, 1_000_000)),
    ),
    Row(
        "records",
        "iter_jobs, every record built and its status read",
        _beside(Run("ours", "iter_records", 100_000), _LISTED, 0.85, 0.12, (10_000, 200_000)),
    ),
    Row(
        "list-late",
        "get_jobs, 100,000 jobs, at 20 ms latency",
        _beside(
            Run("ours", "get_jobs", 100_000, latency_ms=20),
            Run("untyped", "get_jobs", 100_000, latency_ms=20),
            0.14,
        ),
    ),
    Row(
        "list-tls",
        "get_jobs, 100,000 jobs, over https",
        _beside(
            Run("ours", "get_jobs", 100_000, is_tls=True),
            Run("untyped", "get_jobs", 100_000, is_tls=True),
            0.40,
        ),
    ),
    Row(
        "list-async",
        "get_jobs of rescalehtc.aio, 100,000 jobs, then the status of each",
        _beside(Run("ours", "get_jobs_async", 100_000), _LISTED, 0.40, 0.62),
    ),
    Row(
        "log-file",
        "get_logs_to_file, 1,000,000 lines",
        _beside(
            _SAVED,
            Run("untyped", "get_logs_to_file", 1_000_000),
            0.37,
            0.11,
            (1_000_000, 10_000_000),
        ),
    ),
    Row(
        "log-tls",
        "get_logs_to_file, 1,000,000 lines, over https",
        _beside(
            Run("ours", "get_logs_to_file", 1_000_000, is_tls=True),
            Run("untyped", "get_logs_to_file", 1_000_000, is_tls=True),
            0.37,
        ),
    ),
    Row(
        "log-async",
        "get_logs_to_file of rescalehtc.aio, 1,000,000 lines",
        _beside(
            Run("ours", "get_logs_to_file_async", 1_000_000),
            Run("untyped", "get_logs_to_file", 1_000_000),
            0.45,
        ),
    ),
    Row(
        "log-lines",
        "get_logs, 1,000,000 lines, all consumed",
        _beside(
            Run("ours", "get_logs", 1_000_000), Run("untyped", "get_logs", 1_000_000), 0.57, 0.45
        ),
    ),
    Row(
        "submit-late",
        "100 batches of 1,000 jobs submitted, at 20 ms latency",
        _beside(
            Run("ours", "submit", 100_000, latency_ms=20),
            Run("untyped", "submit", 100_000, latency_ms=20),
            0.07,
        ),
    ),
    Row(
        "submit",
        "100 batches of 1,000 jobs submitted",
        _beside(Run("ours", "submit", 100_000), Run("untyped", "submit", 100_000), 0.25),
    ),
    Row(
        "to-jobs",
        "to_jobs, 100,000 jobs",
        _beside(Run("ours", "to_jobs", 100_000), Run("untyped", "to_jobs", 100_000), 0.25, 0.5),
    ),
    Row(
        "to-jobs-growth",
        "to_jobs, 1,000,000 jobs ÷ 100,000",
        (
            Bar(
                "wall",
                GROWTH,
                Run("ours", "to_jobs", 1_000_000),
                Run("ours", "to_jobs", 100_000),
            ),
        ),
    ),
    Row(
        "refresh",
        "200 jobs of a task refreshed, at 20 ms latency",
        _beside(
            Run("ours", "refresh", 200, latency_ms=20),
            Run("untyped", "refresh", 200, latency_ms=20),
            0.03,
        ),
    ),
    Row(
        "list-floor",
        "iter_jobs, 100,000 jobs ÷ a raw socket and from_json",
        _beside(_ITERATED, Run("floor", "list_jobs", 100_000), 1.15),
    ),
    Row(
        "log-floor",
        "get_logs_to_file, 1,000,000 lines ÷ a raw socket and from_json",
        _beside(_SAVED, Run("floor", "save_log", 1_000_000), 1.25),
    ),
    Row(
        "check-one",
        "arguments of a submission checked ÷ 150 µs",
        (Bar("wall", 1.0, Run("ours", "check_arguments", 1_000), 1_000 * 150e-6),),
    ),
    Row(
        "check-many",
        "1,000 submit requests of payloads checked ÷ 50 ms",
        (Bar("wall", 1.0, Run("ours", "check_payload", 1_000), 50e-3),),
    ),
    Row(
        "cli-help",
        "`rescalehtc --help` ÷ importing typer",
        (
            Bar(
                "wall",
                2.0,
                Run("installed", "show_help"),
                Run("installed", "import_typer"),
                "process_seconds",
            ),
        ),
    ),
    Row(
        "cli-validate",
        "`rescalehtc validate`, 1 request ÷ importing typer",
        (
            Bar(
                "wall",
                3.0,
                Run("installed", "validate", 1),
                Run("installed", "import_typer"),
                "process_seconds",
            ),
        ),
    ),
    Row(
        "validate-many",
        "`rescalehtc validate`, 100,000 requests in JSON ÷ 8 s and 600 MB",
        (
            Bar("wall", 1.0, Run("installed", "validate", 100_000, once=True), 8.0),
            Bar(
                "peak",
                1.0,
                Run("installed", "validate", 100_000, once=True),
                600_000_000 / 1024,
                "peak_kib",
            ),
            Bar(
                "wall ÷ at 10,000",
                GROWTH,
                Run("installed", "validate", 100_000, once=True),
                Run("installed", "validate", 10_000, once=True),
            ),
        ),
    ),
    Row(
        "emulator-jobs",
        "emulator: 1,000 jobs from submission to SUCCEEDED ÷ 60 s",
        (Bar("wall", 1.0, Run("emulated", "run_jobs", 1_000, once=True), 60.0),),
    ),
    Row(
        "emulator-list",
        "emulator: 100,000 stored jobs listed ÷ 5 s",
        (Bar("wall", 1.0, Run("emulated", "list_stored", 100_000, once=True), 5.0),),
    ),
    Row(
        "files-up",
        "emulator: 1,000 files of 10 kB up ÷ aws s3 sync",
        (_beside_aws("up"),),
    ),
    Row(
        "files-down",
        "emulator: 1,000 files of 10 kB down ÷ aws s3 sync",
        (_beside_aws("down"),),
    ),
)

# The picture of how time grows with size.
_SIZES = (1_000, 10_000, 100_000, 1_000_000)
GROWING: dict[str, list[Run]] = {
    name: [Run("ours", name, size, once=True) for size in _SIZES]
    for name in ("get_jobs", "iter_jobs", "to_jobs", "get_logs_to_file")
}
GROWING["rescalehtc validate"] = [
    Run("installed", "validate", size, once=True) for size in _SIZES[:3]
]
