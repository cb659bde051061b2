"""The lines of jobs' logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .database import Database, Row

if TYPE_CHECKING:
    from collections.abc import Iterable


class Logs(Database):
    """The part of the store for logs."""

    def lines(self, job: int, after: int, limit: int) -> list[Row]:
        """Lines of a job's log, oldest first."""
        return self._rows(
            "SELECT number, record FROM lines WHERE job = ? AND number > ? ORDER BY number LIMIT ?",
            *(job, after, limit),
        )

    def lines_backwards(self, job: int, before: int, limit: int) -> list[Row]:
        """Lines of a job's log, newest first."""
        return self._rows(
            "SELECT number, record FROM lines WHERE job = ? AND number < ?"
            " ORDER BY number DESC LIMIT ?",
            *(job, before, limit),
        )

    def add_lines(self, job: int, first: int, records: Iterable[str]) -> None:
        """Append lines to a job's log. `first` is the number of the first line."""
        with self._transaction():
            self._connection.executemany(
                "INSERT INTO lines VALUES (?, ?, ?)",
                ((job, number, record) for number, record in enumerate(records, first)),
            )

    def delete_lines(self, task_id: str, limit: int) -> bool:
        """Delete some lines of the logs of a task's jobs. Returns whether there were any."""
        with self._transaction():
            return bool(
                self._execute(
                    "DELETE FROM lines WHERE (job, number) IN (SELECT job, lines.number"
                    " FROM jobs JOIN lines ON job = jobs.number WHERE task = ? LIMIT ?)",
                    (task_id, limit),
                ).rowcount
            )
