"""Commands about submit requests: validate, schema, submit."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from .. import htcjobs, htctasks, types
from ..exceptions import HtcException
from . import _definition, _errors, _options, _output
from ._completion import complete_files, complete_folders
from ._finding import find_project, find_task, named_task, note_last_task
from ._planning import show_plan
from ._session import open_session, require_storage
from ._submission import Submitter
from ._watch import exit_if_failed, noting_that_jobs_go_on, say_where_to_look, watch_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..htcprojects import HtcProject
    from ..htcsession import HtcSession
    from ..htctasks import HtcTask
    from ._payload import Payload as FilePayload

    Payload = FilePayload | _definition.OptionsPayload


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(validate)
    app.command()(schema)
    app.command()(submit)


def validate(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            autocompletion=complete_files,
            show_default=False,
            help="JSON or YAML files, or - for standard input.",
        ),
    ],
) -> None:
    """Validate files with submit requests. Needs no account.

    Prints each problem as FILE:LINE:COLUMN: FIELD: MESSAGE. Exits with status 2 if there are
    problems. A file contains one submit request or a list of them. The command sends nothing, so
    you can run it before each commit. It does not look at images: `rescalehtc try` checks that
    the architecture of an image fits.

    Example: rescalehtc validate jobs/*.yaml
    """
    lines = [line for name in files for line in _lines_of(name)]
    for line in lines:
        _output.show_line(line)
    if lines:
        raise typer.Exit(_errors.BAD_INPUT)


def schema() -> None:
    """Print the JSON Schema of submit files, for editors.

    Editors complete and check your files with it. Save it next to your files, and begin each file
    with the line `# yaml-language-server: $schema=submit.schema.json`.

    Example: rescalehtc schema > submit.schema.json
    """
    text = Path(__file__).with_name("submit.schema.json").read_text(encoding="utf-8")
    _output.show_item(json.loads(text), _output.Form(_output.Format.JSON))


def submit(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE",
            autocompletion=complete_files,
            show_default=False,
            help="JSON or YAML file with one submit request or a list of them; - for "
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
            help="New group for the jobs. If a response is lost, the command finds the jobs in the group.",
        ),
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            callback=_options.text,
            autocompletion=complete_folders,
            help="Folder to upload first. Jobs find it in $TASK_SHARED_FOLDER/$RESCALEHTC_INPUTS.",
        ),
    ] = None,
    env_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            callback=_options.text,
            autocompletion=complete_files,
            help="File with environment variables for all jobs, one NAME=VALUE per line.",
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
            help="With --watch, the maximum time to wait.",
        ),
    ] = None,
    on_exit: Annotated[
        _definition.OnExit,
        typer.Option(
            "--on-exit",
            help="With --watch, whether to leave or cancel the jobs if waiting ends early. With "
            "cancel, if --group already has jobs, the command waits for these jobs and submits only "
            "the missing ones.",
        ),
    ] = _definition.OnExit.LEAVE,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check the jobs, and print `rescalehtc plan`. Submit nothing.",
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
    """Submit the jobs of a file, or jobs that options describe.

    Validates all jobs before it submits the first one. Prints the batches, and on standard error
    the task's id.

    Example: rescalehtc submit jobs.yaml --new-task sweep --watch

    Example: rescalehtc submit --image solver:1 --command "solve --fast" --jobs 20 -t sweep
    """
    if task is not None and new_task is not None:
        raise typer.BadParameter("can't be used with --task", param_hint="--new-task")
    if inputs is not None:
        require_storage()
        if on_exit is _definition.OnExit.CANCEL:
            raise typer.BadParameter("cancel can't be used with --inputs", param_hint="--on-exit")
    batch_fields = types.HTCJobBatchDict.__annotations__
    plan_fields = [field.name for field in dataclasses.fields(htcjobs.Plan)]
    form = _options.form(output, fields, plan_fields if dry_run else batch_fields)
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
    payload = read_valid(file, _definition.from_options(options))
    requests = cast("Sequence[dict[str, Any]]", payload.requests)
    if env_file is not None:
        requests = _add_variables(requests, env_file)
    with open_session(profile, interval) as rescale:
        htc_task = find_task(rescale, project, named) if new_task is None else None
        owner = htc_task.project if htc_task else find_project(rescale, project)
        check(payload, owner)
        if dry_run:
            show_plan(rescale, owner, requests, form)
            return
        target = htc_task or _new_task(rescale, owner, new_task or "")
        note_last_task(rescale, target)
        task_line = f"task {target.json.get('taskName')} has the id {target.json.get('taskId')}"
        submitter = Submitter(payload, requests, group, inputs, form)
        with contextlib.ExitStack() as stack:
            try:
                is_run = watch and on_exit is _definition.OnExit.CANCEL
                batch = submitter.submit(rescale, target, stack if is_run else None)
            except BaseException as error:
                error.add_note(task_line)
                raise
            _output.say(task_line)
            if not watch:
                return
            if not is_run:
                stack.enter_context(noting_that_jobs_go_on())
            counts = watch_batch(rescale, batch, wait_timeout)
        say_where_to_look(counts, target)
        exit_if_failed([counts])


def _add_variables(requests: Sequence[dict[str, Any]], file: str) -> list[dict[str, Any]]:
    """Return valid requests with the variables of a file.

    Raises:
        HtcException: The file can't be read, or its variables are invalid.
    """
    variables = _definition.read_variables(file)
    changed = [_definition.with_variables(request, variables) for request in requests]
    problems = dict.fromkeys(problem.message for problem in htcjobs.validate(changed))
    _refuse([f"{file}: {message}" for message in problems])
    return changed


def read_valid(file: str | None, options: _definition.OptionsPayload | None = None) -> Payload:
    """Return the submit requests of a file or of options.

    Raises:
        typer.BadParameter: Neither or both are given.
        HtcException: The file can't be read, or has problems. The message lists them.
    """
    payload = _read(file, options)
    check(payload, None)
    return payload


def check(payload: Payload, project: HtcProject | None) -> None:
    """Reject a payload with problems.

    Raises:
        HtcException: The payload has problems.
    """
    _refuse(_lines(payload, project))


def _new_task(rescale: HtcSession, project: HtcProject, name: str) -> HtcTask:
    with _errors.note_uncertain_change(f"task {name} may have been created"):
        return htctasks.create_task_with_name(rescale, project, name)


def _lines_of(file: str) -> list[str]:
    """The problems of a file that can be found without the project."""
    from . import _payload

    try:
        return _lines(_payload.read(file), None)
    except _payload.UnreadableError as error:
        return [str(error.found)]


def _read(file: str | None, options: _definition.OptionsPayload | None) -> Payload:
    """Return the submit requests of a file or of options, without validating them.

    Raises:
        typer.BadParameter: Neither or both are given.
        HtcException: The file can't be read.
    """
    if (file is None) == (options is None):
        raise typer.BadParameter(
            "give either a FILE, or --image and other options that describe the jobs; "
            "put the words of --command in quotes",
            param_hint="FILE",
        )
    if file is None:
        assert options is not None
        return options
    from . import _payload

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
