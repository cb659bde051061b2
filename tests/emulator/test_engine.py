"""The program that runs containers. Here it is a script."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rescalehtc.emulator import Emulator, engine
from rescalehtc.emulator.trial import Trial
from rescalehtc.exceptions import HtcException

from ..limits import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REQUEST = {
    "batchSize": 1,
    "htcJobDefinition": {
        "imageName": "image",
        "priority": "ON_DEMAND_ECONOMY",
        "execTimeoutSeconds": HANG_SECONDS,
        "maxVCpus": 1,
        "maxMemory": 100,
    },
}
HANG = f"exec sleep {HANG_SECONDS}"


@pytest.fixture
def podman(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Installs podman as a script, which does some of its commands."""

    def install(commands: str) -> None:
        path = tmp_path / "podman"
        path.write_text(f'#!/bin/sh\nPATH=/usr/bin:/bin\ncase "$1" in {commands} esac\n')
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    return install


def test_an_engine_that_hangs_is_an_error(
    podman: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    podman(f"ps) {HANG};;")
    monkeypatch.setattr(engine, "COMMAND_SECONDS", 0.3)
    with (
        pytest.raises(
            HtcException, match=r"podman ps did not end within 0\.3 seconds; run `podman"
        ),
        Emulator(runner="container"),
    ):
        pass


def test_a_job_ends_even_if_its_container_does_not(
    podman: Callable[[str], None], until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    podman(f"start) {HANG};; inspect) echo running;; kill) {HANG};; image) echo 1;;")
    with Trial() as emulator, emulator.session() as rescale:
        job = emulator.start(rescale, REQUEST, 0)
        until(lambda: job.get_update(rescale)["status"] == "RUNNING", "the job runs")
        with monkeypatch.context() as patch:
            patch.setattr(engine, "COMMAND_SECONDS", 0.3)
            job.task.cancel_jobs_in_task(rescale)
            until(lambda: job.get_update(rescale)["status"] == "FAILED", "the job has ended")
