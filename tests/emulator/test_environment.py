"""No way into the emulator leads to another service, whatever variables are set."""

import os
import subprocess
import sys

import pytest

from rescalehtc import HtcSession
from rescalehtc._environment import variables_for
from rescalehtc.emulator import Emulator

from .. import programs
from .conftest import COMMAND, running

# Where sessions and commands look, each with what would lead them to the real service.
ELSEWHERE = {
    "RESCALE_API_BASE_URL": "https://htc.rescale.com/api/v1",
    "RESCALE_API_KEY": "real-key",
    "RESCALE_API_TOKEN": "real-key",
    "RESCALE_HTC_REFRESH_TOKEN": "real-token",
    "RESCALEHTC_PROFILE": "prod",
}
SHOW = "; ".join(f'echo "${{{name}-unset}}"' for name in ELSEWHERE)
WHOAMI = [sys.executable, "-m", "rescalehtc.cli", "whoami"]


@pytest.fixture
def elsewhere(monkeypatch, empty_home):
    """An environment, and a profile, that lead to the real service."""
    for name, value in ELSEWHERE.items():
        monkeypatch.setenv(name, value)
    folder = empty_home / ".config/rescalehtc"
    folder.mkdir(parents=True)
    address = ELSEWHERE["RESCALE_API_BASE_URL"]
    (folder / "profiles.toml").write_text(f'[prod]\nbase_url = "{address}"\n')


def test_the_list_has_every_variable_that_chooses_a_service_or_a_credential():
    variables = variables_for("url", "key")
    assert variables.keys() == ELSEWHERE.keys()
    assert {n: v for n, v in variables.items() if v} == {
        "RESCALE_API_BASE_URL": "url",
        "RESCALE_API_KEY": "key",
    }


def test_the_environment_of_an_emulator_leads_to_it(elsewhere, monkeypatch):
    monkeypatch.setenv("KEPT", "as it is")
    with Emulator() as emulator:
        environment = emulator.environment()
        assert environment["KEPT"] == "as it is"
        assert environment["RESCALE_API_BASE_URL"] == emulator.url
        assert not environment.keys() & {"RESCALEHTC_PROFILE", "RESCALE_HTC_REFRESH_TOKEN"}
        done = programs.run(WHOAMI, env=environment)
        assert done.returncode == 0, done.stderr
        assert emulator.url in done.stdout
        with emulator.session() as rescale:  # also in this process, whose variables are as before
            assert rescale.base_url == emulator.url
            assert rescale.get_bearer_token()
    assert os.environ["RESCALEHTC_PROFILE"] == "prod"


def test_what_it_prints_leads_a_shell_to_it(elsewhere, make_user):
    with running(make_user=make_user) as (_, user, shown):
        script = f"set -eu\n{shown}\n{SHOW}"
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.split() == [user.url, user.api_key, "unset", "unset", "unset"]
        assert done.stderr == ""


@pytest.mark.parametrize("command", [COMMAND, [*WHOAMI[:-1], "emulator"]])
def test_a_command_that_it_runs_is_led_to_it(elsewhere, command):
    done = programs.run([*command, "--", "sh", "-c", f'{SHOW}; exec "$@"', "-", *WHOAMI])
    assert done.returncode == 0, done.stderr
    url, key, *removed = done.stdout.split("\n")[:5]
    assert url.startswith("http://127.0.0.1:")
    assert key not in ("unset", "real-key")
    assert removed == ["unset"] * 3
    assert f"service       {url}" in done.stdout
    assert done.stderr == f"rescalehtc: using the service at {url}\n"


def test_a_job_is_led_to_it(elsewhere):
    """Jobs see nothing of the variables of whoever runs the emulator."""
    from rescalehtc import htcjobs, htcprojects, htctasks

    with Emulator() as emulator, emulator.session() as rescale:
        task = htctasks.create_task_with_name(rescale, htcprojects.get_projects(rescale)[0], "t")
        job = htcjobs.create_single_job(
            *(rescale, task, "ON_DEMAND_ECONOMY", "image", 60), commands=["sh", "-c", SHOW]
        )
        assert job.wait(rescale).succeeded == 1
        url, key, token, refresh, profile = job.get_logs(rescale)
    assert (url, key, token, profile) == (emulator.url, "unset", "unset", "unset")
    assert refresh not in ("unset", "real-token")


def test_a_session_of_another_workspace_s_name_still_has_the_emulator_s_address(
    elsewhere, monkeypatch, empty_home
):
    folder = empty_home / ".config/rescalehtc/prod"
    folder.mkdir()
    (folder / "rescale_api_token.txt").write_text("real-key")
    with Emulator() as emulator:
        for name in ELSEWHERE:
            monkeypatch.delenv(name)
        for name, value in emulator.environment().items():
            monkeypatch.setenv(name, value)
        assert HtcSession("prod").base_url == emulator.url
