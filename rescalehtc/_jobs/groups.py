"""Find batches by the records of their jobs.

The service has no record of a batch. The id of a job contains the id of its batch, its record
repeats most of the submit request, and its tags contain the purpose of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._facts import MAX_BATCH_SIZE
from .._raw import is_list, is_object
from .._wire.operations import LIST_JOBS
from .marks import MARK_TAG, mark_in, tag_in
from .records import common_group, job_listing, number_in, parent_and_index

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

    from .._client.client import Client

# The tag of jobs from `get_or_submit`: the number of their request, starting at 0.
PART_TAG = "rescalehtc-part"
# The tag of a retry: `<id of the first job>:<number of the attempt>`.
ATTEMPT_TAG = "rescalehtc-attempt"

# Fields of a job's record that repeat its definition.
_REPEATED = (
    "imageName", "commands", "envs", "maxVCpus", "maxMemory", "maxDiskGiB", "execTimeoutSeconds",
    "architecture",
)  # fmt: skip
_JOBS_NAMED = 100  # this many ids fit in a URL


@dataclass
class FoundBatch:
    """A batch, as far as its listed jobs show it.

    Attributes:
        parent_id: The part of its jobs' ids before the colon.
        record: The record of one of its jobs.
        size: The highest listed index plus 1.
        created_at: The time of its submission.
    """

    parent_id: str
    record: Mapping[str, Any] = field(repr=False)
    size: int
    created_at: str

    @property
    def part(self) -> int | None:
        """The number of its request in `get_or_submit`, starting at 0."""
        return number_in(tag_in(self.record.get("tags"), PART_TAG) or "")

    @property
    def is_rerun(self) -> bool:
        """Whether it is a retry."""
        return tag_in(self.record.get("tags"), ATTEMPT_TAG) is not None

    @property
    def place(self) -> tuple[str, int]:
        """The submission of the batch, and the position there."""
        if self.part is not None:
            return PART_TAG, self.part
        token, _, text = (mark_in(self.record.get("tags")) or "").rpartition("-")
        number = number_in(text)
        return (self.parent_id, 0) if number is None else (token, number)

    def to_json(self, task_ids: Mapping[str, str]) -> dict[str, Any]:
        """Rebuild the service's response to the submit request from the record of a job."""
        record = self.record
        definition = {name: record[name] for name in _REPEATED if record.get(name) is not None}
        tags = tags_of(record)
        if tags:
            definition["tags"] = tags
        group = {"group": record["group"]} if record.get("group") else {}
        return {
            **task_ids,
            **group,
            "parentJobId": self.parent_id,
            "batchSize": self.size,
            "htcJobDefinition": definition,
        }


def tags_of(record: Mapping[str, Any]) -> dict[str, str]:
    """The tags of a job's record, without the tags of this package."""
    raw: Any = record.get("tags")
    tags: dict[str, str] = raw if is_object(raw) else {}
    if is_list(raw):
        tags = {pair["key"]: pair.get("value") for pair in raw if "key" in pair}
    reserved = (MARK_TAG, PART_TAG, ATTEMPT_TAG)
    return {name: value for name, value in tags.items() if name not in reserved}


def attempt_of(record: Mapping[str, Any]) -> tuple[str, int]:
    """The id of the first attempt at a job, and the number of this attempt, starting at 1."""
    first_id, _, text = (tag_in(record.get("tags"), ATTEMPT_TAG) or "").rpartition(":")
    number = number_in(text)
    return (record["jobUUID"], 1) if number is None else (first_id, number)


class FoundBatches:
    """Collects batches from the records of their jobs."""

    def __init__(self) -> None:
        self._by_parent: dict[str, FoundBatch] = {}

    def note(self, record: Mapping[str, Any]) -> None:
        """Add a listed job.

        Raises:
            HtcResponseError: A field of the first listed job of a batch has an unexpected type.
        """
        parent, index = parent_and_index(record["jobUUID"])
        if not parent:
            return
        batch = self._by_parent.get(parent)
        if batch is None:
            LIST_JOBS.to_record(record)  # it becomes a batch, so its fields must be valid
            created_at = str(record.get("createdAt") or "")
            self._by_parent[parent] = FoundBatch(parent, record, index + 1, created_at)
        else:
            batch.size = max(batch.size, index + 1)

    def get(self, parent_id: str) -> FoundBatch | None:
        """The batch with this id."""
        return self._by_parent.get(parent_id)

    def in_order(self) -> list[FoundBatch]:
        """Return the batches in the order of their submission, without retries.

        If `get_or_submit` made several batches for a request, this returns only the oldest, so that
        all callers choose the same one.
        """
        batches = [batch for batch in self._by_parent.values() if not batch.is_rerun]
        batches.sort(key=lambda batch: (batch.created_at, batch.parent_id))
        started: dict[str, int] = {}
        chosen: dict[object, FoundBatch] = {}
        for position, batch in enumerate(batches):
            started.setdefault(batch.place[0], position)
            chosen.setdefault(batch.parent_id if batch.part is None else batch.part, batch)
        return sorted(chosen.values(), key=lambda batch: (started[batch.place[0]], batch.place[1]))


async def list_records(
    client: Client, task_ids: Mapping[str, str], group: str | None
) -> AsyncGenerator[Mapping[str, Any]]:
    """Yield the records of the jobs of a group, or of the whole task."""
    async for page in client.pages(job_listing(task_ids, group=group)):
        for record in page:
            yield record


async def find_batches(
    client: Client, task_ids: Mapping[str, str], group: str | None
) -> list[FoundBatch]:
    """Return the batches of a group, or of the whole task, in order."""
    batches = FoundBatches()
    async for record in list_records(client, task_ids, group):
        batches.note(record)
    return batches.in_order()


async def find_batch(
    client: Client, task_ids: Mapping[str, str], parent_id: str
) -> FoundBatch | None:
    """Return the batch with this id. None if the task has none of its jobs."""
    batches = FoundBatches()
    for start in range(0, MAX_BATCH_SIZE, _JOBS_NAMED):
        ids = [f"{parent_id}:{index}" for index in range(start, start + _JOBS_NAMED)]
        records = await client.items(job_listing(task_ids, jobId=ids))
        for record in records:
            batches.note(record)
        if not records and batches.get(parent_id):
            break  # the first jobs may have been deleted, so an empty page is not the end
    return batches.get(parent_id)


def by_group(batches: Iterable[FoundBatch]) -> list[list[FoundBatch]]:
    """Collect the batches of each group, in the order of their first batches."""
    groups: dict[str, list[FoundBatch]] = {}
    for batch in batches:
        groups.setdefault(batch.record.get("group") or batch.parent_id, []).append(batch)
    return list(groups.values())


async def records_of(
    client: Client, task_ids: Mapping[str, str], parts: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Fetch the records of the jobs of a batch and of their retries."""
    parents = {part.get("parentJobId") for part in parts}
    return [
        record
        async for record in list_records(client, task_ids, common_group(parts))
        if parent_and_index(attempt_of(record)[0])[0] in parents
    ]
