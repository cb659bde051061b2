"""HTML tables for notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from ._raw import is_list, is_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_ROWS = 20

# Fields that may contain secrets, such as environment variables and commands, are not shown.
_BATCH = ("parentJobId", "jobName", "batchSize", "imageName", "group", "taskId")
_JOB = ("status", "statusReason", "failureCode", "exitCode", "region", "group", "imageName")
_JOB_TIMES = ("createdAt", "startedAt", "completedAt")
_FIELDS: dict[str, tuple[str, ...]] = {
    "Job": ("jobUUID", *_JOB, *_JOB_TIMES),
    "JobBatch": _BATCH,
    "Project": ("projectName", "projectId", "regions", "createdAt"),
    "Task": ("taskName", "taskId", "lifecycleStatus", "createdAt"),
    "Workspace": ("workspaceName", "workspaceId", "organizationCode"),
}
_FAILED_JOB = ("index", "failure_code", "exit_code", "reason", "last_lines")


def job(json: Mapping[str, Any]) -> str:
    """A job as HTML, with one row per fetched field."""
    return _item(f"Job {json.get('jobUUID')}", json, (*_JOB, *_JOB_TIMES))


def batch(parts: Sequence[Mapping[str, Any]]) -> str:
    """A batch as HTML, with one row per submit request, up to MAX_ROWS."""
    return _rows("Batch", "submit requests", _BATCH, parts)


def json_object(kind: str, json: Mapping[str, Any]) -> str:
    """An object of the facade as HTML, with one row per fetched field."""
    noun = kind.removeprefix("Htc")
    return _item(noun, json, _FIELDS.get(noun, ()))


def listing(items: Sequence[Any]) -> str:
    """Objects of one class as HTML, with one row per object, up to MAX_ROWS."""
    noun = type(items[0]).__name__.removeprefix("Htc") if items else ""
    if noun == "FailedJob":
        rows = [{name: getattr(item, name) for name in _FAILED_JOB} for item in items[:MAX_ROWS]]
        return _rows("Failed jobs", "jobs", _FAILED_JOB, rows, len(items))
    columns = _FIELDS.get(noun, ())
    rows = [item.json for item in items[:MAX_ROWS]]
    return _rows(f"{noun}s" if noun else "Empty list", "", columns, rows, len(items))


def record(name: str, fields: Iterable[tuple[str | None, Any]]) -> str:
    """A record as HTML, with one row per plain field. Nested fields may contain secrets."""
    shown = [
        (field, value) for field, value in fields if value is not None and not _holds_others(value)
    ]
    return table(name, (), [(field or "", value) for field, value in shown])


def _holds_others(value: object) -> bool:
    return isinstance(value, dict | list | tuple) or hasattr(value, "model_fields_set")


def _item(title: str, json: Mapping[str, Any], names: Iterable[str]) -> str:
    fields = _flat(json)
    return table(
        title, (), [(name, fields[name]) for name in names if fields.get(name) is not None]
    )


def _rows(
    title: str,
    noun: str,
    columns: Sequence[str],
    items: Sequence[Mapping[str, Any]],
    total: int | None = None,
) -> str:
    total = len(items) if total is None else total
    if total > MAX_ROWS:
        title = f"{title}, the first {MAX_ROWS} of {total} {noun}".rstrip()
    rows = [[_flat(item).get(name) for name in columns] for item in items[:MAX_ROWS]]
    return table(title, columns, rows)


def _flat(json: Mapping[str, Any]) -> dict[str, Any]:
    """The fields, including fields of the container and the definition that tables show."""
    fields: dict[str, Any] = {**json}
    for holder, name in (("container", "exitCode"), ("htcJobDefinition", "imageName")):
        nested = json.get(holder)
        if is_object(nested):
            fields[name] = nested.get(name)
    return fields


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """An HTML table with a caption."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    lines = [f"<tr>{head}</tr>"] if heads else []
    for row in rows:
        cells = "".join(f"<td>{_cell(value)}</td>" for value in row)
        lines.append(f"<tr>{cells}</tr>")
    return f"<table><caption>{escape(title)}</caption>{''.join(lines)}</table>"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if is_list(value):
        lines = escape("\n".join(map(str, value)))
        return f"<pre>{lines}</pre>" if len(value) > 1 else lines
    return escape(str(value))
