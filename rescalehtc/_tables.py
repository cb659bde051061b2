"""Tables for people: HTML where notebooks show objects, and a pandas.DataFrame."""

from __future__ import annotations

from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

from .exceptions import HtcException, HtcResponseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

    from ._waiting import JobCounts
    from .htcjobs import HtcJob, HtcJobBatch

MAX_ROWS = 20

# Not among them: what may hold secrets, such as environment variables and commands.
_JOB = ("status", "statusReason", "failureCode", "exitCode", "region", "group", "imageName")
_JOB_TIMES = ("createdAt", "startedAt", "completedAt")
_BATCH = ("parentJobId", "jobName", "batchSize", "imageName", "group", "taskId")

# The columns of a DataFrame, the service's names of what they hold, and their types.
_TEXT, _INTEGER, _TIME = "string", "Int64", "datetime64[us, UTC]"
_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("job_uuid", "jobUUID", _TEXT),
    ("index", "index", _INTEGER),
    ("status", "status", _TEXT),
    ("status_reason", "statusReason", _TEXT),
    ("failure_code", "failureCode", _TEXT),
    ("exit_code", "exitCode", _INTEGER),
    ("created_at", "createdAt", _TIME),
    ("started_at", "startedAt", _TIME),
    ("completed_at", "completedAt", _TIME),
    ("updated_at", "updatedAt", _TIME),
    ("region", "region", _TEXT),
    ("group", "group", _TEXT),
    ("image_name", "imageName", _TEXT),
    ("architecture", "architecture", _TEXT),
    ("max_vcpus", "maxVCpus", _INTEGER),
    ("max_memory", "maxMemory", _INTEGER),
    ("max_disk_gib", "maxDiskGiB", _INTEGER),
    ("exec_timeout_seconds", "execTimeoutSeconds", _INTEGER),
    ("instance_id", "instanceId", _TEXT),
    ("task_id", "taskId", _TEXT),
    ("project_id", "projectId", _TEXT),
)


def job(job: HtcJob) -> str:
    """A job as HTML: a row for each field that was fetched."""
    fields = _flat(job.json)
    rows = [(name, fields[name]) for name in (*_JOB, *_JOB_TIMES) if fields.get(name) is not None]
    return _html(f"Job {job.json.get('jobUUID')}", (), rows)


def batch(batch: HtcJobBatch) -> str:
    """A batch as HTML: a row for each submit request, the first ones of many."""
    rows: list[list[object]] = []
    for part in batch.batches[:MAX_ROWS]:
        definition: object = part.json.get("htcJobDefinition")
        image: object = definition.get("imageName") if isinstance(definition, dict) else None  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]
        fields: dict[str, object] = {**part.json, "imageName": image}
        rows.append([fields.get(name) for name in _BATCH])
    more = len(batch.batches) - len(rows)
    title = f"Batch, the first {MAX_ROWS} of {more + MAX_ROWS} submit requests" if more else "Batch"
    return _html(title, _BATCH, rows)


def counts(counts: JobCounts) -> str:
    """Counts as HTML: a row for each status that a job has."""
    rows = [(status, count) for status, count in sorted(counts.by_status.items()) if count]
    if counts.unseen:
        rows.append(("not seen", counts.unseen))
    return _html(f"{counts.ended} of {counts.total} jobs ended", ("status", "jobs"), rows)


def _html(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    lines = [f"<tr>{head}</tr>"] if heads else []
    for row in rows:
        cells = "".join(f"<td>{'' if c is None else escape(str(c))}</td>" for c in row)
        lines.append(f"<tr>{cells}</tr>")
    return f"<table><caption>{escape(title)}</caption>{''.join(lines)}</table>"


def _flat(json: Mapping[str, Any]) -> dict[str, Any]:
    """A job's fields, with the exit code out of its container and the index out of its id."""
    container: Any = json.get("container")
    code: object = container.get("exitCode") if isinstance(container, dict) else None  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]
    index = str(json.get("jobUUID")).rpartition(":")[2]
    return {**json, "exitCode": code, "index": int(index) if index.isdecimal() else None}


def dataframe(jobs: Iterable[HtcJob]) -> pd.DataFrame:
    """A row for each job.

    Raises:
        HtcException: pandas is not installed.
        HtcResponseError: A field has a value that does not fit its column.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise HtcException(
            f'to_dataframe needs pandas: pip install "rescalehtc[pandas]" ({error})'
        ) from error
    records = [_flat(job.json) for job in jobs]
    columns: dict[str, pd.Series[Any]] = {}
    for column, field, kind in _COLUMNS:
        values = [_value(record.get(field), field, kind) for record in records]
        columns[column] = pd.Series(values, dtype=kind)
    return pd.DataFrame(columns)


def _value(value: object, field: str, kind: str) -> object:
    if value is None:
        return None
    expected = int if kind == _INTEGER else str
    try:
        if isinstance(value, expected) and not isinstance(value, bool):
            return datetime.fromisoformat(str(value)) if kind == _TIME else value
    except ValueError:
        pass
    raise HtcResponseError(f"the service sent a job whose {field} is no {_KINDS[kind]}")


_KINDS = {_TEXT: "text", _INTEGER: "integer", _TIME: "time"}
