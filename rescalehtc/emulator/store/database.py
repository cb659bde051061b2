"""The SQLite file: its tables, transactions and settings."""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from ...exceptions import HtcFileError
from ..clouds import REGISTRY
from ..lifecycle import WAITING
from ..tokens import new_signing_key

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS images (
    name TEXT PRIMARY KEY,
    status TEXT NOT NULL,
    ready_at TEXT                -- when a PENDING image becomes READY
);
CREATE TABLE IF NOT EXISTS used_images (
    project TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (project, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS manifests (
    project TEXT NOT NULL,
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    PRIMARY KEY (project, repository, digest)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tags (
    project TEXT NOT NULL,
    repository TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (project, repository, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS projects (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, record TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS limits (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    owner TEXT NOT NULL,         -- a project or the workspace
    role TEXT,
    vcpus INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS limits_of_owner ON limits (owner);
CREATE TABLE IF NOT EXISTS documents (
    owner TEXT NOT NULL,         -- a project or the workspace
    kind TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (owner, kind)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tasks (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, project TEXT NOT NULL, record TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS tasks_of_project ON tasks (project);
CREATE TABLE IF NOT EXISTS groups (
    number INTEGER PRIMARY KEY, task TEXT NOT NULL, name TEXT NOT NULL, UNIQUE (task, name)
);
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY,
    request TEXT NOT NULL,       -- the submit request
    full_record TEXT NOT NULL,   -- common to the records of its jobs
    simple_record TEXT NOT NULL  -- the same for a SIMPLE listing
);
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    position INTEGER NOT NULL,   -- in its batch
    batch INTEGER NOT NULL,
    project TEXT NOT NULL,
    task TEXT NOT NULL,
    job_group TEXT NOT NULL,
    region TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT,
    failure_code TEXT,
    container TEXT,
    provider_id TEXT,
    instance_id TEXT,
    environment TEXT,
    labels TEXT,
    updated_at TEXT NOT NULL,
    started_at TEXT,
    completed_at TEXT,
    vcpus INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX IF NOT EXISTS jobs_of_task ON jobs (task);
CREATE INDEX IF NOT EXISTS jobs_with_status ON jobs (task, status);
CREATE INDEX IF NOT EXISTS jobs_of_group ON jobs (task, job_group);
CREATE INDEX IF NOT EXISTS jobs_waiting_of_project ON jobs (project) WHERE status = '{WAITING}';
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY,
    job INTEGER NOT NULL,
    time TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT,
    container TEXT,
    instance_id TEXT,
    labels TEXT,
    cancelled INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS events_of_job ON events (job);
CREATE TABLE IF NOT EXISTS metadata (
    path TEXT PRIMARY KEY,       -- of an object's file, in the emulator's folder
    etag TEXT NOT NULL,
    headers TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lines (
    job INTEGER NOT NULL, number INTEGER NOT NULL, record TEXT NOT NULL, PRIMARY KEY (job, number)
) WITHOUT ROWID;
"""

# Upgrades the layout without limits and groups.
_UPGRADE: Final = """
DROP INDEX IF EXISTS jobs_waiting;
ALTER TABLE jobs ADD COLUMN vcpus INTEGER NOT NULL DEFAULT 1;
UPDATE jobs SET vcpus = coalesce((
    SELECT json_extract(request, '$.htcJobDefinition.maxVCpus')
    FROM batches WHERE batches.number = batch), 1);
ALTER TABLE images ADD COLUMN ready_at TEXT;
UPDATE OR REPLACE images SET name = name || ':latest' WHERE instr(name, ':') = 0;
"""
_FILL_GROUPS: Final = """
INSERT INTO groups (task, name)
    SELECT task, job_group FROM jobs GROUP BY task, job_group ORDER BY min(number);
"""
# Upgrades records whose URLs and paths do not have the service's format.
_UPGRADE_RECORDS: Final = f"""
UPDATE projects SET record = json_set(record,
    '$.containerRegistry', '{REGISTRY}/' || id || '/',
    '$.projectFolderPath', 'projects/' || id || '/');
UPDATE tasks SET record = json_set(record,
    '$.taskFolderPath', 'projects/' || project || '/tasks/' || id);
PRAGMA user_version = 1;
"""  # noqa: S608 - the URL is a constant


class Row(NamedTuple):
    """An item of a listing: its number, which increases along the listing, and its JSON."""

    number: int
    text: str


def time_text(timestamp: float) -> str:
    """A time in the service's format. Strings in this format sort by time."""
    at = datetime.fromtimestamp(timestamp, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def timestamp(text: str) -> float:
    """Parse a time in the service's format."""
    return datetime.fromisoformat(text).timestamp()


def now() -> str:
    """The current time in the service's format."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Database:
    """The base of the parts of the store.

    Args:
        path: The file. Created if it does not exist.

    Attributes:
        api_key: The key that the emulator accepts.
        signing_key: The private key for signing tokens.
        created_at: The time when the file was created.

    Raises:
        HtcFileError: The file can't be used.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        try:
            path.touch(mode=0o600)  # the file contains keys
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._execute = self._connection.execute
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise HtcFileError(f"can't store data in {path}: {error}") from error

    def _prepare(self) -> None:
        # Needed by `shrink`, and only possible before the first table is created.
        self._execute("PRAGMA auto_vacuum = INCREMENTAL")
        # Temporary files would need file descriptors.
        self._execute("PRAGMA temp_store = MEMORY")
        # With a write-ahead log, no committed data is lost when this process is killed.
        self._execute("PRAGMA journal_mode = WAL")
        self._execute("PRAGMA synchronous = NORMAL")
        tables = self._one("SELECT group_concat(name) FROM sqlite_master WHERE type = 'table'")[0]
        is_old = tables is not None and "groups" not in tables.split(",")
        parts = [_UPGRADE, _SCHEMA, _FILL_GROUPS] if is_old else [_SCHEMA]
        if self._one("PRAGMA user_version")[0] < 1:
            parts.append(_UPGRADE_RECORDS)
        self._connection.executescript(f"BEGIN IMMEDIATE; {''.join(parts)} COMMIT;")
        with self._transaction():
            self.api_key: str = self._setting("api_key", lambda: secrets.token_hex(20))
            self.signing_key: str = self._setting("signing_key", new_signing_key)
            self.created_at: str = self._setting("created_at", now)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._connection.close()

    def shrink(self, pages: int) -> bool:
        """Return some unused pages to the file system. Returns whether there were any.

        The file of an emulator without auto_vacuum reuses them instead.
        """
        with self._lock:
            before = self._one("PRAGMA freelist_count")[0]
            self._all(f"PRAGMA incremental_vacuum({pages})")
            if self._one("PRAGMA freelist_count")[0] < before:
                return True
            self._all("PRAGMA wal_checkpoint(TRUNCATE)")
            return False

    @contextmanager
    def _transaction(self) -> Generator[None]:
        with self._lock:
            if self._connection.in_transaction:  # nested in another transaction
                yield
                return
            self._execute("BEGIN IMMEDIATE")
            try:
                yield
                self._execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite rolls back itself if the disk is full
                    self._execute("ROLLBACK")
                raise

    def _one(self, query: str, *values: object) -> Any:
        with self._lock:
            return self._execute(query, values).fetchone()

    def _all(self, query: str, *values: object) -> list[Any]:
        with self._lock:
            return self._execute(query, values).fetchall()

    def _rows(self, query: str, *values: object) -> list[Row]:
        with self._lock:
            return [Row(*row) for row in self._execute(query, values)]

    def _setting(self, name: str, make: Callable[[], str]) -> str:
        row = self._one("SELECT value FROM settings WHERE name = ?", name)
        if row:
            value: str = row[0]
            return value
        value = make()
        self._execute("INSERT INTO settings VALUES (?, ?)", (name, value))
        return value

    def _document(self, owner: str, kind: str) -> Any:
        query = "SELECT record FROM documents WHERE owner = ? AND kind = ?"
        row = self._one(query, owner, kind)
        return json.loads(row[0]) if row else None

    def _set_document(self, owner: str, kind: str, record: object) -> None:
        with self._transaction():
            values = (owner, kind, json.dumps(record))
            self._execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", values)

    def _delete_document(self, owner: str, kind: str) -> None:
        with self._transaction():
            self._execute("DELETE FROM documents WHERE owner = ? AND kind = ?", (owner, kind))
