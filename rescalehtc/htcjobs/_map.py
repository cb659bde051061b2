"""Run a program or a function over many inputs, with one job per input."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._facts import FAILED_STATUSES, MAX_BATCH_SIZE
from .._jobs.policy import RetryPolicy
from .._jobs.report import cause_of
from .._jobs.waiting import Interval
from .._objects.json_object import require_instance, task_ids
from .._tracebacks import trimmed
from ..exceptions import HtcException, HtcValidationError, Problem, RunStoppedError
from ..htctasks import HtcTask
from ._batch import rerunner_of
from ._batches import get_or_submit, require_group
from ._job import HtcJob
from ._sweep import PARALLEL_READS, Results, Sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from os import PathLike

    from .. import models
    from .._jobs.rerunning import EndedEntry
    from .._literals import Architecture, JobPriority, RescaleRegion
    from ..htcsession import HtcSession
    from ._submit import Envs


@dataclass(frozen=True, slots=True)
class MapResult:
    """The result of one input of `map`."""

    index: int
    """The position of the input, starting at 0."""
    input: Any
    """The input."""
    job: HtcJob
    """The job, with its final record. If the input was retried, the last job."""
    folder: str
    """The folder of the job's results, for `task.files(rescale, job.record.region)`."""
    error: HtcException | None
    """The reason why there is no value: the job failed, or wrote no valid JSON. None if there is a
    value.
    """
    _value: Any = field(repr=False)

    @property
    def value(self) -> Any:
        """The JSON value that the job wrote.

        Raises:
            HtcException: The job has no value. The exception is `error`.
        """
        if self.error is not None:
            raise self.error
        return self._value


def map(
    rescale: HtcSession,
    task: HtcTask,
    program: str | PathLike[str] | Callable[[Any], Any],
    inputs: Iterable[Any],
    *,
    image: str,
    priority: JobPriority | None = None,
    exec_timeout_seconds: int | None = None,
    max_vcpus: int | None = None,
    max_memory_mib: int | None = None,
    envs: Envs | None = None,
    job_tags: dict[str, str] | None = None,
    architecture: Architecture | None = None,
    region: RescaleRegion | None = None,
    group: str | None = None,
    policy: RetryPolicy | None = None,
    timeout: float | None = None,
) -> Iterator[MapResult]:
    """Run a program over inputs, one job per input, and yield the results as the jobs end.

        for result in htcjobs.map(rescale, task, "solve.py", inputs, image="python:3"):
            print(result.index, result.value)

    A script runs as `python3 solve.py INPUT RESULT`. It reads the JSON file INPUT and writes the
    JSON file RESULT. It may write more files next to RESULT. A function gets the input and returns
    the result. Functions need `pip install "rescalehtc[map]>=2"`, and an image with the Python
    version that you use.

    The program and the inputs are uploaded to the task's storage, which needs
    `pip install "rescalehtc[storage]>=2"`. More than 1000 inputs become several batches.

    With `group`, you can run your program again after a crash: inputs that have a job are not
    submitted again, and all results are yielded, including the earlier ones.

    The call validates the arguments. The iterator submits the jobs when you request the first
    result. If you leave the loop, the jobs continue. An outage of the service or its storage does
    not end the iterator.

    Operations getTaskStorageTokenForRegion, getImageStatus and submitJobs. Also listJobs, every
    `rescale.status_refresh_seconds` (30 by default).

    Args:
        rescale: The session.
        task: The task of the new jobs.
        program: The path of a Python script, or a function, which is pickled with cloudpickle.
        inputs: JSON values, such as dictionaries of parameters.
        image: The container image in the project's registry, `[path/]name[:tag]`. It needs `sh` and
            `python3`.
        priority: ON_DEMAND_ECONOMY (cheaper, may be interrupted) or ON_DEMAND_PRIORITY. For this and
            the next arguments up to `architecture`, None means the service's default.
        exec_timeout_seconds: The timeout of a container in seconds, 60 to 1209600 (14 days).
        max_vcpus: Virtual CPUs for a container, 1 to 64.
        max_memory_mib: Memory for a container in MiB, 4 to 235520.
        envs: Environment variables: `{"CASE": "7"}` or `[{"name": "CASE", "value": "7"}]`.
        job_tags: Labels of each job, as names and values.
        architecture: AARCH64, X86 or A100.
        region: One of the project's regions. May be None if the project has only one.
        group: A name for the jobs in the task. Do not use it for other jobs. None for a unique name;
            after an exception, a note contains this name.
        policy: Which failed jobs to retry. None retries none.
        timeout: The maximum wait for all results in seconds, at least 0. None waits without a
            limit.

    Raises:
        HtcValidationError: An argument is invalid, or the group belongs to other inputs or to
            another script. Functions are not compared.
        HtcFileError: The program can't be read, or the storage failed.
        RunStoppedError: More jobs failed than the policy allows, and the group was cancelled.
        HtcWaitTimeoutError: Not all jobs ended before the timeout. The exception has the counts.
        The exceptions of `get_or_submit`.
    """
    require_instance(task, HtcTask, "task", "map")
    policy = RetryPolicy(max_attempts=1) if policy is None else policy
    require_instance(policy, RetryPolicy, "policy", "map")
    interval = Interval(rescale, timeout, "map")
    name = (
        f"rescalehtc-map-{secrets.token_hex(8)}" if group is None else require_group(group, "map")
    )
    sweep = Sweep(program, inputs, name)
    arguments = {
        "image_name": image,
        "priority": priority,
        "exec_timeout_seconds": exec_timeout_seconds,
        "max_vcpus": max_vcpus,
        "max_memory_mib": max_memory_mib,
        "envs": envs,
        "job_tags": job_tags,
        "architecture": architecture,
    }
    model = _model_of(arguments, region, task)
    return _each_result(rescale, task, sweep, model, policy, interval)


