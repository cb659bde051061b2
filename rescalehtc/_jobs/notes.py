"""Notes on exceptions that list the jobs of an interrupted submission."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .marks import MARK_TAG

if TYPE_CHECKING:
    from ..exceptions import SubmissionIncompleteError

_NOTE = "rescalehtc: a submission"


def notes_of_submissions(error: BaseException) -> list[str]:
    """The notes about submissions on an exception."""
    notes: list[str] = getattr(error, "__notes__", [])
    return [note for note in notes if note.startswith(_NOTE)]


def note_of(incomplete: SubmissionIncompleteError, group: str | None) -> str:
    """A list of the jobs that exist, and of the jobs that may exist."""
    place = "" if group is None else f" to group {group!r}"
    lines = [f"{_NOTE}{place} was interrupted"]
    if incomplete.submitted:
        parents = ", ".join(str(batch["parentJobId"]) for batch in incomplete.submitted)
        lines.append(f"submitted: {parents}")
    if incomplete.uncertain:
        jobs = sum(error.sent for error in incomplete.uncertain)
        lost = [request for error in incomplete.uncertain for request in error.requests]
        marks = ", ".join(request.mark for request in lost if request.mark)
        tagged = f", with the tag {MARK_TAG} of {marks}" if marks else ""
        lines.append(f"may have been submitted: {jobs} jobs{tagged}")
    if incomplete.unsent:
        lines.append(
            f"not submitted: {sum(request.batch_size for request in incomplete.unsent)} jobs"
        )
    return "\n  ".join(lines)
