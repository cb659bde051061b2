"""Check submissions: payloads before they are sent, and those whose responses were lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._jobs import recovery
from .._objects.json_object import id_of, require_instance
from .._tracebacks import trimmed
from ..exceptions import SubmissionUncertainError
from ..htcprojects import HtcProject
from ..htctasks import HtcTask
from ._batch import HtcJobBatch

if TYPE_CHECKING:
    from ..exceptions import Problem
    from ..htcsession import HtcSession
    from ._submit import SubmitRequests


def validate(
    payload: SubmitRequests,
    project: HtcProject | None = None,
    rescale: HtcSession | None = None,
) -> list[Problem]:
    """Return all problems of a payload, without submitting it.

    Without a project, this checks types, ranges and names. With a project, it also checks the
    regions. With a session, it also checks that the images exist and are ready, and that the
    requests fit the computing environments to which the project is restricted.

    Operations, only with a session: getProjectDimensions, and getImageStatus for each image.

    Args:
        payload: Submit requests, as for `submit`.
        project: The project of the jobs, or None.
        rescale: A session, or None to send no requests.

    Returns:
        All problems with their location, such as `[0].htcJobDefinition.maxVCpus`. Empty if
        `submit` would send the payload.

    Raises:
        HtcValidationError: `project` is not an HtcProject, or you passed a session without a
            project.
    """
    with trimmed():
        if project is not None or rescale is not None:
            require_instance(project, HtcProject, "project", "validate")
        from .._jobs import preflight

        if project is None:
            return preflight.problems(payload, {})
        if rescale is None:
            return preflight.problems(payload, project.json)
        project_id = id_of(project, "projectId")
        flow = preflight.all_problems(rescale.client, payload, project.json, project_id)
        return rescale.run(flow)


def recheck(rescale: HtcSession, error: SubmissionUncertainError) -> HtcJobBatch:
    """Search again for the jobs of a submission whose response was lost. Submits nothing.

    Operation listJobs.

    Args:
        rescale: Any session, not only the one that submitted the jobs.
        error: The exception. You can load it from a pickle.

    Returns:
        The batch, if the group has all jobs of the submission. Its `json` has `projectId`,
        `taskId`, `group`, `parentJobId` and `batchSize`.

    Raises:
        SubmissionUncertainError: Not all jobs were found. This is `error` itself, updated with the
            jobs that were seen this time.
    """
    with trimmed():
        require_instance(error, SubmissionUncertainError, "error", "recheck")
        answers = rescale.run(recovery.recheck(rescale.client, error))
        project = HtcProject({"projectId": error.project_id})
        task = HtcTask({"projectId": error.project_id, "taskId": error.task_id}, project)
        return HtcJobBatch(answers, task)
