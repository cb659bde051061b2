"""Fixtures: an emulator a worker, a task of its own for each test, a scripted service."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from rescalehtc import HtcSession, htcprojects, htctasks

from .service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rescalehtc.emulator import Emulator

# How fast the machine is, is not what is tested.
settings.register_profile(
    "tests", deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def empty_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the home, keys or addresses of whoever runs it."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in ("KEY", "TOKEN", "BASE_URL"):
        monkeypatch.delenv(f"RESCALE_API_{name}", raising=False)
    monkeypatch.delenv("RESCALE_HTC_REFRESH_TOKEN", raising=False)
    return home


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    from rescalehtc.emulator import Emulator

    with Emulator(slots=4, clock_rate=20) as emulator:
        yield emulator


@pytest.fixture
def rescale(emulator: Emulator) -> Iterator[HtcSession]:
    with emulator.session() as rescale:
        rescale.status_refresh_seconds = 0.0
        yield rescale


@pytest.fixture
def project(rescale: HtcSession) -> htcprojects.HtcProject:
    return htcprojects.get_projects(rescale)[0]


@pytest.fixture
def task(rescale: HtcSession, project: htcprojects.HtcProject) -> htctasks.HtcTask:
    return htctasks.create_task_with_name(rescale, project, "a test's own")


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        yield service


@pytest.fixture
def scripted(service: Service) -> Iterator[HtcSession]:
    """A session with the scripted service."""
    with HtcSession(
        api_key="key-1",
        base_url=service.url,
        status_refresh_seconds=0.0,
        backoff_seconds=0.0,
        settle_seconds=0.0,
    ) as rescale:
        yield rescale


@pytest.fixture
def scripted_task() -> htctasks.HtcTask:
    """A task as the scripted service's tests use it, in a project with one region."""
    project = htcprojects.HtcProject({"projectId": "p", "regions": ["AWS_EU_WEST_1"]})
    return htctasks.HtcTask({"projectId": "p", "taskId": "t"}, project)


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Wait for a condition, with a limit that a slow machine does not reach."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "it did not come about within 60 s"
            time.sleep(0.02)

    return wait
