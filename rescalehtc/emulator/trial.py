"""Runs one job of a submit request in an image of the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import htcjobs, htcprojects, htctasks
from . import Emulator
from .engine import Engine
from .runners.container import ContainerRunner
from .runners.images import LocalImages, RegistryImages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..htcsession import HtcSession
    from .folders import Folders
    from .runners import Runner
    from .tokens import Tokens


class Trial(Emulator):
    """An emulator for a single job.

    Args:
        any_architecture: Also run an image for another architecture than the job's.
    """

    def __init__(self, *, any_architecture: bool = False) -> None:
        super().__init__(slots=1, runner="container", any_architecture=any_architecture)

    def _make_runner(
        self, folders: Folders, tokens: Tokens, address: str
    ) -> tuple[Runner, RegistryImages | None]:
        del tokens, address  # there is no registry
        engine = Engine.find()
        return ContainerRunner(engine, folders, LocalImages(engine, self._any_architecture)), None

    def start(self, rescale: HtcSession, request: Mapping[str, Any], index: int) -> htcjobs.HtcJob:
        """Start the job with an index, without retries, and return it.

        Args:
            rescale: A session with this emulator.
            request: A valid submit request.
            index: The job's index in the batch.
        """
        project = htcprojects.get_projects(rescale)[0]
        task = htctasks.create_task_with_name(rescale, project, "trial")
        once = {name: value for name, value in request.items() if name != "retryStrategy"}
        regions = request.get("regions") or project.json["regions"]
        (batch,) = self._store.submit(task.json, [(once, regions)], None, positions=[index])
        self._executor.wake()
        job = htcjobs.get_job_with_id(rescale, task, f"{batch['parentJobId']}:{index}")
        assert job is not None
        return job
