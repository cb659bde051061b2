"""Compute the maximum usage of a submission, and the usage of jobs. The only I/O reads rates."""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._counts import FINAL_STATUSES
from .._facts import FAILED_STATUSES, MAX_REQUESTS
from .._raw import is_mapping
from ..exceptions import HtcFileError, HtcValidationError, Problem
from .policy import is_number
from .records import integer_in, seconds_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from os import PathLike

    from .. import models

    Json = Mapping[str, Any]
    RatesSource = Mapping[str, Any] | str | PathLike[str]

# A container that reaches its timeout gets SIGTERM, and may run for some time after that.
ENDING_SECONDS = 30
MIB_PER_GIB = 1024
SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount of virtual CPUs and memory."""

    vcpu_hours: float
    """Virtual CPUs times hours."""
    gib_hours: float
    """Memory in GiB times hours."""

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.vcpu_hours + other.vcpu_hours, self.gib_hours + other.gib_hours)

    def __str__(self) -> str:
        return f"{self.vcpu_hours:,.2f} vCPU-hours, {self.gib_hours:,.2f} GiB-hours"


NO_AMOUNT = Amount(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Plan:
    """The maximum usage of a submission: each job runs until its timeout, with all its retries."""

    jobs: int
    """The number of jobs."""
    batches: int
    """The number of batches, of up to 1000 jobs each."""
    calls: int
    """The number of calls of submitJobs, of up to 100 batches each."""
    most: Amount | None
    """The maximum usage. None if a request has no timeout, `maxVCpus` or `maxMemory`, because the
    defaults of the service are unknown. Retries of a RetryPolicy are not included.
    """
    cost: float | None
    """The cost of `most`. None without rates."""
    waits: list[str]
    """Descriptions of the limits that delay jobs. Empty without a session."""

    def __str__(self) -> str:
        jobs = "1 job" if self.jobs == 1 else f"{self.jobs} jobs"
        batches = "1 batch" if self.batches == 1 else f"{self.batches} batches"
        calls = "1 call" if self.calls == 1 else f"{self.calls} calls"
        lines = [f"{jobs} in {batches}, {calls}"]
        lines.append(
            f"at most {self.most}"
            if self.most
            else "at most: unknown, because a request has no maxVCpus, maxMemory or timeout"
        )
        lines += [f"costs at most {self.cost:,.2f}"] if self.cost is not None else []
        return "\n".join([*lines, *self.waits])


@dataclass(frozen=True, slots=True)
class Usage:
    """The usage of jobs from their starts to their ends, according to their records.

    A record has the times of the last attempt only, so earlier attempts of `max_retries` are
    missing. Retries of a RetryPolicy have their own records, and are included.
    """

    jobs: int
    """The number of jobs, including retries."""
    running: int
    """The number of jobs that have not ended. They are not included in the amounts."""
    used: Amount
    """The usage of all ended jobs."""
    wasted: Amount
    """The usage of the failed jobs."""
    idle_hours: float
    """The total time between submission and start, in hours."""
    cost: float | None
    """The cost of `used`. None without rates."""

    def __str__(self) -> str:
        lines = [f"{self.jobs} jobs, {self.running} unfinished"]
        lines += [f"used: {self.used}", f"used by failed jobs: {self.wasted}"]
        lines += [f"waited: {self.idle_hours:,.2f} hours"]
        return "\n".join(lines + ([f"cost: {self.cost:,.2f}"] if self.cost is not None else []))


class Rates:
    """Prices per vCPU-hour and GiB-hour, by priority."""

    def __init__(self, source: RatesSource) -> None:
        """Read a rate card.

        Args:
            source: A mapping of priorities, or `default`, to mappings with `vcpu_hour` and
                `gib_hour`. Or the path of a TOML or JSON file with this mapping.

        Raises:
            HtcFileError: The file can't be read.
            HtcValidationError: The rates are invalid.
        """
        card: Any = source if is_mapping(source) else _read(source)
        problems = [*_problems(card)]
        if problems:
            raise HtcValidationError("the rates", problems)
        self._card = card

    def price(self, amount: Amount, priority: str | None) -> float:
        """The cost of an amount for jobs with this priority.

        Raises:
            HtcValidationError: The rates do not have the priority.
        """
        rate = self._card.get(priority or "default") or self._card.get("default")
        if rate is None:
            message = (
                f"must have {priority}, or default for every other priority"
                if priority
                else "must have default: a job has no priority"
            )
            raise HtcValidationError("the rates", [Problem("rates", message)])
        price: float = amount.vcpu_hours * rate["vcpu_hour"] + amount.gib_hours * rate["gib_hour"]
        return price


def _read(path: Any) -> object:
    try:
        return read_settings(path)
    except OSError as error:
        raise HtcFileError(f"the rates in {path!s} can't be read: {error.strerror}") from None
    except (TypeError, ValueError) as error:
        message = f"must be a mapping, or the path of a TOML or JSON file: {error}"
        raise HtcValidationError("the rates", [Problem("rates", message)]) from None


def read_settings(path: str | PathLike[str]) -> object:
    """Return the content of a TOML or JSON file.

    Raises:
        OSError: The file can't be read.
        ValueError: It is neither TOML nor JSON.
    """
    text = Path(path).read_text(encoding="utf-8-sig")
    try:
        return json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _problems(card: object) -> Iterable[Problem]:
    if not is_mapping(card) or not card:
        yield Problem("rates", "must be a mapping of priorities to rates")
        return
    for priority, rate in card.items():
        for name in ("vcpu_hour", "gib_hour"):
            value: object = rate.get(name) if is_mapping(rate) else None
            if not is_number(value, 0):
                yield Problem(f"rates[{priority!r}].{name}", "must be a number of at least 0")


def plan_of(
    requests: Sequence[models.HTCJobSubmitRequest], rates: Rates | None, waits: list[str]
) -> Plan:
    """Compute the maximum usage of requests. Each request is one batch."""
    most: Amount | None = NO_AMOUNT
    cost: float | None = 0.0 if rates else None
    for request in requests:
        amount = _most(request)
        most = None if most is None or amount is None else most + amount
        if amount is None:
            cost = None
        elif rates is not None and cost is not None:
            cost += rates.price(amount, request.htc_job_definition.priority)
    return Plan(
        jobs=sum(request.batch_size or 1 for request in requests),
        batches=len(requests),
        calls=math.ceil(len(requests) / MAX_REQUESTS),
        most=most,
        cost=cost,
        waits=waits,
    )


def _most(request: models.HTCJobSubmitRequest) -> Amount | None:
    definition = request.htc_job_definition
    seconds, vcpus, memory = (
        definition.exec_timeout_seconds,
        definition.max_vcpus,
        definition.max_memory,
    )
    if seconds is None or vcpus is None or memory is None:
        return None
    strategy = request.retry_strategy
    attempts = 1 + ((strategy and strategy.max_retries) or 0)
    total = (request.batch_size or 1) * attempts * (seconds + ENDING_SECONDS)
    return _amount(total, vcpus, memory)


def _amount(seconds: float, vcpus: int, memory_mib: int) -> Amount:
    hours = seconds / SECONDS_PER_HOUR
    return Amount(hours * vcpus, hours * memory_mib / MIB_PER_GIB)


def waits_of(
    requests: Sequence[models.HTCJobSubmitRequest], limits: Sequence[tuple[str, int]]
) -> list[str]:
    """Describe how the lowest limit on virtual CPUs delays the jobs."""
    if not limits:
        return []
    owner, limit = min(limits, key=lambda item: item[1])
    vcpus = sum(
        (request.batch_size or 1) * (request.htc_job_definition.max_vcpus or 1)
        for request in requests
    )
    never = sum(
        request.batch_size or 1
        for request in requests
        if (request.htc_job_definition.max_vcpus or 1) > limit
    )
    reason = f"limit of the {owner}: {limit} vCPUs"
    waits = [f"{reason}; {never} jobs need more and can never start"] if never else []
    if vcpus > limit:
        waits.append(f"{reason}; the jobs need {vcpus} to run at the same time, so some wait")
    return waits


def usage_of(records: Iterable[Json], rates: Rates | None) -> Usage:
    """Add up the usage of jobs.

    Raises:
        HtcValidationError: The rates do not have a job's priority.
    """
    jobs = running = 0
    used = wasted = NO_AMOUNT
    idle = 0.0
    cost: float | None = 0.0 if rates else None
    for record in records:
        jobs += 1
        if record.get("status") not in FINAL_STATUSES:
            running += 1
            continue
        created, started, completed = (
            seconds_in(record.get(name)) for name in ("createdAt", "startedAt", "completedAt")
        )
        if created is not None and (started_at := started or completed) is not None:
            idle += max(0.0, started_at - created)
        if started is None or completed is None:
            continue  # it never ran
        vcpus, memory = (integer_in(record.get(name)) for name in ("maxVCpus", "maxMemory"))
        amount = _amount(max(0.0, completed - started), vcpus or 1, memory or 0)
        used += amount
        if record.get("status") in FAILED_STATUSES:
            wasted += amount
        if rates is not None and cost is not None:
            labels = record.get("instanceLabels")
            cost += rates.price(amount, labels.get("priority") if is_mapping(labels) else None)
    return Usage(jobs, running, used, wasted, idle / SECONDS_PER_HOUR, cost)
