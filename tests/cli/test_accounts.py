"""Keys and profiles on the command line, and the command without the extra."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from ..programs import run
from ..service import Answer, Service

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Command

KEY = "s3cret-key"
CLAIMS = {
    "userFullName": "Ada L",
    "userEmail": "ada@example.org",
    "organizationCode": "acme-inc",
    "workspaceName": "acme",
    "workspaceId": "04-1",
}


@pytest.fixture
def known(service: Service) -> Service:
    """A service with a user in the workspace acme."""
    service.on("GET /auth/whoami", Answer({"user": {"workspace": {"name": "acme"}}}))
    service.on("GET /auth/token/whoami", Answer(CLAIMS))
    return service


@pytest.fixture
def config(empty_home: Path) -> Path:
    return empty_home / ".config" / "rescalehtc"


def test_a_key_from_a_pipe_is_kept_as_rauthenticate_keeps_it(
    command: Command, known: Service, config: Path
) -> None:
    command.variables = {"RESCALE_API_BASE_URL": known.url}
    done = command("login", stdin=f"{KEY}\n")
    assert (done.status, done.errors) == (0, "")
    assert (config / "acme" / "rescale_api_token.txt").read_text() == KEY
    assert (config / "default").resolve() == config / "acme"
    assert KEY not in done.output
    shown = command("whoami")
    assert "Ada L <ada@example.org>" in shown.output
    assert known.url in shown.output
    assert str(config / "default") in shown.output
    assert command("whoami", "-o", "json").json == CLAIMS


def test_a_terminal_does_not_show_the_key(command: Command, known: Service, config: Path) -> None:
    command.variables = {"RESCALE_API_BASE_URL": known.url}
    done = command.under_terminal("login", typed={"is hidden):": f"{KEY}\n"})
    assert done.status == 0
    assert KEY not in done.output
    assert (config / "acme" / "rescale_api_token.txt").read_text() == KEY


def test_ctrl_c_at_the_prompt_keeps_nothing(command: Command, known: Service, config: Path) -> None:
    command.variables = {"RESCALE_API_BASE_URL": known.url}
    done = command.under_terminal("login", typed={"is hidden):": "\x03"})
    assert done.status == 130
    assert not config.exists()


def test_a_key_that_is_rejected_is_not_kept(command: Command, known: Service, config: Path) -> None:
    known.on("GET /auth/whoami", Answer(status=401))
    command.variables = {"RESCALE_API_BASE_URL": known.url}
    error = command.refused("login", status=3, stdin=f"{KEY}\n")
    assert "rejected the API key" in error
    assert KEY not in error
    assert not config.exists()


def test_a_profile_names_a_workspace_and_an_address(
    command: Command, known: Service, config: Path
) -> None:
    address = ("--base-url", known.url)
    assert command("config", "set", "eu", "--workspace", "mine", *address).status == 0
    assert command("login", "--profile", "eu", stdin=KEY).status == 0
    assert (config / "mine" / "rescale_api_token.txt").read_text() == KEY
    assert not (config / "default").exists()

    other: dict[str, Any] = {
        "RESCALE_API_KEY": "other",
        "RESCALE_API_BASE_URL": f"{known.url}/other",
    }
    assert command("whoami", "--profile", "eu", **other).status == 0
    assert command("whoami", RESCALEHTC_PROFILE="eu", **other).status == 0
    assert known.requests_to("GET /auth/token")[-1].headers["authorization"] == f"Token {KEY}"
    command.refused("whoami", status=2, **other)
    assert known.requests[-1].path.startswith("/other/")


def test_profiles_are_listed_changed_and_shown_and_the_rest_of_the_file_stays(
    command: Command, config: Path
) -> None:
    config.mkdir(parents=True)
    (config / "profiles.toml").write_text('# mine\n[us]\nworkspace = "a" # here\n')
    assert command("config", "set", "us", "--base-url", "http://one.example").status == 0
    assert command("config", "set", "R&D Köln", "--workspace", "b").status == 0
    text = (config / "profiles.toml").read_text()
    assert "# mine" in text
    assert "# here" in text
    assert tomllib.loads(text) == {
        "us": {"workspace": "a", "base_url": "http://one.example"},
        "R&D Köln": {"workspace": "b"},
    }
    unset = {"project": None, "task": None}
    assert command("config", "list", "-o", "json").json == [
        {"name": "us", "workspace": "a", "base_url": "http://one.example", **unset},
        {"name": "R&D Köln", "workspace": "b", "base_url": None, **unset},
    ]
    assert command("config", "list").rows[0] == ["us", "a", "http://one.example"]
    shown = command("config", "show", "--profile", "us", "-o", "json").json
    assert shown["base_url"] == "http://one.example"
    assert shown["credential"] == "no API key or refresh token was found"
    shown = command("config", "show", "-o", "json", RESCALE_API_KEY=KEY).json
    assert shown["profile"] is None
    assert shown["base_url"] == "https://htc.rescale.com/api/v1"
    assert shown["credential"] == "RESCALE_API_KEY"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[us]\n=", "line 2"),
        ("us = 1", "'us' must be a table"),
        (
            "[us]\nbase-url = 'x'",
            "'us' must be a table of strings with only the keys workspace, base_url, project, task",
        ),
        ("[us]\nworkspace = 1", "'us' must be a table of strings"),
        ("\0", "profiles.toml"),
    ],
)
def test_a_file_of_profiles_that_is_not_right_is_reported_and_not_changed(
    command: Command, config: Path, content: str, reason: str
) -> None:
    config.mkdir(parents=True)
    (config / "profiles.toml").write_text(content)
    for arguments in (["config", "list"], ["config", "set", "us", "--workspace", "a"]):
        assert reason in command.refused(*arguments, status=2)
    assert (config / "profiles.toml").read_text() == content


def test_an_invalid_profile_is_rejected(command: Command, config: Path) -> None:
    assert "base_url" in command.refused("config", "set", "x", "--base-url", "x", status=2)
    command.refused("config", "set", "x", "--workspace", "a/b", status=2)
    assert "no profile 'x'" in command.refused("projects", "--profile", "x", status=2)
    assert "--workspace" in command.refused("login", "--workspace", "..", status=2)
    assert not config.exists()


# ---- the extra


def test_the_library_loads_nothing_of_the_command_line() -> None:
    code = (
        "import sys, rescalehtc; from rescalehtc import htcjobs, htctasks, htcsession; "
        "sys.exit(any(name in sys.modules for name in ('typer', 'yaml', 'tomlkit')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("missing", ["typer", "rich", "yaml", "tomlkit"])
def test_without_the_extra_one_line_says_what_to_install(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from rescalehtc.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert 'pip install "rescalehtc[cli]>=2"' in done.stderr


def test_an_extra_of_another_version_is_one_line_too() -> None:
    code = "import typer.core; del typer.core.TyperGroup; from rescalehtc.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert 'pip install "rescalehtc[cli]>=2"' in done.stderr


def test_a_defect_is_not_hidden_and_not_mistaken_for_jobs_that_failed() -> None:
    """A traceback and a separate status: here, the module that reads profiles is broken."""
    code = (
        "from rescalehtc.cli import _profiles, main; _profiles.SETTINGS = None; "
        "import sys; sys.argv = ['rescalehtc', 'config', 'list']; _profiles.read = None; main()"
    )
    done = run([sys.executable, "-c", code])
    assert done.returncode == 70
    assert "Traceback" in done.stderr


def test_the_version_is_shown(command: Command) -> None:
    import rescalehtc

    assert command("--version").output == f"rescalehtc {rescalehtc.__version__}\n"
