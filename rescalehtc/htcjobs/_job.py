"""HtcJob: a job with its status, log and events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from .._counts import FINAL_STATUSES, JobCounts
from .._facts import MAX_BATCH_SIZE, PAGE_SIZE
from .._jobs import logs, waiting
from .._jobs.progress import Progress
from .._jobs.records import is_running
from .._jobs.waiting import Interval
from .._jobs.watching import JobKey
from .._objects.explained import Explained
from .._objects.json_object import JsonObject, id_of, require_instance, task_ids
from .._tracebacks import trimmed
from .._wire.operations import GET_JOB, LIST_JOB_EVENTS
from ..exceptions import HtcResponseError, HtcValidationError, Problem
from ..htctasks import HtcTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from os import PathLike

    from .. import models, types
    from .._jobs.watching import SeenStatuses
    from .._session import BaseSession
    from ..htcsession import HtcSession


_INDICES = tuple(range(MAX_BATCH_SIZE))


class HtcJob(JsonObject["types.HTCJobDict", "models.HTCJob"], Explained):
    """A job.

    The `json` of a job from `HtcJobBatch.to_jobs` has only `group`, `projectId`, `taskId` and
    `jobUUID`, and also `status` after `HtcJobBatch.wait`. `get_update` fetches the other fields.
    """

    _operation = GET_JOB
    _not_pickled = ("_validated", "_fetched_at", "_log")
    # Class attributes save memory: there may be a million jobs, and few of them set these.
    _json: types.HTCJobDict | None = None
    _fetched_at: float | None = None
    _log: tuple[float, int | None, list[str]] | None = None
    _template: JobTemplate | None = None  # builds the dictionary of a job that was not fetched
    _index: int

    def __init__(self, json: types.HTCJobDict | dict[str, Any], task: HtcTask) -> None:
        """Create a job from its dictionary.

        Args:
            json: The dictionary, an `HTCJob` object with the service's names.
            task: The task of the job.

        Raises:
            HtcValidationError: `task` is not an HtcTask.
        """
        require_task(task, "HtcJob")
        self._json = cast("types.HTCJobDict", json)
        self.task: HtcTask = task
        """The task of the job."""

    @property
    def json(self) -> types.HTCJobDict:
        """The raw dictionary, an `HTCJob` object with the service's names."""
        template, json = self._template, self._json
        if template is not None:
            if json is None:
                json = self._json = template.json_of(self._index)
            if template.seen:
                self._note_status(template.seen.of(json["jobUUID"]))
        return cast("types.HTCJobDict", self._json)

    @json.setter
    def json(self, json: types.HTCJobDict | dict[str, Any]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] - a property here
        self._json, self._template = cast("types.HTCJobDict", json), None

    def _note_status(self, status: str | None) -> None:
        """Store the final status that `HtcJobBatch.wait` has seen."""
        json, self._template = self._json, None
        if json is not None and status is not None and json.get("status") not in FINAL_STATUSES:
            self._json, self._fetched_at = {**json, "status": status}, None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_json": self.json, "_template": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        json = state.pop("json", None)  # in pickles of 1.1.0
        vars(self).update({"_json": json} | state)

    def __repr__(self) -> str:
        status = f", status={self.json['status']!r}" if "status" in self.json else ""
        return f"HtcJob(jobUUID={self.json.get('jobUUID')!r}{status})"

    def _repr_html_(self) -> str:
        from .. import _html

        return _html.job(self.json)

    def get_update(self, rescale: HtcSession) -> types.HTCJobDict:
        """Fetch the job's record, store it as `json`, and return it.

        Operation getJob. If the last fetch is less than `rescale.status_refresh_seconds` ago (30
        by default, the refresh interval of the service), this sends nothing and returns `json`.
        To watch many jobs, use `htcjobs.refresh` or the task's summary instead.

        Args:
            rescale: The session.
        """
        now = rescale.client.io.monotonic()
        if self._fetched_at is None or now - self._fetched_at >= rescale.status_refresh_seconds:
            with trimmed():
                fetched = rescale.send(GET_JOB.call(self._ids()))
                if fetched.get("jobUUID") != self.json["jobUUID"]:
                    raise HtcResponseError(
                        f"getJob: the response is not about job {self.json['jobUUID']}"
                    )
                store_record(self, fetched, rescale)
        return self.json

    def is_still_running(self, rescale: HtcSession) -> bool:
        """Fetch the job's record with `get_update`, and return True until the job has ended.

        Operation getJob.

        SUCCEEDED, FAILED, POD_SUCCEEDED and POD_FAILED are final. A status that this release
        does not know is final if the record has the time of completion.

        Args:
            rescale: The session.

        Raises:
            HtcResponseError: The record has no status.
        """
        return is_running(self.get_update(rescale))

    def wait(
        self,
        rescale: HtcSession,
        timeout: float | None = None,
        progress: bool | Callable[[JobCounts], None] = False,
    ) -> JobCounts:
        """Wait until the job has ended. Then `json` and `record` have the final status.

        Operation getJob, every `rescale.status_refresh_seconds` (30 by default). To wait for many
        jobs with the same number of requests, use `HtcJobBatch.wait` or `as_completed`.

        Args:
            rescale: The session.
            timeout: The maximum wait in seconds, at least 0. None waits without a limit. An
                outage of the service does not end the wait.
            progress: Whether to write the counts to standard error when they change. Or a
                function that is called with the counts after each poll.

        Returns:
            The counts, of one job.

        Raises:
            HtcValidationError: `timeout` is not a number of at least 0.
            HtcWaitTimeoutError: The job did not end before the timeout. The exception has the
                counts.
            HtcNotFoundError: The job does not exist.
        """
        client = rescale.client
        interval = Interval(rescale, timeout, "wait")

        async def poll() -> JobCounts:
            call = GET_JOB.call(self._ids())
            record = await client.send(call, expires_at=interval.expires_at())
            running = is_running(record)
            store_record(self, record, rescale)
            return JobCounts({record["status"]: 1}, int(running))

        with Progress(progress) as show:
            return rescale.run(waiting.wait(poll, interval, JobCounts({}, 1, 1), show))

    def get_logs(self, rescale: HtcSession, last_n_lines: int | None = None) -> Iterable[str]:
        """Return an iterator over the job's log, oldest line first.

        This holds all lines in memory. For a long log, use `get_logs_to_file`.

        Operation listJobLogs. A call with the same arguments within
        `rescale.status_refresh_seconds` sends nothing and returns the same lines.

        Args:
            rescale: The session.
            last_n_lines: Return only the last N lines, at least 0. None returns all lines.

        Raises:
            HtcValidationError: `last_n_lines` is not an integer of at least 0.
        """
        check_last_n_lines(last_n_lines, "get_logs")
        fresh = (
            self._log is not None
            and self._log[1] == last_n_lines
            and rescale.client.io.monotonic() - self._log[0] < rescale.status_refresh_seconds
        )
        if self._log is None or not fresh:
            lines = rescale.run(logs.read_lines(rescale.client, self._ids(), last_n_lines))
            self._log = (rescale.client.io.monotonic(), last_n_lines, lines)
        return iter(self._log[2])

    def get_logs_to_file(
        self,
        rescale: HtcSession,
        destination_file_path: str | bytes | PathLike[str],
        last_n_lines: int | None = None,
    ) -> None:
        """Write the job's log to a file, oldest line first, in UTF-8, with LF line ends.

        The file is created or replaced when the log is complete. If the call fails, an existing
        file does not change. This holds one page of lines in memory. Operation listJobLogs.

        Args:
            rescale: The session.
            destination_file_path: The path of the file. Its folder must exist.
            last_n_lines: Return only the last N lines, at least 0. None returns all lines.

        Raises:
            HtcValidationError: `last_n_lines` is not an integer of at least 0.
            HtcFileError: The file can't be written.
        """
        check_last_n_lines(last_n_lines, "get_logs_to_file")
        rescale.run(
            logs.write_lines(rescale.client, self._ids(), destination_file_path, last_n_lines)
        )

    def follow_logs(self, rescale: HtcSession, last_n_lines: int | None = None) -> Iterator[str]:
        """Yield the lines of the job's log as they arrive, oldest first, each line once.

        The iterator ends when the job has ended and all lines have been read. Then `json` has the
        final status. Lines can arrive within a minute after the job has ended, so the iterator
        keeps polling until a poll returns no new lines. You can call this while the job is queued,
        running or ended. An outage of the service does not end the iterator.

        Operations getJob and listJobLogs, every `rescale.status_refresh_seconds` (30 by
        default). This holds one page of lines in memory. It assumes that the service appends new
        lines at the end of the log.

        Args:
            rescale: The session.
            last_n_lines: Begin with the last N of the existing lines, at least 0. None begins with
                the first line.

        Raises:
            HtcNotFoundError: The job does not exist.
            HtcValidationError: `last_n_lines` is not an integer of at least 0.
        """
        check_last_n_lines(last_n_lines, "follow_logs")
        interval = Interval(rescale, None, "follow_logs")
        record: dict[str, Any] | None = None
        with trimmed():
            for fetched, lines in rescale.iterate(
                logs.follow(rescale.client, self._ids(), interval, last_n_lines)
            ):
                if fetched is not record:
                    record = fetched
                    store_record(self, fetched, rescale)
                yield from lines

    def iter_events(self, rescale: HtcSession) -> Iterator[models.RescaleJobStatusEvent]:
        """Yield the job's status changes, in the service's order.

        Operation listJobEvents.

        Args:
            rescale: The session.
        """
        call = LIST_JOB_EVENTS.call(self._ids(), query={"pageSize": PAGE_SIZE})
        for page in rescale.pages(call):
            for event in page:
                yield LIST_JOB_EVENTS.to_record(event)

    def events(self, rescale: HtcSession) -> list[models.RescaleJobStatusEvent]:
        """Return the job's status changes, in the service's order.

        Operation listJobEvents.

        Args:
            rescale: The session.
        """
        return list(self.iter_events(rescale))

    def _ids(self) -> dict[str, str]:
        return {**task_ids(self), "jobId": id_of(self, "jobUUID")}


