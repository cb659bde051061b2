"""Parsing any external input raises only HtcException.

`make fuzz` runs the same with many more examples.
"""

from __future__ import annotations

import base64
import contextlib
import html
import json
import pickle
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from hypothesis import example, given
from hypothesis import strategies as st

from rescalehtc import HtcSession, api, bearer_token, container_registry, htcjobs, models
from rescalehtc._client.credentials import (
    KEY_FILE,
    Credential,
    checked_credential,
    find_credential,
    is_printable_ascii,
)
from rescalehtc._client.io import BlockingIo, run
from rescalehtc._client.retry import MAX_RETRY_AFTER_SECONDS, RetrySettings, parse_retry_after
from rescalehtc._client.tokens import TOKEN_FILE, TokenSource
from rescalehtc._client.transport import Transport
from rescalehtc._jobs.records import is_running
from rescalehtc._model_base import validated
from rescalehtc._secret import redact
from rescalehtc._url import origin
from rescalehtc._wire.answer import Response, read_answer, read_page, status_error
from rescalehtc._wire.operation import Operation
from rescalehtc.cli import _submit
from rescalehtc.exceptions import HtcException, HtcResponseError, HtcStatusError
from rescalehtc.htcprojects import HtcProject
from rescalehtc.htctasks import HtcTask

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = "http://127.0.0.1:9/api/v1"
IDS = {"projectId": "p", "taskId": "t"}
TASK = HtcTask(dict(IDS), HtcProject({"projectId": "p"}))

