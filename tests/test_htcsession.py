"""Sources of credentials, caching and renewal of tokens, and connections to the service."""

from __future__ import annotations

import json
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import HtcSession, api, htcprojects
from rescalehtc._client.credentials import SERVICE_URL, find_credential
from rescalehtc._client.io import BlockingIo, run
from rescalehtc._client.tokens import TokenSource
from rescalehtc._client.transport import Transport
from rescalehtc.exceptions import (
    HtcAuthenticationError,
    HtcCredentialsError,
    HtcException,
    HtcResponseError,
    HtcValidationError,
)

from .limits import HANG_SECONDS
from .service import TOKEN, Answer, ReceivedRequest, Service

if TYPE_CHECKING:
    from pathlib import Path

PROJECTS = "GET /htc/projects"
NO_PROJECTS = Answer({"items": []})


def key_file(home: Path, workspace: str = "default", key: str = "file-key") -> Path:
    folder = home / ".config" / "rescalehtc" / workspace
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rescale_api_token.txt").write_text(f"{key}\n")
    return folder


def credential_sent(service: Service, rescale: HtcSession) -> str:
    """The Authorization header of the session's token request."""
    rescale.do_authenticate()
    return service.requests_to("GET /auth/token")[-1].headers["authorization"]


def test_the_argument_comes_first(
    service: Service, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_file(empty_home)
    monkeypatch.setenv("RESCALE_HTC_REFRESH_TOKEN", "refresh-1")
    monkeypatch.setenv("RESCALE_API_KEY", "key-2")
    with HtcSession(api_key="key-1", base_url=service.url) as rescale:
        assert credential_sent(service, rescale) == "Token key-1"


def test_then_the_refresh_token_of_a_running_job_even_for_a_named_workspace(
    service: Service, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_file(empty_home, "other")
    monkeypatch.setenv("RESCALE_HTC_REFRESH_TOKEN", "refresh-1")
    monkeypatch.setenv("RESCALE_API_KEY", "key-2")
    with HtcSession("other", base_url=service.url) as rescale:
        assert credential_sent(service, rescale) == "Refresh refresh-1"


@pytest.mark.parametrize(
    ("variables", "sent"),
    [
        ({"RESCALE_API_KEY": "key-2", "RESCALE_API_TOKEN": "key-3"}, "Token key-2"),
        ({"RESCALE_API_TOKEN": " key-3\n"}, "Token key-3"),
        ({}, "Token file-key"),
    ],
)
def test_then_the_keys_of_the_environment_then_the_file(
    service: Service,
    empty_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    sent: str,
) -> None:
    key_file(empty_home)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with HtcSession(base_url=service.url) as rescale:
        assert credential_sent(service, rescale) == sent


def test_a_named_workspace_uses_its_file_and_not_the_environment_s_key(
    service: Service, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_file(empty_home, "other", "other-key")
    monkeypatch.setenv("RESCALE_API_KEY", "key-2")
    with HtcSession("other", base_url=service.url) as rescale:
        assert credential_sent(service, rescale) == "Token other-key"


def test_the_config_folder_can_be_another_and_default_a_link(
    service: Service, tmp_path: Path
) -> None:
    folder = key_file(tmp_path, "acme", "acme-key")
    (folder.parent / "default").symlink_to(folder)
    with HtcSession(config_folder_override=str(folder.parent), base_url=service.url) as rescale:
        assert credential_sent(service, rescale) == "Token acme-key"


def test_without_a_credential_the_error_lists_where_it_looked(empty_home: Path) -> None:
    with pytest.raises(HtcCredentialsError) as info:
        HtcSession()
    for place in ("api_key", "RESCALE_HTC_REFRESH_TOKEN", "RESCALE_API_KEY", "RESCALE_API_TOKEN"):
        assert place in str(info.value)
    assert str(empty_home / ".config/rescalehtc/default/rescale_api_token.txt") in str(info.value)


def test_a_named_workspace_s_error_does_not_send_people_to_variables_it_ignores() -> None:
    with pytest.raises(HtcCredentialsError) as info:
        HtcSession("other")
    assert "RESCALE_API_KEY" not in str(info.value)
    assert "other/rescale_api_token.txt" in str(info.value)
    check_advice(str(info.value))


def check_advice(message: str) -> None:
    assert "`rescalehtc login`" in message
    assert "python -m rescalehtc.emulator -- " in message


@pytest.mark.parametrize("key", ["", "  ", "two words", "line\nbreak", "schlüssel", "nul\0"])
def test_an_invalid_key_is_rejected_without_being_shown(key: str) -> None:
    with pytest.raises(HtcCredentialsError, match="api_key") as info:
        HtcSession(api_key=key)
    assert not key.strip() or key not in str(info.value)


def test_an_unreadable_key_file_is_named(empty_home: Path) -> None:
    folder = key_file(empty_home)
    (folder / "rescale_api_token.txt").unlink()
    (folder / "rescale_api_token.txt").mkdir()
    with pytest.raises(HtcCredentialsError, match=r"rescale_api_token\.txt can't be read"):
        HtcSession()


def test_a_key_that_the_service_rejects_is_traced_to_where_it_was_found(service: Service) -> None:
    service.on("GET /auth/token", Answer(status=401))
    with (
        HtcSession(api_key="wrong-key", base_url=service.url) as rescale,
        pytest.raises(HtcCredentialsError, match="the argument api_key") as info,
    ):
        htcprojects.get_projects(rescale)
    assert info.value.status_code == 401
    assert "wrong-key" not in str(info.value)
    check_advice(str(info.value))


@pytest.mark.parametrize("answer", [{}, [], "x", {"tokenValue": "", "expiresIn": 1}, {"tokenValue": 1, "expiresIn": 1}, {"tokenValue": "x"}])  # fmt: skip
def test_an_answer_without_a_token_is_an_error(service: Service, answer: object) -> None:
    service.on("GET /auth/token", Answer(answer))
    with (
        HtcSession(api_key="k", base_url=service.url) as rescale,
        pytest.raises(HtcResponseError, match="getToken"),
    ):
        rescale.do_authenticate()


def test_the_base_url_is_the_argument_else_the_variable_else_the_service_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert HtcSession(api_key="k").base_url == "https://htc.rescale.com/api/v1"
    monkeypatch.setenv("RESCALE_API_BASE_URL", "http://localhost:1/api/v1/")
    assert HtcSession(api_key="k").base_url == "http://localhost:1/api/v1"
    assert HtcSession(api_key="k", base_url="http://[::1]:2/x").base_url == "http://[::1]:2/x"


@pytest.mark.parametrize("url", ["ftp://host", "host:80", "http://", "https://h/?q=1", "http://h:99999", "http://[::1", "http://u:p@h", "http://hä"])  # fmt: skip
def test_an_invalid_address_is_rejected(url: str) -> None:
    with pytest.raises(HtcValidationError, match="base_url"):
        HtcSession(api_key="k", base_url=url)


@pytest.mark.parametrize(
    "arguments",
    [{"timeout_seconds": value} for value in (None, "5", 0, -1, float("nan"), float("inf"), True)]
    + [{"status_refresh_seconds": -1.0}, {"image_wait_seconds": "x"}]
    + [{"api_key": 5}, {"api_key": b"k"}, {"base_url": 5}]
    + [{"workspace": None, "api_key": None}]
    + [{"config_folder_override": folder, "api_key": None} for folder in (5, b"folder")],
)
def test_an_argument_that_is_invalid_is_rejected(arguments: dict[str, Any]) -> None:
    with pytest.raises(HtcValidationError, match=next(iter(arguments))):
        HtcSession(**{"api_key": "k", **arguments})


def test_with_a_key_the_workspace_and_the_folder_are_ignored() -> None:
    """In scripts for 1.1.0, they often are options that default to None."""
    HtcSession(None, None, "k")  # type: ignore[arg-type]
    HtcSession(workspace=None, config_folder_override=5, api_key="k")  # type: ignore[arg-type]


def test_a_home_that_is_not_known_matters_only_if_it_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    HtcSession(api_key="k", config_folder_override="~nobody-has-this-name/x")
    with pytest.raises(HtcCredentialsError, match="nobody-has-this-name"):
        HtcSession(config_folder_override="~nobody-has-this-name/x")


def test_one_token_serves_many_calls(service: Service, scripted: HtcSession) -> None:
    service.on(PROJECTS, NO_PROJECTS)
    for _ in range(3):
        assert htcprojects.get_projects(scripted) == []
    assert len(service.requests_to("GET /auth/token")) == 1
    sent = {request.headers["authorization"] for request in service.requests_to(PROJECTS)}
    assert sent == {"Bearer token-1"}


@pytest.mark.parametrize("lifetime", [3600, 600, 86400])
def test_a_token_of_any_lifetime_is_not_renewed_at_every_call(
    service: Service, scripted: HtcSession, lifetime: int
) -> None:
    """1.1.0 renews a one-hour token with every request."""
    service.on("GET /auth/token", Answer({**TOKEN, "expiresIn": lifetime}))
    for _ in range(3):
        scripted.reauthenticate_if_needed()
    assert len(service.requests_to("GET /auth/token")) == 1


def test_a_token_that_is_over_is_renewed(service: Service, scripted: HtcSession) -> None:
    service.on("GET /auth/token", Answer({**TOKEN, "expiresIn": 0}), Answer(TOKEN))
    for _ in range(3):
        scripted.reauthenticate_if_needed()
    assert len(service.requests_to("GET /auth/token")) == 2


def test_fifty_threads_renew_once(service: Service, scripted: HtcSession) -> None:
    """1.1.0 renews once for each of them."""
    service.on(PROJECTS, NO_PROJECTS)
    start = threading.Barrier(50)

    def call(_: int) -> list[htcprojects.HtcProject]:
        start.wait()
        return htcprojects.get_projects(scripted)

    with ThreadPoolExecutor(50) as threads:
        assert list(threads.map(call, range(50))) == [[]] * 50
    assert len(service.requests_to("GET /auth/token")) == 1
    assert len(service.requests_to(PROJECTS)) == 50


def test_a_rejected_token_is_renewed_once_and_the_call_retried(
    service: Service, scripted: HtcSession
) -> None:
    service.on("GET /auth/token", Answer(TOKEN), Answer({**TOKEN, "tokenValue": "token-2"}))
    service.on(PROJECTS, Answer(status=401), NO_PROJECTS)
    assert htcprojects.get_projects(scripted) == []
    sent = [request.headers["authorization"] for request in service.requests_to(PROJECTS)]
    assert sent == ["Bearer token-1", "Bearer token-2"]


def test_many_threads_whose_token_is_rejected_renew_once(
    service: Service, scripted: HtcSession
) -> None:
    renewed = Answer({**TOKEN, "tokenValue": "token-2"})
    service.on("GET /auth/token", Answer(TOKEN), renewed)
    start = threading.Barrier(10)  # one per connection

    def answer(request: ReceivedRequest) -> Answer:
        if request.headers["authorization"] == "Bearer token-1":
            start.wait(HANG_SECONDS)  # all are rejected before the first renewal
            return Answer(status=401)
        return NO_PROJECTS

    service.on(PROJECTS, answer)
    with ThreadPoolExecutor(10) as threads:
        assert list(threads.map(htcprojects.get_projects, [scripted] * 10)) == [[]] * 10
    assert len(service.requests_to("GET /auth/token")) == 2


def test_a_token_that_is_always_rejected_is_an_error(
    service: Service, scripted: HtcSession
) -> None:
    service.on(PROJECTS, Answer(status=401))
    with pytest.raises(HtcAuthenticationError, match="listProjects"):
        htcprojects.get_projects(scripted)
    assert len(service.requests_to(PROJECTS)) == 2


def test_an_entry_in_netrc_does_not_replace_the_header(
    service: Service, scripted: HtcSession, empty_home: Path
) -> None:
    """In 1.1.0, it does."""
    netrc = empty_home / ".netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    service.on(PROJECTS, NO_PROJECTS)
    htcprojects.get_projects(scripted)
    assert service.requests_to(PROJECTS)[0].headers["authorization"] == "Bearer token-1"


# ---- the file that shares the token between processes


def token_file(folder: Path, **fields: object) -> Path:
    path = folder / "rescale_bearer_token.json"
    stored = {"tokenValue": "kept", "expiresIn": 21600, "expiresAt": in_seconds(20000), **fields}
    path.write_text(json.dumps(stored))
    return path


def in_seconds(seconds: float) -> str:
    return (datetime.now() + timedelta(seconds=seconds)).isoformat()


def test_a_token_is_kept_for_the_next_process_for_the_owner_s_eyes_only(
    service: Service, empty_home: Path
) -> None:
    folder = key_file(empty_home)
    asked_at = datetime.now()
    with HtcSession(base_url=service.url) as rescale:
        rescale.reauthenticate_if_needed()
    kept_at = datetime.now()
    path = folder / "rescale_bearer_token.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    stored = json.loads(path.read_text())
    assert (stored["tokenValue"], stored["expiresIn"]) == ("token-1", 21600)
    lifetime = timedelta(seconds=21600)
    ends_at = datetime.fromisoformat(stored["expiresAt"])
    assert asked_at + lifetime <= ends_at <= kept_at + lifetime
    with HtcSession(base_url=service.url) as rescale:
        rescale.reauthenticate_if_needed()
    assert len(service.requests_to("GET /auth/token")) == 1
    assert sorted(p.name for p in folder.iterdir()) == [
        "rescale_api_token.txt",
        "rescale_bearer_token.json",
    ]


def test_a_token_kept_by_1_1_0_is_used_for_the_service_and_sent_nowhere_else(
    service: Service, empty_home: Path
) -> None:
    token_file(key_file(empty_home))
    service.on(PROJECTS, NO_PROJECTS)
    with HtcSession(base_url=service.url) as rescale:
        htcprojects.get_projects(rescale)
    assert service.requests_to(PROJECTS)[0].headers["authorization"] == "Bearer token-1"


def test_a_token_kept_by_1_1_0_is_used_unless_the_key_is_newer(empty_home: Path) -> None:
    folder = key_file(empty_home)
    path = token_file(folder)

    async def fetch(_: str) -> object:
        return {"tokenValue": "fetched", "expiresIn": 1000}

    def token() -> str:
        found = find_credential(None, "default", folder.parent, {})
        return run(TokenSource(BlockingIo(Transport()), found, SERVICE_URL, fetch).get())

    assert token() == "kept"
    os.utime(path, (1, 1))
    assert token() == "fetched"


@pytest.mark.parametrize(
    "fields",
    [
        {"expiresAt": in_seconds(10)},
        {"expiresAt": in_seconds(-10)},
        {"expiresAt": "soon"},
        {"expiresAt": None},
        {"baseUrl": "https://elsewhere.example/api/v1"},
        {"tokenValue": 7},
    ],
)
def test_a_kept_token_that_is_over_broken_or_another_service_s_is_passed_over(
    service: Service, empty_home: Path, fields: dict[str, object]
) -> None:
    token_file(key_file(empty_home), **{"baseUrl": service.url, **fields})
    service.on(PROJECTS, NO_PROJECTS)
    with HtcSession(base_url=service.url) as rescale:
        htcprojects.get_projects(rescale)
    assert service.requests_to(PROJECTS)[0].headers["authorization"] == "Bearer token-1"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "[" * 100_000])
def test_a_torn_token_file_costs_a_request_and_no_more(
    service: Service, empty_home: Path, text: str
) -> None:
    token_file(key_file(empty_home)).write_text(text)
    with HtcSession(base_url=service.url) as rescale:
        rescale.reauthenticate_if_needed()
    assert len(service.requests_to("GET /auth/token")) == 1


def test_a_given_key_leaves_no_file(service: Service, empty_home: Path) -> None:
    with HtcSession(api_key="k", base_url=service.url) as rescale:
        rescale.reauthenticate_if_needed()
    assert not list(empty_home.iterdir())


# ---- the rest


def test_the_bearer_token_is_decoded(rescale: HtcSession) -> None:
    token = rescale.get_bearer_token()
    assert token.payload["workspaceId"]
    assert token.get_user_claims() == {}
    assert token.encoded_token.count(".") == 2
    assert token.encoded_token not in repr(token)


def test_no_secret_is_in_the_repr(service: Service) -> None:
    with HtcSession(api_key="s3cret", base_url=service.url) as rescale:
        rescale.do_authenticate()
        assert "s3cret" not in repr(rescale)
        assert "token-1" not in repr(rescale)
        assert "s3cret" not in repr(vars(rescale))


def test_a_closed_session_can_be_used_again(service: Service, scripted: HtcSession) -> None:
    service.on(PROJECTS, NO_PROJECTS)
    scripted.close()
    scripted.close()
    assert htcprojects.get_projects(scripted) == []


def test_who_is_calling(rescale: HtcSession, emulator: object) -> None:
    claims = api.get_auth_token_whoami(rescale)
    assert claims["workspaceId"]
    header = f"Token {emulator.api_key}"  # type: ignore[attr-defined]
    assert api.get_auth_whoami(rescale, header)["user"]["workspace"]["id"] == claims["workspaceId"]
    token = api.get_auth_token(rescale, header)
    assert token["expiresIn"] > 0
    with pytest.raises(HtcException):
        api.get_auth_token(rescale, "Token wrong")