JobT = TypeVar("JobT", bound=HtcJob)


class JobTemplate(NamedTuple):
    """The jobs of a submit request: their shared fields, parent id and number."""

    shared: dict[str, Any]
    parent_id: str
    size: int
    seen: SeenStatuses

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any], seen: SeenStatuses) -> JobTemplate:
        """Read the ids of the submitted jobs.

        Args:
            answer: The service's response to the submit request.
            seen: The final statuses; a wait adds them later.

        Raises:
            HtcResponseError: The response has no ids.
        """
        with trimmed():
            match answer:
                case {
                    "projectId": str(),
                    "taskId": str(),
                    "parentJobId": str(parent),
                    "batchSize": int(size),
                }:
                    names = ("group", "projectId", "taskId")
                    shared: dict[str, Any] = {k: answer[k] for k in names if k in answer}
                    return cls(shared, parent, size, seen)
                case _:
                    raise HtcResponseError(
                        "submitJobs: the response has no projectId, taskId, parentJobId or "
                        "batchSize, so the ids of the jobs are unknown"
                    )

    def json_of(self, index: int) -> types.HTCJobDict:
        """The dictionary of a job."""
        job_id = f"{self.parent_id}:{index}"
        return cast("types.HTCJobDict", {**self.shared, "jobUUID": job_id})

    def jobs(self, kind: type[JobT], task: HtcTask) -> Iterator[JobT]:
        """Yield the jobs. Each job builds its dictionary on first use."""
        # They share their indices: a number takes as much memory as three references.
        is_shared = self.size <= MAX_BATCH_SIZE
        for index in _INDICES[: self.size] if is_shared else range(self.size):
            job = kind.__new__(kind)
            job.task = task
            job._template, job._index = self, index  # pyright: ignore[reportPrivateUsage] - ours
            yield job


