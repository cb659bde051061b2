"""Commands that take submit requests: validate, submit."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from .. import htcjobs, htctasks, types
from .._environment import TASK_VARIABLE
from ..exceptions import HtcException, Problem, SubmissionIncompleteError
from . import _definition, _errors, _options, _output, _payload
from ._session import find_project, find_task, named_task, note_last_task, open_session
from ._watch import exit_with_status_of, watch_batch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..htcjobs import HtcJobBatch
    from ..htcprojects import HtcProject
    from ..htcsession import HtcSession
    from ..htctasks import HtcTask

Payload = _payload.Payload | _definition.OptionsPayload
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

    Example: rescalehtc validate jobs/*.yaml
    """
    lines = [line for name in files for line in _lines_of(name)]
    for line in lines:
        _output.show_line(line)
    if lines:
        raise typer.Exit(_errors.BAD_INPUT)


def submit(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]",
            show_default=False,
            help="JSON or YAML file with one submit request or a list of them; - for the "
            "standard input. Not needed with --image.",
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            "-t",
            metavar="NAME|ID",
            callback=_options.text,
            envvar=TASK_VARIABLE,
            show_envvar=True,
            autocompletion=_options.complete_tasks,
            help="Task for the jobs; - is the last one that a command used.",
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
    wait_timeout: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            callback=_options.seconds,
            help="With --watch, wait no longer than this.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything against the project; submit nothing."),
    ] = False,
    image: _definition.Image = None,
    command: _definition.Command = None,
    jobs: _definition.Jobs = None,
    name: _definition.Name = None,
    region: _definition.Region = None,
    priority: _definition.Priority = None,
    architecture: _definition.Architecture = None,
    vcpus: _definition.VCpus = None,
    memory: _definition.Memory = None,
    timeout: _definition.Timeout = None,
    env: _definition.Env = None,
    tag: _definition.Tag = None,
    interval: _options.Interval = 30.0,
    profile: _options.Profile = None,
    output: _options.Output = _output.Format.TABLE,
    fields: _options.Fields = None,
) -> None:
    """Submit the jobs of a file, or those that options describe.

    Checks them as `rescalehtc validate` does before it sends anything. Prints the batches,
    and the task's id on the error stream.

    Example: rescalehtc submit jobs.yaml --new-task sweep --watch
    """
    if task is not None and new_task is not None:
        raise typer.BadParameter("excludes --task", param_hint="--new-task")
    form = _options.form(output, fields, types.HTCJobBatchDict.__annotations__)
    options = {
        "--image": image,
        "--command": command,
        "--jobs": jobs,
        "--name": name,
        "--region": region or None,
        "--priority": priority,
        "--architecture": architecture,
        "--vcpus": vcpus,
        "--memory": memory,
        "--timeout": timeout,
        "--env": env or None,
        "--tag": tag or None,
    }
    named = named_task(task, profile) if new_task is None else ""
    payload = _read(file, _definition.from_options(options))
    _refuse(_lines(payload, None))
    with open_session(profile, interval) as rescale:
        found = find_task(rescale, project, named) if new_task is None else None
        owner = found.project if found else find_project(rescale, project)
        _refuse(_lines(payload, owner))
        if dry_run:
            _output.say(f"{_count(payload)} can be submitted; nothing was sent")
            return
        target = found or _new_task(rescale, owner, new_task or "")
        note_last_task(rescale, target)
        task_line = f"task {target.json.get('taskName')} has the id {target.json.get('taskId')}"
        try:
            batch = _submit_and_show(rescale, target, payload, group, form)
        except BaseException as error:
            error.add_note(task_line)
            raise
        _output.say(task_line)
        if watch:
            exit_with_status_of(watch_batch(rescale, batch, wait_timeout), target)


def _new_task(rescale: HtcSession, project: HtcProject, name: str) -> HtcTask:
    with _errors.note_uncertain_change(f"task {name} may have been created"):
        return htctasks.create_task_with_name(rescale, project, name)


def _submit_and_show(
    rescale: HtcSession,
    task: HtcTask,
    payload: Payload,
    group: str | None,
    form: _output.Form,
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
            error.__notes__ = _describe_requests(payload, incomplete)
            with contextlib.suppress(_output.OutputError):  # the notes list them
                _show(incomplete.submitted, form)
        raise
    try:
        _show([part.json for part in batch.batches], form)
    except BaseException as error:  # noqa: BLE001 - raised again, perhaps as another one
        failure = error
        if isinstance(error, _output.OutputError):
            failure = _errors.UnreportedError(f"the jobs were submitted, but {error}")
        for part in batch.batches:
            failure.add_note(_describe_batch(part.json))
        raise failure from None
    return batch


def _show(batches: Sequence[Mapping[str, Any]], form: _output.Form) -> None:
    _output.show_items(batches, BATCHES, form)
    _output.flush()


def _describe_requests(payload: Payload, incomplete: SubmissionIncompleteError) -> list[str]:
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
    found.sort(key=lambda one: one[0])
    return [payload.line(Problem(f"[{position}]", text)) or text for position, text in found]


def _describe_batch(batch: Mapping[str, Any]) -> str:
    return f"was submitted as batch {batch['parentJobId']}: {batch['batchSize']} jobs"


def _lines_of(file: str) -> list[str]:
    """The problems of a file that are found without knowing the project."""
    try:
        return _lines(_payload.read(file), None)
    except _payload.UnreadableError as error:
        return [str(error.found)]


def _read(file: str | None, given: _definition.OptionsPayload | None) -> Payload:
    """What a file holds, or options give.

    Raises:
        typer.BadParameter: Neither or both are given.
        HtcException: The file can't be read.
    """
    if (file is None) == (given is None):
        raise typer.BadParameter("give a FILE, or --image and what else describes the jobs")
    if file is None:
        assert given is not None
        return given
    try:
        return _payload.read(file)
    except _payload.UnreadableError as error:
        line = str(error.found)
    raise _refusal([line])


def _lines(payload: Payload, project: HtcProject | None) -> list[str]:
    """The problems as `file:line:column: where: message`, in the file's order."""
    requests = cast("Sequence[dict[str, Any]]", payload.requests)
    problems = htcjobs.validate(requests, project)
    return payload.sorted_lines(problems)


def _count(payload: Payload) -> str:
    requests = cast("Sequence[dict[str, Any]]", payload.requests)
    jobs = sum(request.get("batchSize") or 1 for request in requests)
    noun = "job" if jobs == 1 else "jobs"
    return f"{jobs} {noun}"


def _refuse(lines: list[str]) -> None:
    if lines:
        raise _refusal(lines)


def _refusal(lines: list[str]) -> HtcException:
    noun = "problem" if len(lines) == 1 else "problems"
    return HtcException("\n".join([f"{len(lines)} {noun}; nothing was sent", *lines]))
