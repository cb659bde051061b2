"""The console script, run as a process."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import stat
import subprocess
import sys
import termios
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import HtcSession, rauthenticate
from rescalehtc.exceptions import HtcCredentialsError

from . import programs
from .limits import HANG_SECONDS, NOBODY
from .service import Answer, Service

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rescalehtc.emulator import Emulator

KEY = "s3cret-key"
SCRIPT = [sys.executable, "-m", "rescalehtc.rauthenticate"]
USER = "GET /auth/whoami"
CLAIMS = {
    "userFullName": "Ada L",
    "userEmail": "ada@example.org",
    "organizationCode": "acme-inc",
    "workspaceName": "acme",
    "workspaceId": "04-1",
}


@pytest.fixture(autouse=True)
def known(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service with a user in the workspace acme."""
    monkeypatch.setenv("RESCALE_API_BASE_URL", service.url)
    belongs_to(service, "acme")
    service.on("GET /auth/token/whoami", Answer(CLAIMS))


@pytest.fixture
def config(empty_home: Path) -> Path:
    return empty_home / ".config" / "rescalehtc"


def belongs_to(service: Service, workspace: object) -> None:
    service.on(USER, Answer({"user": {"workspace": {"id": "04-1", "name": workspace}}}))


def run(*arguments: str, key: str | None = None, **variables: str) -> tuple[int, str, str]:
    """Run it and return its status, output and errors."""
    done = programs.run(
        [*SCRIPT, *arguments],
        key or "",
        env={**os.environ, **variables},
        timeout=HANG_SECONDS,
    )
    assert KEY not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def refused(*arguments: str, key: str | None = None, **variables: str) -> str:
    """Run it and return the one line that says why it failed."""
    status, _, errors = run(*arguments, key=key, **variables)
    assert status == 1
    assert errors.startswith("rauthenticate: error: ")
    assert errors.count("\n") == 1
    return errors


