"""A service that repeats every secret, in every form and in every place of a response."""

from __future__ import annotations

import base64
import html
import json
import logging
import re
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import pytest

from rescalehtc import HtcSession, api, htcjobs, htcprojects, htctasks, htcworkspaces
from rescalehtc.cli import main
from rescalehtc.container_registry import HtcContainerRegistry
from rescalehtc.exceptions import HtcException, LostRequest, SubmissionUncertainError
from rescalehtc.htcjobs import HtcJob, HtcJobBatch

from ..clock import inject_clock
from . import canary
from .matrix import row
from .wire import Wire, answer, raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


KEY = "k3Y.Zq8vN2mX9rT4wPLs7dF6hJ"
TOKEN = "hDr0aGvQ5x.pLd7wYb2EoRnTq.sGn8cUjMzK4iV"
REFRESH_TOKEN = "rFr5mBe1.NyHu6tGv-fCd3xSzAq9"
SIGNATURE = "5e1f0a77c2b94d6de8a3f4b19c60d275"
REGISTRY = "eyJyZWdpc3RyeSI6Ilc3dSJ9wQz"
PROXY = "pX-y0s+8/cV6,bN1mL"
ENV = 'nV "7q\\Jx<3&é+%4/=zW9k>tR'
BLANKS_AROUND = "  oQ2cH8bKpE5uF1iM \n"
CLAIM = "cL'6;gXä|2sD0vB^8#jA5oU"
SECRETS = (KEY, TOKEN, REFRESH_TOKEN, SIGNATURE, REGISTRY, PROXY, ENV, BLANKS_AROUND, CLAIM)
# The secrets of calls, in addition to those of the session.
SENT = dict.fromkeys(
    ("submit", "create_job_batch", "create_single_job", "create_job_batch_raw"),
    (ENV, BLANKS_AROUND, CLAIM),
) | {"upload": (SIGNATURE,)}


def lines(text: str, columns: int = 6, end: str = "\r\n") -> str:
    return end.join(text[start : start + columns] for start in range(0, len(text), columns))


def hexadecimal(text: str, before: str) -> str:
    return "".join(f"{before}{byte:02x}" for byte in text.encode())


FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "trimmed": str.strip,
    "first half": lambda text: text.strip()[: len(text.strip()) // 2],
    "last half": lambda text: text.strip()[-(len(text.strip()) // 2) :],
    "middle": lambda text: text.strip()[3:-3],
    "upper case": str.upper,
    "swapped case": str.swapcase,
    "JSON": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON twice": lambda text: json.dumps(json.dumps(text))[1:-1],
    "\\u": lambda text: "".join(f"\\u{ord(c):04x}" for c in text),
    "\\x": lambda text: hexadecimal(text, "\\x"),
    "repr": repr,
    "percent": lambda text: quote(text, safe=""),
    "every character in percent": lambda text: hexadecimal(text, "%"),
    "percent twice": lambda text: quote(quote(text, safe=""), safe=""),
    "HTML": html.escape,
    "HTML numbers": lambda text: "".join(f"&#x{ord(c):x};" for c in text),
    "HTML in JSON": lambda text: json.dumps(html.escape(text))[1:-1],
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of a pair": lambda text: base64.b64encode(f"me:{text}".encode()).decode(),
    "base64 for addresses": lambda text: base64.urlsafe_b64encode(f"a={text}".encode()).decode(),
    "base64 in lines": lambda text: lines(base64.b64encode(text.encode()).decode()),
    "hexadecimal": lambda text: text.encode().hex(),
    "in lines": lines,
    "in indented lines": lambda text: lines(text, end="\n\t  "),
    "in escaped lines": lambda text: lines(text, end="\\r\\n"),
    "spaced": " ".join,
}


# ---- places of a response


def head(status: str, *headers: str, body: str = "") -> bytes:
    size = f"Content-Length: {len(body.encode())}"
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, size, "", body]).encode()


