"""Print the plan of a submission."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .. import htcjobs
from . import _output

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..htcprojects import HtcProject
    from ..htcsession import HtcSession


def show_plan(
    rescale: HtcSession,
    project: HtcProject,
    requests: Sequence[Mapping[str, Any]],
    form: _output.Form,
    rates: str | None = None,
    budget: float | None = None,
) -> None:
    """Print a plan.

    Raises:
        HtcException: The rates can't be read, or the plan is above the budget.
    """
    plan = htcjobs.plan(requests, project, rescale, rates, budget=budget)
    if form.format is not _output.Format.TABLE:
        _output.show_item(asdict(plan), form)
        return
    for line in str(plan).splitlines():
        _output.show_line(line)
