"""No output contains secrets, in this file and in all other tests of this folder."""

from __future__ import annotations

import base64
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import HtcSession, api, bearer_token, htcjobs
from rescalehtc.container_registry import get_container_registry
from rescalehtc.exceptions import (
    HtcBadRequestError,
    HtcConnectionError,
    HtcCredentialsError,
    HtcException,
    HtcFileError,
    HtcResponseError,
    HtcServerError,
    HtcStatusError,
    HtcTimeoutError,
    HtcValidationError,
    SubmissionUncertainError,
)

from ..limits import HANG_SECONDS, SHORT_SECONDS
from . import canary
from .books import BATCH, REQUEST, SUBMIT, Books
from .canary import CLAIM, ENV, MARK, REGISTRY_TOKEN, SIGNATURE, TOKEN, caught
from .conftest import session
from .matrix import row
from .wire import Step, Wire, answer, drip, raw, reset, truncated

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from rescalehtc.htctasks import HtcTask

    from .wire import ReceivedRequest

PRESIGNED = "GET /htc/projects/p/tasks/t/storage/presigned-url"
STORE = "PUT /bucket/file"


@pytest.fixture
def storage(wire: Wire) -> Wire:
    """A service with a storage at the same URL."""
    url = f"{wire.origin}/bucket/file?X-Amz-Signature={SIGNATURE}"
    wire.on(PRESIGNED, answer({"url": url}))
    return wire


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_text("content")
    return path


@row("a redirect", "every request", "HtcResponseError; the redirect is not followed")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect(wire: Wire, rescale: HtcSession, status: int) -> None:
    with Wire() as elsewhere:
        to = {"Location": f"{elsewhere.url}/htc/projects/p"}
        wire.on("GET /htc/projects/p", answer(status=status, headers=to))
        with caught(HtcResponseError, "redirect"):
            api.get_htc_projects(rescale, "p")
        assert elsewhere.requests == []


@row("an upload", "presigned URL", "sent without credentials")
def test_an_upload(storage: Wire, rescale: HtcSession, task: HtcTask, source: Path) -> None:
    storage.on(STORE, answer(status=200))
    task.upload_file(rescale, source, "file")
    (request,) = storage.requests_to(STORE)
    assert request.body == b"content"
    assert "authorization" not in request.headers
    assert TOKEN not in repr(request)


@row("an upload fails", "presigned URL", "the exception, without the URL's signature")
@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (reset, HtcConnectionError),
        (drip(b"HTTP/1.1 100 Continue\r\n"), HtcTimeoutError),
        (answer(b"<Error><Code>AccessDenied</Code></Error>", status=403), HtcStatusError),
        (
            answer(b"<Error><SignatureProvided>%s" % SIGNATURE.encode(), status=403),
            HtcStatusError,
        ),
        (
            answer(status=307, headers={"Location": f"/elsewhere?X-Amz-Signature={SIGNATURE}"}),
            HtcResponseError,
        ),
    ],
)
def test_an_upload_fails(
    storage: Wire, task: HtcTask, source: Path, step: Step, kind: type[HtcException]
) -> None:
    storage.on(STORE, step)
    timeout = SHORT_SECONDS if kind is HtcTimeoutError else HANG_SECONDS
    with session(storage.url, timeout_seconds=timeout) as rescale, caught(kind):
        task.upload_file(rescale, source, "file")


@row("the upload URL is missing or invalid", "getTaskPresignedUrl", "the exception")
@pytest.mark.parametrize(
    "step",
    [
        answer({"url": None}),
        answer({"url": {"signature": SIGNATURE}}),
        answer({"url": [SIGNATURE]}),
        answer({"url": f"ftp://{SIGNATURE}"}),
        answer({"url": f"http://me:{SIGNATURE}@127.0.0.1/"}),
        answer({"url": f"http://127.0.0.1:1/{SIGNATURE}"}),
        truncated({"url": f"http://127.0.0.1/?{SIGNATURE}"}),
        answer(f'{{"url": "http://127.0.0.1/?{SIGNATURE}'.encode()),
        answer(f"http://127.0.0.1/?{SIGNATURE}".encode(), status=500),
    ],
)
def test_no_address(
    storage: Wire, rescale: HtcSession, task: HtcTask, source: Path, step: Step
) -> None:
    storage.on(PRESIGNED, step)
    with caught(HtcException):
        task.upload_file(rescale, source, "file")


@row("the file does not exist", "upload", "HtcFileError; nothing was sent")
def test_no_file(storage: Wire, rescale: HtcSession, task: HtcTask, tmp_path: Path) -> None:
    with caught(HtcFileError):
        task.upload_file(rescale, tmp_path / "missing", "file")
    assert storage.requests == []


