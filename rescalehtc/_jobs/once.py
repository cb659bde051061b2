"""Submit the requests that have no jobs in a group yet.

The service has no lock and no idempotency key. So each batch has the number of its request in a
tag. A caller lists the group, and submits the requests that have no batch. If two processes did so
at the same time, both choose the oldest batch of each request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..exceptions import HtcValidationError, Problem
from .groups import ATTEMPT_TAG, PART_TAG, find_batches

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._client.client import Client
    from .groups import FoundBatch
    from .submission import Submission, SubmissionSettings

LOOKS_PER_SETTLING = 6

Json = dict[str, Any]


async def get_or_submit(
    client: Client,
    submission: Submission,
    settings: SubmissionSettings,
    task_ids: Mapping[str, str],
    requests: Sequence[tuple[int, Json]],
    group: str,
) -> tuple[list[Json], bool]:
    """Return the response to each request, and whether an earlier call had submitted any of them.

    Args:
        client: The client.
        submission: The submission of the missing requests.
        settings: The settings for submissions.
        task_ids: The path parameters of the task.
        requests: Validated submit requests, each with its position.
        group: The group.

    Raises:
        HtcValidationError: The group has other jobs.
        The exceptions of `Submission.submit`.
    """
    parts = [
        (position, tagged(json, {PART_TAG: str(number)}))
        for number, (position, json) in enumerate(requests)
    ]
    found = await _find(client, task_ids, parts, group)
    was_there = bool(found)
    if was_there and len(found) < len(parts):
        # Another process may still be submitting, or was killed a moment ago.
        found = await _settled(client, settings, task_ids, parts, group, len(found))
    missing = [number for number in range(len(parts)) if number not in found]
    if missing:
        sent = [parts[number] for number in missing]
        answers = await submission.submit(client, settings, task_ids, sent, group)
        expires_at = client.io.monotonic() + settings.settle_seconds
        found = await _find(client, task_ids, parts, group)
        while len(found) < len(parts) and client.io.monotonic() < expires_at:
            await client.io.sleep(settings.settle_seconds / LOOKS_PER_SETTLING)
            found = await _find(client, task_ids, parts, group)
        submitted = dict(zip(missing, answers, strict=True))
    else:
        submitted = {}
    answered = [
        {**json, **task_ids, "group": group, "parentJobId": found[number].parent_id}
        if number in found
        else submitted[number]
        for number, (_, json) in enumerate(parts)
    ]
    return [{**one, "batchSize": one.get("batchSize") or 1} for one in answered], was_there


async def _settled(
    client: Client,
    settings: SubmissionSettings,
    task_ids: Mapping[str, str],
    parts: Sequence[tuple[int, Json]],
    group: str,
    seen: int,
) -> dict[int, FoundBatch]:
    """Poll until the group has all parts, or has not changed for `settle_seconds`."""
    changed_at = client.io.monotonic()
    while True:
        await client.io.sleep(settings.settle_seconds / LOOKS_PER_SETTLING)
        found = await _find(client, task_ids, parts, group)
        now = client.io.monotonic()
        if len(found) > seen:
            seen, changed_at = len(found), now
        if len(found) == len(parts) or now - changed_at >= settings.settle_seconds:
            return found


async def _find(
    client: Client, task_ids: Mapping[str, str], parts: Sequence[tuple[int, Json]], group: str
) -> dict[int, FoundBatch]:
    """Find the batches of the parts in the group.

    Raises:
        HtcValidationError: The group has other jobs.
    """
    found: dict[int, FoundBatch] = {}
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
        found[part] = batch
    return found


def tagged(request: Json, tags: Mapping[str, str]) -> Json:
    """Return a submit request with more tags for its jobs."""
    definition: Json = request["htcJobDefinition"]
    given: dict[str, str] = definition.get("tags") or {}
    kept = {name: value for name, value in given.items() if name not in _OWN}
    return {**request, "htcJobDefinition": {**definition, "tags": {**kept, **tags}}}


_OWN = (PART_TAG, ATTEMPT_TAG)
