"""Whatever is read of what others wrote, nothing but an HtcException escapes.

`make fuzz` runs the same with many more examples.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from rescalehtc import (
    HtcSession,
    _credentials,
    _logs,
    _operation,
    _retry,
    _waiting,
    api,
    bearer_token,
    container_registry,
    htcjobs,
    models,
)
from rescalehtc._json_object import validated
from rescalehtc.cli import _submit
from rescalehtc.exceptions import HtcException, HtcResponseError, HtcStatusError
from rescalehtc.htcprojects import HtcProject
from rescalehtc.htctasks import HtcTask

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
        page = _operation.read_page(LIST_JOBS, _operation.Response(status, body), BASE)
    except HtcException as error:
        assert str(error).isprintable()
        pickle.loads(pickle.dumps(error))
        return
    assert all(isinstance(item["jobUUID"], str) for item in page.items)
    if page.next is not None:
        assert _operation.origin(page.next.url(BASE)) == _operation.origin(BASE)


@given(st.sampled_from(["object", "array", "json", "text", "nothing", "page"]), STATUSES, BODIES)
def test_answers(kind: Any, status: int, body: bytes) -> None:
    call = _operation.Operation("fuzzed", "GET", "/fuzzed", answer=kind).call()
    try:
        answer = _operation.read(call, _operation.Response(status, body))
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
    try:
        _operation.raise_for_status("fuzzed", _operation.Response(status, body), may_show=may_show)
    except HtcStatusError as error:
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
    seconds = _retry.seconds_asked_for(text, now)
    assert seconds is None or seconds >= 0
    policy = _retry.RetryPolicy(5, 1.0, 900.0)
    assert 0 <= policy.wait(0, seconds, lambda: 0.5) <= _retry.MAX_RETRY_AFTER_SECONDS


@given(st.text() | st.binary().map(lambda b: b.decode("latin-1")) | st.none() | st.integers())
@example("..")
@example("e30.e30.")
@example("\ud800.e30.x")
def test_bearer_tokens(text: Any) -> None:
    with contextlib.suppress(HtcException):
        bearer_token.token_from_str(text)


@given(VALUES | st.dictionaries(st.sampled_from(["tokenValue", "expiresIn"]), VALUES))
def test_answers_of_get_token(answer: object) -> None:
    credential = _credentials.checked_credential("Token", "key", "here")
    source = _credentials.TokenSource(credential, BASE, lambda authorization: answer)
    try:
        token = source.get()
    except HtcException:
        return
    assert _credentials.is_secret_text(token)


KEPT = st.fixed_dictionaries(
    {},
    optional={
        "tokenValue": st.just("kept") | VALUES,
        "expiresIn": st.just(21600) | st.floats() | VALUES,
        "expiresAt": st.datetimes().map(str) | st.text() | VALUES,
        "baseUrl": st.just(BASE) | VALUES,
        "credential": VALUES,
    },
).map(lambda kept: json.dumps(kept).encode())


@given(KEPT | BODIES)
@example(b'{"tokenValue":"kept","expiresIn":1e308,"expiresAt":"9999-12-31T23:59:59+00:00"}')
@example(b'{"tokenValue":"kept","expiresIn":60,"expiresAt":"0001-01-01T00:00:00"}')
def test_kept_tokens(kept: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "default"
        path.mkdir()
        (path / _credentials.KEY_FILE).write_text("key")
        (path / _credentials.KEY_FILE).chmod(0o600)
        (path / _credentials.TOKEN_FILE).write_bytes(kept)
        credential = _credentials.find_credential(None, "default", Path(folder), {})
        answer = {"tokenValue": "asked", "expiresIn": 60}
        source = _credentials.TokenSource(credential, BASE, lambda authorization: answer)
        assert _credentials.is_secret_text(source.get())


@given(st.binary(max_size=60))
def test_key_files(key: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "default").mkdir()
        key_file = Path(folder) / "default" / _credentials.KEY_FILE
        key_file.write_bytes(key)
        key_file.chmod(0o600)
        with contextlib.suppress(HtcException):
            HtcSession(config_folder_override=folder, base_url=BASE)


IMAGE_PARTS = st.sampled_from([*"aA0:/.-_@ é\0", "..", "latest", "localhost:5000"])


@given(st.lists(IMAGE_PARTS, max_size=12).map("".join) | st.text())
def test_image_names(name: str) -> None:
    registry = container_registry.HtcContainerRegistry(TASK.project, "registry.example.com/p")
    rescale: Any = None  # a name that is taken would be sent with it
    for use in (registry.create_repo, registry.push_docker_image):
        try:
            use(rescale, name)
        except HtcException:
            continue
        except AttributeError:  # it was taken
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
        lambda: _logs.messages([json_object]),
        lambda: _waiting.still_runs(json_object),
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
