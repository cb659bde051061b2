"""The command `try`: run a job in its image on this machine."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .._facts import SUCCEEDED_STATUSES
from .._raw import is_object
from ..exceptions import HtcException
from . import _errors, _output
from ._completion import complete_files
from ._submit import read_valid

if TYPE_CHECKING:
    from collections.abc import Mapping


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("try")(try_job)


def try_job(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            autocompletion=complete_files,
            show_default=False,
            help="JSON or YAML file with one submit request; - for standard input.",
        ),
    ],
    index: Annotated[
        int, typer.Option("--index", "-i", min=0, metavar="N", help="Index of the job to run.")
    ] = 0,
    any_architecture: Annotated[
        bool,
        typer.Option(
            "--any-architecture",
            help="Allow an image for another architecture than that of the job.",
        ),
    ] = False,
) -> None:
    """Run one job of a submit request on this machine, in its image. Needs no account.

    Runs the job with docker or podman, with its variables and limits, and without retries. The
    image must be on this machine, under the name in the request or under the name that
    `rescalehtc images push` gave it. Prints the job's log, and its end on standard error. Exits
    with status 1 if the job fails.

    Example: rescalehtc try jobs.yaml --index 7
    """
    if not all(find_spec(name) for name in ("uvicorn", "starlette", "jwt")):
        raise HtcException('try needs more packages: pip install "rescalehtc[emulator]>=2"')
    from .._requests.submit_request import from_any_number
    from ..emulator.trial import Trial

    requests = read_valid(file).requests
    if len(requests) != 1:
        raise HtcException(f"{file} has {len(requests)} submit requests; write a file with one")
    parts = [part for _, part in from_any_number(requests, {})]
    size = sum(part.batch_size or 1 for part in parts)
    if index >= size:
        raise typer.BadParameter(
            f"must be below the request's batchSize, {size}", param_hint="--index"
        )
    with Trial(any_architecture=any_architecture) as trial, trial.session() as rescale:
        job = trial.start(rescale, parts[0].to_json_dict(), index)
        for line in job.follow_logs(rescale):
            _output.show_line(line)
            _output.flush()
    _output.say(_describe_end(job.json))
    if job.json["status"] not in SUCCEEDED_STATUSES:
        raise typer.Exit(_errors.JOBS_FAILED)


def _describe_end(job: Mapping[str, Any]) -> str:
    index = job["jobUUID"].rpartition(":")[2]
    container = job.get("container")
    exit_code = f", exit code {container['exitCode']}" if is_object(container) else ""
    reasons = [text for text in (job.get("failureCode"), job.get("statusReason")) if text]
    return ": ".join([f"job {index} is {job['status']}{exit_code}", *reasons])
