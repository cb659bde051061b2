"""Plan the usage and cost of a submission, and add up the usage of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._jobs import groups, planning
from .._jobs.why import fetch_limits, fetched
from .._objects.json_object import id_of, require_instance, task_ids
from .._tracebacks import trimmed
from ..exceptions import HtcValidationError, Problem
from ..htcprojects import HtcProject
from ._batch import HtcJobBatch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from ..htcsession import HtcSession
    from ._submit import SubmitRequests


def plan(
    requests: SubmitRequests,
    project: HtcProject,
    rescale: HtcSession | None = None,
    rates: Mapping[str, Any] | str | PathLike[str] | None = None,
    *,
    budget: float | None = None,
) -> planning.Plan:
    """Return the maximum usage and cost of a submission. Submits nothing.

    The plan assumes that each job runs until its timeout and 30 seconds longer, and that the
    service makes all retries of `retryStrategy.maxRetries`.

        plan = htcjobs.plan(requests, project, rates="rates.toml", budget=100)

    Operations, only with a session: listProjectLimits and getWorkspaceLimit.

    Args:
        requests: Submit requests, as for `submit`.
        project: The project of the jobs.
        rescale: A session, to include limits on virtual CPUs. None sends no requests.
        rates: Prices by priority, such as
            `{"ON_DEMAND_ECONOMY": {"vcpu_hour": 0.02, "gib_hour": 0.003}}`. The key `default`
            applies to all other priorities. Or the path of a TOML or JSON file with these prices.
        budget: The maximum cost, in the currency of the rates. None for no limit.

    Raises:
        HtcValidationError: The requests or the rates are invalid. Or the cost exceeds the budget or
            is unknown.
        HtcFileError: The file of rates can't be read.
    """
    require_instance(project, HtcProject, "project", "plan")
    with trimmed():
        from .._requests import submit_request

        prices = None if rates is None else planning.Rates(rates)
        checked = [request for _, request in submit_request.from_any_number(requests, project.json)]
        waits: list[str] = []
        if rescale is not None:
            ids = {"projectId": id_of(project, "projectId")}
            workspace = project.json.get("workspaceId")
            flow = fetch_limits(rescale.client, ids, workspace, fetched)
            waits = planning.waits_of(checked, rescale.run(flow))
        plan_ = planning.plan_of(checked, prices, waits)
        if budget is not None:
            check_budget(plan_, budget)
        return plan_


def check_budget(estimate: planning.Plan, budget: object) -> None:
    """Compare a plan with a budget.

    Raises:
        HtcValidationError: The cost exceeds the budget, or is unknown.
    """
    if isinstance(budget, bool) or not isinstance(budget, int | float) or not budget >= 0:
        message = "must be a number of at least 0"
    elif estimate.cost is None:
        message = "can't be checked: give rates, and maxVCpus, maxMemory and execTimeoutSeconds"
    elif estimate.cost > budget:
        message = f"must be at least {estimate.cost:,.2f}, the maximum cost of the jobs; got {budget:,.2f}"
    else:
        return
    raise HtcValidationError("plan", [Problem("budget", message)])


def usage(
    rescale: HtcSession,
    batch: HtcJobBatch,
    rates: Mapping[str, Any] | str | PathLike[str] | None = None,
) -> planning.Usage:
    """Add up the usage of the jobs of a batch, from their records.

    This includes retries of a RetryPolicy.

    Operation listJobs: all pages of the batch's group.

    Args:
        rescale: The session.
        batch: The batch.
        rates: Prices, as for `plan`, or None.

    Raises:
        HtcValidationError: `batch` is not an HtcJobBatch, or the rates are invalid.
        HtcFileError: The file of rates can't be read.
    """
    require_instance(batch, HtcJobBatch, "batch", "usage")
    with trimmed():
        prices = None if rates is None else planning.Rates(rates)
        parts = [part.json for part in batch.batches]
        flow = groups.records_of(rescale.client, task_ids(batch.task), parts)
        records = rescale.run(flow)
        return planning.usage_of(records, prices)
