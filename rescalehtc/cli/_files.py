"""Commands about files in the storage: files ls|cp|sync|rm|env, results."""

from __future__ import annotations

import re
import shlex
import sys
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from .._raw import strings_of
from ..exceptions import HtcException
from ..htcprojects import HtcProject
from . import _errors, _options, _output
from ._completion import complete_files, complete_folders
from ._finding import find_batch, find_project, find_task, named_task
from ._output import Column, Format
from ._session import open_session, require_storage
from ._watch import noting_that_jobs_go_on

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ..files import Files
    from ..htctasks import HtcTask
    from ._session import CommandSession

FILES = (
    Column("SIZE", lambda item: item["size"]),
    Column("MODIFIED", lambda item: _output.time_text(item["modified"])),
    Column("PATH", lambda item: item["path"], is_name=True),
)
RESULTS = (
    Column("JOB", lambda item: item["job"]),
    Column("FILES", lambda item: len(item["files"])),
)
_PLACE = re.compile(r"(task|project):([^/]*)(?:/(.*))?", re.DOTALL)
_SYNTAX = "task:NAME/path or project:/path"

files = typer.Typer(
    no_args_is_help=True,
    short_help="List, copy and delete files in the storage.",
    help="List, copy and delete files in the storage of a task or project.\n\nJobs find these files "
    f"in TASK_SHARED_FOLDER and PROJECT_SHARED_FOLDER. Commands name them {_SYNTAX}. A path with "
    "*, ? or [ is a pattern.",
)

Stored = Annotated[
    str, typer.Argument(metavar="PLACE", callback=_options.text, show_default=False, help=_SYNTAX)
]
Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        callback=_options.text,
        autocompletion=complete_files,
        show_default=False,
        help=f"Local file, folder or pattern; or {_SYNTAX}.",
    ),
]
Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        callback=_options.text,
        autocompletion=complete_files,
        show_default=False,
        help=f"{_SYNTAX} if the source is local, else a local path.",
    ),
]


class _Place(NamedTuple):
    kind: str
    name: str
    path: str


@files.callback()
def prepare() -> None:
    """Check that the extra packages are installed. `files` has the help."""
    require_storage()


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(files, name="files")
    app.command()(results)


def _place(text: str) -> _Place | None:
    match = _PLACE.fullmatch(text)
    return match and _Place(match[1], match[2], match[3] or "")


def _required_place(text: str) -> _Place:
    place = _place(text)
    if place is None:
        raise typer.BadParameter(f"must be {_SYNTAX}", param_hint="PLACE")
    return place


def _open(rescale: CommandSession, place: _Place, project: str | None, region: str | None) -> Files:
    if place.kind == "project":
        return _files_of(rescale, find_project(rescale, place.name or project), region)
    if not place.name:
        raise typer.BadParameter("needs a task's name: task:NAME/path", param_hint="PLACE")
    return _files_of(rescale, find_task(rescale, project, place.name), region)


def _files_of(rescale: CommandSession, owner: HtcProject | HtcTask, region: str | None) -> Files:
    project = owner if isinstance(owner, HtcProject) else owner.project
    if region is not None and (regions := strings_of(project.json.get("regions"))):
        _options.refuse_unknown(region, regions, "a region of the project", "--region")
    return owner.files(rescale, region)


def _only_place(source: str, target: str) -> tuple[_Place, bool]:
    """The argument that is in the storage, and whether it is the target."""
    places = _place(source), _place(target)
    if (places[0] is None) == (places[1] is None):
        raise typer.BadParameter(
            f"one of SOURCE and TARGET must be in the storage: {_SYNTAX}", param_hint="SOURCE"
        )
    return (places[0], False) if places[0] else (_required_place(target), True)


@files.command("ls")
def list_files(
    place: Stored,
    project: _options.Project = None,
    region: _options.Region = None,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
    fields: _options.Fields = None,
) -> None:
    """List the files of a folder, or those that match a pattern.

    Example: rescalehtc files ls "task:sweep/**/*.csv"
    """
    form = _options.form(output, fields, ("path", "size", "modified"))
    location = _required_place(place)
    with open_session(profile) as rescale:
        stored = _open(rescale, location, project, region).iter(location.path)
        items = (
            {"path": file.path, "size": file.size, "modified": file.modified.isoformat()}
            for file in stored
        )
        _output.show_items(items, FILES, form)


