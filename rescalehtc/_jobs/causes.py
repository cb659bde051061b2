"""What holds a job in its status, or made it fail, from facts that were fetched. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .._counts import FINAL_STATUSES
from .._facts import FAILED_STATUSES, RUNNING_STATUSES
from .._raw import is_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Json = Mapping[str, Any]

FRESH_SECONDS = 60.0
NEAR_TIMEOUT = 0.9


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a job has its status."""

    name: str
    """A short name, such as `limit-reached`; docs/how-to/runs.md lists them."""
    text: str
    """The cause in words."""
    evidence: list[str]
    """What the service said, from which this follows."""
    advice: str
    """What to do."""
    is_guess: bool = False
    """Whether the evidence allows other causes too."""
    jobs: int = 1
    """How many jobs of the task it concerns; of `HtcJob.why` always 1."""

    def __str__(self) -> str:
        many = "" if self.jobs == 1 else f"{self.jobs} jobs: "
        guess = "probably: " if self.is_guess else ""
        lines = [f"{many}{guess}{self.text}", *(f"  {one}" for one in self.evidence)]
        return "\n".join([*lines, f"  -> {self.advice}"])


@dataclass(slots=True)
class Facts:
    """What was fetched about a job.

    Attributes:
        job: Its record.
        now: The time in seconds since 1970.
        events: The changes of its status.
        last_lines: The end of its log.
        limits: The limits on virtual CPUs, each with whose it is.
        running_vcpus: The virtual CPUs of the jobs of its task that run.
        image: The status of its image; UNKNOWN if the project has none of this name.
        project: The project's record.
        task: The task's record.
        environment_problem: Why none of the project's computing environments fits.
        unread: What could not be read, and why.
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
    """The causes of a job's status, the surest first."""
    status = str(facts.job.get("status"))
    if status in FAILED_STATUSES:
        return [_failure(facts)]
    if status in FINAL_STATUSES:
        return [Cause("succeeded", "the job has succeeded", _status(facts), "nothing")]
    found = [*_earlier_attempts(facts)]
    if status == "RUNNING":
        return [_running(facts), *found]
    found += _obstacles(facts)
    if not any(one.name != "retried" for one in found):
        found.append(_waiting(facts, status))
    return found


def _status(facts: Facts) -> list[str]:
    job = facts.job
    reason = job.get("statusReason")
    said = [f"status {job.get('status')} since {job.get('updatedAt')}"]
    return said + ([f"statusReason: {reason}"] if reason else [])


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
        yield Cause("image-missing", "the image is not there", evidence, "push the image again")
    regions = facts.project.get("regions")
    region = job.get("region")
    if regions and region and region not in regions:
        evidence = [f"region of the job: {region}", f"regions of the project: {', '.join(regions)}"]
        advice = "cancel the job and submit it to one of the project's regions"
        text = "the job's region is not one of the project's any more"
        yield Cause("region-removed", text, evidence, advice)
    if facts.environment_problem:
        advice = "ask for other vCPUs, priority or architecture, or change the project's dimensions"
        text = "none of the project's computing environments fits the job"
        yield Cause("no-environment", text, [facts.environment_problem], advice)


def _limits(facts: Facts) -> Iterator[Cause]:
    """The lowest limit, if it holds the job back."""
    if not facts.limits:
        return
    whose, limit = min(facts.limits, key=lambda one: one[1])
    vcpus = facts.job.get("maxVCpus") or 1
    evidence = [f"limit of the {whose}: {limit} vCPUs", f"the job needs {vcpus}"]
    if limit == 0:
        text, advice = f"the {whose} may use no vCPUs", "raise the limit, or delete it"
        yield Cause("limit-zero", text, evidence, advice)
    elif vcpus > limit:
        text = f"the job needs more vCPUs than the {whose} may use at once"
        yield Cause("limit-too-low", text, evidence, "raise the limit, or submit smaller jobs")
    elif facts.running_vcpus is not None and facts.running_vcpus + vcpus > limit:
        evidence.append(f"running in this task: {facts.running_vcpus} vCPUs")
        text = f"the {whose} uses all vCPUs that it may"
        yield Cause("limit-reached", text, evidence, "wait, or raise the limit")


