"""Validating files with submit requests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rescalehtc.cli import _payload
from rescalehtc.exceptions import Problem

from .conftest import request_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Command

BAD_JSON = """\
[
\t{
\t\t"jobName": "gr\\u00f6\\ud83d\\ude00ße", "batchSize": 0,
\t\t"regions": ["AWS_US_EAST_1", "AWS_US_EAST_1"],
\t\t"htcJobDefinition": {
\t\t\t"imageName": "x y", "maxVCpus": 1, "maxMemory": 100, "maxDiskGiB": 1,
\t\t\t"execTimeoutSeconds": 300, "priority": "CHEAP",
\t\t\t"architecture": "AARCH64", "commands": ["sleep", 10],
\t\t\t"tags": {}, "claims": [], "claims": [],
\t\t\t"envs": [
\t\t\t\t{"name": "A", "value": "1"},
\t\t\t\t{"name": "AWS_BATCH_X", "value": "s3cret"}
\t\t\t]
\t\t}
\t},
\t{"jobNam": "b"}
]
"""
BAD_YAML = """\
# a request
jobName: b
batchSize: 1
regions: [AWS_US_EAST_1]
htcJobDefinition: &definition
  imageName: python:3
  maxVCpus: 1
  maxMemry: 100
  maxDiskGiB: 1
  execTimeoutSeconds: 300
  priority: ON_DEMAND_ECONOMY
  architecture: AARCH64
  commands:
    - sleep
    - 10
    - yes
  tags: {}
  envs: []
  claims: []
"""


def places(output: str) -> list[tuple[str, str]]:
    """The line, column and field of each printed problem."""
    parts = [line.split(":", 4) for line in output.splitlines()]
    return [(f"{line}:{column}", where.strip()) for _, line, column, where, _ in parts]


def test_every_problem_of_a_json_file_has_its_place(command: Command) -> None:
    (command.folder / "bad.json").write_text(BAD_JSON)
    done = command("validate", "bad.json")
    assert (done.status, done.errors) == (2, "")
    assert all(line.startswith("bad.json:") for line in done.output.splitlines())
    assert set(places(done.output)) == {
        ("3:40", "[0].batchSize"),
        ("4:3", "[0].regions"),
        ("6:4", "[0].htcJobDefinition.imageName"),
        ("7:31", "[0].htcJobDefinition.priority"),
        ("8:53", "[0].htcJobDefinition.commands[1]"),
        ("9:30", "claims"),
        ("12:6", "[0].htcJobDefinition.envs[1].name"),
        ("16:2", "[1].htcJobDefinition"),
        ("16:3", "[1].jobNam"),
    }
    lines = [tuple(map(int, place.split(":"))) for place, _ in places(done.output)]
    assert lines == sorted(lines), "not in the order of the file"
    assert "s3cret" not in done.output


def test_every_problem_of_a_yaml_file_has_its_place(command: Command) -> None:
    for name in ("bad.yaml", "bad.yml"):
        (command.folder / name).write_text(BAD_YAML)
        done = command("validate", name)
        assert done.status == 2
        assert places(done.output) == [
            ("8:3", "htcJobDefinition.maxMemry"),
            ("15:7", "htcJobDefinition.commands[1]"),
            ("16:7", "htcJobDefinition.commands[2]"),
        ]
        assert "did you mean 'maxMemory'?" in done.output


def test_files_without_a_problem_are_status_0_and_silent(
    command: Command, write: Callable[..., str]
) -> None:
    file = write(name="one.json")
    many = json.dumps([request_for("true"), request_for("false")])
    (command.folder / "many.json").write_text(many, encoding="utf-8-sig")
    (command.folder / "one.yaml").write_text(yaml.safe_dump(request_for("true")))
    done = command("validate", file, "many.json", "one.yaml", "-", stdin=many)
    assert (done.status, done.output, done.errors) == (0, "", "")


def test_all_files_are_checked_also_after_one_that_is_not_there(command: Command) -> None:
    (command.folder / "bad.yaml").write_text(BAD_YAML)
    done = command("validate", "missing.json", "bad.yaml")
    assert done.status == 2
    assert "missing.json:1:1: file: can't be read: No such file" in done.output
    assert "bad.yaml:8:3" in done.output


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("a.json", b'{\n "a": 1\n "b": 2}', ":3:2: syntax: "),
        ("a.json", b"", ":1:1: syntax: "),
        ("a.json", b'{"a": "\xff"}', ":1:8: text: "),
        ("a.json", b"[" * 100_000, ":1:1: syntax: is nested too deeply"),
        ("a.yaml", b"a: [1\nb: 2", ":2:2: syntax: "),
        ("a.yaml", b"a: !!python/object:os.system {}", ":1:4: syntax: "),
        ("a.yaml", b"a: 1\n---\nb: 1", ":2:1: syntax: "),
        ("a.yaml", b"a: \x07", ":1:4: syntax: "),
        ("a.yaml", b"# nothing", ":1:1: file: "),
        ("a.yaml", b"&a [*a]", ":1:1: "),
        ("a.json", b"[]", ":1:1: "),
        ("a.json", b"3", ":1:1: "),
    ],
)
def test_an_invalid_submit_request_is_one_problem(
    command: Command, name: str, content: bytes, place: str
) -> None:
    (command.folder / name).write_bytes(content)
    done = command("validate", name)
    assert (done.status, done.errors) == (2, "")
    assert done.output.startswith(f"{name}{place}")
    assert done.output.count("\n") == 1


def test_the_standard_input_is_named_as_such(command: Command) -> None:
    done = command("validate", "-", stdin='{"jobName": "x"}')
    assert done.status == 2
    assert done.output.startswith("<stdin>:1:1: htcJobDefinition: is missing")


NAMES = st.text(st.characters(max_codepoint=0xFFFF, exclude_characters=".["), max_size=6)
TREES = st.recursive(
    st.none() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


def places_in(tree: Any, start: str = "") -> list[tuple[str, str]]:
    """Every location in a tree, with its key. List items have no key."""
    if isinstance(tree, dict):
        steps = [(f"{start}.{name}" if start else name, name, tree[name]) for name in tree]
    elif isinstance(tree, list):
        steps = [(f"{start}[{index}]", "", value) for index, value in enumerate(tree)]
    else:
        return []
    return [place for at, name, value in steps for place in [(at, name), *places_in(value, at)]]


@example(tree=[{"\x7f": {"a": 1}}], ascii_only=False, indent=None)
@example(tree=[{"\ud800": {"a": 1}}], ascii_only=True, indent="\t")
@settings(derandomize=True)
@given(
    tree=st.lists(TREES, min_size=1, max_size=3),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 2, "\t"]),
)
def test_any_json_is_read_as_json_and_its_names_are_found(
    tmp_path_factory: pytest.TempPathFactory, tree: list[Any], ascii_only: bool, indent: Any
) -> None:
    text = json.dumps(tree, ensure_ascii=ascii_only, indent=indent)
    file = tmp_path_factory.mktemp("json") / "a.json"
    file.write_bytes(text.encode("utf-8", "replace"))
    text = file.read_text(encoding="utf-8")
    payload = _payload.read(str(file))
    assert payload.requests == json.loads(text)
    lines = text.split("\n")
    for path, name in places_in(payload.requests):
        found = payload.find_place(Problem(path, ""))
        assert found
        if name.isascii() and name.isalnum():  # other names have several spellings
            shown = lines[found.place.line - 1][found.place.column - 1 :]
            assert shown.startswith(json.dumps(name)), (path, shown)
