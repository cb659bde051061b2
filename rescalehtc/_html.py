"""HTML tables, as notebooks show them."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from ._raw import is_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_ROWS = 20

# Fields that may hold secrets, such as environment variables and commands, are not shown.
_JOB = ("status", "statusReason", "failureCode", "exitCode", "region", "group", "imageName")
_JOB_TIMES = ("createdAt", "startedAt", "completedAt")
_BATCH = ("parentJobId", "jobName", "batchSize", "imageName", "group", "taskId")


def job(json: Mapping[str, Any]) -> str:
    """A job as HTML: a row for each field that was fetched."""
    fields: dict[str, Any] = {**json}
    match json:
        case {"container": {"exitCode": code}}:
            fields["exitCode"] = code
        case _:
            pass
    rows = [(name, fields[name]) for name in (*_JOB, *_JOB_TIMES) if fields.get(name) is not None]
    return table(f"Job {json.get('jobUUID')}", (), rows)


def batch(parts: Sequence[Mapping[str, Any]]) -> str:
    """A batch as HTML: a row for each submit request, the first ones of many."""
    rows: list[list[object]] = []
    for part in parts[:MAX_ROWS]:
        definition = part.get("htcJobDefinition")
        image = definition.get("imageName") if is_object(definition) else None
        fields: dict[str, object] = {**part, "imageName": image}
        rows.append([fields.get(name) for name in _BATCH])
    more = len(parts) - len(rows)
    title = f"Batch, the first {MAX_ROWS} of {more + MAX_ROWS} submit requests" if more else "Batch"
    return table(title, _BATCH, rows)


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """An HTML table with a caption."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    lines = [f"<tr>{head}</tr>"] if heads else []
    for row in rows:
        cells = "".join(f"<td>{'' if c is None else escape(str(c))}</td>" for c in row)
        lines.append(f"<tr>{cells}</tr>")
    return f"<table><caption>{escape(title)}</caption>{''.join(lines)}</table>"
