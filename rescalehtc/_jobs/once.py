"""Submit the requests that have no jobs in a group yet.

The service has no lock and no idempotency key. So each batch has the number of its request in a
tag. A caller lists the group, and submits the requests that have no batch. If two processes did so
at the same time, both choose the oldest batch of each request.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ..exceptions import HtcValidationError, Problem
from .groups import ATTEMPT_TAG, PART_TAG, find_batches
from .waiting import settle

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from .._client.client import Client
    from .._session import BaseSession
    from .groups import FoundBatch
    from .submission import Submission

Json = dict[str, Any]


async def find_or_submit(
    rescale: BaseSession,
    submission: Submission,
    task_ids: Mapping[str, str],
    requests: Sequence[tuple[int, Json]],
    group: str,
) -> tuple[list[Json], bool]:
    """Return the response to each request, and whether an earlier call had submitted any of them.

    Args:
        rescale: The session.
        submission: The submission of the missing requests.
        task_ids: The path parameters of the task.
        requests: Validated submit requests, each with its position.
        group: The group.

    Raises:
        HtcValidationError: The group has other jobs.
        The exceptions of `Submission.send`.
    """
    io = rescale.client.io
    parts = [
        (position, tagged(json, {PART_TAG: str(number)}))
        for number, (position, json) in enumerate(requests)
    ]

    async def look(complete: Collection[int]) -> tuple[dict[int, FoundBatch], int, bool]:
        batches = await _find(rescale.client, task_ids, parts, group)
        return batches, len(batches), len(batches) in complete

    # If some are there, another process may still be submitting, or was killed a moment ago.
    by_part = await settle(io, rescale.settle_seconds, partial(look, (0, len(parts))))
    was_there = bool(by_part)
    missing = [number for number in range(len(parts)) if number not in by_part]
    submitted: dict[int, Json] = {}
    if missing:
        missing_parts = [parts[number] for number in missing]
        answers = await submission.send(rescale, task_ids, missing_parts, group)
        submitted = dict(zip(missing, answers, strict=True))
        by_part = await settle(io, rescale.settle_seconds, partial(look, (len(parts),)))
    answered = [
        {**json, **task_ids, "group": group, "parentJobId": by_part[number].parent_id}
        if number in by_part
        else submitted[number]
        for number, (_, json) in enumerate(parts)
    ]
    return [{**answer, "batchSize": answer.get("batchSize") or 1} for answer in answered], was_there


async def _find(
    client: Client, task_ids: Mapping[str, str], parts: Sequence[tuple[int, Json]], group: str
) -> dict[int, FoundBatch]:
    """Find the batches of the parts in the group.

    Raises:
        HtcValidationError: The group has other jobs.
    """
    batches: dict[int, FoundBatch] = {}
    for batch in await find_batches(client, task_ids, group):
        part = batch.part
        if part is None:
            message = "has jobs that were submitted in another way; choose another group"
            raise HtcValidationError("get_or_submit", [Problem("group", message)])
        if part >= len(parts) or batch.size > (parts[part][1].get("batchSize") or 1):
            message = (
                "must be the same as in the first call for the group, which has more jobs; choose "
                "another group for other requests"
            )
            raise HtcValidationError("get_or_submit", [Problem("requests", message)])
        batches[part] = batch
    return batches


def tagged(request: Json, tags: Mapping[str, str]) -> Json:
    """Return a submit request with more tags for its jobs."""
    definition: Json = request["htcJobDefinition"]
    old_tags: dict[str, str] = definition.get("tags") or {}
    user_tags = {name: value for name, value in old_tags.items() if name not in _OWN}
    return {**request, "htcJobDefinition": {**definition, "tags": {**user_tags, **tags}}}


_OWN = (PART_TAG, ATTEMPT_TAG)
