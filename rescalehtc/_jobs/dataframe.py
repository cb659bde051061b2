"""Records of jobs as a pandas.DataFrame."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..exceptions import HtcException, HtcResponseError
from .records import exit_code_of, number_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd


# The columns of a DataFrame, with the service's field names and the types.
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


def _flat(json: Mapping[str, Any]) -> dict[str, Any]:
    """A job's fields, with the exit code of its container and the index of its id."""
    index = str(json.get("jobUUID")).rpartition(":")[2]
    return {**json, "exitCode": exit_code_of(json), "index": number_in(index)}


def dataframe(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Create a DataFrame with one row per record.

    Raises:
        HtcException: pandas is not installed.
        HtcResponseError: A field has a value that does not fit its column.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise HtcException(
            f'to_dataframe needs pandas: pip install "rescalehtc[pandas]>=2" ({error})'
        ) from error
    rows = [_flat(record) for record in records]
    columns: dict[str, pd.Series[Any]] = {}
    for column, field, kind in _COLUMNS:
        values = [_value(row.get(field), field, kind) for row in rows]
        columns[column] = pd.Series(values, dtype=kind)
    columns["duration"] = columns["completed_at"] - columns["started_at"]
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
    raise HtcResponseError(f"the service sent a job whose {field} is not {_KINDS[kind]}")


_KINDS = {_TEXT: "a string", _INTEGER: "an integer", _TIME: "a time"}