def in_json(status: int, *names: str) -> Callable[[str], bytes]:
    def encoded(text: str) -> bytes:
        body = json.dumps(dict.fromkeys(names, text), ensure_ascii=False)
        return head(f"{status} Status", "Content-Type: application/json", body=body)

    return encoded


def as_body(status: int, around: str) -> Callable[[str], bytes]:
    return lambda text: head(f"{status} Status", body=around.replace("@", text))


def in_head(status: str, *headers: str) -> Callable[[str], bytes]:
    def encoded(text: str) -> bytes:
        text = " ".join(text.split())
        return head(status.replace("@", text), *(header.replace("@", text) for header in headers))

    return encoded


def chunked(after_size: str, chunk: str, trailer: str = "") -> Callable[[str], bytes]:
    def encoded(text: str) -> bytes:
        text = " ".join(text.split())
        body = f"4{after_size}\r\n{chunk}\r\n0\r\n{trailer}\r\n".replace("@", text)
        return f"HTTP/1.1 400 Status\r\nTransfer-Encoding: chunked\r\n\r\n{body}".encode()

    return encoded


PLACES: dict[str, Callable[[str], bytes]] = {
    "the description": in_json(400, "errorDescription"),
    "the description of a failure": in_json(500, "errorDescription"),
    "the type": in_json(403, "errorType"),
    "type and description": in_json(409, "errorType", "errorDescription"),
    "other names": in_json(404, "error", "message"),
    "a token that is refused": in_json(401, "errorType", "errorDescription"),
    "too many requests": in_json(429, "errorDescription"),
    "a JSON string": lambda text: as_body(400, "@")(json.dumps(text)),
    "a JSON string for an object": lambda text: as_body(200, "@")(json.dumps(text)),
    "a list of strings": lambda text: as_body(200, "@")(json.dumps([text])),
    "wrong types": in_json(200, "items", "next", "tokenValue", "expiresIn", "url"),
    "half of a JSON text": as_body(200, '{"items": [{"value": "@'),
    "half of an error": as_body(400, '{"errorDescription": "@'),
    "HTML": as_body(502, "<html><head><title>@</title></head><body><p>@</p></body></html>"),
    "HTML for success": as_body(200, "<html><body>@</body></html>"),
    "XML of a storage": as_body(
        403, "<?xml?><Error><Code>@</Code><StringToSign>@</StringToSign><a>@</a></Error>"
    ),
    "the short name of a storage's error": as_body(403, "<Error><Code>@</Code></Error>"),
    "text": as_body(400, "wrong: @"),
    "the reason": in_head("400 @"),
    "the status": in_head("@ Status"),
    "the name of a header": in_head("400 Status", "@: 1"),
    "a header": in_head("400 Status", "X-Echo: @", "Set-Cookie: a=@", "WWW-Authenticate: @"),
    "a header without a name": in_head("400 Status", "@"),
    "Content-Type": in_head("500 Status", "Content-Type: @"),
    "Content-Encoding": in_head("200 Status", "Content-Encoding: @"),
    "Content-Length": in_head("200 Status", "Content-Length: @"),
    "Transfer-Encoding": in_head("200 Status", "Transfer-Encoding: @"),
    "Retry-After": in_head("429 Status", "Retry-After: @"),
    "Location": in_head("302 Status", "Location: http://127.0.0.1:1/@"),
    "Location without a host": in_head("307 Status", "Location: @"),
    "an early hint": lambda text: in_head("103 Hints", "Link: @")(text) + head("400 Status"),
    "another protocol": in_head("101 @", "Upgrade: @"),
    "an extension of a chunk": chunked(";a=@", "abcd"),
    "the size of a chunk": chunked("@", "abcd"),
    "a chunk": chunked("", "abcd@"),
    "a trailer": chunked("", "abcd", "X-Echo: @\r\n"),
    "a trailer without a name": chunked("", "abcd", "@\r\n"),
    "the next page": lambda text: as_body(200, "@")(
        json.dumps({"items": [], "next": f"http://127.0.0.1:1/{text}"})
    ),
    "the next page at the service": lambda text: as_body(200, "@")(
        json.dumps({"items": [], "next": f"?pageIndex={text}"})
    ),
    "behind the answer": lambda text: head("500 Status") + text.encode(),
    "no HTTP": str.encode,
}
MANY_FORMS = ("the description", "type and description", "text", "HTML")