@files.command("cp")
def copy(
    source: Source,
    target: Target,
    project: _options.Project = None,
    region: _options.Region = None,
    profile: _options.Profile = None,
) -> None:
    """Upload or download files.

    Copies a file, the files of a folder, or those that match a pattern. Prints the names of the copies. The files of a folder go directly into the target.

    Example: rescalehtc files cp cases task:sweep/cases
    """
    place, is_up = _only_place(source, target)
    with open_session(profile) as rescale:
        store = _open(rescale, place, project, region)
        progress = _progress()
        if is_up:
            _show(store.upload(source, place.path, progress=progress))
        else:
            _show(store.download(place.path, target, progress=progress))


@files.command("sync")
def synchronize(
    source: Source,
    target: Target,
    delete: Annotated[
        bool,
        typer.Option("--delete", help="Delete files in the target that are not in the source."),
    ] = False,
    project: _options.Project = None,
    region: _options.Region = None,
    profile: _options.Profile = None,
) -> None:
    """Copy the files of a folder that are missing or older in the target.

    Also copies files that differ in size. Prints the names of the copies. If the command is
    interrupted, rerun it: it copies the rest.

    Example: rescalehtc files sync task:sweep/results results
    """
    place, is_up = _only_place(source, target)
    with open_session(profile) as rescale:
        store = _open(rescale, place, project, region)
        progress = _progress()
        if is_up:
            _show(store.sync_up(source, place.path, delete=delete, progress=progress))
        else:
            _show(store.sync_down(target, place.path, delete=delete, progress=progress))


@files.command("rm")
def remove(
    place: Stored,
    project: _options.Project = None,
    region: _options.Region = None,
    profile: _options.Profile = None,
) -> None:
    """Delete files.

    Deletes a file, the files of a folder (`out/`, with the slash), or those that match a pattern.

    Example: rescalehtc files rm "task:sweep/tmp/*"
    """
    location = _required_place(place)
    with open_session(profile) as rescale:
        _show(_open(rescale, location, project, region).delete(location.path))


@files.command("env")
def environment(
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            "-t",
            metavar="NAME|ID",
            callback=_options.text,
            autocompletion=_options.complete_tasks,
            help="Task. Without it, print the variables of the project's storage.",
        ),
    ] = None,
    project: _options.Project = None,
    region: _options.Region = None,
    profile: _options.Profile = None,
) -> None:
    """Print shell commands that set variables for `aws s3`.

    Other programs that use S3 read these variables too. They are secret, and expire.

    Example: eval "$(rescalehtc files env --task sweep)"
    """
    with open_session(profile) as rescale:
        owner = find_task(rescale, project, task) if task else find_project(rescale, project)
        store = _files_of(rescale, owner, region)
        for name, value in store.variables().items():
            if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
                raise HtcException(
                    f"the storage's variable {name!a} is not a valid name in a shell"
                )
            _output.show_line(f"export {name}={shlex.quote(value)}")
        _output.say(f"# {store.url()}/ until {store.expires_at:%Y-%m-%d %H:%M:%S} UTC")


def results(
    batch: Annotated[
        str,
        typer.Argument(
            metavar="BATCH",
            callback=_options.text,
            autocompletion=_options.complete_batches,
            show_default=False,
            help="Batch id, as `rescalehtc submit` prints it.",
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER",
            callback=_options.text,
            autocompletion=complete_folders,
            show_default=False,
            help="Local folder.",
        ),
    ],
    task: _options.Task = None,
    pattern: Annotated[
        str,
        typer.Option(
            metavar="PATTERN",
            callback=_options.text,
            help="Pattern of the files to download. {index} is the index of the job.",
        ),
    ] = "{index}/**",
    project: _options.Project = None,
    interval: _options.Interval = None,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
) -> None:
    """Download the files that the jobs of a batch left.

    Downloads the files of each job as soon as it has ended.

    Exits with status 1 if a job left no files.

    Example: rescalehtc results 16ab11eb-5bb5-4062-bd47-977228cc51d8 results -t sweep
    """
    require_storage()
    named = named_task(task, profile)
    with open_session(profile, interval) as rescale:
        htc_batch = find_batch(rescale, find_task(rescale, project, named), batch, None)
        with noting_that_jobs_go_on():
            outcome = htc_batch.download_results(rescale, target, pattern)
        items = [{"job": job, "files": [*map(str, paths)]} for job, paths in outcome.files.items()]
        _output.show_items(items, RESULTS, _output.Form(output))
    if missing := outcome.without_files:
        _output.say(f"{len(missing)} of {len(outcome.files)} jobs left no files")
        raise typer.Exit(_errors.JOBS_FAILED)


def _progress() -> bool:
    return _output.is_live(sys.stderr)


def _show(names: Iterable[str | Path]) -> None:
    for name in names:
        _output.show_line(str(name))