@row("storage credentials in an unknown form", "storage", "HtcResponseError")
def test_storage_credentials(wire: Wire, rescale: HtcSession, task: HtcTask) -> None:
    odd = {"credentials": [SIGNATURE], "expiration": SIGNATURE}
    path = "/htc/projects/p/tasks/t/storage"
    wire.on(f"GET {path}/token", answer(odd))
    wire.on(f"GET {path}/tokens", answer({"regionStores": [odd]}))
    wire.on(f"GET {path}/regional-storage", answer({"regionalStorages": [odd], "items": 7}))
    with caught(HtcResponseError):
        task.get_storage_token(rescale)
    with caught(HtcResponseError):
        task.get_storage_tokens(rescale)


@row("an invalid password", "getRegistryToken", "HtcResponseError that does not show the password")
@pytest.mark.parametrize(
    "step",
    [
        answer(f"{REGISTRY_TOKEN} and more".encode()),
        answer(f"<html>{REGISTRY_TOKEN}</html> ".encode(), status=403),
        answer({"token": f"{REGISTRY_TOKEN} "}),
        truncated(REGISTRY_TOKEN),
    ],
)
def test_a_registry_token(wire: Wire, rescale: HtcSession, task: HtcTask, step: Step) -> None:
    wire.on("GET /htc/projects/p", answer({"projectId": "p", "containerRegistry": "r.example/p"}))
    wire.on("GET /htc/projects/p/container-registry/token", step)
    registry = get_container_registry(rescale, task.project)
    try:
        registry.get_token(rescale)
    except HtcException as error:
        canary.note(error)
    assert REGISTRY_TOKEN not in repr(registry) + repr(vars(registry))


def encoded(json_object: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(json_object).encode()).decode().rstrip("=")


@row(
    "a bearer token that can't be decoded", "get_bearer_token", "an exception that hides the token"
)
@pytest.mark.parametrize(
    "token",
    [
        TOKEN,
        f"{TOKEN}.{TOKEN}.{TOKEN}",
        f"{encoded({'owner': CLAIM})}.{TOKEN}.x",
        f"{encoded({'a': 1})}.{encoded([CLAIM])}.{TOKEN}",
    ],
)
def test_a_bearer_token(wire: Wire, rescale: HtcSession, token: str) -> None:
    wire.on("GET /auth/token", answer({"tokenValue": token, "expiresIn": 600}))
    with caught(HtcException):
        rescale.get_bearer_token()
    with caught(HtcException):
        bearer_token.token_from_str(token)


@row("a bearer token", "repr", "neither token nor claims are shown")
def test_the_repr_of_a_token() -> None:
    text = f"{encoded({'alg': 'RS256'})}.{encoded({'userDefined_owner': CLAIM})}.{MARK}"
    token = bearer_token.token_from_str(text)
    assert MARK not in repr(token)
    assert MARK not in str(token)