# ---- calls


def calls_of(rescale: HtcSession, folder: Path) -> dict[str, Callable[[], object]]:
    ids = {"projectId": "p", "taskId": "t"}
    project = htcprojects.HtcProject({"projectId": "p", "regions": ["AWS_EU_WEST_1"]})
    task = htctasks.HtcTask(ids, project)
    job = HtcJob({**ids, "jobUUID": "j:0"}, task)
    batch = HtcJobBatch({**ids, "parentJobId": "j", "batchSize": 2}, task)
    registry = HtcContainerRegistry(project, "registry.example/p")
    workspace = htcworkspaces.HtcWorkspace({"workspaceId": "w"})
    secrets: dict[str, Any] = {
        "envs": [{"name": "PASSWORD", "value": ENV}, {"name": "OTHER", "value": BLANKS_AROUND}],
        "claims": [{"name": "owner", "value": CLAIM}],
    }
    arguments: Any = {
        "priority": "ON_DEMAND_ECONOMY",
        "image_name": "image",
        "exec_timeout_seconds": 60,
        **secrets,
    }
    definition = {"imageName": "image", "commands": ["c"], "execTimeoutSeconds": 60, **secrets}
    request = {"batchSize": 1, "htcJobDefinition": definition}
    lost = SubmissionUncertainError(
        project_id="p",
        task_id="t",
        group="g",
        requests=[LostRequest(0, 1, "mark")],
        phase="no response",
        cause=HtcException(""),
    )
    (folder / "file").write_text("content")
    return {
        "submit": lambda: htcjobs.submit(rescale, task, [request] * 2),
        "upload": lambda: task.upload_file(rescale, folder / "file", "file"),
        "get": lambda: api.get_htc_projects(rescale, "p"),
        "list": lambda: htcjobs.get_jobs(rescale, task),
        "create_job_batch": lambda: htcjobs.create_job_batch(rescale, task, 2, **arguments),
        "create_single_job": lambda: htcjobs.create_single_job(rescale, task, **arguments),
        "create_job_batch_raw": lambda: htcjobs.create_job_batch_raw(rescale, task, [request]),
        "registry token": lambda: HtcContainerRegistry(project, "r").get_token(rescale),
        "recheck": lambda: htcjobs.recheck(rescale, lost),
        "validate": lambda: htcjobs.validate([request], project, rescale),
        "get_update": lambda: job.get_update(rescale),
        "wait for a job": lambda: job.wait(rescale, timeout=1),
        "wait for a batch": lambda: batch.wait(rescale, timeout=1),
        "failed": lambda: batch.failed(rescale, 5),
        "as_completed": lambda: [*htcjobs.as_completed(rescale, [job], timeout=1)],
        "logs": lambda: [*job.get_logs(rescale)],
        "events": lambda: job.events(rescale),
        "groups": lambda: task.get_groups(rescale),
        "cancel": lambda: task.cancel_jobs_in_task(rescale),
        "create a task": lambda: htctasks.create_task_with_name(rescale, project, "name"),
        "create a project": lambda: htcprojects.create_project(rescale, "name"),
        "limits": lambda: project.get_limits(rescale),
        "storage": lambda: task.get_storage_token(rescale),
        "presigned": lambda: task.get_presigned_url(rescale, "file"),
        "repository": lambda: registry.create_repo(rescale, "name"),
        "image": lambda: registry.is_image_ready(rescale, "image"),
        "metrics": lambda: workspace.get_metrics(rescale),
    }


# ---- searching the output for secrets, without code of the package


