"""Runs jobs: each command as a process group of its own, its output kept as the job's log."""

from __future__ import annotations

import logging
import os
import select
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from functools import partial
from json import JSONEncoder
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from ..exceptions import HtcFileError
from . import lifecycle
from .descriptors import patiently
from .folders import is_full, remove
from .processes import end_strays_below, end_strays_of, signal_group, start
from .store import now
from .tokens import CLAIM_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import IO

    from .faults import Fault, Faults
    from .folders import Folders
    from .lifecycle import Ending
    from .store import Job, Store
    from .tokens import Tokens

_log = logging.getLogger("rescalehtc.emulator")

# A job that has to end gets TERM, and KILL so many seconds later.
GRACE_SECONDS: Final = 2.0
# How long output is waited for when all of a job's processes that can be found are killed.
DRAIN_SECONDS: Final = 1.0
# How often a job is looked at while it writes nothing.
TICK_SECONDS: Final = 0.05
# After a fault of the emulator itself, such as a full disk.
FAULT_PAUSE_SECONDS: Final = 1.0
# Output reaches the log at least so often, and a line is split at this length.
FLUSH_SECONDS: Final = 0.1
FLUSH_BYTES: Final = 1 << 20
MAX_LINE_BYTES: Final = 256 << 10
READ_BYTES: Final = 64 << 10
DEFAULT_MAX_LOG_BYTES: Final = 1 << 30
# What is freed at once of a deleted task, while requests and jobs wait.
FREED_LINES: Final = 1000
FREED_PAGES: Final = 1000

_INHERITED: Final = ("PATH", "LANG", "TZ")

CLOSED: Final = "the emulator stopped while the job ran"

# Why a running job is made to end.
Stop = Literal["cancelled", "timeout", "closing", "preempted"]


