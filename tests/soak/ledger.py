"""The results that a user got for submitted jobs, and their verification."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rescalehtc.exceptions import (
    HtcException,
    SubmissionIncompleteError,
    SubmissionUncertainError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rescalehtc.htcjobs import HtcJob, HtcJobBatch

MARK_TAG = "rescalehtc-submission"
# The name of the variable, tag or claim with the label of a request.
LABEL = "SUBMITTED_AS"


class Finding(NamedTuple):
    """A broken guarantee.

    Attributes:
        kind: Whether jobs are lost (reported, but do not exist), duplicated, unreported, or were
            confused with those of another request.
        submission: The submission.
        text: The description.
    """

    kind: Literal["lost", "duplicated", "unreported", "mixed up"]
    submission: Submission
    text: str


@dataclass
class Submission:
    """A submission, and the results that its user got.

    Attributes:
        kind: The kind of submission.
        sizes: The number of jobs of each request, by label.
        group: Its group.
        differs_in: The difference between its requests: envs, tags, claims or nothing.
        is_faulted: Whether a fault, an interrupt or a kill affected it.
        interrupts: The number of interrupts.
        labels: The labels of its sent requests, by mark.
        told: The reported ids of its jobs, one set per request.
        uncertain: The exceptions about uncertain requests.
        unsent: The labels of requests that were reported as unsent.
        found: The ids of jobs that were uncertain and then found, by label.
        was_rechecked: Whether everything uncertain was rechecked.
        unnamed: The jobs that an exception should have named, but did not.
    """

    kind: str
    sizes: dict[int, int]
    group: str | None
    differs_in: str
    is_faulted: bool = False
    interrupts: int = 0
    labels: dict[str, int] = field(default_factory=dict[str, int])
    told: dict[int, list[str]] = field(default_factory=dict[int, list[str]])
    uncertain: list[SubmissionUncertainError] = field(
        default_factory=list[SubmissionUncertainError]
    )
    unsent: set[int] = field(default_factory=set[int])
    found: dict[int, list[str]] = field(default_factory=dict[int, list[str]])
    was_rechecked: bool = False
    unnamed: list[str] = field(default_factory=list[str])

    def definition(self, label: int) -> dict[str, Any]:
        """The fields in which the definition of a request differs from others."""
        pair = [{"name": LABEL, "value": str(label)}]
        match self.differs_in:
            case "tags":
                return {"tags": {LABEL: str(label)}}
            case "envs" | "claims":
                return {self.differs_in: pair}
            case _:
                return {}

    def note_sent(self, requests: Sequence[dict[str, Any]]) -> None:
        """Requests are about to be sent."""
        order = list(self.sizes)
        for request in requests:
            mark = request["htcJobDefinition"]["tags"][MARK_TAG]
            self.labels[mark] = order[int(mark.rpartition("-")[2])]

    def returned(self, created: HtcJobBatch | HtcJob) -> None:
        """The call returned."""
        ids = [[created.json["jobUUID"]]] if "jobUUID" in created.json else _ids(created.batches)  # type: ignore[union-attr]
        self.told = dict(zip(self.sizes, ids, strict=True))

    def raised(self, error: BaseException) -> None:
        """The call ended with an exception."""
        order = list(self.sizes)
        match error:
            case SubmissionUncertainError():
                self.uncertain = [error]
            case SubmissionIncompleteError():
                ids = [_ids_of(batch) for batch in error.submitted]
                labels = [order[position] for position in error.positions]
                self.told = dict(zip(labels, ids, strict=True))
                self.uncertain = error.uncertain
                self.unsent = {order[request.position] for request in error.unsent}
            case HtcException():
                if error.outcome_unknown:
                    self.unnamed.append(f"nothing is named uncertain by {error!r}")
                self.unsent = set(self.sizes)
            case _:
                incomplete = error.__cause__
                if isinstance(incomplete, SubmissionIncompleteError):
                    self.raised(incomplete)
                    self._check_note(error)
                else:
                    self.unsent = set(self.sizes)

    def _check_note(self, interrupt: BaseException) -> None:
        words = " ".join(getattr(interrupt, "__notes__", [])).replace(",", " ").split()
        marks = [request.mark for error in self.uncertain for request in error.requests]
        parents = [ids[0].rpartition(":")[0] for ids in self.told.values()]
        if missing := {*marks, *parents} - {*words}:
            self.unnamed.append(f"the note of an interrupt does not name {missing}")

    def rechecked(self, error: SubmissionUncertainError, batch: HtcJobBatch) -> None:
        """The uncertain jobs were found."""
        self.found |= dict(zip(self._labels_of(error), _ids(batch.batches), strict=True))

    def _labels_of(self, error: SubmissionUncertainError) -> list[int]:
        order = list(self.sizes)
        return [order[request.position] for request in error.requests]

    def findings(self, labels: dict[str, int]) -> Iterator[Finding]:
        """Yield all findings, given the labels of all existing jobs."""
        for text in self.unnamed:
            yield Finding("unreported", self, text)
        uncertain = [label for error in self.uncertain for label in self._labels_of(error)]
        if sorted([*self.told, *self.unsent, *uncertain]) != [*self.sizes]:
            yield Finding("unreported", self, "not each request is accounted for once")
        for label, ids in (self.told | self.found).items():
            actual = [labels.get(job_id) for job_id in ids]
            if None in actual:
                yield Finding("lost", self, f"of the jobs {ids} some do not exist")
            elif actual != [label] * self.sizes[label]:
                yield Finding("mixed up", self, f"jobs {ids} are said to be those of {label}")
        for error in self.uncertain:
            if not {labels.get(job_id) for job_id in error.job_ids} <= {*self._labels_of(error)}:
                yield Finding("mixed up", self, f"{error.job_ids} are jobs of others")
        if self.was_rechecked:
            missing = {*uncertain} & {*labels.values()} - {*self.found}
            if missing:
                yield Finding("lost", self, f"{missing} exist, and a recheck did not find them")


def _ids(batches: Sequence[HtcJobBatch]) -> list[list[str]]:
    return [_ids_of(batch.json) for batch in batches]


def _ids_of(batch: Mapping[str, Any]) -> list[str]:
    return [f"{batch['parentJobId']}:{i}" for i in range(batch["batchSize"])]


def check(submissions: Iterable[Submission], records: Sequence[dict[str, Any]]) -> list[Finding]:
    """Compare the results of the users with the records of all existing jobs."""
    by_mark: dict[str, int] = {}
    for item in submissions:
        assert not {*by_mark} & {*item.labels}, "a mark was used twice"
        by_mark |= item.labels
    labels = {record["jobUUID"]: _label_of(record, by_mark) for record in records}
    assert len(labels) == len(records), "a job is listed twice"
    existing: dict[int, Counter[str]] = defaultdict(Counter)
    for job_id, label in labels.items():
        existing[label][job_id.rpartition(":")[0]] += 1
    findings: list[Finding] = []
    for item in submissions:
        findings += item.findings(labels)
        for label, size in item.sizes.items():
            created = existing.get(label, Counter())
            if len(created) > 1 or sum(created.values()) > size:
                findings.append(
                    Finding("duplicated", item, f"of {size} jobs of {label} exist {created}")
                )
            if created and label in item.unsent:
                findings.append(Finding("unreported", item, f"{label} exists, and is named unsent"))
    return findings


def _label_of(record: dict[str, Any], by_mark: dict[str, int]) -> int:
    (mark,) = [tag["value"] for tag in record["tags"] if tag["key"] == MARK_TAG]
    label = by_mark[mark]
    shown = [item["value"] for item in [*record["envs"], *record["tags"]] if LABEL in item.values()]
    assert shown in ([], [str(label)]), f"a job of {label} has the label {shown}"
    return label
