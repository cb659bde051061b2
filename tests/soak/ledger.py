"""What a user was told of the jobs that were submitted, and whether it is true."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rescalehtc.exceptions import SubmissionIncompleteError, SubmissionUncertainError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rescalehtc.exceptions import HtcException
    from rescalehtc.htcjobs import HtcJob, HtcJobBatch
    from rescalehtc.models import HTCJobSubmitRequest

# What tells requests apart that are alike in all other ways: the name of an environment
# variable, which the session looks at too, or of a tag, which it does not.
MARK = "SUBMITTED_AS"


@dataclass
class Submission:
    """A submission, and what its user was told.

    Attributes:
        sizes: The number of jobs of each of its requests, by the requests' marks.
        group: Its group.
        hidden: Whether the session can't tell its requests from others.
        told: The ids of the jobs that it is said to have made, those of a request together.
        uncertain: The exceptions that name what is uncertain.
        unsent: The marks of requests that the service is said not to have.
        found: The ids of jobs that were uncertain and then found; a list for each exception.
        was_asked_again: Whether it was asked again for all that was uncertain.
    """

    sizes: dict[int, int]
    group: str | None
    hidden: bool = False
    told: list[list[str]] = field(default_factory=list[list[str]])
    uncertain: list[SubmissionUncertainError] = field(
        default_factory=list[SubmissionUncertainError]
    )
    unsent: set[int] = field(default_factory=set[int])
    found: list[list[list[str]]] = field(default_factory=list[list[list[str]]])
    was_asked_again: bool = False

    def marked(self, mark: int) -> dict[str, Any]:
        """What a request's definition has to be told apart by."""
        value = str(mark)
        return (
            {"tags": {MARK: value}} if self.hidden else {"envs": [{"name": MARK, "value": value}]}
        )

    def returned(self, made: HtcJobBatch | HtcJob) -> None:
        """The call returned."""
        self.told = [[made.json["jobUUID"]]] if "jobUUID" in made.json else _ids(made.batches)  # type: ignore[union-attr]
        assert len(self.told) == len(self.sizes)

    def raised(self, error: HtcException) -> None:
        """The call ended with an exception."""
        match error:
            case SubmissionUncertainError():
                self.uncertain = [error]
            case SubmissionIncompleteError():
                self.told = _ids(error.batches)
                self.uncertain = error.uncertain
                self.unsent = {_mark(request) for request in error.unsent}
            case _:
                assert not error.outcome_unknown, f"nothing is named uncertain: {error!r}"
                self.unsent = set(self.sizes)

    def rechecked(self, error: SubmissionUncertainError, batch: HtcJobBatch) -> None:
        """What was uncertain was found when it was asked for again."""
        found = _ids(batch.batches)
        assert sum(map(len, found)) == error.sent
        self.found.append(found)


def _ids(batches: Sequence[HtcJobBatch]) -> list[list[str]]:
    return [
        [f"{batch.json['parentJobId']}:{i}" for i in range(batch.json["batchSize"])]
        for batch in batches
    ]


def _mark(request: HTCJobSubmitRequest) -> int:
    definition: dict[str, Any] = request.to_json_dict()["htcJobDefinition"]
    tags = [{"key": key, "value": value} for key, value in (definition.get("tags") or {}).items()]
    return _mark_of({"envs": definition.get("envs") or [], "tags": tags})


def check(submissions: Iterable[Submission], records: Sequence[dict[str, Any]]) -> None:
    """Hold what the users were told against the records of all jobs that there are."""
    marks = {record["jobUUID"]: _mark_of(record) for record in records}
    assert len(marks) == len(records), "a job is there twice"
    existing: dict[int, Counter[str]] = defaultdict(Counter)
    for job_id, mark in marks.items():
        existing[mark][job_id.rpartition(":")[0]] += 1
    for one in submissions:
        order = _order(one, one.told, marks)
        rest = [mark for mark in one.sizes if mark not in order]
        if not one.uncertain and not one.unsent:
            assert not rest, f"{rest} of {list(one.sizes)} are not accounted for"
        assert one.unsent <= set(rest)
        unknown = sum(one.sizes[mark] for mark in rest if mark not in one.unsent)
        assert unknown == sum(error.sent for error in one.uncertain)
        for error in one.uncertain:
            own = {marks.get(job_id) for job_id in error.job_ids}
            assert own <= set(rest), f"jobs of {own} are said to be seen of {rest}"
        found = [mark for ids in one.found for mark in _order(one, ids, marks)]
        assert len(found) == len(set(found)), f"{found} were found for several exceptions"
        assert set(found) <= set(rest)
        there = {mark for mark in rest if mark in existing}
        assert not one.was_asked_again or there <= set(found), f"{there} were not found: {found}"
        for mark, size in one.sizes.items():
            made = existing.pop(mark, Counter())
            assert len(made) <= 1, f"request {mark} was carried out {len(made)} times"
            assert set(made.values()) <= {size}, f"of {size} jobs there are {made}"
            assert not (made and mark in one.unsent), f"request {mark} is there, and named unsent"
    assert not existing, f"nobody was told of {existing}"


def _order(one: Submission, told: list[list[str]], marks: dict[str, int]) -> list[int]:
    """The marks of requests whose jobs a user was told of, each by their ids."""
    order: list[int] = []
    for ids in told:
        (mark,) = {marks.get(job_id) for job_id in ids}
        assert mark is not None, f"of jobs {ids} the user was told, and they are not there"
        assert len(ids) == one.sizes.get(mark), f"job {mark} is said to be of {list(one.sizes)}"
        order.append(mark)
    assert len(order) == len(set(order)), f"of {order} was told twice"
    # Those that are alike may have changed places.
    assert one.hidden or order == sorted(order), f"the jobs of {order} are told in this order"
    return order


def _mark_of(record: dict[str, Any]) -> int:
    shown = [*record["envs"], *record["tags"]]
    return next(int(one["value"]) for one in shown if MARK in one.values())