@row("invalid keys and tokens", "HtcSession", "HtcCredentialsError that hides the value")
@pytest.mark.parametrize("key", [f"{MARK} {MARK}", f"{MARK}\n{MARK}", f"{MARK}é", f"{MARK}\0"])
def test_a_wrong_key(empty_home: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    with caught(HtcCredentialsError):
        HtcSession(api_key=key)
    if "\0" not in key:
        monkeypatch.setenv("RESCALE_API_KEY", key)
        with caught(HtcCredentialsError):
            HtcSession()
    monkeypatch.delenv("RESCALE_API_KEY", raising=False)
    folder = empty_home / ".config" / "rescalehtc" / "default"
    folder.mkdir(parents=True)
    (folder / "rescale_api_token.txt").write_text(key)
    with caught(HtcCredentialsError):
        HtcSession()


@row("a password in the base URL", "HtcSession", "HtcValidationError that hides the password")
def test_a_password_in_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"https://me:{MARK}@example.com"
    with caught(HtcValidationError):
        HtcSession(api_key="key", base_url=address)
    monkeypatch.setenv("RESCALE_API_BASE_URL", address)
    with caught(HtcValidationError):
        HtcSession(api_key="key")


@row("the service repeats the request", "submission", "an exception without secrets")
@pytest.mark.parametrize("status", [200, 400, 500])
def test_the_service_repeats_a_submission(
    wire: Wire, rescale: HtcSession, task: HtcTask, status: int
) -> None:
    books = Books(wire)

    def repeat(connection: Any, request: Any) -> object:
        assert ENV.encode() in request.body
        body = b"<html>" + request.body if status != 200 else request.body[:-5]
        return answer(body, status=status)(connection, request)

    wire.on(SUBMIT, repeat)
    kind = HtcBadRequestError if status == 400 else SubmissionUncertainError
    with caught(kind):
        htcjobs.create_job_batch(rescale, task, **BATCH, group="g")
    with caught(kind):
        htcjobs.create_job_batch_raw(rescale, task, [REQUEST])
    assert books.submissions == 2


@row("the service's error text repeats a secret", "submission", "*** instead of the secret")
def test_the_service_describes_a_submission(wire: Wire, rescale: HtcSession, task: HtcTask) -> None:
    Books(wire)
    body = {"errorType": "VALIDATION", "errorDescription": f"PASSWORD={ENV} is wrong, {CLAIM}"}
    wire.on(SUBMIT, answer(body, status=400))
    with caught(HtcBadRequestError, r"PASSWORD=\*\*\* is wrong, \*\*\*"):
        htcjobs.create_job_batch(rescale, task, **BATCH)


@row("the request id repeats a secret", "every request", "*** instead of the secret")
def test_the_id_of_a_request(
    wire: Wire, rescale: HtcSession, task: HtcTask, caplog: pytest.LogCaptureFixture
) -> None:
    books = Books(wire)

    def repeat(connection: Any, request: Any) -> object:
        errors = f"id-{ENV} {request.headers['authorization']}"
        status = 200 if books.submissions == 1 else 400
        return answer([], status, {"x-request-id": errors})(connection, request)

    wire.on(SUBMIT, repeat)
    with caught(SubmissionUncertainError):
        htcjobs.create_job_batch(rescale, task, **BATCH)
    with caught(HtcBadRequestError, r"\(request id id-\*\*\* Bearer \*\*\*\)$"):
        htcjobs.create_job_batch(rescale, task, **BATCH)
    assert "request id id-***" in caplog.text


@row("a proxy with a password can't be reached", "every request", "HtcConnectionError")
def test_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://me:{MARK}@127.0.0.1:1")
    monkeypatch.setenv("http_proxy", f"http://me:{MARK}@127.0.0.1:1")
    behind = session("http://service.invalid/api", max_retries=0)
    with behind as rescale, caught(HtcConnectionError):
        rescale.do_authenticate()


@row(
    "logging at DEBUG, including the HTTP library",
    "every request",
    "no header, body or query in the log",
)
def test_logging(
    storage: Wire,
    rescale: HtcSession,
    task: HtcTask,
    source: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    Books(storage)
    htcjobs.create_job_batch(rescale, task, **BATCH)
    storage.on(STORE, answer(status=503))
    with caught(HtcServerError):
        task.upload_file(rescale, source, "file")
    assert {record.levelno for record in caplog.records} >= {logging.DEBUG}


def test_the_canary_sings() -> None:
    """The search for secrets works."""

    def fail(secret: str) -> None:
        hidden = HtcException("a message")
        hidden.add_note(f"a note with {secret}")
        raise HtcResponseError("another one") from hidden

    assert canary.leaks() == []
    with caught(HtcResponseError):
        fail(ENV)
    assert any("notes" in leak for leak in canary.leaks())
    canary.told[:] = [("log", f"a header with {TOKEN}"), ("pickle", b"\x80" + ENV.encode())]
    assert len(canary.leaks()) == 2
    canary.told.clear()


@row("an exception", "every call", "the traceback has no frames of this package")
def test_frames_of_the_package(
    wire: Wire, rescale: HtcSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.on("GET /htc/projects/p", raw(b""))

    def frames() -> set[str]:
        canary.told.clear()
        with caught(HtcConnectionError):
            api.get_htc_projects(rescale, "p")
        return {
            where.rpartition("/")[2].split(":")[0] for where, _ in canary.told if " in " in where
        }

    assert frames() <= {"api.py", "htcsession.py"}
    monkeypatch.setenv("RESCALEHTC_TRACEBACKS", "full")
    assert frames() >= {"api.py", "client.py", "transport.py"}
    assert canary.leaks()  # the token is in them
    canary.told.clear()


def echo(form: str) -> Step:
    """A storage's error that repeats the headers of the request, with its signature."""

    def step(connection: socket.socket, request: ReceivedRequest) -> object:
        headers = " ".join(request.headers.values())
        body = form.replace("@", f"{headers} {STORAGE_KEYS['AWS_SECRET_ACCESS_KEY']}")
        return answer(body.encode(), status=403)(connection, request)

    return step


STORAGE_KEYS = {
    name: f"{MARK}-{name}"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
}


@row("the storage repeats the request", "files", "HtcFileError without keys and signatures")
@pytest.mark.parametrize(
    "form",
    [
        "<Error><Code>Denied</Code><Message>@</Message></Error>",
        "<Code>@</Code>",
        "no: @",
        '{"a":"@"}',
    ],
)
def test_an_error_of_the_storage(wire: Wire, task: HtcTask, form: str) -> None:
    token = {"credentials": STORAGE_KEYS, "storagePath": "s3://bucket", "endpoint": wire.origin}
    wire.on("GET /htc/projects/p/tasks/t/storage/token", answer(token))
    wire.otherwise = echo(form)
    with session(wire.url, max_retries=0) as rescale:
        files = task.files(rescale)
        for call in (files.list, lambda: files.read("a"), lambda: files.write("a", b"x")):
            with caught(HtcFileError, match="failed") as info:
                call()
            signature = wire.requests[-1].headers["authorization"].rpartition("=")[2]
            assert signature not in str(info.value)
