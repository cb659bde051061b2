"""Runs jobs with a runner, and keeps their output as their logs."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import Counter
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, Self

from ..exceptions import HtcException, HtcFileError
from . import lifecycle
from .descriptors import retry_if_out_of_descriptors
from .folders import end_leftovers, is_full
from .job_log import DEFAULT_MAX_LOG_BYTES, LogWriter
from .runners import StartError
from .tokens import CLAIM_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import IO

    from .faults import Fault, Faults
    from .folders import Folders
    from .lifecycle import Ending
    from .runners import Runner, RunningJob
    from .store import Job, Store
    from .tokens import Tokens

_log = logging.getLogger("rescalehtc.emulator")

# A job that has to end gets SIGTERM, and SIGKILL after this time.
GRACE_SECONDS: Final = 2.0
# The time to wait for output after all processes of a job were killed.
DRAIN_SECONDS: Final = 1.0
# The interval between checks of a job without output.
TICK_SECONDS: Final = 0.05
# After a fault of the emulator itself, such as a full disk.
FAULT_PAUSE_SECONDS: Final = 1.0
# The size of one step of freeing a deleted task. Requests and jobs wait during a step.
FREED_LINES: Final = 1000
FREED_PAGES: Final = 1000

CLOSED: Final = "the emulator stopped while the job ran"

# The reasons to stop a running job.
Stop = Literal["cancelled", "timeout", "closing", "preempted", "out_of_memory"]


class _Run:
    """A job that a worker has taken."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.stop: Stop | None = None
        self.output: IO[bytes] | None = None