def read_until(terminal: int, sign: bytes | None = None) -> bytes:
    """The output of a terminal until the sign, or until the end."""
    shown = b""
    while sign is None or sign not in shown:
        assert select.select([terminal], [], [], HANG_SECONDS)[0]
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # the end of a terminal
            break
    return shown


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("how", ["RESCALE_API_TOKEN", "RESCALE_API_KEY", "--interactive", "-i"])
def test_a_key_is_kept_for_the_sessions_to_come(service: Service, config: Path, how: str) -> None:
    if how.startswith("-"):
        status, output, errors = run(how, key=f"{KEY}\n")
    else:
        status, output, errors = run(**{how: KEY})
    assert (status, errors) == (0, "")
    key_file = config / "acme" / "rescale_api_token.txt"
    assert key_file.read_text() == KEY
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(key_file.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(config.stat().st_mode) == 0o700
    assert (config / "default").resolve() == key_file.parent
    assert files(config) == {"acme", "acme/rescale_api_token.txt", "default"}
    assert service.requests_to(USER)[0].headers["authorization"] == f"Token {KEY}"
    assert f"wrote the API key to {key_file}" in output
    assert f"{config / 'default'} is a link to acme" in output
    assert "you are Ada L (ada@example.org), in organization acme-inc" in output
    assert "workspace acme (04-1)" in output
    assert service.url in output
    for workspace in ("default", "acme"):
        with HtcSession(workspace) as rescale:
            rescale.do_authenticate()
        assert service.requests[-1].headers["authorization"] == f"Token {KEY}"


def test_the_variable_of_1_1_0_goes_first(service: Service, config: Path) -> None:
    status, output, _ = run(RESCALE_API_TOKEN=KEY, RESCALE_API_KEY="other-key")
    assert status == 0
    assert (config / "acme" / "rescale_api_token.txt").read_text() == KEY
    assert "note: a session for the workspace default does not use this key" in output
    assert "RESCALE_API_KEY overrides it" in output


def test_a_terminal_does_not_show_what_is_typed(config: Path) -> None:
    """1.1.0 echoes it."""
    master, slave = pty.openpty()
    with programs.Process(
        [*SCRIPT, "-i"], stdin=slave, stdout=slave, stderr=slave, terminal=True
    ) as process:
        os.close(slave)
        shown = read_until(master, b"is hidden):")
        os.write(master, f"{KEY}\n".encode())
        shown += read_until(master)
        os.close(master)
        assert process.wait(HANG_SECONDS) == 0
    assert b"you are Ada L" in shown
    assert KEY.encode() not in shown
    assert (config / "acme" / "rescale_api_token.txt").read_text() == KEY


@pytest.mark.parametrize("key", ["", "\n", "two words\n", "\x1b[A\n", "schlüssel\n"])
def test_an_invalid_key_is_rejected(service: Service, config: Path, key: str) -> None:
    assert "your input" in refused("-i", key=key)
    assert not service.requests
    assert not config.exists()


def test_a_key_that_the_service_rejects_is_not_kept(service: Service, config: Path) -> None:
    service.on(USER, Answer(status=401))
    error = refused(RESCALE_API_TOKEN=KEY)
    assert service.url in error
    assert "RESCALE_API_TOKEN" in error
    assert "nothing was written" in error
    assert not config.exists()


def test_errors_of_the_service_are_one_line(service: Service, config: Path) -> None:
    at_once = {"Retry-After": "0"}
    service.on(USER, Answer(b"<html>\n<p>\x1b[2J\n", status=500, headers=at_once))
    assert "getUser failed with HTTP 500" in refused(RESCALE_API_TOKEN=KEY)
    assert "RESCALE_API_BASE_URL" in refused(RESCALE_API_TOKEN=KEY, RESCALE_API_BASE_URL="x")
    assert not config.exists()


def test_a_service_that_is_not_there_is_one_line_too(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rauthenticate, "BACKOFF_SECONDS", 0.0)
    monkeypatch.setenv("RESCALE_API_TOKEN", KEY)
    monkeypatch.setenv("RESCALE_API_BASE_URL", NOBODY)
    assert rauthenticate.main([]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("rauthenticate: error: ")
    assert f"no response from {NOBODY}" in errors
    assert errors.count("\n") == 1
    assert not config.exists()


def test_a_check_that_fails_afterwards_is_reported(service: Service, config: Path) -> None:
    service.on("GET /auth/token", Answer(status=401))
    assert "rejects the credential" in refused(RESCALE_API_TOKEN=KEY)


# ---- the link


def test_a_wrong_link_is_replaced_and_its_folder_left(service: Service, config: Path) -> None:
    for workspace in ("old", "acme"):
        belongs_to(service, workspace)
        assert run(RESCALE_API_TOKEN=f"{KEY}-{workspace}")[0] == 0
    assert (config / "default").resolve() == config / "acme"
    assert (config / "old" / "rescale_api_token.txt").read_text() == f"{KEY}-old"


@pytest.mark.parametrize("target", ["nowhere", "default", "/"])
def test_a_link_to_nowhere_is_replaced(config: Path, target: str) -> None:
    config.mkdir(parents=True)
    (config / "default").symlink_to(target)
    assert run(RESCALE_API_TOKEN=KEY)[0] == 0
    assert (config / "default" / "rescale_api_token.txt").read_text() == KEY


def test_a_link_as_1_1_0_makes_it_is_kept_in_sense(config: Path) -> None:
    (config / "acme").mkdir(parents=True)
    (config / "default").symlink_to(config / "acme")
    assert run(RESCALE_API_TOKEN=KEY)[0] == 0
    assert (config / "default").resolve() == config / "acme"


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_default_that_is_no_link_is_not_destroyed(config: Path, is_folder: bool) -> None:
    config.mkdir(parents=True)
    default = config / "default"
    if is_folder:
        default.mkdir()
        (default / "rescale_api_token.txt").write_text("old")
    else:
        default.write_text("old")
    before = files(config)
    error = refused(RESCALE_API_TOKEN=KEY)
    assert f"{default} exists and is not a link" in error
    assert "--workspace" in error
    assert files(config) == before


def test_a_workspace_named_default_does_not_go_into_another_one_s_folder(
    service: Service, config: Path
) -> None:
    belongs_to(service, "default")
    assert run(RESCALE_API_TOKEN=KEY)[0] == 0
    assert run(RESCALE_API_TOKEN=f"{KEY}-2")[0] == 0
    assert (config / "default" / "rescale_api_token.txt").read_text() == f"{KEY}-2"
    (config / "default").rename(config / "acme")
    (config / "default").symlink_to("acme")
    assert "is a link to the folder of another workspace" in refused(RESCALE_API_TOKEN=KEY)
    assert (config / "acme" / "rescale_api_token.txt").read_text() == f"{KEY}-2"


# ---- a workspace's name


@pytest.mark.parametrize(
    "name", ["", " ", ".", "..", "../x", "a/b", "/tmp", "a\0b", "a\nb", "\x1b[2J", "\ud800", "x" * 300]
)  # fmt: skip
def test_a_name_that_is_no_folder_s_is_rejected_unless_another_is_chosen(
    service: Service, config: Path, name: str
) -> None:
    belongs_to(service, name)
    error = refused(RESCALE_API_TOKEN=KEY)
    assert "--workspace NAME" in error
    assert all(c.isprintable() or c == "\n" for c in error)
    assert not config.exists()
    assert run("--workspace", "chosen", RESCALE_API_TOKEN=KEY)[0] == 0
    assert files(config) == {"chosen", "chosen/rescale_api_token.txt"}


@pytest.mark.parametrize("answer", [{}, {"user": None}, {"user": {"workspace": {"name": None}}}])
def test_a_workspace_without_a_name_is_too(service: Service, config: Path, answer: object) -> None:
    service.on(USER, Answer(answer))
    assert "its name is empty" in refused(RESCALE_API_TOKEN=KEY)
    assert run("--workspace", "chosen", RESCALE_API_TOKEN=KEY)[0] == 0


def test_names_with_blanks_and_letters_of_all_kinds_are_folders(
    service: Service, config: Path
) -> None:
    for name in ("R&D, Köln", "-x", "~", "a b"):
        belongs_to(service, name)
        assert run(RESCALE_API_TOKEN=KEY)[0] == 0
        assert (config / "default").resolve() == config / name


def test_a_chosen_workspace_leaves_default_as_it_is(service: Service, config: Path) -> None:
    assert run(RESCALE_API_TOKEN=KEY)[0] == 0
    belongs_to(service, "second")
    status, output, _ = run("--workspace", "mine", RESCALE_API_TOKEN=f"{KEY}-2")
    assert status == 0
    assert (config / "default").resolve() == config / "acme"
    assert (config / "mine" / "rescale_api_token.txt").read_text() == f"{KEY}-2"
    assert "HtcSession('mine') uses this key" in output
    assert "the workspace's name on the service is second" in output


@pytest.mark.parametrize("arguments", [["--workspace", "a/b"], ["--workspace", ""], ["--nonsense"], ["--workspace"], ["x"]])  # fmt: skip
def test_wrong_arguments_are_status_2(service: Service, arguments: list[str]) -> None:
    status, _, errors = run(*arguments, RESCALE_API_TOKEN=KEY)
    assert status == 2
    assert "usage:" in errors
    assert not service.requests


# ---- without a key


def test_a_key_that_is_there_is_used_again(service: Service, config: Path) -> None:
    assert run(RESCALE_API_TOKEN=KEY)[0] == 0
    token_file = config / "acme" / "rescale_bearer_token.json"
    token_file.write_text(json.dumps({"tokenValue": "old"}))
    status, output, _ = run()
    assert status == 0
    assert f"deleted the bearer token in {token_file}" in output
    assert f"the file {config / 'default' / 'rescale_api_token.txt'}" in output
    assert json.loads(token_file.read_text())["tokenValue"] == "token-1"
    assert service.requests_to("GET /auth/token")[-1].headers["authorization"] == f"Token {KEY}"
    assert run("--workspace", "acme")[0] == 0
    assert "no API key" in refused("--workspace", "other")


def test_a_new_key_drops_the_old_one_s_token(config: Path) -> None:
    (config / "acme").mkdir(parents=True, mode=0o755)
    token_file = config / "acme" / "rescale_bearer_token.json"
    token_file.write_text("{}")
    assert run(RESCALE_API_TOKEN=KEY)[0] == 0
    assert not token_file.exists()
    assert stat.S_IMODE((config / "acme").stat().st_mode) == 0o700


def test_inside_a_job_its_refresh_token_is_used(service: Service, config: Path) -> None:
    status, output, _ = run(RESCALE_HTC_REFRESH_TOKEN=KEY)
    assert status == 0
    assert service.requests_to("GET /auth/token")[-1].headers["authorization"] == f"Refresh {KEY}"
    assert "RESCALE_HTC_REFRESH_TOKEN" in output
    assert not config.exists()


def test_a_key_kept_inside_a_job_is_said_to_be_second(service: Service, config: Path) -> None:
    status, output, _ = run(RESCALE_API_TOKEN=KEY, RESCALE_HTC_REFRESH_TOKEN="refresh")
    assert status == 0
    assert (config / "default" / "rescale_api_token.txt").read_text() == KEY
    assert "RESCALE_HTC_REFRESH_TOKEN overrides it" in output


def test_with_nothing_to_authenticate_with_it_says_where_it_looked() -> None:
    error = refused()
    for place in (
        "RESCALE_API_TOKEN",
        "RESCALE_HTC_REFRESH_TOKEN",
        "default/rescale_api_token.txt",
    ):
        assert place in error
    assert "--interactive" in error


# ---- files


def test_a_file_where_a_folder_should_be_is_named(empty_home: Path, config: Path) -> None:
    config.parent.mkdir()
    config.write_text("")
    assert str(config) in refused(RESCALE_API_TOKEN=KEY)
    config.unlink()
    config.mkdir()
    (config / "acme").write_text("")
    assert str(config / "acme") in refused(RESCALE_API_TOKEN=KEY)
    (config / "acme").unlink()
    (config / "acme" / "rescale_api_token.txt").mkdir(parents=True)
    assert "rescale_api_token.txt" in refused(RESCALE_API_TOKEN=KEY)
    assert files(config) == {"acme", "acme/rescale_api_token.txt"}


def test_without_a_home_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rauthenticate, "CONFIG_FOLDER", "~no-such-user/x")
    with pytest.raises(HtcCredentialsError, match="HOME"):
        rauthenticate.authenticate(interactive=False, workspace=None)


def test_it_works_with_the_emulator(emulator: Emulator, config: Path) -> None:
    status, output, _ = run(RESCALE_API_TOKEN=emulator.api_key, RESCALE_API_BASE_URL=emulator.url)
    assert status == 0
    assert emulator.api_key not in output
    assert (config / "default" / "rescale_api_token.txt").read_text() == emulator.api_key


def test_help_names_what_it_looks_at_and_writes() -> None:
    status, output, _ = run("--help")
    assert status == 0
    for word in ("RESCALE_API_TOKEN", "RESCALE_API_KEY", "RESCALE_API_BASE_URL", "default",
                 "RESCALE_HTC_REFRESH_TOKEN", "rescale_api_token.txt", "exit status"):  # fmt: skip
        assert word in output


# ---- bad conditions


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("how", ["closed", "full", "pipe"])
def test_a_key_is_kept_whatever_the_streams_are(config: Path, stream: str, how: str) -> None:
    with programs.unwritable(how) as value:
        streams: dict[str, Any] = {stream: value}
        done = programs.run(SCRIPT, env={**os.environ, "RESCALE_API_KEY": KEY}, **streams)
    assert (done.returncode, done.stderr) == (0, "")
    assert (config / "acme" / "rescale_api_token.txt").read_text() == KEY


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_at_the_prompt_leaves_a_terminal_that_shows_what_is_typed(
    number: signal.Signals, status: int, until: Callable[[Callable[[], bool]], None]
) -> None:
    master, slave = pty.openpty()
    with programs.Process([*SCRIPT, "-i"], stdin=slave, stdout=slave, stderr=slave) as process:
        read_until(master, b"is hidden")
        assert not termios.tcgetattr(slave)[3] & termios.ECHO
        until(process.sleeps)
        process.send_signal(number)
        assert process.wait(HANG_SECONDS) == status
        assert termios.tcgetattr(slave)[3] & termios.ECHO
    os.close(master)
    os.close(slave)


def test_without_a_standard_input_there_is_no_key(config: Path) -> None:
    done = programs.run([*SCRIPT, "-i"], stdin=programs.CLOSED)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "is empty" in done.stderr
    assert not config.exists()


def test_an_empty_variable_counts_as_not_set(config: Path) -> None:
    status, output, _ = run(RESCALE_API_TOKEN="", RESCALE_API_KEY=KEY)
    assert status == 0
    assert "RESCALE_API_KEY" in output


def test_a_name_outside_of_the_terminals_encoding_is_reported(service: Service) -> None:
    service.on("GET /auth/token/whoami", Answer({**CLAIMS, "userFullName": "Käthe"}))
    done = subprocess.run(
        SCRIPT,
        env={**os.environ, "RESCALE_API_KEY": KEY, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "K\\xe4the" in done.stdout) == (0, True)
