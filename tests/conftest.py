"""Fixtures: an emulator per worker, a new task for each test, and a scripted service."""

from __future__ import annotations

import importlib
import os
import pkgutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

import codegen
import rescalehtc
from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks
from rescalehtc._environment import CERTIFICATE_VARIABLES

from .certificates import make_certificate, server_context
from .limits import EXEC_SECONDS, HANG_SECONDS
from .service import Service

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from rescalehtc.emulator import Emulator

# Neither randomness nor the speed of the machine may affect a test. `make fuzz` draws many more
# examples at random.
settings.register_profile(
    "tests",
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "fuzz", settings.get_profile("tests"), derandomize=False, max_examples=1200
)
settings.register_profile("fast", settings.get_profile("tests"), max_examples=10)
settings.load_profile("tests")

# Jobs that run `python3` get this interpreter, which starts faster than a version manager's script.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

# Tests that a shell starts in the background, or that nohup starts, ignore these signals,
# and the processes that the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def all_modules_imported() -> None:
    """Import all modules, because Hypothesis also draws constants from imported modules.

    Otherwise, the examples of a test would depend on the tests that ran before it.
    """
    for package in (codegen, rescalehtc):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(".__main__"):
                importlib.import_module(module.name)


@pytest.fixture(scope="session")
def unused_homes() -> list[Path]:
    """Empty home folders for reuse. Creating and removing one for each test would take seconds."""
    return []


@pytest.fixture(autouse=True)
def empty_home(
    unused_homes: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:
    """Hide the home folder, keys and URLs of the user from the tests."""
    home = unused_homes.pop() if unused_homes else tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in ("KEY", "TOKEN", "BASE_URL"):
        monkeypatch.delenv(f"RESCALE_API_{name}", raising=False)
    for name in (
        "RESCALE_HTC_REFRESH_TOKEN",
        "RESCALEHTC_LOG",
        "RESCALEHTC_STATUS_REFRESH_SECONDS",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in CERTIFICATE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    yield home
    if home.is_dir() and not any(home.iterdir()):
        unused_homes.append(home)


@pytest.fixture(autouse=True)
def no_emulator_failed(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No emulator of this process, nor its server, logs an exception.

    Tests that cause one clear `caplog`.
    """
    yield
    for record in (*caplog.get_records("setup"), *caplog.get_records("call")):
        names = ("rescalehtc.emulator", "uvicorn.error", "asyncio")
        is_failure = record.name in names and record.exc_info
        assert not is_failure, f"{record.getMessage()}: {record.exc_text or record.exc_info}"


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    from rescalehtc.emulator import Emulator

    with Emulator(slots=4) as emulator:
        yield emulator


@pytest.fixture
def rescale(emulator: Emulator) -> Iterator[HtcSession]:
    with emulator.session() as rescale:
        rescale.status_refresh_seconds = 0.0
        yield rescale


@pytest.fixture
def project(rescale: HtcSession) -> htcprojects.HtcProject:
    (only,) = htcprojects.get_projects(rescale)
    return only


@pytest.fixture
def task(rescale: HtcSession, project: htcprojects.HtcProject) -> htctasks.HtcTask:
    return htctasks.create_task_with_name(rescale, project, "a test's own")


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        yield service


@pytest.fixture
def scripted(service: Service) -> Iterator[HtcSession]:
    """A session connected to the scripted service."""
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
    """A task for tests with the scripted service, in a project with one region."""
    project = htcprojects.HtcProject({"projectId": "p", "regions": ["AWS_EU_WEST_1"]})
    return htctasks.HtcTask({"projectId": "p", "taskId": "t"}, project)


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Wait for a condition."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + HANG_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"the condition was not met within {HANG_SECONDS} s"
            time.sleep(0.02)

    return wait


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate of this machine, and its key."""
    return make_certificate(tmp_path)


@pytest.fixture
def tls(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """The TLS settings of a server whose certificate sessions trust."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    return server_context(certificate)


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Service, HtcSession]]:
    """A scripted service, and a session, for the examples of a property test."""
    with (
        Service() as service,
        HtcSession(api_key="k", base_url=service.url, status_refresh_seconds=0.0) as rescale,
    ):
        yield service, rescale


def submit(
    rescale: HtcSession, task: htctasks.HtcTask, *command: str, batch_size: int = 1, **more: Any
) -> htcjobs.HtcJobBatch:
    """Submit jobs with a command."""
    return htcjobs.create_job_batch(
        rescale,
        task,
        batch_size,
        "ON_DEMAND_ECONOMY",
        "image",
        EXEC_SECONDS,
        commands=list(command),
        **more,
    )