def _model_of(
    arguments: Mapping[str, object], region: str | None, task: HtcTask
) -> models.HTCJobSubmitRequest:
    """Validate the arguments of the jobs."""
    from .._requests import submit_request

    given = {name: value for name, value in arguments.items() if value is not None}
    try:
        return submit_request.from_arguments({"batch_size": 1, **given}, region, task.project.json)
    except HtcValidationError as error:
        problems = [
            Problem(one.where.replace("image_name", "image"), one.message) for one in error.problems
        ]
    raise HtcValidationError("the arguments", problems)


def _each_result(
    rescale: HtcSession,
    task: HtcTask,
    sweep: Sweep,
    model: models.HTCJobSubmitRequest,
    policy: RetryPolicy,
    interval: Interval,
) -> Iterator[MapResult]:
    if not sweep.inputs:
        return
    owner: Any = task  # of either kind of session
    io = rescale.client.io
    with trimmed():
        files = owner.files(rescale, model.regions[0] if model.regions else None)
        rescale.run(sweep.upload(io, files.storage))
        batch = get_or_submit(rescale, task, sweep.requests(model), group=sweep.group)
        try:
            parts = [part.json for part in batch.batches]
            waiter = rerunner_of(rescale, batch, policy, interval)
            order = {part["parentJobId"]: number for number, part in enumerate(parts)}
            ids = task_ids(task)
            for counts, ended in rescale.iterate(waiter.iterate()):
                for start in range(0, len(ended), PARALLEL_READS):
                    some = {
                        _index(one, order): one for one in ended[start : start + PARALLEL_READS]
                    }
                    succeeded = [index for index in some if not _has_failed(some[index])]
                    values: Results | None = None
                    while values is None:
                        try:
                            values = rescale.run(sweep.read_results(io, files.storage, succeeded))
                        except HtcException as failure:
                            rescale.run(interval.wait_out(failure, counts))
                    interval.note_answer()
                    for index, one in some.items():
                        value, error = values.get(index) or (None, _failure(index, one))
                        job = HtcJob({**ids, **one[1]}, task)
                        folder = sweep.results_folder(index)
                        yield MapResult(index, sweep.inputs[index], job, folder, error, value)
        except BaseException as error:
            if not isinstance(error, RunStoppedError):
                error.add_note(
                    f"rescalehtc: the jobs of group {sweep.group!r} continue; call map again with "
                    f"group={sweep.group!r} to get the results"
                )
            raise


def _index(ended: EndedEntry, order: Mapping[str, int]) -> int:
    """The index of the input of a job."""
    entry, _ = ended
    return order[entry.part["parentJobId"]] * MAX_BATCH_SIZE + entry.index


def _has_failed(ended: EndedEntry) -> bool:
    return ended[1].get("status") in FAILED_STATUSES


def _failure(index: int, ended: EndedEntry) -> HtcException:
    entry, record = ended
    attempts = f" after {entry.number} attempts" if entry.number > 1 else ""
    cause = cause_of(entry.last.failure)
    return HtcException(f"job {record['jobUUID']} of input {index} failed{attempts}: {cause}")
