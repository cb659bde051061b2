"""Hostile or broken input, from the service or the caller, raises HtcException."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import HtcSession, api, htcjobs, htctasks, models
from rescalehtc.container_registry import get_container_registry
from rescalehtc.exceptions import (
    HtcConnectionError,
    HtcException,
    HtcResponseError,
    HtcStatusError,
    HtcValidationError,
)

from .books import BATCH
from .canary import MARK, caught
from .conftest import limit_bodies
from .matrix import row
from .wire import Step, Wire, answer, raw

if TYPE_CHECKING:
    from rescalehtc.htctasks import HtcTask

PROJECT = "GET /htc/projects/p"
IDS = [
    "",
    ".",
    "..",
    "../p2",
    "a/b",
    "a?b",
    "a#b",
    "a%2fb",
    "a\\b",
    "a b",
    "a\r\nHost: x",
    "é",
    "\0",
]


def get(rescale: HtcSession) -> Any:
    return api.get_htc_projects(rescale, "p")


# ---- ids and names


@row("an id with /, .., ?, #, %, line ends", "every request", "quoted or rejected")
@pytest.mark.parametrize("given_id", IDS)
def test_an_id_stays_in_its_place(wire: Wire, rescale: HtcSession, given_id: str) -> None:
    try:
        api.get_htc_projects_tasks(rescale, "p", given_id)
    except HtcValidationError:
        assert given_id in ("", ".", "..")
        assert wire.requests == []
        return
    except HtcStatusError as error:
        assert error.status_code == 404
    request = wire.requests[-1]
    assert request.path.startswith("/htc/projects/p/tasks/")
    assert request.path.count("/") == 5
    assert request.query == {}
    assert ".." not in request.path.split("/")


@row(
    "an image name that points outside the registry",
    "getImageStatus, submission",
    "HtcValidationError",
)
@pytest.mark.parametrize("name", ["../x", "a/../../b", "a//b", "/a", "a/", "..", ""])
def test_an_image_name_stays_in_its_place(
    wire: Wire, rescale: HtcSession, task: HtcTask, name: str
) -> None:
    with caught(HtcValidationError):
        api.get_htc_projects_container_registry_images(rescale, "p", name)
        htcjobs.create_job_batch(rescale, task, **{**BATCH, "image_name": name})
    with caught(HtcValidationError):
        htcjobs.create_job_batch(rescale, task, **{**BATCH, "image_name": name})
    assert all("images" not in request.path for request in wire.requests)


@row("a repository name that docker rejects", "create repository", "HtcValidationError")
@pytest.mark.parametrize("name", ["../x", "A", "a:b", "a b", "-a", "a" * 5000])
def test_a_repository_name(wire: Wire, rescale: HtcSession, task: HtcTask, name: str) -> None:
    wire.on(PROJECT, answer({"projectId": "p", "containerRegistry": "registry.example.com/p"}))
    registry = get_container_registry(rescale, task.project)
    with caught(HtcValidationError):
        registry.create_repo(rescale, name)


@row(
    "an empty group",
    "listings, cancel, submission",
    "HtcValidationError, because it could mean all groups",
)
def test_an_empty_group(wire: Wire, rescale: HtcSession, task: HtcTask) -> None:
    with caught(HtcValidationError):
        api.post_htc_projects_tasks_jobs_cancel(rescale, "p", "t", group="")
    with caught(HtcValidationError):
        htcjobs.create_job_batch(rescale, task, **BATCH, group="")
    assert all(request.method == "GET" for request in wire.requests)


# ---- sizes


@row(
    "a body of more than 256 MiB",
    "every response",
    "HtcResponseError; the body is not held in memory",
)
@pytest.mark.parametrize("framing", ["length", "chunks", "close"])
def test_an_oversized_body(wire: Wire, rescale: HtcSession, framing: str) -> None:
    rescale.do_authenticate()
    limit_bodies(rescale, 100_000)
    body = b'"' + MARK.encode() * 50_000 + b'"'
    head = b"HTTP/1.1 200 OK\r\n"
    wire.on(
        PROJECT,
        {
            "length": answer(body),
            "chunks": raw(
                head
                + b"Transfer-Encoding: chunked\r\n\r\n"
                + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            ),
            "close": raw(head + b"\r\n" + body),
        }[framing],
    )
    with caught(HtcResponseError, "more than 100000 bytes"):
        get(rescale)


@row("a small body that decompresses to gigabytes", "every response", "HtcResponseError")
def test_a_bomb(wire: Wire, rescale: HtcSession) -> None:
    rescale.do_authenticate()
    limit_bodies(rescale, 100_000)
    bomb = gzip.compress(MARK.encode() * 10_000_000)
    wire.on(PROJECT, answer(bomb, headers={"Content-Encoding": "gzip"}))
    with caught(HtcResponseError, "more than 100000 bytes"):
        get(rescale)


@row("an encoding that was not requested", "every response", "HtcResponseError")
@pytest.mark.parametrize("encoding", ["deflate", "br", "zstd", "gzip, gzip", "compress"])
def test_an_unknown_encoding(wire: Wire, rescale: HtcSession, encoding: str) -> None:
    body = zlib.compress(b'{"projectId": "p"}')
    wire.on(PROJECT, answer(body, headers={"Content-Encoding": encoding}))
    with caught(HtcResponseError, "unknown way"):
        get(rescale)


@row("endless headers", "every response", "HtcConnectionError")
def test_endless_headers(wire: Wire, rescale: HtcSession) -> None:
    wire.on(PROJECT, raw(b"HTTP/1.1 200 OK\r\n" + b"X-Filler: yyyyyyyyyyyyyyyy\r\n" * 20_000))
    with caught(HtcConnectionError):
        get(rescale)


# ---- contents

NO_JSON = {
    "HTML": b"<html><body>Sign in</body></html>",
    "empty": b"",
    "NUL": b"\0\0\0",
    "UTF-16": '{"projectId": "p"}'.encode("utf-16"),
    "no UTF-8": b'{"projectId": "\xff\xfe"}',
    "half": b'{"projectId":',
    "two": b"{}{}",
    "NaN key": b"{NaN: 1}",
    "deep": b"[" * 100_000,
    "deep, closed": b"[" * 100_000 + b"]" * 100_000,
    "list": b"[]",
    "text": b'"p"',
    "number": b"1e999",
    "null": b"null",
    "true": b"true",
}


@row(
    "HTML, invalid JSON, wrong types, deep nesting, other encodings",
    "every response",
    "HtcResponseError",
)
@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON.keys())
def test_another_body(wire: Wire, rescale: HtcSession, body: bytes) -> None:
    wire.on(PROJECT, answer(body))
    with caught(HtcResponseError, "getProject: the response of") as info:
        get(rescale)
    assert len(str(info.value)) < 600
    assert str(info.value).isprintable()


@row(
    "numbers of any size, unknown fields and values, nulls", "every response", "accepted unchanged"
)
def test_odd_values(wire: Wire, rescale: HtcSession, task: HtcTask) -> None:
    wire.on(
        "GET /htc/projects/p/tasks/t/jobs/j",
        answer(
            b'{"projectId":"p","taskId":"t","jobUUID":"j","status":"NEW_STATUS","completedAt":null,"n":1e400,"m":%s}'
            % (b"9" * 4000)
        ),
    )
    job = htcjobs.get_job_with_id(rescale, task, "j")
    assert job is not None
    status = job.record.status
    assert isinstance(status, models.RescaleJobStatus)
    assert not status.is_listed
    assert status == "NEW_STATUS"


@row("a field of a wrong type", "records", "HtcResponseError that names the field")
def test_a_wrong_type(wire: Wire, rescale: HtcSession, task: HtcTask) -> None:
    odd = {"taskId": "t", "taskName": {"a": [1]}, "createdAt": "yesterday"}
    wire.on("GET /htc/projects/p/tasks/t", answer(odd))
    found = htctasks.get_task_with_id(rescale, task.project, "t")
    assert found is not None
    with caught(HtcResponseError, "taskName"):
        _ = found.record


@row("a response about another object", "getJob", "HtcResponseError")
def test_another_job(wire: Wire, rescale: HtcSession, task: HtcTask) -> None:
    wire.on("GET /htc/projects/p/tasks/t/jobs/j", answer({"jobUUID": "k", "status": "RUNNING"}))
    job = htcjobs.HtcJob({"projectId": "p", "taskId": "t", "jobUUID": "j"}, task)
    with caught(HtcResponseError, "not about job j"):
        job.get_update(rescale)


ERRORS = {
    "HTML": answer(b"<html>\x1b[2J\x07Forbidden</html>", status=403),
    "long": answer(b"x" * 1_000_000, status=403),
    "deep": answer(b'{"a":' * 100_000, status=403),
    "no text": answer({"errorType": 7, "errorDescription": ["a"]}, status=403),
    "list": answer([1, 2], status=403),
    "binary": answer(bytes(range(256)), status=403),
    "odd status": answer(status=799),
}


@row("error bodies of any kind", "every response", "the exception, with a short excerpt")
@pytest.mark.parametrize("step", ERRORS.values(), ids=ERRORS.keys())
def test_error_bodies(wire: Wire, rescale: HtcSession, step: Step) -> None:
    wire.on(PROJECT, step)
    with caught(HtcStatusError, "getProject failed with HTTP") as info:
        get(rescale)
    assert len(str(info.value)) < 600
    assert str(info.value).isprintable()


@row("a status that is missing or not a number", "every response", "HtcConnectionError")
@pytest.mark.parametrize("line", [b"HTTP/1.1 abc No\r\n\r\n", b"HTTP/9.9 200 OK\r\n\r\n", b"\r\n"])
def test_no_status(wire: Wire, rescale: HtcSession, line: bytes) -> None:
    wire.on(PROJECT, raw(line))
    with caught(HtcException):
        get(rescale)
