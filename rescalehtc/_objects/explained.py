"""What jobs and tasks share: explaining why jobs have their status."""

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
        """Explain what holds jobs in their status, or made them fail.

        Of a task, jobs that failed are grouped by failure code and exit code, jobs that wait by
        status, and one of each group is looked at; jobs that succeeded are left out.

            for cause in job.why(rescale):
                print(cause)

        Operations getJob or getTaskSummary and listJobs; for jobs that failed, listJobEvents and
        listJobLogs; for jobs that wait, getTask, getProject, getImageStatus, getProjectDimensions,
        listProjectLimits and getWorkspaceLimit. What the service does not allow to read is left
        out, and the evidence says so.

        Args:
            rescale: The session.

        Returns:
            The causes, each with its evidence and advice. A guess is marked as one.
        """
        from .._jobs import why

        ids = self._ids()
        flow = why.why_job if "jobId" in ids else why.why_task
        return rescale.run(flow(rescale.client, ids))
