"""Editors find mistakes, complete values, and show units and ranges."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import jedi
import pytest

from rescalehtc import models

from ..limits import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
TYPING = ROOT / "tests" / "data" / "typing"
MISTAKES = TYPING / "mistakes.py"
EDITING = TYPING / "editing.py"


def marked(checker: str) -> Counter[tuple[int, str]]:
    """The lines with mistakes, with the broken rules from the line before."""
    return Counter(
        (number + 1, rule)
        for number, line in enumerate(MISTAKES.read_text(encoding="utf-8").splitlines(), 1)
        for rules in re.findall(rf"# .*\bby {checker} ([\w -]+)", line)
        for rule in rules.split()
    )


def pyright(path: Path, folder: Path) -> list[dict[str, Any]]:
    """The errors that pyright finds in a file, with its default settings."""
    shutil.copy(path, folder)
    settings = {"extraPaths": [str(ROOT)]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    done = subprocess.run(
        [str(BIN / "pyright"), "--outputjson", "--pythonpath", sys.executable],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["summary"]["filesAnalyzed"] == 1
    return answer["generalDiagnostics"]


def test_pyright_finds_every_mistake_and_nothing_else(tmp_path: Path) -> None:
    found = Counter(
        (finding["range"]["start"]["line"] + 1, finding["rule"])
        for finding in pyright(MISTAKES, tmp_path)
    )
    assert found == marked("pyright")


def test_mypy_finds_every_mistake_and_nothing_else() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--no-pretty"),
            *("--config-file", os.devnull, str(MISTAKES)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    findings = re.findall(
        r"^.*mistakes\.py:(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE
    )
    assert Counter((int(line), rule) for line, rule in findings) == marked("mypy"), done.stdout


class LanguageServer:
    """Pyright as a language server."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._process = subprocess.Popen(
            [str(BIN / "pyright-langserver"), "--stdio"],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{BIN}:{os.environ['PATH']}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        root = {"uri": ROOT.as_uri(), "name": "project"}
        plain = {"textDocument": {"hover": {"contentFormat": ["plaintext"]}}}
        self.ask(
            "initialize",
            {"processId": None, "workspaceFolders": [root], "capabilities": plain},
        )
        self._send({"method": "initialized", "params": {}})
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def open(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        document = {"uri": path.as_uri(), "languageId": "python", "version": 1, "text": text}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})

    def at(self, method: str, path: Path, place: str, offset: int = 0) -> Any:
        """Send a request about the position of a text in a file."""
        before, found, _ = path.read_text(encoding="utf-8").partition(place)
        assert found, place
        line = before.count("\n")
        character = len(before) - before.rfind("\n") - 1 + offset
        return self.ask(
            f"textDocument/{method}",
            {
                "textDocument": {"uri": path.as_uri()},
                "position": {"line": line, "character": character},
            },
        )

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        number = next(self._ids)
        self._send({"id": number, "method": method, "params": params})
        while True:
            message = self._receive()
            if "method" not in message and message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            if "method" in message and "id" in message:  # it asks for settings; there are none
                items = message.get("params", {}).get("items", [])
                self._send({"id": message["id"], "result": [{} for _ in items]})

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self._process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout
        length = 0
        while line := self._process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        message: dict[str, Any] = json.loads(self._process.stdout.read(length))
        return message


@pytest.fixture
def server() -> Iterator[LanguageServer]:
    with LanguageServer() as server:
        server.open(EDITING)
        yield server


def test_values_are_offered_and_units_and_ranges_shown(server: LanguageServer) -> None:
    for argument, enumeration in {
        "priority": models.JobPriority,
        "architecture": models.Architecture,
        "region": models.RescaleRegion,
        "job_status": models.RescaleJobStatus,
        "lifecycle_status": models.LifecycleStatus,
        "modifier_role": models.ModifierRole,
    }.items():
        place = f'{argument}=""'
        answer = server.at("completion", EDITING, place, len(place) - 1)
        offered = {item["label"].strip('"') for item in answer["items"]}
        assert offered == set(enumeration), argument

    request = {"jobName", "batchSize", "regions", "htcJobDefinition", "retryStrategy"}
    for place, offset, some in [
        ('submit(rescale, task, [{""', 25, request),
        ('"imageName": "a", ""', 19, {"maxMemory", "execTimeoutSeconds", "envs"}),
        ('"architecture": ""', 17, {"AARCH64", "X86", "A100"}),
        ('envs=[{""', 8, {"name", "value"}),
        ('image_name="a", priority=""', 26, {"ON_DEMAND_ECONOMY", "ON_DEMAND_PRIORITY"}),
        ('"priority": ""', 13, {"ON_DEMAND_ECONOMY", "ON_DEMAND_PRIORITY"}),
        ('job.json["jobUUID', 10, {"jobUUID", "status"}),
        ("project.get_limits(rescale)[0].vcpus", 32, {"vcpus"}),
    ]:
        answer = server.at("completion", EDITING, place, offset)
        offered = {item["label"].strip('"') for item in answer["items"]}
        assert some <= offered, place

    for place, shown in {
        'group="g"': "The group of the jobs",
        "deadline_seconds=": "Seconds, at least 0.001: the timeout of a call",
        "settle_seconds": "Seconds, at least 0, without new jobs",
        "ON_DEMAND_ECONOMY)": "Costs less. Jobs may be interrupted.",
        "unseen": "Jobs with an unknown status",
        "where": "The argument's name",
        "vcpus)": "The maximum number of virtual CPUs in use",
        "max_memory": "MiB",
        "exec_timeout_seconds)": "60 to 1209600",
        "create_job_batch": "batch_size: The number of jobs, 1 to 1000.",
        "get_update": "Operation getJob",
    }.items():
        hover = server.at("hover", EDITING, place, 1)
        assert shown in hover["contents"]["value"], place


def test_jedi_offers_and_shows_the_same_where_it_can() -> None:
    """Pyright completes attributes, arguments and docstrings, but no keys of dictionaries."""
    text = EDITING.read_text(encoding="utf-8")

    def at(place: str, offset: int) -> tuple[jedi.Script, int, int]:
        before = text.partition(place)[0]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n") - 1 + offset
        return jedi.Script(text, path=EDITING, project=jedi.Project(ROOT)), line, column

    for place, offset, offered in [
        ("job.record.max_memory", 16, "max_memory"),
        ("project.get_limits(rescale)[0].vcpus", 32, "vcpus"),
        ("htcjobs.validate", 11, "validate"),
        ('priority="",\n        image', 4, "priority="),
        ("models.JobPriority.ON_DEMAND_ECONOMY", 24, "ON_DEMAND_ECONOMY"),
    ]:
        script, line, column = at(place, offset)
        assert offered in {item.name for item in script.complete(line, column)}, place
    for place, shown in {
        "settle_seconds": "Seconds, at least 0, without new jobs",
        "unseen": "Jobs with an unknown status",
        "vcpus)": "The maximum number of virtual CPUs in use",
        "get_jobs": "The group of the jobs",
        "create_job_batch_raw": "1 to 100 submit requests",
    }.items():
        script, line, column = at(place, 2)
        assert shown in script.help(line, column)[0].docstring(), place


def test_what_is_being_written_is_right_so_far(tmp_path: Path) -> None:
    """Unlisted strings are accepted, because the service may add values."""
    assert pyright(EDITING, tmp_path) == []