class _Run:
    """A job that a worker has taken."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.stop: Stop | None = None
        self.output: IO[bytes] | None = None


class Executor:
    """Runs the store's waiting jobs, in the order of their submission.

    Args:
        store: Where the jobs are.
        tokens: Issues the jobs' own tokens.
        folders: Where working directories and shared folders are made.
        faults: Tell which jobs are preempted.
        slots: How many jobs run at once.
        clock_rate: How many emulated seconds pass in a second.
        base_url: The emulator's address, for the jobs.
        max_log_bytes: How large a job's log may become.
    """

    def __init__(
        self,
        store: Store,
        tokens: Tokens,
        folders: Folders,
        faults: Faults,
        slots: int,
        clock_rate: float,
        base_url: str,
        max_log_bytes: int = DEFAULT_MAX_LOG_BYTES,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._folders = folders
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
        self._workers.append(threading.Thread(target=self._free, name="free space", daemon=True))

    def __enter__(self) -> Self:
        end_strays_below(self._folders.jobs)
        self._folders.clear()
        try:
            self._store.fail_started(CLOSED)
            self._discarded.update(self._store.deleted_tasks())
            self._jobs_path = self._stack.enter_context(self._folders.short_jobs())
        except (OSError, sqlite3.OperationalError) as error:
            raise HtcFileError(f"can't keep data in {self._folders.root}: {error}") from error
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closing = True
            for run in self._runs.values():
                run.stop = run.stop or "closing"
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()
        end_strays_below(self._folders.jobs)
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
            self._changed.notify_all()  # what waited behind the cancelled ones may start

    def discard(self, task_id: str) -> None:
        """Free the space of a deleted task: its folder at once, its logs when its jobs have ended.

        What jobs put into the folder until then is removed with the logs.
        """
        with suppress(OSError):  # no file descriptor is left
            self._folders.remove_task(task_id)
        with self._changed:
            self._discarded.add(task_id)
            self._changed.notify_all()

    def descriptors(self) -> Iterator[int]:
        """The file descriptors that the output of running jobs is read from."""
        for run in self._runs.values():
            if run.output is not None and not run.output.closed:
                yield run.output.fileno()

    def running_vcpus(self) -> Mapping[str, int]:
        """How many virtual CPUs of each project run."""
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
                run = self._take(instance_id)
                if run is None:
                    return
                self._run(run)
            except Exception:  # noqa: BLE001 - a worker that ended would leave its slot empty
                _log.exception("a job could not be run")
                time.sleep(FAULT_PAUSE_SECONDS)

    def _take(self, instance_id: str) -> _Run | None:
        with self._changed:
            while not self._closing:
                job = self._store.take_job(instance_id, self._running_vcpus())
                if job is not None:
                    run = self._runs[job.number] = _Run(job)
                    return run
                self._changed.wait()
            return None

    def _free(self) -> None:
        """Free the space of discarded tasks, for as long as the emulator runs."""
        while (task_id := self._next_discarded()) is not None:
            try:
                patiently(partial(self._folders.remove_task, task_id))
                self._free_pages(task_id)
            except (OSError, sqlite3.OperationalError) as error:
                _log.warning("the space of task %s can't be freed yet: %s", task_id, error)
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

    def _free_pages(self, task_id: str) -> None:
        has_freed = False
        while self._store.delete_lines(task_id, FREED_LINES):
            has_freed = True
            if self._closing:
                return  # the next emulator on this data goes on
        while has_freed and not self._closing:
            has_freed = self._store.shrink(FREED_PAGES)

    def _run(self, run: _Run) -> None:
        try:
            self._end(run, self._attempt_and_retry(run))
        except Exception as error:
            what = "its disk is full" if is_full(error) else type(error).__name__
            self._end(run, lifecycle.interrupted(f"the emulator failed: {what}"))
            raise
        finally:
            with self._changed:
                del self._runs[run.job.number]
                self._changed.notify_all()  # what this one's end lets start may be many

    def _end(self, run: _Run, ending: Ending) -> None:
        """Write down how a job ended; while the disk is full, wait until it no longer is."""
        while True:
            try:
                return self._store.end_job(run.job.number, ending)
            except sqlite3.OperationalError as error:
                _log.warning("the end of job %s can't be written: %s", run.job.id, error)
                with self._changed:
                    if self._closing:
                        raise  # the next emulator on this data ends the job
                    self._changed.wait(FAULT_PAUSE_SECONDS)

    def _attempt_and_retry(self, run: _Run) -> Ending:
        retries: int = run.job.request.get("retryStrategy", {}).get("maxRetries", 0)
        log = _Log(self._store, run.job.number, self._max_log_bytes)
        ending = self._attempt(run, log, 1)
        for number in range(2, retries + 2):
            if not ending.may_retry:
                break
            self._store.retry_job(run.job.number, ending)
            ending = self._attempt(run, log, number)
        return ending

    def _attempt(self, run: _Run, log: _Log, number: int) -> Ending:
        job = run.job
        if run.stop is not None:
            return _stopped(run.stop, job)
        definition: Mapping[str, Any] = job.request["htcJobDefinition"]
        commands: list[str] | None = definition.get("commands")
        if not commands:
            return lifecycle.not_started(
                "the job has no commands, and the emulator has no image whose own it could run"
            )
        folder = self._folders.jobs / job.id.replace(":", "-")
        environment = self._environment(job, folder, number)
        try:
            process = patiently(
                lambda: start(commands, folder, definition.get("workingDir", ""), environment)
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL among the commands or envs
            patiently(partial(remove, folder))
            reason = (isinstance(error, OSError) and error.strerror) or str(error)
            return lifecycle.not_started(f"can't start {commands[0][:200]!r}: {reason}")
        try:
            with process:
                run.output = process.stdout
                log.follow(process)
                try:
                    self._store.job_runs(job.number)
                    stop = self._watch(run, process, log)
                finally:
                    signal_group(process, signal.SIGKILL)
                    end_strays_of(folder)
                log.read_on(DRAIN_SECONDS)
                log.end()
        finally:
            patiently(partial(remove, folder))
        if stop is not None:
            return _stopped(stop, job, process.returncode)
        return lifecycle.exited(process.returncode)

    def _environment(self, job: Job, folder: Path, attempt: int) -> dict[str, str]:
        definition = job.request["htcJobDefinition"]
        claims = {
            "jobId": job.id,
            "taskId": job.task_id,
            "projectId": job.project_id,
            **{CLAIM_PREFIX + c["name"]: c["value"] for c in definition.get("claims", [])},
        }
        host = {
            name: value
            for name, value in os.environ.items()
            if name in _INHERITED or name.startswith("LC_")
        }
        return {
            "PATH": os.defpath,
            **host,
            "HOME": str(folder),
            "TMPDIR": str(self._jobs_path / folder.name),
            "AWS_BATCH_JOB_ARRAY_INDEX": str(job.position),
            "AWS_BATCH_JOB_ATTEMPT": str(attempt),
            "RESCALE_HTC_PROJECT_ID": job.project_id,
            "RESCALE_HTC_TASK_ID": job.task_id,
            "RESCALE_HTC_REGION": job.region,
            "RESCALE_HTC_BEARER_TOKEN": self._tokens.issue(claims),
            "RESCALE_HTC_REFRESH_TOKEN": self._tokens.issue(claims, "refresh"),
            "RESCALE_API_BASE_URL": self._base_url,
            "PROJECT_SHARED_FOLDER": str(self._folders.project(job.project_id)),
            "TASK_SHARED_FOLDER": str(self._folders.task(job.task_id)),
            **{pair["name"]: pair["value"] for pair in definition.get("envs", [])},
        }

    def _watch(self, run: _Run, process: subprocess.Popen[bytes], log: _Log) -> Stop | None:
        """Keep the log until the command ends, and return why it was made to end, if it was."""
        seconds = run.job.request["htcJobDefinition"].get("execTimeoutSeconds", float("inf"))
        deadline = time.monotonic() + seconds / self._clock_rate
        stop: Stop | None = None
        kill_at = 0.0
        started = time.monotonic()
        spared: set[Fault] = set()
        while process.poll() is None:
            at = time.monotonic()
            if stop is None:
                stop = run.stop or ("timeout" if at >= deadline else None)
                if stop is None and self._preempts(at - started, spared):
                    stop = "preempted"
                if stop is not None:
                    signal_group(process, signal.SIGTERM)
                    kill_at = at + GRACE_SECONDS
            elif at >= kill_at:
                signal_group(process, signal.SIGKILL)
            if not log.read(TICK_SECONDS):  # the command closed its output and goes on
                with suppress(subprocess.TimeoutExpired):
                    process.wait(TICK_SECONDS)
        return stop

    def _preempts(self, seconds: float, spared: set[Fault]) -> bool:
        """Whether a job that has run so long is preempted; faults decide once an attempt."""
        due = {fault for fault in self._faults.preempting() if fault.seconds <= seconds} - spared
        spared |= due
        return any(fault.strikes() for fault in due)


class _Log:
    """Turns a job's output into lines in the store, until the log is as large as it may be."""

    def __init__(self, store: Store, job: int, max_bytes: int) -> None:
        self._store = store
        self._job = job
        self._max_bytes = max_bytes
        self._room = max_bytes
        self._written = 0
        self._pending: list[str] = []
        self._pending_bytes = 0
        self._flushed_at = 0.0
        self._rest = b""
        self._encode = JSONEncoder(ensure_ascii=False).encode

    def follow(self, process: subprocess.Popen[bytes]) -> None:
        """Read the output of this process from now on."""
        assert process.stdout is not None
        self._output = process.stdout.fileno()
        self._poll = select.poll()
        self._poll.register(self._output, select.POLLIN)
        self._is_open = True

    def read(self, seconds: float) -> bool:
        """Wait for output and take it in. Returns whether any process can still write."""
        if self._is_open and self._poll.poll(seconds * 1000):
            chunk = os.read(self._output, READ_BYTES)
            self._is_open = bool(chunk)
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            self._add(lines)
            if len(self._rest) > MAX_LINE_BYTES:
                *pieces, self._rest = _pieces(self._rest)
                self._add(pieces)
        due = time.monotonic() - self._flushed_at >= FLUSH_SECONDS
        if self._pending and (due or self._pending_bytes >= FLUSH_BYTES):
            self._flush()
        return self._is_open

    def read_on(self, seconds: float) -> bool:
        """Read until no process can write any more, or so long. Returns whether one can."""
        until = time.monotonic() + seconds
        while self._is_open and time.monotonic() < until:
            self.read(TICK_SECONDS)
        return self._is_open

    def end(self) -> None:
        """Write what is left; a last line need not have an end."""
        if self._rest:
            self._add([self._rest])
            self._rest = b""
        self._flush()

    def _add(self, lines: list[bytes]) -> None:
        if self._room < 0:
            return
        time_read = now()
        for line in lines:
            for piece in _pieces(line):
                record = self._record(time_read, piece.decode("utf-8", "replace"))
                self._room -= len(record.encode())
                if self._room < 0:
                    text = f"The log ends here: it has reached {self._max_bytes} bytes. The job"
                    self._pending.append(self._record(time_read, f"{text} goes on."))
                    return
                self._pending.append(record)
                self._pending_bytes += len(piece)

    def _record(self, time_read: str, message: str) -> str:
        return f'{{"timestamp":"{time_read}","message":{self._encode(message)}}}'

    def _flush(self) -> None:
        if self._pending:
            self._store.add_lines(self._job, self._written + 1, self._pending)
            self._written += len(self._pending)
            self._pending = []
            self._pending_bytes = 0
        self._flushed_at = time.monotonic()


def _pieces(line: bytes) -> Iterator[bytes]:
    while len(line) > MAX_LINE_BYTES:
        end = MAX_LINE_BYTES
        while end > MAX_LINE_BYTES - 4 and line[end] & 0xC0 == 0x80:  # inside a character
            end -= 1
        yield line[:end]
        line = line[end:]
    yield line


def _stopped(stop: Stop, job: Job, returncode: int | None = None) -> Ending:
    match stop:
        case "cancelled":
            return lifecycle.cancelled(returncode)
        case "timeout":
            seconds = job.request["htcJobDefinition"]["execTimeoutSeconds"]
            return lifecycle.timed_out(seconds, returncode)
        case "preempted":
            return lifecycle.preempted(returncode)
        case "closing":
            return lifecycle.interrupted(CLOSED, returncode)
