"""Marks: a tag of each submit request that the service's answers and job records repeat."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The tag of a submit request's jobs whose value is different for every request ever sent.
MARK_TAG = "rescalehtc-submission"


@dataclass(frozen=True)
class MarkedRequest:
    """A submit request as it is sent.

    Attributes:
        position: Its position among the requests of the caller.
        json: What is sent.
        mark: The value of its mark; None without marks.
    """

    position: int
    json: dict[str, Any] = field(repr=False)
    mark: str | None

    @property
    def size(self) -> int:
        """The number of its jobs."""
        return self.json.get("batchSize") or 1


def with_mark(
    position: int, json: dict[str, Any], mark: str | None, variables: Mapping[str, str] = {}
) -> MarkedRequest:
    """Mark a submit request, and add environment variables to its jobs.

    A tag or a variable that has such a name already is replaced.
    """
    definition: dict[str, Any] = json["htcJobDefinition"]
    if variables:
        pairs: list[dict[str, str]] = definition.get("envs") or []
        envs = [pair for pair in pairs if pair["name"] not in variables]
        envs += [{"name": name, "value": value} for name, value in variables.items()]
        definition = {**definition, "envs": envs}
    old: dict[str, str] = definition.get("tags") or {}
    tags = {name: value for name, value in old.items() if name != MARK_TAG}
    if mark is not None:
        tags[MARK_TAG] = mark
    if tags or "tags" in definition:
        definition = {**definition, "tags": tags}
    return MarkedRequest(position, {**json, "htcJobDefinition": definition}, mark)


def mark_in(tags: object) -> str | None:
    """Return the mark among tags: a list of `{key, value}`, or an object."""
    for tag in cast("list[object]", tags) if isinstance(tags, list) else [tags]:
        match tag:
            case {"key": "rescalehtc-submission", "value": str(mark)}:
                return mark
            case {"rescalehtc-submission": str(mark)}:
                return mark
            case _:
                pass
    return None


def match_answers(
    answer: Sequence[object], requests: Sequence[MarkedRequest]
) -> list[dict[str, Any]] | None:
    """Return the answer to each request; None if there is not exactly one for each."""
    answers = [one for one in answer if _is_answer(one)]
    parents = {one["parentJobId"] for one in answers}
    if not len(answers) == len(answer) == len(requests) == len(parents):
        return None
    marks = [_answered_mark(one) for one in answers]
    if any(mark is not None for mark in marks):
        by_mark = dict(zip(marks, answers, strict=True))
        if {*by_mark} != {request.mark for request in requests}:
            return None
        answers = [by_mark[request.mark] for request in requests]
    pairs = list(zip(answers, requests, strict=True))
    if any(one.get("batchSize") not in (None, request.size) for one, request in pairs):
        return None
    return [{**one, "batchSize": request.size} for one, request in pairs]


def _is_answer(answer: object) -> TypeGuard[dict[str, Any]]:
    match answer:
        case {"parentJobId": str(parent), "projectId": str(), "taskId": str()}:
            return parent != ""
        case _:
            return False


def _answered_mark(answer: Mapping[str, Any]) -> str | None:
    match answer:
        case {"htcJobDefinition": {"tags": tags}}:
            return mark_in(tags)
        case _:
            return None
