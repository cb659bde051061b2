"""Tasks, which are folders of jobs in a project. The jobs share the storage of their task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _lazy, api
from ._counts import ANY, JobCounts
from ._facts import PAGE_SIZE
from ._jobs import waiting, watching
from ._jobs.progress import Progress
from ._objects.explained import Explained
from ._objects.json_object import Listing, id_of, require_instance, task_ids
from ._objects.storage import TASK_STORAGE, StoredObject
from ._requests.validation import check_arguments
from .exceptions import HtcException, HtcNotFoundError
from .htcprojects import HtcProject
from .records import HTCTaskRecord, JobStatusSummaryRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from . import models, types
    from ._literals import LifecycleStatus
    from .htcsession import HtcSession

__all__ = [
    "HtcException", "HtcProject", "HtcSession", "HtcTask", "api", "create_task_with_name",
    "delete_task_with_id", "delete_tasks_with_name", "get_task_with_id", "get_tasks",
    "get_tasks_with_name", "iter_tasks",
]  # fmt: skip

if not TYPE_CHECKING:
    __getattr__ = _lazy.importer(__name__, HtcSession="htcsession")


def __dir__() -> list[str]:
    return __all__


class HtcTask(StoredObject["types.HTCTaskDict", "models.HTCTask"], Explained):
    """A task."""

    _operation = api.GET_TASK
    _not_pickled = ("_validated", "_summary")
    _storage = TASK_STORAGE
    _summary: tuple[float, JobStatusSummaryRecord] | None = None

    def __init__(self, json: types.HTCTaskDict | dict[str, Any], project: HtcProject) -> None:
        """Create a task from its dictionary.

        Args:
            json: The dictionary, an `HTCTask` object with the service's names.
            project: The project of the task.

        Raises:
            HtcValidationError: `project` is not an HtcProject.
        """
        require_instance(project, HtcProject, "project", "HtcTask")
        super().__init__(json)
        self.project: HtcProject = project
        """The project of the task."""

    def __repr__(self) -> str:
        name, task_id = self.json.get("taskName"), self.json.get("taskId")
        return f"HtcTask(taskName={name!r}, taskId={task_id!r})"

    def _ids(self) -> dict[str, Any]:
        return task_ids(self)

    def archive(self, rescale: HtcSession) -> None:
        """Archive the task, and update `json`. It keeps its storage and rejects new jobs.

        Operation updateTask.

        Args:
            rescale: The session.

        Raises:
            HtcBadRequestError: The task is not active, or has running jobs.
        """
        self._set_lifecycle_status(rescale, "ARCHIVED")

    def unarchive(self, rescale: HtcSession) -> None:
        """Unarchive the task, which makes it active again, and update `json`.

        Operation updateTask.

        Args:
            rescale: The session.

        Raises:
            HtcBadRequestError: The task is deleted.
        """
        self._set_lifecycle_status(rescale, "ACTIVE")

    def _set_lifecycle_status(self, rescale: HtcSession, status: str) -> None:
        self.json: types.HTCTaskDict = api.patch_htc_projects_tasks(
            rescale, id_of(self, "projectId"), id_of(self, "taskId"), {"lifecycleStatus": status}
        )

    def iter_groups(self, rescale: HtcSession) -> Iterator[str]:
        """Yield the names of the task's groups.

        Operation listGroups.

        Args:
            rescale: The session.
        """
        for page in rescale.pages(api.LIST_GROUPS.call(self._ids(), query={"pageSize": PAGE_SIZE})):
            yield from page

    def get_groups(self, rescale: HtcSession) -> list[str]:
        """Return the names of the task's groups.

        Operation listGroups.

        Args:
            rescale: The session.
        """
        return list(self.iter_groups(rescale))

    def iter_group_summaries(
        self, rescale: HtcSession, groups: Sequence[str] | None = None
    ) -> Iterator[models.JobStatusSummary]:
        """Yield the number of jobs per status, for each group.

        Operation listGroupSummaries.

        Args:
            rescale: The session.
            groups: The names of the groups. None for all groups.
        """
        query = {"group": groups, "pageSize": PAGE_SIZE}
        for page in rescale.pages(api.LIST_GROUP_SUMMARIES.call(self._ids(), query=query)):
            for summary in page:
                yield api.LIST_GROUP_SUMMARIES.to_record(summary)

    def get_group_summaries(
        self, rescale: HtcSession, groups: Sequence[str] | None = None
    ) -> list[models.JobStatusSummary]:
        """Return the number of jobs per status, for each group.

        Operation listGroupSummaries.

        Args:
            rescale: The session.
            groups: The names of the groups. None for all groups.
        """
        return list(self.iter_group_summaries(rescale, groups))

    def get_regional_storage(self, rescale: HtcSession) -> models.RegionalStorageResponse:
        """Fetch the task's storages in all regions, with their credentials.

        Operation getTaskRegionalStorage.

        Args:
            rescale: The session.
        """
        answer = rescale.send(api.GET_TASK_REGIONAL_STORAGE.call(self._ids()))
        return api.GET_TASK_REGIONAL_STORAGE.to_record(answer)

    def get_task_summary(self, rescale: HtcSession) -> JobStatusSummaryRecord:
        """Count the task's jobs by status. `still_running` is True until all of them have ended.

        Operation getTaskSummary. A call within `rescale.status_refresh_seconds` of the last one
        sends nothing and returns the same counts.

        Args:
            rescale: The session.
        """
        now = rescale.client.io.monotonic
        if self._summary is None or now() - self._summary[0] >= rescale.status_refresh_seconds:
            answer, counts = rescale.run(watching.fetch_task_summary(rescale.client, self._ids()))
            record = JobStatusSummaryRecord(answer, still_running=bool(counts.running))
            self._summary = (now(), record)
        return self._summary[1]

    def is_still_running(self, rescale: HtcSession) -> bool:
        """Return True until all jobs of the task have ended, according to `get_task_summary`.

        Operation getTaskSummary.

        Args:
            rescale: The session.
        """
        return self.get_task_summary(rescale).still_running

    def wait(
        self,
        rescale: HtcSession,
        timeout: float | None = None,
        progress: bool | Callable[[JobCounts], None] = False,
    ) -> JobCounts:
        """Wait until all jobs of the task have ended, and count them by status.

        Operation getTaskSummary, every `rescale.status_refresh_seconds` (30 by default),
        regardless of the number of jobs. Right after a submission, use `HtcJobBatch.wait`.

        Args:
            rescale: The session.
            timeout: The maximum wait in seconds, at least 0. None waits without a limit. An
                outage of the service does not end the wait.
            progress: Whether to write the counts to standard error when they change. Or a
                function that is called with the counts after each poll.

        Raises:
            HtcValidationError: `timeout` is not a number of at least 0.
            HtcWaitTimeoutError: Not all jobs ended in time. The exception has the counts.
            HtcNotFoundError: The task does not exist.
        """
        client = rescale.client
        interval = waiting.Interval(rescale, timeout, "wait")

        async def poll() -> JobCounts:
            # Bypass the cache: jobs may have been submitted since the last call.
            return (await watching.fetch_task_summary(client, self._ids(), interval.expires_at))[1]

        with Progress(progress) as show:
            return rescale.run(waiting.wait(poll, interval, JobCounts({}, 0), show))

    def delete_task(self, rescale: HtcSession) -> None:
        """Delete this task, if it still exists, with its jobs and storage.

        Operation deleteTask.

        Args:
            rescale: The session.
        """
        delete_task_with_id(rescale, self.project, id_of(self, "taskId"))

    def cancel_jobs_in_task(self, rescale: HtcSession) -> None:
        """Cancel all jobs of this task. They end as FAILED.

        Operation cancelJobs. The service cancels the jobs after this call has returned.

        Args:
            rescale: The session.
        """
        project_id = id_of(self.project, "projectId")
        api.post_htc_projects_tasks_jobs_cancel(rescale, project_id, id_of(self, "taskId"))


def iter_tasks(
    rescale: HtcSession, project: HtcProject, lifecycle_status: LifecycleStatus | None = "ACTIVE"
) -> Iterator[HtcTask]:
    """Yield the tasks of a project, holding one page at a time in memory.

    Operation listTasks. The service lists all tasks, and the session filters them.

    Args:
        rescale: The session.
        project: The project.
        lifecycle_status: ACTIVE, ARCHIVED or DELETED. `any`, `all` or None for every status.

    Raises:
        HtcValidationError: `project` is not an HtcProject.
    """
    require_instance(project, HtcProject, "project", "iter_tasks")
    ids = {"projectId": id_of(project, "projectId")}
    call = api.LIST_TASKS.call(ids, query={"pageSize": PAGE_SIZE})
    return (
        HtcTask(task, project)
        for page in rescale.pages(call)
        for task in page
        if lifecycle_status in ANY or task.get("lifecycleStatus") == lifecycle_status
    )


def get_tasks(
    rescale: HtcSession, project: HtcProject, lifecycle_status: LifecycleStatus | None = "ACTIVE"
) -> list[HtcTask]:
    """Return the tasks of a project.

    Operation listTasks.

    Args:
        rescale: The session.
        project: The project.
        lifecycle_status: ACTIVE, ARCHIVED or DELETED. `any`, `all` or None for every status.
    """
    return Listing(list(iter_tasks(rescale, project, lifecycle_status)))


def get_tasks_with_name(
    rescale: HtcSession,
    project: HtcProject,
    task_name: str,
    lifecycle_status: LifecycleStatus | None = "ACTIVE",
) -> list[HtcTask]:
    """Return the tasks with this name.

    Operation listTasks.

    Args:
        rescale: The session.
        project: The project.
        task_name: The exact name of the tasks.
        lifecycle_status: ACTIVE, ARCHIVED or DELETED. `any`, `all` or None for every status.
    """
    return [
        task
        for task in iter_tasks(rescale, project, lifecycle_status)
        if task.json.get("taskName") == task_name
    ]


def get_task_with_id(rescale: HtcSession, project: HtcProject, task_id: str) -> HtcTask | None:
    """Return the task with this id, or None if it does not exist in the project.

    Operation getTask.

    Args:
        rescale: The session.
        project: The project.
        task_id: The task's id.

    Raises:
        HtcValidationError: `project` is not an HtcProject, or `task_id` is not a string.
    """
    require_instance(project, HtcProject, "project", "get_task_with_id")
    require_instance(task_id, str, "task_id", "get_task_with_id")
    try:
        task = api.get_htc_projects_tasks(rescale, id_of(project, "projectId"), task_id)
    except HtcNotFoundError:
        return None
    return HtcTask(task, project)


def create_task_with_name(
    rescale: HtcSession, project: HtcProject, task_name: str, task_description: str = ""
) -> HtcTask:
    """Create a task. Names do not have to be unique.

    Operation createTask.

    Args:
        rescale: The session.
        project: The project of the new task.
        task_name: A display name.
        task_description: The task's description.

    Raises:
        HtcValidationError: `project` is not an HtcProject, or a name or description not a string.
    """
    require_instance(project, HtcProject, "project", "create_task_with_name")
    arguments = {"task_name": task_name, "task_description": task_description}
    request = check_arguments("HTCTaskCreate", "create_task_with_name", arguments)
    created = api.post_htc_projects_tasks(rescale, id_of(project, "projectId"), request)
    return HtcTask(created, project)


def delete_tasks_with_name(
    rescale: HtcSession, project: HtcProject, task_name: str
) -> list[HTCTaskRecord]:
    """Delete all active tasks with this name, with their jobs and storage.

    Operations listTasks and deleteTask.

    Args:
        rescale: The session.
        project: The project.
        task_name: The exact name of the tasks.

    Returns:
        One `HTCTask` object per deleted task.

    Raises:
        HtcValidationError: `project` is not an HtcProject.
    """
    tasks = get_tasks_with_name(rescale, project, task_name)
    deleted = [delete_task_with_id(rescale, project, id_of(task, "taskId")) for task in tasks]
    return [task for task in deleted if task is not None]


def delete_task_with_id(
    rescale: HtcSession, project: HtcProject, task_id: str
) -> HTCTaskRecord | None:
    """Delete the task with this id, with its jobs and storage.

    Operation deleteTask.

    Args:
        rescale: The session.
        project: The project.
        task_id: The task's id.

    Returns:
        The deleted task, an `HTCTask` object. None if it does not exist in the project.

    Raises:
        HtcValidationError: `project` is not an HtcProject.
    """
    require_instance(project, HtcProject, "project", "delete_task_with_id")
    try:
        deleted = api.delete_htc_projects_tasks(rescale, id_of(project, "projectId"), task_id)
    except HtcNotFoundError:
        return None
    return HTCTaskRecord(deleted)
