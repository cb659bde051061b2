"""Show how many jobs have ended: as bars on a terminal, as lines in a pipe."""

from __future__ import annotations

import contextlib
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from . import _output

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from .._counts import JobCounts

    Show = Callable[[str, JobCounts], None]

BAR_CELLS = 12
MAX_NAME_CELLS = 20
REFRESHES_PER_SECOND = 2


@contextlib.contextmanager
def shown(names: Sequence[str]) -> Generator[Show]:
    """Return a function that shows the counts of one of several things on standard error.

    Args:
        names: The names of the things, in their order. A single name is not shown.
    """
    if _output.is_live(sys.stderr):
        with _bars(names) as show:
            yield show
    else:
        yield _lines(names)


def _lines(names: Sequence[str]) -> Show:
    shown: dict[str, str] = {}

    def show(name: str, counts: JobCounts) -> None:
        if shown.get(name) != str(counts):
            shown[name] = str(counts)
            _output.say(f"{name}: {counts}" if len(names) > 1 else str(counts))

    return show


@contextlib.contextmanager
def _bars(names: Sequence[str]) -> Generator[Show]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    console = Console(file=sys.stderr)
    name_column = Column(no_wrap=True, max_width=min(MAX_NAME_CELLS, console.width // 4))
    columns = (
        *([TextColumn("{task.description}", table_column=name_column)] if len(names) > 1 else []),
        BarColumn(BAR_CELLS),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}", table_column=Column(overflow="fold")),
    )
    with Progress(
        *columns,
        console=console,
        redirect_stdout=False,
        redirect_stderr=False,
        refresh_per_second=REFRESHES_PER_SECOND,
    ) as progress:
        bars = {
            name: progress.add_task(escape(_output.printable(name)), total=None, text="")
            for name in names
        }
        estimates = {name: Estimate(time.monotonic) for name in names}

        def show(name: str, counts: JobCounts) -> None:
            text = f"{counts.ended}/{counts.total} ended {markup_of(counts)}"
            remaining = estimates[name].left(counts)
            progress.update(
                bars[name],
                total=counts.total,
                completed=counts.ended,
                text=f"{text}, {remaining}" if remaining else text,
            )

        yield show


class Estimate:
    """Estimates when the remaining jobs will have ended, from the rate of those that have ended."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first: tuple[float, int] | None = None

    def left(self, counts: JobCounts) -> str:
        """Return the remaining time and the rate; empty if they are not known yet."""
        left, rate = self.left_and_rate(counts)
        return f"about {left} left, {rate}" if rate else ""

    def left_and_rate(self, counts: JobCounts) -> tuple[str, str]:
        """Return the remaining time and the rate, such as 3.2/min. Empty if not known yet."""
        now = self._clock()
        if self._first is None:
            self._first = now, counts.ended
        seconds, ended = now - self._first[0], counts.ended - self._first[1]
        if not (ended > 0 and seconds > 0 and counts.running):
            return "", ""
        left = timedelta(seconds=round(counts.running / ended * seconds))
        rate = ended / seconds * 60
        return str(left), f"{rate:,.0f}/min" if rate >= 10 else f"{rate:.1f}/min"


def markup_of(counts: JobCounts) -> str:
    """Return the counts by status in colors, as rich markup."""
    from rich.markup import escape

    parts: list[str] = []
    for status, count in sorted(counts.by_status.items()):
        color = _output.STATUS_COLORS.get(status)
        text = f"{count} {escape(status)}"
        if count:
            parts.append(f"[{color}]{text}[/]" if color else text)
    return ", ".join(parts)
