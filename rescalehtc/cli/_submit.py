"""Commands about submit requests: validate, schema, submit."""

from __future__ import annotations

import contextlib
import json
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from .. import htcjobs, htctasks, types
from ..exceptions import HtcException, Problem, SubmissionIncompleteError
from . import _definition, _errors, _options, _output, _payload
from ._planning import show_plan
from ._session import (
    find_project,
    find_task,
    named_task,
    note_last_task,
    open_session,
    require_storage,
)
from ._watch import exit_with_status_of, noting_that_jobs_go_on, watch_batch

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
    app.command()(schema)
    app.command()(submit)


def validate(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            show_default=False,
            help="JSON or YAML files, or - for standard input.",
        ),
    ],
) -> None:
    """Validate files with submit requests. You need no account.

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


def schema() -> None:
    """Print the JSON Schema of submit files, for editors.

    Editors complete and check your files with it. Save it beside your files, and begin each with
    this line:
    # yaml-language-server: $schema=submit.schema.json
    """
    file = resources.files("rescalehtc.cli").joinpath("submit.schema.json")
    text = file.read_text(encoding="utf-8")
    _output.show_item(json.loads(text), _output.Form(_output.Format.JSON))


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
            help="New group for the jobs, searched for the jobs if the response is lost.",
        ),
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            callback=_options.text,
            help="Upload this folder first; jobs find it in $TASK_SHARED_FOLDER/$RESCALEHTC_INPUTS.",
        ),
    ] = None,
    env_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            callback=_options.text,
            help="File with a variable for all jobs in each line: NAME=VALUE.",
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", "-w", help="Wait for the jobs, like `rescalehtc watch`."),
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
    on_exit: Annotated[
        _definition.OnExit,
        typer.Option(
            "--on-exit",
            help="With --watch, what to do with the jobs if waiting ends early. cancel also takes "
            "over the jobs that --group already has, as when you repeat the command.",
        ),
    ] = _definition.OnExit.LEAVE,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check the jobs against the project, and print `rescalehtc plan`; submit nothing.",
        ),
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
    interval: _options.Interval = None,
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
    if inputs is not None:
        require_storage()
        if on_exit is _definition.OnExit.CANCEL:
            raise typer.BadParameter("excludes --inputs", param_hint="--on-exit")
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
    variables = _definition.read_variables(env_file) if env_file else {}
    payload = read_valid(file, _definition.from_options(options))
    with open_session(profile, interval) as rescale:
        found = find_task(rescale, project, named) if new_task is None else None
        owner = found.project if found else find_project(rescale, project)
        check(payload, owner)
        if dry_run:
            requests = cast("Sequence[dict[str, Any]]", payload.requests)
            show_plan(rescale, owner, requests, form)
            return
        target = found or _new_task(rescale, owner, new_task or "")
        note_last_task(rescale, target)
        task_line = f"task {target.json.get('taskName')} has the id {target.json.get('taskId')}"
        with contextlib.ExitStack() as stack:
            try:
                is_run = watch and on_exit is _definition.OnExit.CANCEL
                batch = _submit_and_show(
                    rescale,
                    target,
                    payload,
                    variables,
                    form,
                    group=group,
                    inputs=inputs,
                    run_stack=stack if is_run else None,
                )
            except BaseException as error:
                error.add_note(task_line)
                raise
            _output.say(task_line)
            if not watch:
                return
            if not is_run:
                stack.enter_context(noting_that_jobs_go_on())
            counts = watch_batch(rescale, batch, wait_timeout)
        exit_with_status_of(counts, target)


def read_valid(file: str | None, given: _definition.OptionsPayload | None = None) -> Payload:
    """Return the submit requests that a file holds, or options give.

    Raises:
        typer.BadParameter: Neither or both are given.
        HtcException: The file can't be read, or there are problems, which the message lists.
    """
    payload = _read(file, given)
    check(payload, None)
    return payload


def check(payload: Payload, project: HtcProject | None) -> None:
    """Refuse a payload that has problems.

    Raises:
        HtcException: It has.
    """
    _refuse(_lines(payload, project))


def _new_task(rescale: HtcSession, project: HtcProject, name: str) -> HtcTask:
    with _errors.note_uncertain_change(f"task {name} may have been created"):
        return htctasks.create_task_with_name(rescale, project, name)


def _submit_and_show(
    rescale: HtcSession,
    task: HtcTask,
    payload: Payload,
    variables: Mapping[str, str],
    form: _output.Form,
    *,
    group: str | None,
    inputs: str | None,
    run_stack: contextlib.ExitStack | None,
) -> HtcJobBatch:
    """Submit the jobs, as a run if there is a stack for it, and print the batches.

    If it raises an exception, the notes list the jobs that exist and those that may exist.
    """
    requests = [
        _definition.with_variables(request, variables)
        for request in cast("Sequence[dict[str, Any]]", payload.requests)
    ]
    try:
        if run_stack is None:
            batch = htcjobs.submit(rescale, task, requests, group=group, inputs=inputs)
        else:
            run = htcjobs.run(rescale, task, requests, group=group)
            batch = run_stack.enter_context(run).batch
    except BaseException as error:
        incomplete = error if isinstance(error, SubmissionIncompleteError) else error.__cause__
        if isinstance(incomplete, SubmissionIncompleteError):
            of_run = getattr(error, "__notes__", []) if run_stack else []
            error.__notes__ = [*_describe_requests(payload, incomplete), *of_run]
            with contextlib.suppress(_output.OutputError):  # the notes list them
                show(incomplete.submitted, form)
        raise
    try:
        show([part.json for part in batch.batches], form)
    except BaseException as error:  # noqa: BLE001 - raised again, perhaps as another one
        failure = error
        if isinstance(error, _output.OutputError):
            failure = _errors.UnreportedError(f"the jobs were submitted, but {error}")
        for part in batch.batches:
            failure.add_note(_describe_batch(part.json))
        raise failure from None
    return batch


def show(batches: Sequence[Mapping[str, Any]], form: _output.Form) -> None:
    """Print batches that were submitted."""
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


def _refuse(lines: list[str]) -> None:
    if lines:
        raise _refusal(lines)


def _refusal(lines: list[str]) -> HtcException:
    noun = "problem" if len(lines) == 1 else "problems"
    return HtcException("\n".join([f"{len(lines)} {noun}; nothing was sent", *lines]))
