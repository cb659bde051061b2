"""Tasks: they hold jobs, and storage that the jobs share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _lazy, api
from ._counts import JobCounts
from ._facts import PAGE_SIZE
from ._jobs import waiting, watching
from ._jobs.progress import Progress
from ._jobs.waiting import Interval
from ._objects.json_object import id_of, require_instance
from ._objects.storage import StorageOperations, StoredObject
from ._requests.validation import check_arguments
from .exceptions import HtcException, HtcNotFoundError
from .htcprojects import HtcProject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from . import models
    from ._literals import LifecycleStatus
    from .htcsession import HtcSession

__all__ = [
    "HtcException",
    "HtcProject",
    "HtcSession",
    "HtcTask",
    "api",
    "create_task_with_name",
    "delete_task_with_id",
    "delete_tasks_with_name",
    "get_task_with_id",
    "get_tasks",
    "get_tasks_with_name",
    "iter_tasks",
]

if not TYPE_CHECKING:
    __getattr__ = _lazy.importer(__name__, HtcSession="htcsession")

# Values of the filters of get_tasks and get_jobs that match every status.
ANY = ("any", "all", None)


class HtcTask(StoredObject["models.HTCTask"]):
    """A task.

    Attributes:
        json: The raw dictionary, an `HTCTask` object with the service's names.
        project: The project it belongs to.

    Raises:
        HtcValidationError: `project` is not an HtcProject.
    """

    _operation = api.GET_TASK
    _not_pickled = ("_validated", "_summary")
    _storage = StorageOperations(
        token=api.GET_TASK_STORAGE_TOKEN,
        token_for_region=api.GET_TASK_STORAGE_TOKEN_FOR_REGION,
        tokens=api.GET_TASK_STORAGE_TOKENS,
        presigned_url=api.GET_TASK_PRESIGNED_URL,
    )

    def __init__(self, json: dict[str, Any], project: HtcProject) -> None:
        require_instance(project, HtcProject, "project", "HtcTask")
        super().__init__(json)
        self.project: HtcProject = project
        self._summary: dict[str, Any] | None = None
        self._summary_fetched_at = 0.0

    def __repr__(self) -> str:
        name, task_id = self.json.get("taskName"), self.json.get("taskId")
        return f"HtcTask(taskName={name!r}, taskId={task_id!r})"

    def _ids(self) -> dict[str, Any]:
        return {"projectId": id_of(self, "projectId"), "taskId": id_of(self, "taskId")}

    def archive(self, rescale: HtcSession) -> None:
        """Archive the task, and update `json`. It keeps its storage and takes no jobs.

        Operation updateTask.

        Raises:
            HtcBadRequestError: The task is not active, or has jobs that run.
        """
        self._set_lifecycle_status(rescale, "ARCHIVED")

    def unarchive(self, rescale: HtcSession) -> None:
        """Make an archived task active again, and update `json`.

        Operation updateTask.

        Raises:
            HtcBadRequestError: The task is deleted.
        """
        self._set_lifecycle_status(rescale, "ACTIVE")

    def _set_lifecycle_status(self, rescale: HtcSession, status: str) -> None:
        self.json: dict[str, Any] = api.patch_htc_projects_tasks(
            rescale, id_of(self, "projectId"), id_of(self, "taskId"), {"lifecycleStatus": status}
        )

    def iter_groups(self, rescale: HtcSession) -> Iterator[str]:
        """Yield the names of the groups that jobs were submitted with.

        Operation listGroups.
        """
        for page in rescale.pages(api.LIST_GROUPS.call(self._ids(), query={"pageSize": PAGE_SIZE})):
            yield from page

    def get_groups(self, rescale: HtcSession) -> list[str]:
        """Return the names of the groups that jobs were submitted with.

        Operation listGroups.
        """
        return list(self.iter_groups(rescale))

    def iter_group_summaries(
        self, rescale: HtcSession, groups: Sequence[str] | None = None
    ) -> Iterator[models.JobStatusSummary]:
        """Yield the number of jobs by status for each group.

        Operation listGroupSummaries.

        Args:
            rescale: The session.
            groups: Only these groups; None for all of them.
        """
        query = {"group": groups, "pageSize": PAGE_SIZE}
        for page in rescale.pages(api.LIST_GROUP_SUMMARIES.call(self._ids(), query=query)):
            for summary in page:
                yield api.LIST_GROUP_SUMMARIES.to_record(summary)

    def get_group_summaries(
        self, rescale: HtcSession, groups: Sequence[str] | None = None
    ) -> list[models.JobStatusSummary]:
        """Return the number of jobs by status for each group: see `iter_group_summaries`.

        Operation listGroupSummaries.
        """
        return list(self.iter_group_summaries(rescale, groups))

    def get_regional_storage(self, rescale: HtcSession) -> models.RegionalStorageResponse:
        """Fetch the task's storages in all regions, with their credentials.

        Operation getTaskRegionalStorage.
        """
        return api.GET_TASK_REGIONAL_STORAGE.to_record(
            api.get_htc_projects_tasks_storage_regional_storage(
                rescale, id_of(self, "projectId"), id_of(self, "taskId")
            ),
        )

    def get_task_summary(self, rescale: HtcSession) -> dict[str, Any]:
        """Count the task's jobs by status.

        Operation getTaskSummary; within `rescale.status_refresh_seconds` of the last time
        nothing is sent and the same counts are returned.

        Returns:
            A `JobStatusSummary` object with one more key, `still_running`: whether any job has
            not ended.
        """
        age = rescale.client.io.monotonic() - self._summary_fetched_at
        if self._summary is None or age >= rescale.status_refresh_seconds:
            return self._fetch_summary(rescale)
        return self._summary

    def _fetch_summary(self, rescale: HtcSession) -> dict[str, Any]:
        summary, counts = rescale.run(watching.fetch_task_summary(rescale.client, self._ids()))
        summary["still_running"] = bool(counts.running)
        self._summary, self._summary_fetched_at = summary, rescale.client.io.monotonic()
        return summary

    def is_still_running(self, rescale: HtcSession) -> bool:
        """Whether any job of the task has not ended yet, by `get_task_summary`.

        Operation getTaskSummary.
        """
        return bool(self.get_task_summary(rescale)["still_running"])

    def wait(
        self,
        rescale: HtcSession,
        timeout: float | None = None,
        progress: bool | Callable[[JobCounts], None] = False,
    ) -> JobCounts:
        """Wait until all jobs of the task have ended, and count them by status.

        Operation getTaskSummary, every `rescale.status_refresh_seconds` (30 by default),
        however many jobs there are. A task without jobs has nothing to wait for; right after
        a submission `HtcJobBatch.wait` is surer, for it knows how many jobs there should be.

        Args:
            rescale: The session.
            timeout: Seconds to wait at most, at least 0; None to wait without a limit. An
                outage of the service does not end the wait.
            progress: Whether to write the counts to standard error when they change: on a
                terminal in one line, elsewhere one line for each change. Or a function to call
                with the counts after each poll.

        Raises:
            HtcValidationError: `timeout` is not such a number.
            HtcWaitTimeoutError: Not all jobs ended in time. It has the counts.
            HtcNotFoundError: There is no such task.
        """
        client = rescale.client
        interval = Interval(client.io, rescale.status_refresh_seconds, timeout, "wait")

        async def poll() -> JobCounts:
            # Not from memory: jobs may have been submitted since.
            ids, expires_at = self._ids(), interval.expires_at
            return (await watching.fetch_task_summary(client, ids, expires_at))[1]

        with Progress(progress) as show:
            return rescale.run(waiting.wait(poll, interval, JobCounts({}, 0), show))

    def delete_task(self, rescale: HtcSession) -> None:
        """Delete this task, if it still exists, with its jobs and storage.

        Operation deleteTask.
        """
        delete_task_with_id(rescale, self.project, id_of(self, "taskId"))

    def cancel_jobs_in_task(self, rescale: HtcSession) -> None:
        """Ask for all jobs of this task to be cancelled; they end as FAILED.

        Operation cancelJobs. That it returns does not mean that every job was cancelled.
        """
        api.post_htc_projects_tasks_jobs_cancel(
            rescale, id_of(self.project, "projectId"), id_of(self, "taskId")
        )


def iter_tasks(
    rescale: HtcSession, project: HtcProject, lifecycle_status: LifecycleStatus | None = "ACTIVE"
) -> Iterator[HtcTask]:
    """Yield the tasks of a project, holding one page of them at a time.

    Operation listTasks. The service lists every lifecycle status; others are left out here.

    Args:
        rescale: The session.
        project: The project.
        lifecycle_status: ACTIVE, ARCHIVED or DELETED; `any`, `all` or None for every status.

    Raises:
        HtcValidationError: `project` is not an HtcProject.
    """
    require_instance(project, HtcProject, "project", "iter_tasks")
    call = api.LIST_TASKS.call(
        {"projectId": id_of(project, "projectId")}, query={"pageSize": PAGE_SIZE}
    )
    return (
        HtcTask(task, project)
        for page in rescale.pages(call)
        for task in page
        if lifecycle_status in ANY or task.get("lifecycleStatus") == lifecycle_status
    )


def get_tasks(
    rescale: HtcSession, project: HtcProject, lifecycle_status: LifecycleStatus | None = "ACTIVE"
) -> list[HtcTask]:
    """Return the tasks of a project. The arguments are those of `iter_tasks`.

    Operation listTasks.
    """
    return list(iter_tasks(rescale, project, lifecycle_status))


def get_tasks_with_name(
    rescale: HtcSession,
    project: HtcProject,
    task_name: str,
    lifecycle_status: LifecycleStatus | None = "ACTIVE",
) -> list[HtcTask]:
    """Return the tasks with this name. The other arguments are those of `iter_tasks`.

    Operation listTasks.
    """
    tasks = iter_tasks(rescale, project, lifecycle_status)
    return [task for task in tasks if task.json.get("taskName") == task_name]


def get_task_with_id(rescale: HtcSession, project: HtcProject, task_id: str) -> HtcTask | None:
    """Return the task with this id, or None if the project has none.

    Operation getTask.

    Raises:
        HtcValidationError: `project` is not an HtcProject, or `task_id` not a string.
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
    """Create a task. Names need not be unique.

    Operation createTask.

    Raises:
        HtcValidationError: `project` is not an HtcProject, or a text is not a string.
    """
    require_instance(project, HtcProject, "project", "create_task_with_name")
    arguments = {"task_name": task_name, "task_description": task_description}
    request = check_arguments("HTCTaskCreate", "create_task_with_name", arguments)
    created = api.post_htc_projects_tasks(rescale, id_of(project, "projectId"), request)
    return HtcTask(created, project)


def delete_tasks_with_name(
    rescale: HtcSession, project: HtcProject, task_name: str
) -> list[dict[str, Any]]:
    """Delete all active tasks with this name, with their jobs and storage.

    Operations listTasks and deleteTask.

    Returns:
        An `HTCTask` object for each task deleted; none if there was none.

    Raises:
        HtcValidationError: `project` is not an HtcProject.
    """
    tasks = get_tasks_with_name(rescale, project, task_name)
    deleted = [delete_task_with_id(rescale, project, id_of(task, "taskId")) for task in tasks]
    return [task for task in deleted if task is not None]


def delete_task_with_id(
    rescale: HtcSession, project: HtcProject, task_id: str
) -> dict[str, Any] | None:
    """Delete the task with this id, with its jobs and storage.

    Operation deleteTask.

    Returns:
        The task as it was deleted, an `HTCTask` object; None if the project has none.

    Raises:
        HtcValidationError: `project` is not an HtcProject.
    """
    require_instance(project, HtcProject, "project", "delete_task_with_id")
    try:
        return api.delete_htc_projects_tasks(rescale, id_of(project, "projectId"), task_id)
    except HtcNotFoundError:
        return None