class Leaks:
    """Finds parts of eight characters of the secrets, in any encoding."""

    def __init__(self) -> None:
        self._clean: set[str] = set()
        self._pieces: set[str] = set()
        for secret in SECRETS:
            raw_bytes = secret.strip().encode()
            forms = {secret, raw_bytes.decode("latin-1"), raw_bytes.hex()}
            for before in range(3):  # base64 has three forms; its ends depend on what is around
                inner = base64.b64encode(bytes(before) + raw_bytes)[4:-4].decode()
                forms |= {inner, inner.translate(str.maketrans("+/", "-_"))}
            self._pieces.update(*map(self._pieces_of, forms))

    def in_text(self, text: str) -> list[str]:
        if text in self._clean:
            return []
        found: set[str] = set()
        for decoded in self._decoded(text):
            found |= self._pieces & self._pieces_of(decoded)
        if not found:
            self._clean.add(text)
        return sorted(found)

    def _pieces_of(self, text: str) -> set[str]:
        letters = re.sub(r"\s|\\[rnt]", "", text).lower()
        return {letters[start : start + 8] for start in range(len(letters) - 7)}

    def _decoded(self, text: str) -> set[str]:
        known = latest = {text}
        for _ in range(3):
            decoders = (html.unescape, unquote, self._unescaped)
            latest = {decode(item) for item in latest for decode in decoders} - known
            known = known | latest
        return known

    def _unescaped(self, text: str) -> str:
        escape = r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})|\\(.)"
        return re.sub(
            escape, lambda m: m[3] if m[3] else chr(int(m[1] or m[2], 16)), text, flags=re.DOTALL
        )


LEAKS = Leaks()


@pytest.fixture
def told(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[[str], list[str]]]:
    """Returns the secrets in all output since the last call, with a name for the source."""

    def found(name: str) -> list[str]:
        out, err = capfd.readouterr()
        texts = [("output", out), ("output", err), *canary.told]
        for record in caplog.records:
            if not record.name.startswith("asyncio"):
                texts += [("log", record.getMessage()), ("log record", repr(record.args))]
                texts += [("traceback in the log", str(record.exc_text or ""))]
        canary.told.clear()
        caplog.clear()
        leaks: list[str] = []
        for where, text in texts:
            plain = text.decode("latin-1") if isinstance(text, bytes) else text
            if pieces := LEAKS.in_text(plain):
                leaks.append(f"{name}: {where}: {pieces[:3]} in …{plain[:300]}…")
        return leaks

    caplog.set_level(logging.DEBUG)
    yield found
    canary.told.clear()


def text_of(form: str, *secrets: str) -> str:
    return "; ".join(map(FORMS[form], (KEY, TOKEN, *secrets)))


def attempt(call: Callable[[], object]) -> bool:
    """Record the exception of a call. Return whether there was one."""
    try:
        call()
    except HtcException as error:
        canary.note(error)
        return True
    return False


def cases(number: int) -> Iterator[tuple[str, str]]:
    """Every place and every form for each of the first calls, some of them for the others."""
    forms = [*FORMS]
    step = 1 if number < 4 else 5
    for index, place in [*enumerate(PLACES)][number % step :: step]:
        yield place, forms[(2 * index + number) % len(forms)]
    for index, form in [*enumerate(forms)][number % step :: step]:
        yield MANY_FORMS[(number + index) % len(MANY_FORMS)], form


@pytest.fixture
def echo(wire: Wire) -> Wire:
    """A service with valid tokens and storage URLs."""
    wire.on("GET /auth/token", answer({"tokenValue": TOKEN, "expiresIn": 21600}))
    url = f"{wire.origin}/bucket/file?X-Amz-Signature={SIGNATURE}&X-Amz-Security-Token={TOKEN}"
    wire.on("GET /htc/projects/p/tasks/t/storage/presigned-url", answer({"url": url}))
    wire.on("GET /htc/projects/p/container-registry/images/image", answer({"status": "READY"}))
    return wire


@pytest.fixture
def echoed(echo: Wire) -> Iterator[HtcSession]:
    with HtcSession(
        api_key=KEY, base_url=echo.url, max_retries=0, settle_seconds=0, status_refresh_seconds=0.5
    ) as rescale:
        inject_clock(rescale)
        yield rescale


