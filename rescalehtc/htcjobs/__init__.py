"""Jobs and batches of jobs: submitting, watching, and reading what they wrote."""

from typing import TYPE_CHECKING

from .. import _lazy, api
from .._counts import JobCounts
from ..exceptions import HtcException
from ..htctasks import HtcTask
from ._batch import FailedJob, HtcJobBatch, Resubmission, submit
from ._job import HtcJob
from ._listings import (
    as_completed,
    get_job_with_id,
    get_jobs,
    iter_jobs,
    refresh,
    to_dataframe,
)
from ._submit import (
    create_job_batch,
    create_job_batch_raw,
    create_single_job,
    recheck,
    validate,
)

if TYPE_CHECKING:
    from ..htcsession import HtcSession
else:
    __getattr__ = _lazy.importer(__name__, HtcSession="htcsession")

__all__ = [
    "FailedJob",
    "HtcException",
    "HtcJob",
    "HtcJobBatch",
    "HtcSession",
    "HtcTask",
    "JobCounts",
    "Resubmission",
    "api",
    "as_completed",
    "create_job_batch",
    "create_job_batch_raw",
    "create_single_job",
    "get_job_with_id",
    "get_jobs",
    "iter_jobs",
    "recheck",
    "refresh",
    "submit",
    "to_dataframe",
    "validate",
]


def __dir__() -> list[str]:
    return __all__
