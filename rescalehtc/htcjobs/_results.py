"""The inputs and results of jobs, as files in the task's shared folder."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._interrupts import suppressed
from ..exceptions import HtcFileError, HtcValidationError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from .. import models
    from .._client.io import Io
    from ..files._storage import Storage

    Positioned = tuple[int, models.HTCJobSubmitRequest]

# Each is the name of a folder below TASK_SHARED_FOLDER.
RESULTS_VARIABLE = "RESCALEHTC_RESULTS"
INPUTS_VARIABLE = "RESCALEHTC_INPUTS"
_OWN_NAME = re.compile("batch-[0-9a-f]{16}(-[0-9]+)?")
_INDEX = "{index}"


@dataclass(frozen=True, slots=True)
class BatchResults:
    """The results of the jobs of a batch."""

    files: dict[str, list[Path]]
    """The local paths of the files of each job, by job id, in the order in which the jobs ended."""

    @property
    def without_files(self) -> list[str]:
        """The ids of the jobs that left no files."""
        return [job_id for job_id, paths in self.files.items() if not paths]


def prepare(
    requests: object, project: Mapping[str, Any], *, has_inputs: bool
) -> tuple[str, list[Positioned]]:
    """Validate submit requests, and name the folders of their jobs.

    Returns:
        The name of the folder of the submission, and the requests with the variables.

    Raises:
        HtcValidationError: The requests are invalid.
    """
    from .._requests import submit_request

    name = f"batch-{os.urandom(8).hex()}"
    inputs = f"{name}/inputs" if has_inputs else None
    checked = submit_request.from_any_number(requests, project)
    prepared: list[Positioned] = []
    for number, (position, request) in enumerate(checked):
        # Each request gets its own folder, because its indices start at 0.
        results = name if len(checked) == 1 else f"{name}-{number}"
        prepared.append((position, _with_envs(request, results, inputs)))
    return name, prepared


def _with_envs(
    request: models.HTCJobSubmitRequest, results: str, inputs: str | None
) -> models.HTCJobSubmitRequest:
    """Add the variables for inputs and results to a request.

    This replaces the folder of another batch, but not a folder that the user chose.
    """
    from ..models import EnvPair

    definition = request.htc_job_definition
    envs = {pair.name: pair for pair in definition.envs or []}
    value = envs.get(RESULTS_VARIABLE)
    is_replaced = value is not None and _OWN_NAME.fullmatch(value.value or "")
    if is_replaced or (value is None and inputs is not None):
        envs[RESULTS_VARIABLE] = EnvPair(name=RESULTS_VARIABLE, value=results)
    if inputs is not None:
        envs[INPUTS_VARIABLE] = EnvPair(name=INPUTS_VARIABLE, value=inputs)
    changed = definition.model_copy(update={"envs": [*envs.values()]})
    return request.model_copy(update={"htc_job_definition": changed}) if envs else request


def regions_of(requests: Sequence[Positioned]) -> list[str | None]:
    """The regions of the jobs. None is the default region."""
    named = {str(region) for _, request in requests for region in request.regions or []}
    return [*sorted(named)] or [None]


def check_inputs(inputs: str | PathLike[str]) -> None:
    """Check that the inputs are a folder.

    Raises:
        HtcFileError: They are not.
    """
    with suppressed(TypeError):  # not a path
        if Path(inputs).is_dir():
            return
    raise HtcFileError(f"inputs must be a folder; {str(inputs)!a} is not")


def results_folders(batches: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the folder of the results of each batch, by its parent id.

    Raises:
        HtcValidationError: A batch has no variable for results.
    """
    folders: dict[str, str] = {}
    for batch in batches:
        definition: Mapping[str, Any] = batch.get("htcJobDefinition") or {}
        pairs: Sequence[Mapping[str, Any]] = definition.get("envs") or []
        envs: dict[str, str] = {pair.get("name", ""): pair.get("value", "") for pair in pairs}
        if not envs.get(RESULTS_VARIABLE):
            message = (
                f"has no variable {RESULTS_VARIABLE}; submit with `inputs`, or set this variable "
                "to the name of a folder below TASK_SHARED_FOLDER"
            )
            raise HtcValidationError("download_results", [Problem("batch", message)])
        folders[str(batch.get("parentJobId"))] = envs[RESULTS_VARIABLE]
    return folders


def check_pattern(pattern: object) -> None:
    """Check that a pattern matches different files for each job.

    Raises:
        HtcValidationError: The pattern does not contain `{index}`.
    """
    if not isinstance(pattern, str) or _INDEX not in pattern:
        problem = Problem("pattern", f"must have {_INDEX}, such as {_INDEX}/*.csv")
        raise HtcValidationError("download_results", [problem])


async def fetch_results(
    io: Io,
    storage: Storage,
    folders: Mapping[str, str],
    job_id: str,
    pattern: str,
    target: str | PathLike[str],
) -> list[Path]:
    """Download the results of a job, except files that are already here."""
    from ..files import _flows
    from ..files._transfers import find

    parent, _, index = job_id.rpartition(":")
    folder = folders[parent]
    if len(folders) > 1:
        target = Path(target) / str([*folders].index(parent))
    files = await io.call(find, storage, f"{folder}/{pattern.replace(_INDEX, index)}")
    downs = _flows.below(folder, files, target)
    await _flows.fetch_all(
        io, storage, [down for down in downs if not _flows.is_current(down)], False
    )
    return [Path(down.path) for down in downs]
