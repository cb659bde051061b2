"""Commands that take submit requests: validate, submit."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from .. import htcjobs, htctasks
from ..exceptions import HtcException, Problem, SubmissionIncompleteError
from . import _errors, _options, _output, _payload
from ._session import find_project, find_task, open_session
from ._watch import exit_with_status_of, watch_batch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..htcjobs import HtcJobBatch
    from ..htcprojects import HtcProject
    from ..htcsession import HtcSession
    from ..htctasks import HtcTask

BATCHES = (
    _output.Column("BATCH", lambda batch: batch.get("parentJobId")),
    _output.Column("JOBS", lambda batch: batch.get("batchSize")),
    _output.Column("NAME", lambda batch: batch.get("jobName"), may_be_cut=True),
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(validate)
    app.command()(submit)


def validate(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            show_default=False,
            help="JSON or YAML files; - for the standard input.",
        ),
    ],
) -> None:
    """Check files with submit requests. Needs no account.

    Prints every problem as FILE:LINE:COLUMN: FIELD: MESSAGE, and exits with status 2 if there
    is any. A file holds one submit request or a list of them. Nothing is sent, so that it can
    be a check before each commit.
    """
    lines = [line for name in files for line in _lines_of(name)]
    for line in lines:
        _output.show_line(line)
    if lines:
        raise typer.Exit(_errors.BAD_INPUT)


def submit(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            show_default=False,
            help="JSON or YAML file with one submit request or a list of them; - for the "
            "standard input.",
        ),
    ],
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            "-t",
            metavar="NAME|ID",
            callback=_options.text,
            help="Task for the jobs.",
        ),
    ] = None,
    new_task: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            callback=_options.text,
            help="Create a task with this name for the jobs.",
        ),
    ] = None,
    project: _options.Project = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            "-g",
            metavar="NAME",
            callback=_options.text,
            show_default=False,
            help="A new group for the jobs. If the answer gets lost, it tells what became of them.",
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", "-w", help="Then wait as `rescalehtc watch` does, for these jobs."),
    ] = False,
    interval: _options.Interval = 30.0,
    profile: _options.Profile = None,
    output: _options.Output = _output.Format.TABLE,
) -> None:
    """Submit jobs.

    Checks the file as `rescalehtc validate` does before it sends anything. Prints the batches,
    and the task's id on the error stream.
    """
    if (task is None) == (new_task is None):
        raise typer.BadParameter("give one of --task and --new-task", param_hint="--task")
    try:
        payload = _payload.read(file)
        _refuse(_lines(file, payload, None))
    except _payload.UnreadableError as error:
        _refuse([_line(file, error.found)])
        return
    with open_session(profile, interval) as rescale:
        found = find_task(rescale, project, task) if task else None
        owner = found.project if found else find_project(rescale, project)
        _refuse(_lines(file, payload, owner))
        target = found or _new_task(rescale, owner, new_task or "")
        task_line = f"task {target.json.get('taskName')} has the id {target.json.get('taskId')}"
        try:
            batch = _submit_and_show(rescale, target, file, payload, group, output)
        except BaseException as error:
            error.add_note(task_line)
            raise
        _output.say(task_line)
        if watch:
            exit_with_status_of(watch_batch(rescale, batch))


def _new_task(rescale: HtcSession, project: HtcProject, name: str) -> HtcTask:
    with _errors.note_uncertain_change(f"task {name} may have been created"):
        return htctasks.create_task_with_name(rescale, project, name)


def _submit_and_show(
    rescale: HtcSession,
    task: HtcTask,
    file: str,
    payload: _payload.Payload,
    group: str | None,
    output: _output.Format,
) -> HtcJobBatch:
    """Submit the jobs and print the batches.

    What exists, and what may exist, is in the notes of the exception that ends it.
    """
    requests = cast("Sequence[dict[str, Any]]", payload.requests)
    try:
        batch = htcjobs.submit(rescale, task, requests, group=group)
    except BaseException as error:
        incomplete = error if isinstance(error, SubmissionIncompleteError) else error.__cause__
        if isinstance(incomplete, SubmissionIncompleteError):
            error.__notes__ = _describe_requests(file, payload, incomplete)
            with contextlib.suppress(_output.OutputError):  # the notes list them
                _show(incomplete.submitted, output)
        raise
    try:
        _show([part.json for part in batch.batches], output)
    except BaseException as error:  # noqa: BLE001 - raised again, perhaps as another one
        failure = error
        if isinstance(error, _output.OutputError):
            failure = _errors.UnreportedError(f"the jobs were submitted, but {error}")
        for part in batch.batches:
            failure.add_note(_describe_batch(part.json))
        raise failure from None
    return batch


def _show(batches: Sequence[Mapping[str, Any]], output: _output.Format) -> None:
    _output.show_items(batches, BATCHES, output)
    _output.flush()


def _describe_requests(
    file: str, payload: _payload.Payload, incomplete: SubmissionIncompleteError
) -> list[str]:
    """What became of each request, in the file's order."""
    found = [
        (position, _describe_batch(batch))
        for position, batch in zip(incomplete.positions, incomplete.submitted, strict=True)
    ]
    for uncertain in incomplete.uncertain:
        reason = " ".join(str(uncertain.cause).split())
        found += [
            (request.position, f"may have been submitted: {request.batch_size} jobs: {reason}")
            for request in uncertain.requests
        ]
    found += [
        (request.position, f"was not submitted: {request.batch_size} jobs")
        for request in incomplete.unsent
    ]
    lines: list[str] = []
    for position, text in sorted(found, key=lambda one: one[0]):
        place = payload.find_place(Problem(f"[{position}]", text))
        assert place is not None  # the requests were valid
        lines.append(_line(file, place))
    return lines


def _describe_batch(batch: Mapping[str, Any]) -> str:
    return f"was submitted as batch {batch['parentJobId']}: {batch['batchSize']} jobs"


def _lines_of(file: str) -> list[str]:
    """The problems of a file that can be told without knowing the project."""
    try:
        return _lines(file, _payload.read(file), None)
    except _payload.UnreadableError as error:
        return [_line(file, error.found)]


def _lines(file: str, payload: _payload.Payload, project: HtcProject | None) -> list[str]:
    """The problems as `file:line:column: where: message`, in the file's order."""
    requests = cast("Sequence[dict[str, Any]]", payload.requests)
    located = map(payload.find_place, htcjobs.validate(requests, project))
    found = [*payload.problems, *(problem for problem in located if problem)]
    return [_line(file, problem) for problem in sorted(found)]


def _line(file: str, found: _payload.FoundProblem) -> str:
    return f"{'<stdin>' if file == _payload.STANDARD_INPUT else file}:{found}"


def _refuse(lines: list[str]) -> None:
    if lines:
        noun = "problem" if len(lines) == 1 else "problems"
        raise HtcException("\n".join([f"{len(lines)} {noun}; nothing was sent", *lines]))
