"""Marks: a tag of each submit request, which responses and job records repeat."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard

from .._raw import is_list, is_object

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The tag with a unique value for each submit request.
MARK_TAG = "rescalehtc-submission"


@dataclass(frozen=True)
class MarkedRequest:
    """A submit request, ready to send.

    Attributes:
        position: Its position in the caller's list of requests.
        json: The JSON to send.
        mark: The value of its mark. None without marks.
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

    They replace a tag or variables with the same names.
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


def tag_in(tags: object, name: str) -> str | None:
    """Return the value of a tag: of a list of `{key, value}`, or of an object."""
    for tag in tags if is_list(tags) else [tags]:
        match tag:
            case {"key": str(key), "value": str(value)} if key == name:
                return value
            case _ if is_object(tag) and isinstance(text := tag.get(name), str):
                return text
            case _:
                pass
    return None


def mark_in(tags: object) -> str | None:
    """Return the mark among tags."""
    return tag_in(tags, MARK_TAG)


def match_answers(
    answer: Sequence[object], requests: Sequence[MarkedRequest]
) -> list[dict[str, Any]] | None:
    """Return the response to each request. None unless each request has exactly one."""
    answers = [item for item in answer if _is_answer(item)]
    parents = {item["parentJobId"] for item in answers}
    if not len(answers) == len(answer) == len(requests) == len(parents):
        return None
    marks = [_answered_mark(item) for item in answers]
    if any(mark is not None for mark in marks):
        by_mark = dict(zip(marks, answers, strict=True))
        if {*by_mark} != {request.mark for request in requests}:
            return None
        answers = [by_mark[request.mark] for request in requests]
    pairs = list(zip(answers, requests, strict=True))
    if any(item.get("batchSize") not in (None, request.size) for item, request in pairs):
        return None
    return [{**item, "batchSize": request.size} for item, request in pairs]


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
