"""Find the causes of a job's status from facts about the job. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._counts import FINAL_STATUSES
from .._facts import FAILED_STATUSES, RUNNING_STATUSES
from .._raw import strings_of
from .records import exit_code_of, integer_in, seconds_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Json = Mapping[str, Any]

FRESH_SECONDS = 60.0
NEAR_TIMEOUT = 0.9


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause of a job's status."""

    name: str
    """A short name, such as `limit-reached`. docs/how-to/failures.md lists all names."""
    text: str
    """A description of the cause."""
    evidence: list[str]
    """The facts from the service that show the cause."""
    advice: str
    """The steps to take."""
    is_guess: bool = False
    """Whether the evidence allows other causes too."""
    jobs: int = 1
    """The number of jobs with this cause. Always 1 for `HtcJob.why`."""

    def __str__(self) -> str:
        many = "" if self.jobs == 1 else f"{self.jobs} jobs: "
        guess = "probably: " if self.is_guess else ""
        lines = [f"{many}{guess}{self.text}", *(f"  {fact}" for fact in self.evidence)]
        return "\n".join([*lines, f"  -> {self.advice}"])


@dataclass(slots=True)
class Facts:
    """The facts about a job.

    Attributes:
        job: Its record.
        now: The time in seconds since 1970.
        events: Its status changes.
        last_lines: The end of its log.
        limits: The limits on virtual CPUs, each with its owner.
        running_vcpus: The virtual CPUs of the running jobs of its task.
        image: The status of its image. UNKNOWN if the project does not have the image.
        project: The project's record.
        task: The task's record.
        environment_problem: The reason why none of the project's computing environments fits.
        unread: The facts that could not be fetched, with the reasons.
    """

    job: Json = field(repr=False)
    now: float
    events: Sequence[Json] = field(default=(), repr=False)
    last_lines: Sequence[str] = field(default=(), repr=False)
    limits: Sequence[tuple[str, int]] = ()
    running_vcpus: int | None = None
    image: str | None = None
    project: Json = field(default_factory=dict[str, Any])
    task: Json = field(default_factory=dict[str, Any])
    environment_problem: str | None = None
    unread: Sequence[str] = ()


def causes_of(facts: Facts) -> list[Cause]:
    """Return the causes of a job's status, most certain first."""
    status = str(facts.job.get("status"))
    if status in FAILED_STATUSES:
        return [_failure(facts)]
    if status in FINAL_STATUSES:
        return [Cause("succeeded", "the job has succeeded", _status(facts), "nothing")]
    causes = [*_earlier_attempts(facts)]
    if status == "RUNNING":
        return [_running(facts), *causes]
    causes += _obstacles(facts)
    if not any(cause.name != "retried" for cause in causes):
        causes.append(_waiting(facts, status))
    return causes


def _status(facts: Facts) -> list[str]:
    job = facts.job
    reason = job.get("statusReason")
    evidence = [f"status {job.get('status')} since {job.get('updatedAt')}"]
    return evidence + ([f"statusReason: {reason}"] if reason else [])


# ---- jobs that wait


def _obstacles(facts: Facts) -> Iterator[Cause]:
    job = facts.job
    lifecycle = facts.task.get("lifecycleStatus")
    if lifecycle not in (None, "ACTIVE"):
        evidence = [f"lifecycleStatus of the task: {lifecycle}"]
        advice = "unarchive the task, or submit to another one; a deleted task has no jobs"
        yield Cause("task-not-active", f"the task is {lifecycle}", evidence, advice)
    if job.get("status") == "SUBMITTED_TO_RESCALE":
        yield from _limits(facts)
    image = job.get("imageName")
    if facts.image == "PENDING":
        evidence = [f"image {image} is PENDING"]
        advice = "wait: the service copies the image to the regions"
        yield Cause("image-pending", "the image is not ready", evidence, advice)
    if facts.image == "UNKNOWN":
        evidence = [f"the project has no image {image}"]
        yield Cause("image-missing", "the image does not exist", evidence, "push the image again")
    regions = strings_of(facts.project.get("regions"))
    region = job.get("region")
    if regions and region and region not in regions:
        evidence = [f"region of the job: {region}", f"regions of the project: {', '.join(regions)}"]
        advice = "cancel the job and submit it to one of the project's regions"
        text = "the project no longer has the job's region"
        yield Cause("region-removed", text, evidence, advice)
    if facts.environment_problem:
        advice = "request other vCPUs, another priority or architecture, or change the project's dimensions"
        text = "none of the project's computing environments fits the job"
        yield Cause("no-environment", text, [facts.environment_problem], advice)


def _limits(facts: Facts) -> Iterator[Cause]:
    """Yield the lowest limit if it holds the job back."""
    if not facts.limits:
        return
    owner, limit = min(facts.limits, key=lambda item: item[1])
    vcpus = integer_in(facts.job.get("maxVCpus")) or 1
    evidence = [f"limit of the {owner}: {limit} vCPUs", f"the job needs {vcpus}"]
    if limit == 0:
        text, advice = f"the limit of the {owner} is 0 vCPUs", "raise or delete the limit"
        yield Cause("limit-zero", text, evidence, advice)
    elif vcpus > limit:
        text = f"the job needs more vCPUs than the limit of the {owner} allows"
        yield Cause("limit-too-low", text, evidence, "raise the limit, or submit smaller jobs")
    elif facts.running_vcpus is not None and facts.running_vcpus + vcpus > limit:
        evidence.append(f"running in this task: {facts.running_vcpus} vCPUs")
        text = f"running jobs use up the vCPU limit of the {owner}"
        yield Cause("limit-reached", text, evidence, "wait, or raise the limit")


