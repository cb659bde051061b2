"""The submissions that the scripted service stores, regardless of its response."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from .canary import CLAIM, ENV
from .wire import Step, answer, computed

if TYPE_CHECKING:
    import socket

    from .wire import ReceivedRequest, Wire

SUBMIT = "POST /htc/projects/p/tasks/t/jobs/batch"
JOBS = "GET /htc/projects/p/tasks/t/jobs"
# The arguments of create_job_batch, and the same submit request. Both contain secrets.
BATCH: dict[str, Any] = {
    "batch_size": 3,
    "priority": "ON_DEMAND_ECONOMY",
    "image_name": "image",
    "exec_timeout_seconds": 60,
    "envs": [{"name": "PASSWORD", "value": ENV}],
    "claims": [{"name": "owner", "value": CLAIM}],
}
REQUEST: dict[str, Any] = {
    "batchSize": 3,
    "htcJobDefinition": {
        "imageName": "image",
        "commands": ["run"],
        "execTimeoutSeconds": 60,
        "priority": "ON_DEMAND_ECONOMY",
        "architecture": "AARCH64",
        "maxVCpus": 1,
        "maxMemory": 4000,
        "envs": [{"name": "PASSWORD", "value": ENV}],
        "claims": [{"name": "owner", "value": CLAIM}],
    },
}


class Books:
    """The jobs of the task `t`, by their groups, as listJobs lists them.

    Attributes:
        jobs: Their records.
        repeats_tags: Whether records repeat tags.
    """

    def __init__(self, wire: Wire) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.repeats_tags = True
        self._wire = wire
        self._lock = threading.Lock()
        self._batches = 0
        wire.on(SUBMIT, self.taken())
        wire.on(JOBS, computed(self._listed))

    def take(
        self, received: ReceivedRequest, jobs_of_each: int | None = None
    ) -> list[dict[str, Any]]:
        """Create the jobs of a submission, or only some of each batch. Return the response."""
        answered: list[dict[str, Any]] = []
        ids = {"projectId": "p", "taskId": "t", "group": received.query.get("group", [None])[0]}
        for request in received.json:
            with self._lock:
                self._batches += 1
                parent = f"batch-{self._batches}"
            answered.append({**request, **ids, "parentJobId": parent})
            size = request.get("batchSize", 1)
            for index in range(size if jobs_of_each is None else min(size, jobs_of_each)):
                self.add(f"{parent}:{index}", ids["group"], request["htcJobDefinition"])
        return answered

    def add(self, job_id: str, group: str | None, definition: dict[str, Any]) -> None:
        """Create a job without a mark, or with the mark of another submission."""
        traits = {
            name: definition[name]
            for name in ("imageName", "commands", "maxVCpus", "maxMemory", "architecture", "envs")
            if name in definition
        }
        if self.repeats_tags:
            tags = definition.get("tags", {})
            traits["tags"] = [{"key": key, "value": value} for key, value in tags.items()]
        with self._lock:
            self.jobs.append({"jobUUID": job_id, "group": group, "status": "RUNNING", **traits})

    def taken(self, then: Step | None = None, jobs_of_each: int | None = None) -> Step:
        """Accept a submission, and respond normally or run another step."""

        def step(connection: socket.socket, request: ReceivedRequest) -> object:
            answered = self.take(request, jobs_of_each)
            return (then or answer(answered))(connection, request)

        return step

    def groups_jobs(self, group: str) -> list[dict[str, Any]]:
        return [job for job in self.jobs if job["group"] == group]

    @property
    def submissions(self) -> int:
        """The number of submissions."""
        return len(self._wire.requests_to(SUBMIT))

    def _listed(self, request: ReceivedRequest) -> Step:
        with self._lock:
            jobs = self.groups_jobs(request.query["group"][0])
            statuses = request.query.get("status") or [job["status"] for job in jobs]
            return answer({"items": [job for job in jobs if job["status"] in statuses]})
