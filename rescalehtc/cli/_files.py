"""Commands about files in the storage: files ls|cp|sync|rm|env, results."""

from __future__ import annotations

import re
import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from .. import htcjobs
from ..exceptions import HtcException
from . import _errors, _options, _output
from ._output import Column, Format
from ._session import find_project, find_task, named_task, open_session, require_storage

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ..files import Files
    from ..htctasks import HtcTask
    from ._session import CommandSession

FILES = (
    Column("SIZE", lambda item: item["size"]),
    Column("MODIFIED", lambda item: _output.time_text(item["modified"])),
    Column("PATH", lambda item: item["path"]),
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
    help="List, copy and delete files in the storage of a task or project.\n\nJobs see them in "
    f"TASK_SHARED_FOLDER and PROJECT_SHARED_FOLDER. Here they are {_SYNTAX}. A path with *, ? or [ "
    "is a pattern.",
)

Region = Annotated[
    str | None,
    typer.Option(
        metavar="REGION", callback=_options.text, help="Region; by default the project's first."
    ),
]
Stored = Annotated[
    str, typer.Argument(metavar="PLACE", callback=_options.text, show_default=False, help=_SYNTAX)
]
Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        callback=_options.text,
        show_default=False,
        help=f"Local file, folder or pattern; or {_SYNTAX}.",
    ),
]
Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        callback=_options.text,
        show_default=False,
        help=f"Where to: {_SYNTAX} if the source is local, else a local path.",
    ),
]


class _Place(NamedTuple):
    kind: str
    name: str
    path: str


@files.callback()
def prepare() -> None:
    """Check that the extra packages are there; the help is above."""
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
        return find_project(rescale, place.name or project).files(rescale, region)
    if not place.name:
        raise typer.BadParameter("needs a task's name: task:NAME/path", param_hint="PLACE")
    return find_task(rescale, project, place.name).files(rescale, region)


def _only_place(source: str, target: str) -> tuple[_Place, bool]:
    """The one of two arguments that is in the storage, and whether it is the target."""
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
    region: Region = None,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
) -> None:
    """List files.

    Those of a folder, those that match a pattern, or one.
    """
    wanted = _required_place(place)
    with open_session(profile) as rescale:
        found = _open(rescale, wanted, project, region).iter(wanted.path)
        items = (
            {"path": one.path, "size": one.size, "modified": one.modified.isoformat()}
            for one in found
        )
        _output.show_items(items, FILES, _output.Form(output))


@files.command("cp")
def copy(
    source: Source,
    target: Target,
    project: _options.Project = None,
    region: Region = None,
    profile: _options.Profile = None,
) -> None:
    """Upload or download files.

    A file, the files of a folder, or those that match a pattern. Prints the names of the copies. A folder's files go directly below the target.
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
        bool, typer.Option("--delete", help="Delete files of the target that the source has not.")
    ] = False,
    project: _options.Project = None,
    region: Region = None,
    profile: _options.Profile = None,
) -> None:
    """Copy what is missing or older in the target.

    Copies the files of a folder that are missing, differ in size or are older. Prints the names of the copies. If it was interrupted, run it again.
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
    region: Region = None,
    profile: _options.Profile = None,
) -> None:
    """Delete files.

    A file, the files of a folder (`out/`, with the slash), or those of a pattern.
    """
    wanted = _required_place(place)
    with open_session(profile) as rescale:
        _show(_open(rescale, wanted, project, region).delete(wanted.path))


@files.command("env")
def environment(
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            "-t",
            metavar="NAME|ID",
            callback=_options.text,
            help="Task; else the project.",
        ),
    ] = None,
    project: _options.Project = None,
    region: Region = None,
    profile: _options.Profile = None,
) -> None:
    """Print variables for `aws s3`, for a shell.

    They are secrets, and expire: eval "$(rescalehtc files env --task sweep)".
    """
    with open_session(profile) as rescale:
        owner = find_task(rescale, project, task) if task else find_project(rescale, project)
        store = owner.files(rescale, region)
        for name, value in store.variables().items():
            if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
                raise HtcException(f"the storage's variable {name!a} has no name for a shell")
            _output.show_line(f"export {name}={shlex.quote(value)}")
        _output.say(f"# {store.url()}/ until {store.expires_at:%Y-%m-%d %H:%M:%S} UTC")


def results(
    batch: Annotated[
        str,
        typer.Argument(
            metavar="BATCH",
            callback=_options.text,
            show_default=False,
            help="Batch id, as `rescalehtc submit` prints it.",
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER", callback=_options.text, show_default=False, help="Local folder."
        ),
    ],
    task: _options.Task = None,
    pattern: Annotated[
        str,
        typer.Option(metavar="PATTERN", callback=_options.text, help="Files of each job."),
    ] = "{index}/**",
    project: _options.Project = None,
    interval: _options.Interval = None,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
) -> None:
    """Download what the jobs of a batch left.

    Takes the files of each job as it ends. Exits with status 1 if a job left none.
    """
    require_storage()
    named = named_task(task, profile)
    with open_session(profile, interval) as rescale:
        found = _find_batch(rescale, find_task(rescale, project, named), batch)
        left = found.download_results(rescale, target, pattern)
        items = [{"job": job, "files": [*map(str, paths)]} for job, paths in left.files.items()]
        _output.show_items(items, RESULTS, _output.Form(output))
    if missing := left.without_files:
        _output.say(f"{len(missing)} of {len(left.files)} jobs left no files")
        raise typer.Exit(_errors.JOBS_FAILED)


def _find_batch(rescale: CommandSession, task: HtcTask, parent_id: str) -> htcjobs.HtcJobBatch:
    jobs = [
        job.json
        for job in htcjobs.iter_jobs(rescale, task)
        if str(job.json.get("jobUUID")).startswith(f"{parent_id}:")
    ]
    if not jobs:
        raise HtcException(f"task {task.json.get('taskName')!r} has no batch {parent_id!r}")
    ids = {name: task.json.get(name) for name in ("projectId", "taskId")}
    envs: Any = jobs[0].get("envs")
    definition = {"htcJobDefinition": {"envs": envs}, "group": jobs[0].get("group")}
    answer = {**ids, **definition, "parentJobId": parent_id, "batchSize": len(jobs)}
    return htcjobs.HtcJobBatch(answer, task)


def _progress() -> bool:
    return _output.is_live(sys.stderr)


def _show(names: Iterable[str | Path]) -> None:
    for name in names:
        _output.show_line(str(name))
