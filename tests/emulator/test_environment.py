"""Programs that use the emulator never reach another service, regardless of variables."""

import os
import subprocess
import sys

import pytest

from rescalehtc import HtcSession
from rescalehtc._environment import variables_for
from rescalehtc.emulator import Emulator

from .. import programs
from ..limits import EXEC_SECONDS
from .conftest import COMMAND, running

# All sources of settings, each with a value that selects the real service.
ELSEWHERE = {
    "RESCALE_API_BASE_URL": "https://htc.rescale.com/api/v1",
    "RESCALE_API_KEY": "real-key",
    "AWS_ENDPOINT_URL_S3": "https://s3.eu-west-1.amazonaws.com",
    "RESCALE_API_TOKEN": "real-key",
    "RESCALE_HTC_REFRESH_TOKEN": "real-token",
    "RESCALEHTC_PROFILE": "prod",
    "RESCALEHTC_PROJECT": "theirs",
    "RESCALEHTC_TASK": "theirs",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
}
SHOW = "; ".join(f'echo "${{{name}-unset}}"' for name in ELSEWHERE)
WHOAMI = [sys.executable, "-m", "rescalehtc.cli", "whoami"]


@pytest.fixture
def elsewhere(monkeypatch, empty_home):
    """An environment and a profile that select the real service."""
    for name, value in ELSEWHERE.items():
        monkeypatch.setenv(name, value)
    folder = empty_home / ".config/rescalehtc"
    folder.mkdir(parents=True)
    address = ELSEWHERE["RESCALE_API_BASE_URL"]
    (folder / "profiles.toml").write_text(f'[prod]\nbase_url = "{address}"\n')


def test_the_list_has_every_variable_that_chooses_a_service_or_a_credential():
    variables = variables_for("http://host/api/v1", "key")
    assert variables.keys() == {*ELSEWHERE, "RESCALEHTC_STATUS_REFRESH_SECONDS"}
    assert {n: v for n, v in variables.items() if v} == {
        "RESCALE_API_BASE_URL": "http://host/api/v1",
        "RESCALE_API_KEY": "key",
        "RESCALEHTC_STATUS_REFRESH_SECONDS": "0.2",
        "AWS_ENDPOINT_URL_S3": "http://host",
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
        assert environment["RESCALEHTC_STATUS_REFRESH_SECONDS"] == "0.2"
        with emulator.session() as rescale:  # also in this process, whose variables are as before
            assert rescale.base_url == emulator.url
            assert rescale.get_bearer_token()
    assert os.environ["RESCALEHTC_PROFILE"] == "prod"


def test_what_it_prints_leads_a_shell_to_it(elsewhere, make_user):
    with running(make_user=make_user) as (_, user, shown):
        script = f"set -eu\n{shown}\n{SHOW}"
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        endpoint = user.url.removesuffix("/api/v1")
        assert done.stdout.split() == [user.url, user.api_key, endpoint, *["unset"] * 6]
        assert done.stderr == ""


@pytest.mark.parametrize("command", [COMMAND, [*WHOAMI[:-1], "emulator"]])
def test_a_command_that_it_runs_is_led_to_it(elsewhere, command):
    done = programs.run([*command, "--", "sh", "-c", f'{SHOW}; exec "$@"', "-", *WHOAMI])
    assert done.returncode == 0, done.stderr
    url, key, endpoint, *removed = done.stdout.split("\n")[:9]
    assert url == f"{endpoint}/api/v1"
    assert url.startswith("http://127.0.0.1:")
    assert key not in ("unset", "real-key")
    assert removed == ["unset"] * 6
    assert f"service       {url}" in done.stdout
    assert programs.without_notice(done.stderr) == f"rescalehtc: using the service at {url}\n"


def test_a_job_is_led_to_it(elsewhere):
    """Jobs do not get the variables of the emulator's user."""
    from rescalehtc import htcjobs, htcprojects, htctasks

    with Emulator() as emulator, emulator.session() as rescale:
        task = htctasks.create_task_with_name(rescale, htcprojects.get_projects(rescale)[0], "t")
        job = htcjobs.create_single_job(
            *(rescale, task, "ON_DEMAND_ECONOMY", "image", EXEC_SECONDS),
            commands=["sh", "-c", SHOW],
        )
        assert job.wait(rescale).succeeded == 1
        url, key, endpoint, token, refresh, *others = job.get_logs(rescale)
    assert [url, key, endpoint, token, *others] == [emulator.url, *["unset"] * 7]
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