@row(
    "secrets in any form and place of a response",
    "every request",
    "no exception or log contains them",
)
def test_an_echo(
    echo: Wire, echoed: HtcSession, tmp_path: Path, told: Callable[[str], list[str]]
) -> None:
    leaks: list[str] = []
    raised = 0
    for number, (name, call) in enumerate(calls_of(echoed, tmp_path).items()):
        for place, form in cases(number):
            echo.otherwise = raw(PLACES[place](text_of(form, *SENT.get(name, ()))))
            raised += attempt(call)
            leaks += told(f"{name}, {place}, {form}")
    assert leaks == []
    assert raised > 300


@row("secrets in any form and place of a response", "getToken", "no exception or log contains them")
@pytest.mark.parametrize("variable", [None, "RESCALE_HTC_REFRESH_TOKEN", "RESCALE_API_KEY"])
def test_an_echo_of_the_credential(
    wire: Wire,
    monkeypatch: pytest.MonkeyPatch,
    told: Callable[[str], list[str]],
    variable: str | None,
) -> None:
    settings: dict[str, Any] = {"base_url": wire.url, "max_retries": 0}
    if variable is None:
        settings["api_key"] = KEY
    else:
        monkeypatch.setenv(variable, REFRESH_TOKEN)
    leaks: list[str] = []
    with HtcSession(**settings) as rescale:
        for place, form in cases(0):
            text = FORMS[form](KEY if variable is None else REFRESH_TOKEN)
            wire.on("GET /auth/token", raw(PLACES[place](text)))
            attempt(rescale.do_authenticate)
            leaks += told(f"{place}, {form}")
    assert leaks == []


@row("secrets in any form and place of a response", "a proxy", "no exception or log contains them")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_echo_of_a_proxy(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, told: Callable[[str], list[str]], scheme: str
) -> None:
    address = f"http://me:{quote(PROXY, safe='')}@127.0.0.1:{wire.port}"
    monkeypatch.setenv(f"{scheme}_proxy", address)
    leaks: list[str] = []
    count = 0
    with HtcSession(
        api_key=KEY, base_url=f"{scheme}://service.test/api/v1", max_retries=0
    ) as rescale:
        for place, form in cases(0):
            text = f"{FORMS[form](PROXY)}; {FORMS[form](f'me:{PROXY}')}; {FORMS[form](address)}"
            wire.otherwise = raw(PLACES[place](text))
            wire.on("GET /auth/token", wire.otherwise)
            count += attempt(rescale.do_authenticate)
            leaks += told(f"{place}, {form}")
    assert leaks == []
    assert count > 50


@row("secrets in any form and place of a response", "the command line", "no message contains them")
def test_an_echo_on_the_command_line(
    echo: Wire,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    told: Callable[[str], list[str]],
) -> None:
    monkeypatch.setenv("RESCALE_API_KEY", KEY)
    monkeypatch.setenv("RESCALE_API_BASE_URL", echo.url)
    echo.on("GET /htc/projects", answer({"items": [{"projectId": "p", "projectName": "p"}]}))
    echo.on("GET /htc/projects/p/tasks", answer({"items": [{"taskId": "t", "taskName": "t"}]}))
    definition = {"imageName": "image", "commands": ["c"], "execTimeoutSeconds": 60}
    definition |= {"envs": [{"name": "A", "value": ENV}], "claims": [{"name": "b", "value": CLAIM}]}
    file = tmp_path / "jobs.json"
    file.write_text(json.dumps([{"batchSize": 1, "htcJobDefinition": definition}]))
    commands = [["submit", "-t", "t", str(file)], ["jobs", "-t", "t"], ["logs", "-t", "t", "j:0"]]
    leaks: list[str] = []
    for number, (place, form) in enumerate(cases(7)):
        command = commands[number % len(commands)]
        secrets = (ENV, CLAIM) if command[0] == "submit" else ()
        echo.otherwise = raw(PLACES[place](text_of(form, *secrets)))
        monkeypatch.setattr(sys, "argv", ["rescalehtc", *command])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code != 70
        leaks += told(f"{command[0]}, {place}, {form}")
    assert leaks == []