def _waiting(facts: Facts, status: str) -> Cause:
    evidence = [*_status(facts), *facts.unread]
    updated = seconds_in(facts.job.get("updatedAt"))
    if status not in RUNNING_STATUSES:
        text = f"this release does not know the status {status}"
        return Cause("unknown-status", text, evidence, "update rescalehtc")
    if updated is None or facts.now - updated < FRESH_SECONDS:
        text = "the status has just changed"
        return Cause("fresh", text, evidence, "wait a minute")
    if status == "STARTING":
        text = "the machine loads the image"
        advice = "wait, or use a smaller image"
        return Cause("starting", text, evidence, advice, is_guess=True)
    if status == "SUBMITTED_TO_RESCALE":
        text = "other jobs of the project or workspace are ahead, or use the vCPUs of a limit"
        advice = "check the limits and the other tasks of the project"
        return Cause("queue", text, evidence, advice, is_guess=True)
    evidence.append(
        f"requested: {facts.job.get('maxVCpus')} vCPUs, {facts.job.get('maxMemory')} MiB, "
        f"{facts.job.get('architecture')} in {facts.job.get('region')}"
    )
    text = "the region has no free machine for the job"
    advice = "wait, or submit to another region, with fewer vCPUs, or as ON_DEMAND_PRIORITY"
    return Cause("no-capacity", text, evidence, advice, is_guess=True)


def _earlier_attempts(facts: Facts) -> Iterator[Cause]:
    """Yield a cause if the service has retried the job."""
    has_run = False
    for event in facts.events:
        if has_run and event.get("status") not in ("RUNNING", *FINAL_STATUSES):
            reason = event.get("statusReason")
            evidence = [f"{event.get('status')} after RUNNING at {event.get('dateTime')}: {reason}"]
            text = "an attempt has failed, and the service retries the job"
            yield Cause("retried", text, evidence, "read the log for the cause")
            return
        has_run = has_run or event.get("status") == "RUNNING"


def _running(facts: Facts) -> Cause:
    job = facts.job
    started, timeout = job.get("startedAt"), integer_in(job.get("execTimeoutSeconds"))
    evidence = [f"started at {started}", f"execTimeoutSeconds: {timeout}"]
    started_at = seconds_in(started)
    if timeout and started_at is not None and facts.now - started_at > NEAR_TIMEOUT * timeout:
        text = "the job runs, and will soon reach its timeout"
        return Cause("near-timeout", text, evidence, "submit it with a longer timeout")
    return Cause("running", "the job runs", evidence, "wait; follow its log")


# ---- jobs that failed

_AGAIN = "submit it again, or use a RetryPolicy"
_BY_CODE = {
    "ErrorTimeout": (
        "timeout",
        "the job ran longer than its timeout",
        "raise exec_timeout_seconds, up to 14 days",
    ),
    "ErrorNotEnoughMemory": (
        "out-of-memory",
        "the job needed more memory than it had",
        "raise max_memory_mib",
    ),
    "ErrorInstanceTermination": (
        "preempted",
        "the cloud provider interrupted the job's machine",
        f"{_AGAIN}; ON_DEMAND_PRIORITY jobs are not interrupted",
    ),
    "ErrorInfrastructureFault": ("infrastructure", "the cloud's machine or network failed", _AGAIN),
    "ErrorProviderDown": (
        "provider-down",
        "the cloud was down",
        f"{_AGAIN}, in a region of another provider",
    ),
    "ErrorProviderRegionDown": (
        "region-down",
        "the cloud's region was down",
        f"{_AGAIN}, in another region",
    ),
    "ErrorStartingContainer": (
        "not-started",
        "the container did not start",
        "check the command, the image and its architecture",
    ),
    "ErrorCostExceeded": (
        "cost-exceeded",
        "a limit on costs was exceeded",
        "contact the administrator of the workspace",
    ),
    "ErrorUnknownFailure": (
        "unknown-failure",
        "the service does not know why the job failed",
        "read the log, or submit the job again",
    ),
}
_BY_EXIT_CODE = {
    126: ("not-executable", "the command is not executable", "check its mode and architecture"),
    127: ("command-not-found", "the command was not found", "check the command and the image"),
    137: ("killed", "the command was killed, as when memory runs out", "raise max_memory_mib"),
    139: ("crashed", "the command crashed (segmentation fault)", "look for a bug in the program"),
}


def _failure(facts: Facts) -> Cause:
    job = facts.job
    code: Any = job.get("failureCode")
    exit_code = exit_code_of(job)
    evidence = _status(facts)
    evidence += [f"failureCode: {code}"] if code else []
    evidence += [f"exit code: {exit_code}"] if exit_code is not None else []
    evidence += [f"log: {line}" for line in facts.last_lines]
    by_user = any(event.get("userCancelledEvent") is True for event in facts.events)
    if by_user or (not code and "cancel" in str(job.get("statusReason")).lower()):
        text, advice = "a user cancelled the job", "nothing, or submit it again"
        return Cause("cancelled", text, evidence, advice, is_guess=not by_user)
    if code in _BY_CODE:
        name, text, advice = _BY_CODE[code]
        return Cause(name, text, evidence, advice)
    if exit_code in _BY_EXIT_CODE:
        name, text, advice = _BY_EXIT_CODE[exit_code]
        return Cause(name, text, evidence, advice, is_guess=True)
    if exit_code:
        text = f"the program ended with exit code {exit_code}"
        return Cause("exit-code", text, evidence, "read the log for the reason")
    unknown = f"this release does not know the failure code {code}"
    text = unknown if code else "the service sent no failure code"
    return Cause("unknown-code", text, evidence, "read the log, or update rescalehtc")