class Executor:
    """Runs the store's waiting jobs, in the order of their submission.

    Args:
        store: Contains the jobs.
        tokens: Issues the tokens of jobs.
        folders: Contains the shared folders.
        runner: Starts the jobs.
        faults: The faults that affect jobs.
        slots: The maximum number of running jobs.
        clock_rate: Emulated seconds per real second.
        base_url: The emulator's base URL, for the jobs.
        max_log_bytes: The maximum size of a job's log.
    """

    def __init__(
        self,
        store: Store,
        tokens: Tokens,
        folders: Folders,
        runner: Runner,
        faults: Faults,
        slots: int,
        clock_rate: float,
        base_url: str,
        max_log_bytes: int = DEFAULT_MAX_LOG_BYTES,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._folders = folders
        self._runner = runner
        self._faults = faults
        self._clock_rate = clock_rate
        self._base_url = base_url
        self._max_log_bytes = max_log_bytes
        self._changed = threading.Condition()
        self._closing = False
        self._runs: dict[int, _Run] = {}
        self._stack = ExitStack()
        self._discarded: set[str] = set()
        self._workers = [
            threading.Thread(
                target=self._work, args=(f"emulator-{slot}",), name=f"job slot {slot}", daemon=True
            )
            for slot in range(slots)
        ]
        self._workers.append(
            threading.Thread(target=self._free_discarded_tasks, name="free space", daemon=True)
        )

    def __enter__(self) -> Self:
        end_leftovers(self._folders.root)
        self._folders.clear()
        try:
            self._store.fail_started(CLOSED)
            self._discarded.update(self._store.deleted_tasks())
            self._stack.enter_context(self._runner)
        except (OSError, sqlite3.OperationalError) as error:
            raise HtcFileError(f"can't store data in {self._folders.root}: {error}") from error
        for number, worker in enumerate(self._workers):
            try:
                worker.start()
            except RuntimeError as error:  # the limit of threads
                del self._workers[number:]
                self.__exit__()
                raise HtcException(f"can't run {number + 1} threads; reduce `slots`") from error
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closing = True
            for run in self._runs.values():
                run.stop = run.stop or "closing"
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()
        end_leftovers(self._folders.root)
        self._stack.close()

    def wake(self) -> None:
        """Look for waiting jobs."""
        with self._changed:
            self._changed.notify_all()

    def cancel(self, task_id: str, group: str | None = None) -> None:
        """Cancel the jobs of a task, or of one of its groups, that have not ended."""
        with self._changed:
            self._store.cancel_waiting(task_id, group)
            for run in self._runs.values():
                if run.job.task_id == task_id and group in (None, run.job.group):
                    run.stop = run.stop or "cancelled"
            self._changed.notify_all()  # jobs that waited for cancelled ones may start

    def discard(self, task_id: str) -> None:
        """Hide the folder of a deleted task, and free its space when its jobs have ended."""
        self._folders.hide_task(task_id)
        with self._changed:
            self._discarded.add(task_id)
            self._changed.notify_all()

    def descriptors(self) -> Iterator[int]:
        """The file descriptors for the output of running jobs."""
        for run in self._runs.values():
            if run.output is not None and not run.output.closed:
                yield run.output.fileno()

    def running_vcpus(self) -> Mapping[str, int]:
        """The number of virtual CPUs of running jobs, by project."""
        with self._changed:
            return self._running_vcpus()

    def _running_vcpus(self) -> Mapping[str, int]:
        running: Counter[str] = Counter()
        for run in self._runs.values():
            running[run.job.project_id] += run.job.vcpus
        return running

    def _work(self, instance_id: str) -> None:
        while True:
            try:
                run = self._take_job(instance_id)
                if run is None:
                    return
                self._run(run)
            except Exception:  # noqa: BLE001 - otherwise the slot would stay empty
                _log.exception("a job could not be run")
                time.sleep(FAULT_PAUSE_SECONDS)

    def _take_job(self, instance_id: str) -> _Run | None:
        with self._changed:
            while not self._closing:
                job = self._store.take_job(instance_id, self._running_vcpus())
                if job is not None:
                    run = self._runs[job.number] = _Run(job)
                    return run
                self._changed.wait()
            return None

    def _free_discarded_tasks(self) -> None:
        """Free the space of discarded tasks while the emulator runs."""
        while (task_id := self._next_discarded()) is not None:
            try:
                retry_if_out_of_descriptors(partial(self._folders.remove_task, task_id))
                self._store.delete_metadata(f"tasks/{task_id}")
                self._free_log(task_id)
            except (OSError, sqlite3.OperationalError) as error:
                _log.warning("can't free the disk space of task %s: %s; retrying", task_id, error)
                with self._changed:
                    self._changed.wait(FAULT_PAUSE_SECONDS)
            else:
                with self._changed:
                    self._discarded.discard(task_id)

    def _next_discarded(self) -> str | None:
        """A discarded task none of whose jobs runs; None if the emulator stops."""
        with self._changed:
            while not self._closing:
                used = {run.job.task_id for run in self._runs.values()}
                for task_id in self._discarded - used:
                    return task_id
                self._changed.wait()
            return None

    def _free_log(self, task_id: str) -> None:
        has_freed = False
        while self._store.delete_lines(task_id, FREED_LINES):
            has_freed = True
            if self._closing:
                return  # the next emulator with this folder continues
        while has_freed and not self._closing:
            has_freed = self._store.shrink(FREED_PAGES)

    def _run(self, run: _Run) -> None:
        try:
            ending = self._attempt_and_retry(run)
        except Exception as error:
            cause = "its disk is full" if is_full(error) else type(error).__name__
            self._end(run, lifecycle.interrupted(f"the emulator failed: {cause}"))
            raise
        self._end(run, ending)

    def _end(self, run: _Run, ending: Ending) -> None:
        """Store the ending of a job. If the disk is full, wait until it is not."""
        with self._changed:
            try:
                while not self._try_to_end(run.job, ending):
                    self._changed.wait(FAULT_PAUSE_SECONDS)
            finally:
                del self._runs[run.job.number]
                self._changed.notify_all()  # other jobs may start now

    def _try_to_end(self, job: Job, ending: Ending) -> bool:
        try:
            self._store.end_job(job.number, ending)
        except sqlite3.OperationalError as error:
            _log.warning("the end of job %s can't be written: %s", job.id, error)
            if self._closing:
                raise  # the next emulator with this folder ends the job
            return False
        return True

    def _attempt_and_retry(self, run: _Run) -> Ending:
        retries: int = run.job.request.get("retryStrategy", {}).get("maxRetries", 0)
        log = LogWriter(self._store, run.job.number, self._max_log_bytes)
        ending = self._attempt(run, log, 1)
        for number in range(2, retries + 2):
            if not ending.may_retry:
                break
            self._store.retry_job(run.job.number, ending)
            ending = self._attempt(run, log, number)
        return ending

    def _attempt(self, run: _Run, log: LogWriter, number: int) -> Ending:
        job = run.job
        with self._changed:
            self._changed.wait_for(lambda: run.stop is not None, self._faults.start_delay())
        if run.stop is not None:
            return _stop_ending(run.stop, job)
        try:
            started = self._runner.start(
                job, number, self._variables(job, number), lambda: run.stop is not None
            )
        except (StartError, OSError) as error:  # OSError: the task may have been deleted
            if run.stop:
                return _stop_ending(run.stop, job)
            if isinstance(error, OSError):
                raise
            return lifecycle.not_started(str(error))
        with started:
            run.output = started.output
            log.attach(started.output)
            try:
                self._store.job_runs(job.number)
                stop = self._watch(run, started, log)
            finally:
                started.finish()
            log.drain(DRAIN_SECONDS)
            log.end()
            if stop is not None:
                return _stop_ending(stop, job, started.returncode)
            return started.ending()

    def _variables(self, job: Job, attempt: int) -> dict[str, str]:
        definition = job.request["htcJobDefinition"]
        claims = {
            "jobId": job.id,
            "taskId": job.task_id,
            "projectId": job.project_id,
            **{CLAIM_PREFIX + c["name"]: c["value"] for c in definition.get("claims", [])},
        }
        return {
            "AWS_BATCH_JOB_ARRAY_INDEX": str(job.position),
            "AWS_BATCH_JOB_ATTEMPT": str(attempt),
            "RESCALE_HTC_PROJECT_ID": job.project_id,
            "RESCALE_HTC_TASK_ID": job.task_id,
            "RESCALE_HTC_REGION": job.region,
            "RESCALE_HTC_BEARER_TOKEN": self._tokens.issue(claims),
            "RESCALE_HTC_REFRESH_TOKEN": self._tokens.issue(claims, "refresh"),
            "RESCALE_API_BASE_URL": self._base_url,
            **{pair["name"]: pair["value"] for pair in definition.get("envs", [])},
        }

    def _watch(self, run: _Run, started: RunningJob, log: LogWriter) -> Stop | None:
        """Write the log until the job ends, and return the reason if the job was stopped."""
        seconds = run.job.request["htcJobDefinition"].get("execTimeoutSeconds", float("inf"))
        memory = run.job.request["htcJobDefinition"].get("maxMemory", 0)
        deadline = time.monotonic() + seconds / self._clock_rate
        stop: Stop | None = None
        kill_at = 0.0
        started_at = time.monotonic()
        exempt: set[Fault] = set()
        while not started.wait(0):
            at = time.monotonic()
            if stop is None:
                stop = run.stop or ("timeout" if at >= deadline else None)
                stop = stop or self._faults.ends_job(at - started_at, memory, exempt)
                if stop == "out_of_memory":
                    started.kill()
                elif stop is not None:
                    started.terminate()
                if stop is not None:
                    kill_at = at + GRACE_SECONDS
            elif at >= kill_at:
                started.kill()
            if not log.read(TICK_SECONDS):  # the job closed its output but still runs
                started.wait(TICK_SECONDS)
        return stop


def _stop_ending(stop: Stop, job: Job, returncode: int | None = None) -> Ending:
    match stop:
        case "cancelled":
            return lifecycle.cancelled(returncode)
        case "timeout":
            seconds = job.request["htcJobDefinition"]["execTimeoutSeconds"]
            return lifecycle.timed_out(seconds, returncode)
        case "preempted":
            return lifecycle.preempted(returncode)
        case "out_of_memory":
            memory = job.request["htcJobDefinition"].get("maxMemory")
            return lifecycle.out_of_memory(memory, returncode)
        case "closing":
            return lifecycle.interrupted(CLOSED, returncode)
