"""The pytest plugin in a separate test suite, with its own process and folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .. import programs
from ..limits import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).resolve().parents[2]
# This works whether or not the package is installed with its entry point.
PYTEST = [sys.executable, "-m", "pytest", "-p", "rescalehtc.pytest_plugin", "-W", "error"]
# Loading the other installed plugins would take seconds for each test.
ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run pytest over the text of a module."""

    def run(text: str, *options: str, is_fresh: bool = False) -> subprocess.CompletedProcess[str]:
        (tmp_path / "test_it.py").write_text(text)
        command = [*PYTEST, "--strict-markers", "-p", "no:cacheprovider", *options, "test_it.py"]
        environment = {**os.environ, **ALONE}
        if is_fresh:
            return subprocess.run(
                command,
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=HANG_SECONDS,
            )
        return programs.run(command, cwd=tmp_path, env=environment, timeout=HANG_SECONDS)

    return run


@pytest.mark.parametrize("options", [[], ["-p", "xdist", "-n", "2"]], ids=["alone", "xdist"])
def test_the_documented_tests_pass(run: Run, options: list[str]) -> None:
    text = (ROOT / "examples/test_sweep.py").read_text()
    done = run(text, *options)
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_a_test_that_uses_no_fixture_loads_neither_emulator_nor_pydantic(run: Run) -> None:
    done = run(
        "import sys\n"
        "def test_nothing():\n"
        "    assert not sys.modules.keys() & {'pydantic', 'httpx', 'starlette', 'rescalehtc.emulator'}\n",
        is_fresh=True,
    )
    assert "1 passed" in done.stdout, done.stdout


def test_faults_strike_the_marked_test_only_and_not_its_fixtures(run: Run) -> None:
    done = run("""
import pytest
from rescalehtc import exceptions, htctasks

@pytest.mark.htc_fault("*", "status_before", status=418)
@pytest.mark.htc_fault("listTasks", "delay", seconds=0.01)
def test_marked(htc_faults, htc_session, htc_task):
    assert [fault.count for fault in htc_faults] == [0, 0]
    with pytest.raises(exceptions.HtcStatusError, match="418"):
        htctasks.get_tasks(htc_session, htc_task.project)
    assert htc_faults[1].kind == "status_before"
    assert htc_faults[1].count == 1

@pytest.mark.htc_fault("listTasks", "status_before", status=418)
class TestMarked:
    def test_without_asking_for_faults(self, htc_session, htc_task):
        with pytest.raises(exceptions.HtcStatusError, match="418"):
            htctasks.get_tasks(htc_session, htc_task.project)

def test_not_marked(htc_session, htc_task):
    assert htc_task.json["taskName"] == "test_not_marked"
    tasks = htctasks.get_tasks(htc_session, htc_task.project)
    assert [task.json["taskId"] for task in tasks] == [htc_task.json["taskId"]]
""")
    assert "3 passed" in done.stdout, done.stdout


def test_a_wrong_marker_is_explained_without_a_traceback(run: Run, tmp_path: Path) -> None:
    markers = {
        '"submitJob", "reset_after"': "unknown operation 'submitJob'; did you mean submitJobs?",
        '"submitJobs", "explode"': "unknown kind 'explode'",
        '"submitJobs"': "missing 1 required positional argument",
        '"submitJobs", "reset_after", tims=1': "unknown option 'tims': options are times",
    }
    names: list[str] = []
    for number, marker in enumerate(markers):
        names.append(f"test_{number}.py")
        text = f"import pytest\n@pytest.mark.htc_fault({marker})\ndef test_wrong(): pass\n"
        (tmp_path / names[-1]).write_text(text)
    done = run("", *names)
    for message in markers.values():
        assert message in done.stdout
    assert f"{len(markers)} errors" in done.stdout
    assert "pytest_plugin.py" not in done.stdout


def test_sessions_that_the_code_under_test_makes_reach_the_emulator(run: Run) -> None:
    done = run("""
from rescalehtc import HtcSession, htcprojects

def test_session(htc_session, htc_emulator, monkeypatch):
    with HtcSession() as rescale:
        assert rescale.base_url == htc_emulator.url
        assert htcprojects.get_projects(rescale)
""")
    assert "1 passed" in done.stdout, done.stdout


@pytest.mark.parametrize("options", [[], ["-p", "xdist", "-n", "1"]], ids=["alone", "xdist"])
def test_variables_that_lead_elsewhere_do_not_reach_tests_that_use_the_emulator(
    run: Run, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    """With the fixtures, nothing that a test starts submits paid jobs."""
    monkeypatch.setenv("RESCALEHTC_PROFILE", "prod")
    monkeypatch.setenv("RESCALE_HTC_REFRESH_TOKEN", "real-token")
    monkeypatch.setenv("RESCALE_API_TOKEN", "real-key")
    monkeypatch.setenv("RESCALE_API_BASE_URL", "https://htc.example")
    text = """
import os
import subprocess
import sys

import pytest
from rescalehtc import HtcSession, htcprojects

@pytest.fixture
def client(htc_emulator):
    with HtcSession() as rescale:
        yield rescale

def test_session(htc_session, htc_emulator):
    with HtcSession() as rescale:
        assert htcprojects.get_projects(rescale)

def test_emulator(client, htc_emulator):
    assert client.base_url == htc_emulator.url
    command = [sys.executable, "-m", "rescalehtc.cli", "whoami"]
    assert htc_emulator.url in subprocess.run(command, capture_output=True, text=True).stdout
    assert htcprojects.get_projects(client)

@pytest.mark.usefixtures("htc_emulator")
class TestClass:
    def test_marked(self):
        assert "RESCALEHTC_PROFILE" not in os.environ

@pytest.mark.htc_fault("listTasks", "delay")
def test_faults():
    assert "RESCALEHTC_PROFILE" not in os.environ

def test_without_the_fixtures_nothing_changes():
    assert os.environ["RESCALEHTC_PROFILE"] == "prod"
    assert os.environ["RESCALE_API_BASE_URL"] == "https://htc.example"
"""
    done = run(text, *options)
    assert "5 passed" in done.stdout, done.stdout


def test_the_clock_rate_is_the_suite_s_to_choose(run: Run) -> None:
    done = run("""
import pytest
from rescalehtc import htcjobs

@pytest.fixture(scope="session")
def htc_clock_rate():
    return 1000.0

def test_timeout(htc_session, htc_task):
    job = htcjobs.create_single_job(
        htc_session, htc_task, "ON_DEMAND_ECONOMY", "solver:1", 60, commands=["sleep", "600"]
    )
    job.wait(htc_session)
    assert job.record.failure_code == "ErrorTimeout"
""")
    assert "1 passed" in done.stdout, done.stdout
