"""Submit jobs and batches of jobs, wait for them, and read their logs."""

from typing import TYPE_CHECKING

from .. import _lazy, api
from .._counts import JobCounts
from ..exceptions import HtcException
from ..htctasks import HtcTask
from ._job import HtcJob
from ._listings import as_completed, get_job_with_id, get_jobs, iter_jobs, refresh, to_dataframe

if TYPE_CHECKING:
    from .._jobs.causes import Cause
    from .._jobs.planning import Amount, Plan, Usage
    from .._jobs.policy import JobFailure, RetryDecision, RetryPolicy
    from .._jobs.report import JobAttempt, RunReport
    from ..htcsession import HtcSession
    from ._batch import HtcJobBatch, Resubmission
    from ._batches import get_batch, get_batches, get_or_submit
    from ._check import recheck, validate
    from ._failed_job import FailedJob
    from ._map import MapResult
    from ._map import map as map  # noqa: A004 - not in `__all__`
    from ._plan import plan, usage
    from ._results import BatchResults
    from ._run import Run, run
    from ._submit import create_job_batch, create_job_batch_raw, create_single_job, submit
else:
    __getattr__ = _lazy.importer(
        __name__,
        HtcSession="htcsession",
        Amount="_jobs.planning",
        BatchResults="htcjobs._results",
        Cause="_jobs.causes",
        FailedJob="htcjobs._failed_job",
        HtcJobBatch="htcjobs._batch",
        JobAttempt="_jobs.report",
        JobFailure="_jobs.policy",
        MapResult="htcjobs._map",
        Plan="_jobs.planning",
        Resubmission="htcjobs._batch",
        RetryDecision="_jobs.policy",
        RetryPolicy="_jobs.policy",
        Run="htcjobs._run",
        RunReport="_jobs.report",
        Usage="_jobs.planning",
        create_job_batch="htcjobs._submit",
        create_job_batch_raw="htcjobs._submit",
        create_single_job="htcjobs._submit",
        get_batch="htcjobs._batches",
        get_batches="htcjobs._batches",
        get_or_submit="htcjobs._batches",
        map="htcjobs._map",
        plan="htcjobs._plan",
        recheck="htcjobs._check",
        run="htcjobs._run",
        submit="htcjobs._submit",
        usage="htcjobs._plan",
        validate="htcjobs._check",
    )

# Without `map`: scripts for 1.1.0 import `*`, and may call the built-in function.
__all__ = [
    "Amount",
    "BatchResults",
    "Cause",
    "FailedJob",
    "HtcException",
    "HtcJob",
    "HtcJobBatch",
    "HtcSession",
    "HtcTask",
    "JobAttempt",
    "JobCounts",
    "JobFailure",
    "MapResult",
    "Plan",
    "Resubmission",
    "RetryDecision",
    "RetryPolicy",
    "Run",
    "RunReport",
    "Usage",
    "api",
    "as_completed",
    "create_job_batch",
    "create_job_batch_raw",
    "create_single_job",
    "get_batch",
    "get_batches",
    "get_job_with_id",
    "get_jobs",
    "get_or_submit",
    "iter_jobs",
    "plan",
    "recheck",
    "refresh",
    "run",
    "submit",
    "to_dataframe",
    "usage",
    "validate",
]


def __dir__() -> list[str]:
    return [*__all__, "map"]