def _waiting(facts: Facts, status: str) -> Cause:
    evidence = [*_status(facts), *facts.unread]
    age = facts.now - _seconds(facts.job.get("updatedAt"), facts.now)
    if status not in RUNNING_STATUSES:
        text = f"{status} is a status that this release does not know"
        return Cause("unknown-status", text, evidence, "update rescalehtc")
    if age < FRESH_SECONDS:
        text = "the status has just changed"
        return Cause("fresh", text, evidence, "wait a minute: nothing is wrong so far")
    if status == "STARTING":
        text = "the machine loads the image"
        advice = "wait; a smaller image starts sooner"
        return Cause("starting", text, evidence, advice, is_guess=True)
    if status == "SUBMITTED_TO_RESCALE":
        text = "other jobs of the project or workspace are ahead, or use the vCPUs of a limit"
        advice = "look at the limits and at the other tasks of the project"
        return Cause("queue", text, evidence, advice, is_guess=True)
    evidence.append(
        f"asked for: {facts.job.get('maxVCpus')} vCPUs, {facts.job.get('maxMemory')} MiB, "
        f"{facts.job.get('architecture')} in {facts.job.get('region')}"
    )
    text = "the cloud has no such machine free in the region"
    advice = "wait, or submit to another region, with fewer vCPUs, or as ON_DEMAND_PRIORITY"
    return Cause("no-capacity", text, evidence, advice, is_guess=True)


def _earlier_attempts(facts: Facts) -> Iterator[Cause]:
    """Whether the service has run the job before."""
    ran = False
    for event in facts.events:
        if ran and event.get("status") not in ("RUNNING", *FINAL_STATUSES):
            reason = event.get("statusReason")
            evidence = [f"{event.get('status')} after RUNNING at {event.get('dateTime')}: {reason}"]
            text = "an attempt has failed, and the service runs the job again"
            yield Cause("retried", text, evidence, "look at the log for what failed")
            return
        ran = ran or event.get("status") == "RUNNING"


def _running(facts: Facts) -> Cause:
    job = facts.job
    started, timeout = job.get("startedAt"), job.get("execTimeoutSeconds")
    evidence = [f"started at {started}", f"execTimeoutSeconds: {timeout}"]
    ran = facts.now - _seconds(started, facts.now)
    if timeout and ran > NEAR_TIMEOUT * timeout:
        text = "the job runs, and will soon be ended by its timeout"
        return Cause("near-timeout", text, evidence, "submit it with a longer timeout")
    return Cause("running", "the job runs", evidence, "wait; follow its log")


def _seconds(text: object, default: float) -> float:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return default


# ---- jobs that failed

_AGAIN = "submit it again; a RetryPolicy does so by itself"
_BY_CODE = {
    "ErrorTimeout": (
        "timeout",
        "the job ran longer than its timeout",
        "raise exec_timeout_seconds, up to 14 days",
    ),
    "ErrorNotEnoughMemory": (
        "out-of-memory",
        "the job needed more memory than it was given",
        "raise max_memory_mib",
    ),
    "ErrorInstanceTermination": (
        "preempted",
        "the cloud took the machine away",
        f"{_AGAIN}; ON_DEMAND_PRIORITY jobs are not interrupted",
    ),
    "ErrorInfrastructureFault": ("infrastructure", "the cloud's machine or network failed", _AGAIN),
    "ErrorProviderDown": ("provider-down", "the cloud was down", f"{_AGAIN}, perhaps elsewhere"),
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
        "ask whoever runs the workspace",
    ),
    "ErrorUnknownFailure": (
        "unknown-failure",
        "the service does not know why the job failed",
        "look at the log; submit it again",
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
    container = job.get("container")
    exit_code = container.get("exitCode") if is_object(container) else None
    evidence = _status(facts)
    evidence += [f"failureCode: {code}"] if code else []
    evidence += [f"exit code: {exit_code}"] if exit_code is not None else []
    evidence += [f"log: {line}" for line in facts.last_lines]
    by_user = any(event.get("userCancelledEvent") is True for event in facts.events)
    if by_user or (not code and "cancel" in str(job.get("statusReason")).lower()):
        text, advice = "a user cancelled the job", "nothing, or submit it again"
        return Cause("cancelled", text, evidence, advice, is_guess=not by_user)
    if code in _BY_CODE:
        return Cause(*_with_evidence(_BY_CODE[code], evidence))
    if exit_code in _BY_EXIT_CODE:
        named = _BY_EXIT_CODE[exit_code]
        return Cause(*_with_evidence(named, evidence), is_guess=True)
    if exit_code:
        text = f"the program ended with exit code {exit_code}"
        return Cause("exit-code", text, evidence, "read the log: the program says why")
    text = "the service gives no reason that this release knows"
    return Cause("unknown-code", text, evidence, "look at the log; update rescalehtc")


def _with_evidence(
    named: tuple[str, str, str], evidence: list[str]
) -> tuple[str, str, list[str], str]:
    name, text, advice = named
    return name, text, evidence, advice
