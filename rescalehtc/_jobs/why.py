"""Fetch the facts that explain the statuses of jobs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .._counts import FINAL_STATUSES
from .._facts import FAILED_STATUSES, PAGE_SIZE
from .._wire import operations
from ..exceptions import HtcForbiddenError, HtcNotFoundError, HtcStatusError
from . import logs, preflight
from .causes import Cause, Facts, causes_of
from .records import exit_code_of, integer_in, job_listing
from .watching import fetch_task_summary

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from .._client.client import Client
    from .._wire.operation import Call

    Json = Mapping[str, Any]
    Reader = Callable[[str, Awaitable[Any], Any], Awaitable[Any]]

LAST_LINES = 5
MAX_CLUSTERS = 10


async def why_job(client: Client, ids: Mapping[str, str]) -> list[Cause]:
    """Explain the status of a job."""
    try:
        job = await _read(client, operations.GET_JOB.call(ids))
    except HtcNotFoundError as error:
        return [await _explain_not_found(client, ids, error)]
    return await _explain(client, ids, job)


async def why_task(client: Client, ids: Mapping[str, str]) -> list[Cause]:
    """Explain the statuses of the jobs of a task, with one example per cluster of similar jobs."""
    try:
        _, counts = await fetch_task_summary(client, ids)
    except HtcNotFoundError as error:
        return [await _explain_not_found(client, ids, error)]
    found: list[Cause] = []
    for status in FAILED_STATUSES:
        if counts.by_status.get(status):
            found += await _explain_failures(client, ids, status)
    for status, count in counts.by_status.items():
        if count and status not in FINAL_STATUSES:
            for job in await _jobs(client, ids, status, 1):
                causes = await _explain(client, ids, job)
                found += [replace(cause, jobs=count) for cause in causes]
    return found


async def _explain_failures(client: Client, ids: Mapping[str, str], status: str) -> list[Cause]:
    """Explain one job of each cluster of failures, largest cluster first."""
    jobs = await _jobs(client, ids, status, PAGE_SIZE)
    sizes = Counter(map(_cluster, jobs))
    examples = {_cluster(job): job for job in reversed(jobs)}
    found: list[Cause] = []
    for cluster, size in sizes.most_common(MAX_CLUSTERS):
        causes = await _explain(client, ids, examples[cluster])
        found += [replace(cause, jobs=size) for cause in causes]
    return found


def _cluster(job: Json) -> tuple[object, object]:
    return job.get("failureCode"), exit_code_of(job)


async def _read(client: Client, call: Call) -> Any:
    """Fetch an object, and check the types of its fields."""
    answer = await client.send(call)
    call.operation.to_record(answer)
    return answer


async def _jobs(client: Client, ids: Mapping[str, str], status: str, most: int) -> list[Any]:
    call = job_listing(ids, status=status, pageSize=most)
    jobs = await client.items(call, most)
    for job in jobs:
        call.operation.to_record(job)
    return jobs


async def _explain(client: Client, ids: Mapping[str, str], job: Json) -> list[Cause]:
    unread: list[str] = []

    async def read(part: str, work: Awaitable[Any], missing: Any) -> Any:
        """Fetch something. Return `missing` if it does not exist, and None if it is forbidden."""
        try:
            return await fetched(part, work, missing)
        except HtcForbiddenError as error:
            unread.append(f"{part} could not be read: {error}")
            return None

    task_ids = {name: ids[name] for name in ("projectId", "taskId")}
    job_ids = {**task_ids, "jobId": job["jobUUID"]}
    facts = Facts(job, client.io.time(), unread=unread)
    status = str(job.get("status"))
    if status in FINAL_STATUSES and status not in FAILED_STATUSES:
        return causes_of(facts)
    events = client.items(operations.LIST_JOB_EVENTS.call(job_ids, query={"pageSize": PAGE_SIZE}))
    facts.events = await read("events", events, []) or []
    if status in FAILED_STATUSES:
        lines = logs.read_lines(client, job_ids, LAST_LINES)
        facts.last_lines = await read("the log", lines, []) or []
    elif status != "RUNNING":
        await _add_obstacles(client, task_ids, facts, read)
    return causes_of(facts)


async def _add_obstacles(
    client: Client, task_ids: Mapping[str, str], facts: Facts, read: Reader
) -> None:
    """Fetch the facts that may hold a job back."""
    project = {"projectId": task_ids["projectId"]}
    job = facts.job
    call = operations.GET_TASK.call(task_ids)
    facts.task = await read("the task", _read(client, call), {}) or {}
    call = operations.GET_PROJECT.call(project)
    facts.project = await read("the project", _read(client, call), {}) or {}
    if name := job.get("imageName"):
        call = operations.GET_IMAGE_STATUS.call({**project, "imageName": name})
        image: Json = await read("the image", _read(client, call), {"status": "UNKNOWN"}) or {}
        facts.image = image.get("status")
    call = operations.GET_PROJECT_DIMENSIONS.call(project)
    environments: list[Any] = await read("the dimensions", client.send(call), []) or []
    facts.environment_problem = preflight.environment_problem(
        [operations.GET_PROJECT_DIMENSIONS.to_record(item) for item in environments], job
    )
    facts.limits = await fetch_limits(client, project, job.get("workspaceId"), read)
    if facts.limits and job.get("status") == "SUBMITTED_TO_RESCALE":
        running = await _jobs(client, task_ids, "RUNNING", PAGE_SIZE)
        running += await _jobs(client, task_ids, "STARTING", PAGE_SIZE)
        facts.running_vcpus = sum(integer_in(item.get("maxVCpus")) or 1 for item in running)


async def fetch_limits(
    client: Client, project: Mapping[str, str], workspace_id: object, read: Reader
) -> list[tuple[str, int]]:
    """Fetch the limits on virtual CPUs of a project and its workspace, each with its owner."""
    call = operations.LIST_PROJECT_LIMITS.call(project)
    limits: list[Json] = await read("the project's limits", client.items(call), []) or []
    owned = [("project", limit.get("vCPUs")) for limit in limits]
    if isinstance(workspace_id, str):
        call = operations.GET_WORKSPACE_LIMIT.call({"workspaceId": workspace_id})
        limit: Json = await read("the workspace's limit", client.send(call), {}) or {}
        owned.append(("workspace", limit.get("vCPUs")))
    return [(owner, limit) for owner, limit in owned if isinstance(limit, int)]


async def fetched(_part: str, work: Awaitable[Any], missing: Any) -> Any:
    """Fetch something. Return `missing` if it does not exist."""
    try:
        return await work
    except HtcNotFoundError:
        return missing


async def _explain_not_found(
    client: Client, ids: Mapping[str, str], error: HtcStatusError
) -> Cause:
    """Explain why a job or task does not exist."""
    evidence = [str(error)]
    advice = "check the id; the service deletes jobs 60 days after they end, and with their task"
    if "jobId" in ids:
        task_ids = {name: ids[name] for name in ("projectId", "taskId")}
        try:
            task = await _read(client, operations.GET_TASK.call(task_ids))
            evidence.append(f"lifecycleStatus of the task: {task.get('lifecycleStatus')}")
        except HtcNotFoundError as missing:
            evidence.append(str(missing))
    noun = "job" if "jobId" in ids else "task"
    return Cause("gone", f"the {noun} was deleted, or never existed", evidence, advice, True)