NAMES = st.sampled_from(
    [
        "items",
        "next",
        "jobUUID",
        "message",
        "tokenValue",
        "expiresIn",
        "expiresAt",
        "errorType",
        "errorDescription",
        "error",
        "status",
        "parentJobId",
        "batchSize",
        "url",
        "credential",
        "projectId",
        "taskId",
        "group",
        "baseUrl",
    ]
)
ADDRESSES = st.sampled_from(
    [
        "?",
        "//",
        "http://",
        "http://[::1",
        "http://a:b/",
        "http://127.0.0.1:9/api/v1/x",
        "http://127.0.0.1:0x9/",
        "http://127.0.0.1:99999/",
        "https://127.0.0.1:9/",
        "javascript:1",
        "�",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | ADDRESSES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=12,
)
PAGES = st.fixed_dictionaries(
    {},
    optional={
        "items": st.lists(st.dictionaries(NAMES, VALUES, max_size=3), max_size=4) | VALUES,
        "next": ADDRESSES | st.text() | VALUES,
    },
)
BODIES = st.binary(max_size=200) | (VALUES | PAGES).map(lambda value: json.dumps(value).encode())
STATUSES = st.sampled_from([200, 201, 204, 206, 302, 400, 401, 403, 404, 429, 500, 503]) | (
    st.integers(200, 999)
)
LIST_JOBS = api.LIST_JOBS.call(IDS)


@given(STATUSES, BODIES)
@example(200, b'{"items": [], "next": "http://127.0.0.1:9:9/"}')
@example(200, b"[" * 5000)
def test_pages(status: int, body: bytes) -> None:
    try:
        page = read_page(LIST_JOBS, Response(status, body), BASE)
    except HtcException as error:
        assert str(error).isprintable()
        pickle.loads(pickle.dumps(error))
        return
    assert all(isinstance(item["jobUUID"], str) for item in page.items)
    if page.next is not None:
        assert origin(page.next.url(BASE)) == origin(BASE)


@given(st.sampled_from(["object", "array", "json", "text", "nothing", "page"]), STATUSES, BODIES)
def test_answers(kind: Any, status: int, body: bytes) -> None:
    operation: Operation[Any] = Operation("fuzzed", "GET", "/fuzzed", answer=kind)
    call = operation.call()
    try:
        answer = read_answer(call, Response(status, body))
    except HtcStatusError as error:
        assert status >= 400
        assert error.status_code == status
        assert len(str(error)) < 2000
    except HtcResponseError:
        pass
    else:
        assert status < 300
        expected = {"object": dict, "array": list, "text": str, "page": dict}.get(kind)
        assert expected is None or isinstance(answer, expected)


@given(st.integers(400, 999), BODIES, st.booleans())
@example(403, b'{"errorDescription": "a\\u001b[2Jb"}', True)
def test_error_bodies(status: int, body: bytes, may_show: bool) -> None:
    error = status_error("fuzzed", Response(status, body), list, may_show=may_show)
    assert error.status_code == status
    assert pickle.loads(pickle.dumps(error)).status_code == status
    assert "\x1b" not in str(error)


DATES = st.datetimes().map(lambda date: date.strftime("%a, %d %b %Y %H:%M:%S GMT"))


@given(st.text() | DATES | st.integers().map(str) | st.floats().map(str), st.floats(0, 1e12))
@example("Wed, 21 Oct 99999 07:28:00 GMT", 0.0)
@example("9" * 5000, 0.0)
@example("Mon, 1 Jan 0000 00:00:00 +9999", 0.0)
@example("١٢", 0.0)
def test_retry_after(text: str, now: float) -> None:
    seconds = parse_retry_after(text, now)
    assert seconds is None or seconds >= 0
    policy = RetrySettings(5, 1.0, 900.0)
    assert 0 <= policy.wait(0, seconds, 0.5) <= MAX_RETRY_AFTER_SECONDS


@given(st.text() | st.binary().map(lambda b: b.decode("latin-1")) | st.none() | st.integers())
@example("..")
@example("e30.e30.")
@example("\ud800.e30.x")
def test_bearer_tokens(text: Any) -> None:
    with contextlib.suppress(HtcException):
        bearer_token.token_from_str(text)


def token_of(credential: Credential, answer: object) -> str:
    """The token of a session with this response of getToken."""

    async def fetch(_: str) -> object:
        return answer

    return run(TokenSource(BlockingIo(Transport()), credential, BASE, fetch).get())


@given(VALUES | st.dictionaries(st.sampled_from(["tokenValue", "expiresIn"]), VALUES))
def test_answers_of_get_token(answer: object) -> None:
    try:
        token = token_of(checked_credential("Token", "key", "here"), answer)
    except HtcException:
        return
    assert is_printable_ascii(token)


KEPT = st.fixed_dictionaries(
    {},
    optional={
        "tokenValue": st.just("kept") | VALUES,
        "expiresIn": st.just(21600) | st.floats() | VALUES,
        "expiresAt": st.datetimes().map(str) | st.text() | VALUES,
        "baseUrl": st.just(BASE) | VALUES,
        "credential": VALUES,
    },
).map(lambda stored: json.dumps(stored).encode())


@given(KEPT | BODIES)
@example(b'{"tokenValue":"kept","expiresIn":1e308,"expiresAt":"9999-12-31T23:59:59+00:00"}')
@example(b'{"tokenValue":"kept","expiresIn":60,"expiresAt":"0001-01-01T00:00:00"}')
def test_kept_tokens(stored: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "default"
        path.mkdir()
        (path / KEY_FILE).write_text("key")
        (path / KEY_FILE).chmod(0o600)
        (path / TOKEN_FILE).write_bytes(stored)
        credential = find_credential(None, "default", Path(folder), {})
        answer = {"tokenValue": "asked", "expiresIn": 60}
        assert is_printable_ascii(token_of(credential, answer))


@given(st.binary(max_size=60))
def test_key_files(key: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "default").mkdir()
        key_file = Path(folder) / "default" / KEY_FILE
        key_file.write_bytes(key)
        key_file.chmod(0o600)
        with contextlib.suppress(HtcException):
            HtcSession(config_folder_override=folder, base_url=BASE)


IMAGE_PARTS = st.sampled_from([*"aA0:/.-_@ é\0", "..", "latest", "localhost:5000"])


@given(st.lists(IMAGE_PARTS, max_size=12).map("".join) | st.text())
def test_image_names(name: str) -> None:
    registry = container_registry.HtcContainerRegistry(TASK.project, "registry.example.com/p")
    rescale: Any = None  # a valid name would need a session
    for use in (registry.create_repo, registry.push_docker_image):
        try:
            use(rescale, name)
        except HtcException:
            continue
        except AttributeError:  # the name was valid
            taken = (container_registry._LOCAL_IMAGE, container_registry._REPOSITORY)
            assert any(form.fullmatch(name) for form in taken)
    try:
        target = api.GET_IMAGE_STATUS.call({"projectId": "p", "imageName": name}).target
    except HtcException:
        return
    assert not {"", ".", ".."} & set(target.split("/")[1:])


RECORDS = [models.HTCJob, models.HTCTask, models.HTCProject, models.HTCJobSubmitRequest]


@given(st.sampled_from(RECORDS[:3]), VALUES)
def test_records(model: Any, json_object: object) -> None:
    try:
        validated(model, json_object)
    except HtcException as error:
        assert len(str(error)) < 20_000


@given(st.dictionaries(NAMES, VALUES))
def test_batches_and_lines(json_object: dict[str, Any]) -> None:
    for read in (
        lambda: htcjobs.HtcJobBatch(json_object, TASK),
        lambda: repr(htcjobs.HtcJob(json_object, TASK)),
        lambda: is_running(json_object),
    ):
        with contextlib.suppress(HtcException):
            read()


PIECES = st.sampled_from(
    [
        *("&a ", "*a", "<<: ", "<<: *a", "!!int ", "!x ", "---\n", "%YAML 1.1\n", "|\n", "#"),
        *("\t", "\r", "\x85", "\ufeff", "\0", "\n", "\n  ", " ", '"', "'", "\\", "\\ud800"),
        *("{", "}", "[", "]", ": ", ":", ", ", "? ", "- ", "é", "🙂", "=", "-", "on", "~", "true"),
        *(".inf", "NaN", "0x1", "007", "1e999", "2", "9" * 101, "2024-02-30"),
        *("htcJobDefinition", '"htcJobDefinition"', "imageName: a"),
    ]
)
FILES = st.lists(PIECES, max_size=12).map(lambda parts: "".join(parts).encode()) | st.binary()


@given(FILES, st.sampled_from([".json", ".yaml", ""]))
def test_submit_files(content: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"a{suffix}"
        file.write_bytes(content)
        lines = _submit._lines_of(str(file))
    text = content.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n")
    lengths = [len(line) for line in text.split("\n")]
    for line in lines:
        row, column, _ = line.removeprefix(f"{file}:").split(":", 2)
        assert 1 <= int(row) <= len(lengths)
        assert 1 <= int(column) <= lengths[int(row) - 1] + 1
        assert line.isprintable()
        assert len(line) < 2000


ENCODINGS: list[Callable[[str], str]] = [
    str,
    str.upper,
    str.lower,
    json.dumps,
    lambda text: json.dumps(json.dumps(text)),
    lambda text: json.dumps(text, ensure_ascii=False).replace("/", "\\/"),
    html.escape,
    lambda text: html.escape(json.dumps(text)),
    lambda text: "".join(f"&#{ord(c)};" for c in text),
    lambda text: "".join(f"&#x{ord(c):X};" for c in text),
    quote,
    quote_plus,
    lambda text: quote(text, safe=""),
    repr,
    lambda text: repr(text.encode()),
    lambda text: "".join(f"\\u{ord(c):04x}" for c in text if ord(c) < 0x10000),
    lambda text: base64.b64encode(text.encode()).decode(),
    lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
    lambda text: base64.urlsafe_b64encode(f"me:{text}".encode()).decode(),
    lambda text: text.encode().hex(),
    lambda text: text.encode().decode("latin-1"),
    lambda text: "\n".join(text[n : n + 5] for n in range(0, len(text), 5)),
    lambda text: text[:12],
    lambda text: text[-12:],
    lambda text: f"<p>{html.escape(text)}</p>",
]
CORE = "cAnArY-0123456789"


@given(
    st.text(st.sampled_from("\"'<>&/\\ \n\t%+=äß漢🂡a"), max_size=6),
    st.text(st.sampled_from("\"'<>&/\\ \n\t%+=äß漢🂡a"), max_size=6),
    st.sampled_from(ENCODINGS),
    st.sampled_from(["", "value: ", "<html>50% of &amp; ", "a\\b"]),
)
def test_a_secret_is_masked_in_every_form(
    before: str, after: str, encode: Callable[[str], str], around: str
) -> None:
    """No eight characters of a recognisable secret are left."""
    core = CORE[:8] if encode(CORE) == CORE[:12] else CORE
    text = f"{around}{encode(before + CORE + after)} {around}"
    shown = redact(text, [before + CORE + after])
    assert "***" in shown
    for form in {core, encode(core), html.unescape(encode(core))}:
        assert form.lower() not in shown.lower()


@given(st.text(max_size=60), st.text(st.sampled_from("xyz"), min_size=8))
def test_a_text_without_a_secret_is_shown_as_it_is(text: str, secret: str) -> None:
    assert redact(text, [secret, "", "abc"]) == text or set("xyz") & set(text.lower())
