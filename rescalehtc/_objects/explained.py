"""Explain why jobs have their status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .session_methods import SessionMethods

if TYPE_CHECKING:
    from .._jobs.causes import Cause
    from ..htcsession import HtcSession


class Explained(SessionMethods):
    """A job, or a task with its jobs."""

    def _ids(self) -> dict[str, Any]:
        """The object's path parameters."""
        raise NotImplementedError

    def why(self, rescale: HtcSession) -> list[Cause]:
        """Explain why jobs wait or failed.

        The failed jobs of a task are grouped by failure code and exit code, and its waiting jobs by
        status. One job of each group is examined. Successful jobs are ignored.

            for cause in job.why(rescale):
                print(cause)

        Operations getJob, or getTaskSummary and listJobs. For failed jobs also listJobEvents and
        listJobLogs. For waiting jobs also getTask, getProject, getImageStatus,
        getProjectDimensions, listProjectLimits and getWorkspaceLimit. If the service forbids one of
        these operations, the evidence says so.

        Args:
            rescale: The session.

        Returns:
            The causes, each with its evidence and advice. Uncertain causes are marked.
        """
        from .._jobs import why

        ids = self._ids()
        flow = why.why_job if "jobId" in ids else why.why_task
        return rescale.run(flow(rescale.client, ids))