def require_task(task: object, subject: str) -> None:
    """Raise an error unless the task is an HtcTask or, in tests of users, None or a mock."""
    if task is not None and not hasattr(task, "json"):
        require_instance(task, HtcTask, "task", subject)


def job_key(job: HtcJob) -> JobKey:
    """The ids and the group of a job."""
    ids = [id_of(job, name) for name in ("projectId", "taskId", "jobUUID")]
    return JobKey(ids[0], ids[1], ids[2], job.json.get("group") or None)


def store_record(job: HtcJob, record: dict[str, Any], rescale: BaseSession) -> None:
    """Store a fetched record as the `json` of a job."""
    stored = cast("types.HTCJobDict", {**task_ids(job), **record})
    job._json, job._fetched_at = stored, rescale.client.io.monotonic()  # pyright: ignore[reportPrivateUsage] - ours


def check_last_n_lines(last_n_lines: object, subject: str) -> None:
    """Raise an error unless `last_n_lines` is None or an integer of at least 0."""
    if last_n_lines is None:
        return
    if isinstance(last_n_lines, bool) or not isinstance(last_n_lines, int) or last_n_lines < 0:
        message = "must be None or an integer of at least 0"
        raise HtcValidationError(subject, [Problem("last_n_lines", message)])


def checked_group(group: object) -> str | None:
    """Return the group, or raise an error if it is not None or a non-empty string."""
    if group is None or (isinstance(group, str) and group):
        return group
    problem = Problem("group", "must be None or a non-empty string")
    raise HtcValidationError("the arguments", [problem])
