"""For any file, each problem has its location and the solution, within bounds."""

from __future__ import annotations

import io
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rescalehtc.cli import _payload

from .conftest import request_for, run_in_this_process

if TYPE_CHECKING:
    from collections.abc import Callable

    Validate = Callable[..., list[str]]

MIB = 2**20
DEFINITION = "htcJobDefinition: {imageName: a}\n"


def run(*arguments: str, stdin: bytes | None = None) -> tuple[int, list[str]]:
    """The exit status and the output lines of the command, without a new process."""
    done = run_in_this_process(arguments, stdin or b"")
    assert done.status in (0, 2), done
    assert done.errors == ""
    return done.status, done.output.splitlines()


@pytest.fixture
def validate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Validate:
    """The problems of a file with this content, without the file name."""
    monkeypatch.chdir(tmp_path)

    def validate(name: str, content: str | bytes) -> list[str]:
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
        status, lines = run("validate", name)
        assert status == (2 if lines else 0)
        assert all(line.startswith(f"{name}:") for line in lines), lines
        return [line.removeprefix(f"{name}:") for line in lines]

    return validate


def in_tags(text: str) -> str:
    return f"htcJobDefinition:\n  imageName: a\n  tags: {{{text}}}\n"


def in_commands(text: str) -> str:
    return f"htcJobDefinition:\n  imageName: a\n  commands: [{text}]\n"


VALID_YAML = {
    "dates and times are text": in_commands("2024-02-30, 2024-02-30T99:99:99Z, 12:30, 12:30:45"),
    "an equals sign is text": in_tags("a: =, b: <<, =: c"),
    "numbers in quotes are text": in_commands('"10", \'yes\', !!str 10, ! 10, ""'),
    "letters are text": in_tags("y: n, N: Y"),
    "a merged mapping is overridden": (
        "- &r\n  jobName: a\n  htcJobDefinition: &d {imageName: a, maxVCpus: 99}\n"
        "  <<: {jobName: 5}\n"
        "- htcJobDefinition: {maxVCpus: 1, <<: *d}\n- <<: *r\n  htcJobDefinition: {imageName: b}\n"
    ).replace("maxVCpus: 99", "maxVCpus: 9"),
    "the first of several merged mappings counts": (
        "- htcJobDefinition: &a {imageName: a}\n"
        "- htcJobDefinition: {<<: [*a, {imageName: 5, maxVCpus: 1}]}\n"
    ),
    "an anchor may be used again": "- &a\n  htcJobDefinition: &b {imageName: &c a}\n- *a\n"
    "- htcJobDefinition: &b {imageName: *c}\n- htcJobDefinition: *b\n",
    "tags of the core schema": "!!map {htcJobDefinition: !!map {imageName: !!str a, "
    'commands: !!seq [], maxVCpus: !!int "1", architecture: !!null ~}}',
    "numbers in other bases": "batchSize: 0x10\nhtcJobDefinition: {imageName: a, maxVCpus: 0o10}",
    "a directive and marks": f"%YAML 1.2\n---\n{DEFINITION}...\n",
    "a long key": in_tags("? " + "k" * 1100 + " : v"),
    "line ends of Windows": DEFINITION.replace(": {", ":\r\n  {").replace("\n", "\r\n"),
    "line ends of old": DEFINITION.replace("\n", "\r"),
    "a mark of the byte order": "\ufeff" + DEFINITION,
    "comments": f"# a\n{DEFINITION}# b",
    "a block scalar": in_commands("") + "jobName: |\n  a\n\n  b\n",
}


@pytest.mark.parametrize("content", VALID_YAML.values(), ids=VALID_YAML.keys())
def test_yaml_is_read_by_the_core_schema(validate: Validate, content: str) -> None:
    assert validate("a.yaml", content) == []
    assert validate("a.YML", content) == []


PROBLEMS = [
    # keys
    ("a.yaml", in_tags("on: x"), ['3:10: htcJobDefinition.tags.on: the key must be a string, not a boolean; write "on" in quotes']),
    ("a.yaml", "on: x\n" + DEFINITION, ['1:1: on: the key must be a string, not a boolean; write "on" in quotes']),
    ("a.yaml", in_tags("1: x, ~: y"), ["3:10: htcJobDefinition.tags.1: ", "3:16: htcJobDefinition.tags.~: "]),
    ("a.yaml", in_tags("007: x"), ["3:10: htcJobDefinition.tags.007: has a leading zero"]),
    ("a.yaml", in_tags("? [a] : x"), ["3:12: htcJobDefinition.tags: the key must be a string, not a list"]),
    ("a.yaml", in_tags("a: x, b: y, a: z"), ["3:22: a: is a duplicate key"]),
    ("a.yaml", in_tags('a: x, "a": z'), ["3:16: a: is a duplicate key"]),
    ("a.yaml", in_tags('? "' + "k" * 1100 + '" : 1'), ["3:12: htcJobDefinition.tags.kkk"]),
    ("a.yaml", in_tags("k" * 1100 + ": v"), ["3:1110: syntax: "]),
    ("a.json", '{"htcJobDefinition": {"imageName": "a", "tags": {"' + "k" * 1100 + '": 1}}}', ["1:50: htcJobDefinition.tags.kkk"]),
    ("a.json", '{"htcJobDefinition": {"imageName": "a", "tags": {"[key]": 1, "a.b": 2, "a[0]\\n": 3}}}', ["1:50: htcJobDefinition.tags.[key]: must be a string", "1:62: htcJobDefinition.tags.a.b: ", "1:72: htcJobDefinition.tags.a[0]\\n: "]),
    ("a.json", '{"htcJobDefinition": {"imageName": "a"}, "\\ud800": 1}', ["1:1: request: must not contain text that UTF-8 can't encode"]),
    ("a.json", '{"htcJobDefinition": {"imageName": "a", "max_vcpus": 99}}', ["1:41: htcJobDefinition.maxVCpus: "]),
    # values
    ("a.yaml", in_commands("yes, 10, 1.5"), [f"3:{column}: htcJobDefinition.commands[{index}]: must be a string, got {kind}; put it in quotes" for index, (column, kind) in enumerate([(14, "bool"), (19, "int"), (23, "float")])]),
    ("a.yaml", in_commands("!!int abc, !!float x, !!null a, !!bool 1"), ["3:14: htcJobDefinition.commands[0]: does not fit its tag, !!int; remove", "3:25: ", "3:36: ", "3:46: "]),
    ("a.yaml", in_commands("010"), ["3:14: htcJobDefinition.commands[0]: has a leading zero"]),
    ("a.yaml", DEFINITION + "batchSize: " + "9" * 5000, ["2:12: batchSize: must have at most 100 digits"]),
    ("a.yaml", DEFINITION + "batchSize: .nan", ["2:1: batchSize: must be an integer from 1 to 1000, got nan"]),
    ("a.json", '{"htcJobDefinition": {"imageName": "a", "maxVCpus": ' + "9" * 5000 + "}}", ["1:53: htcJobDefinition.maxVCpus: must have at most 100 digits"]),
    ("a.json", '{"htcJobDefinition": {"imageName": "a", "maxVCpus": NaN, "maxMemory": -Infinity}}', ["1:53: htcJobDefinition.maxVCpus: NaN is not JSON", "1:71: htcJobDefinition.maxMemory: -Infinity is not JSON"]),
    ("a.json", '{"htcJobDefinition": {"imageName": "a", "maxVCpus": 1e999}}', ["1:41: htcJobDefinition.maxVCpus: must be an integer"]),
    ("a.json", '{"htcJobDefinition": {"imageName": "a", "commands": ["\\ud800"]}}', ["1:54: htcJobDefinition.commands[0]: must not contain text that UTF-8 can't encode"]),
    ("a.json", '{"htcJobDefinition": {"imageName": "a"}, "batchSize": 100000000000000}', ["1:42: batchSize: must be an integer"]),
    # anchors, merges and tags
    ("a.yaml", in_commands("*a"), ["3:14: htcJobDefinition.commands[0]: *a needs an anchor, &a, before it"]),
    ("a.yaml", in_commands("&a [*a]"), ["3:14: htcJobDefinition.commands[0]: must be a string", "3:14: htcJobDefinition.commands[0][0]: must not contain itself: *a"]),
    ("a.yaml", DEFINITION + "<<: 3", ["2:5: <<: must be a mapping or a list of them"]),
    ("a.yaml", DEFINITION + "<<: [{}, 3]", ["2:10: <<: must be a mapping or a list of them"]),
    ("a.yaml", DEFINITION + "<<: {jobName: a}\n<<: {jobName: b}\n", ["3:1: <<: is a duplicate key; write <<: [*first"]),
    ("a.yaml", f"- &a\n  {DEFINITION}  batchSize: 0\n- *a\n", ["3:3: [0].batchSize: ", "3:3: [1].batchSize: "]),
    ("a.yaml", in_commands("!custom x"), ["3:14: syntax: the tag !custom is not supported"]),
    ("a.yaml", in_commands("!!timestamp 2024-01-01"), ["3:14: syntax: the tag !!timestamp is not"]),
    ("a.yaml", in_commands("!!set {a}"), ["3:14: syntax: the tag !!set is not supported"]),
    ("a.yaml", "%TAG ! tag:yaml.org,2002:\n--- " + DEFINITION, ["1:1: syntax: %TAG is not supported"]),
    # syntax
    ("a.yaml", DEFINITION + "---\n", ["2:1: syntax: a file holds one document"]),
    ("a.yaml", "%YAML 3.0\n---\n", ["1:1: syntax: "]),
    ("a.yaml", "a:\n\t- b", ["2:1: syntax: while scanning for the next token: found character that cannot start any token; indent with spaces"]),
    ("a.yaml", "a: @b", ["1:4: syntax: while scanning for the next token: found character that cannot start any token; put text that starts with @ in quotes"]),
    ("a.yaml", "a: b: c", ["1:5: syntax: mapping values are not allowed in this context; put text that has ': ' in quotes"]),
    ("a.yaml", "a: \x00\x07", ["1:4: syntax: YAML must not have the character U+0000"]),
    ("a.yaml", "a: b\rc: {", ["2:5: syntax: "]),
    ("a.yaml", "jobName: x\x85batchSize: 0\n" + DEFINITION, ["1:12: batchSize: "]),
    ("a.yaml", "", ["1:1: file: contains no submit request; write one"]),
    ("a.yaml", "---", ["1:4: request: must be a dictionary"]),
    ("a.json", '{"htcJobDefinition"\n:\r\n{"imageName"\r: 3}}', ["3:2: htcJobDefinition.imageName: "]),
    ("a.json", '{"a": 1} {}', ["1:10: syntax: got '{'; expected the end of the file; several requests must be in a list"]),
    ("a.json", "{'a': 1}", ["""1:2: syntax: got "'"; expected '}' or a name in double quotes"""]),
    ("a.json", '["a', ["1:2: syntax: this string needs a closing quote"]),
    ("a.json", '["a\n"]', ["1:4: syntax: a string must not have this character"]),
    ("a.json", '["\\x"]', ["1:3: syntax: a string must not have this escape sequence"]),
    ("a.json", "[1,]", ["1:4: syntax: got ']'; expected a value"]),
    ("a.JSON", '{"a" 1}', ["1:6: syntax: got '1'; expected ':'"]),
    ("a.json", "[tru]", ["1:2: syntax: got 't'; expected a value"]),
    ("a.json", '{"a": {}, "b": ' + "[" * 101, ["1:16: syntax: is nested too deeply"]),
    # bytes
    ("a.yaml", DEFINITION.encode("utf-16"), ["1:1: text: is in UTF-16, UTF-32 or binary; save it as UTF-8"]),
    ("a.yaml", DEFINITION.encode("utf-16-le"), ["1:1: text: is in UTF-16"]),
    ("a.json", b'\xff\xfe\0\0{\0\0\0', ["1:1: text: is in UTF-16"]),
    ("a.json", '{"é\r\né'.encode() + b"\xff", ["2:2: text: is not in UTF-8; save it as UTF-8"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "expected"), PROBLEMS)
def test_each_problem_has_its_place_and_has_a_solution(
    validate: Validate, name: str, content: str | bytes, expected: list[str]
) -> None:
    found = validate(name, content)
    assert [line[: len(start)] for line, start in zip(found, expected, strict=False)] == expected
    assert len(found) == len(expected), found


def test_values_that_may_be_secret_are_in_no_message(validate: Validate) -> None:
    for name, content in [
        ("a.yaml", "htcJobDefinition: {imageName: a, envs: [{name: A, value: !!int s3cret}]}"),
        ("a.yaml", "htcJobDefinition: {imageName: a, envs: [{name: A, value: 0123456}]}"),
        ("a.json", '{"htcJobDefinition": {"envs": [{"name": "A", "value": 123456 "s3cret"}]}}'),
    ]:
        lines = validate(name, content)
        assert lines
        assert not [line for line in lines if "s3cret" in line or "123456" in line]


@pytest.mark.parametrize("name", ["-", "jobs.txt", "jobs"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (json.dumps(request_for()), ""),
        (DEFINITION, ""),
        ("[{htcJobDefinition: {imageName: a}}]", ""),
        ('{"a": [1}', ":1:9: syntax: got '}'; expected ','"),
        ("a: [1", ":1:6: syntax: while parsing a flow sequence"),
        ("", ":1:1: file: contains no submit request"),
    ],
)
def test_the_format_is_found_where_no_name_tells_it(
    tmp_path: Path, name: str, content: str, problem: str
) -> None:
    if name != "-":
        name = str(tmp_path / name)
        Path(name).write_text(content)
    status, lines = run("validate", name, stdin=content.encode())
    assert status == (2 if problem else 0)
    shown = "<stdin>" if name == "-" else name
    assert "".join(lines).startswith(f"{shown}{problem}" if problem else "")
    assert len(lines) == bool(problem)


def test_a_file_that_cannot_be_read_is_one_problem(tmp_path: Path) -> None:
    for name, reason in [
        (str(tmp_path), "can't be read: Is a directory"),
        ("a\0b", "can't be read: embedded null byte"),
        ("/dev/null", "contains no submit request; write one, or a list of them"),
    ]:
        assert run("validate", name) == (2, [f"{name}:1:1: file: {reason}"])


def test_the_standard_input_may_be_closed_or_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(_payload.UnreadableError, match="the standard input is closed"):
        _payload.read("-")
    monkeypatch.setattr(sys, "stdin", io.StringIO(DEFINITION))
    assert _payload.read("-").requests == [{"htcJobDefinition": {"imageName": "a"}}]


def merges(count: int) -> str:
    lines = ["a0: &a0 {" + ", ".join(f"k{index}: 1" for index in range(10)) + "}"]
    for index in range(1, count):
        aliases = ", ".join([f"*a{index - 1}"] * 9)
        lines.append(f"a{index}: &a{index} {{<<: [{aliases}], x{index}: *a{index - 1}}}")
    return "\n".join(lines)


def laughs(count: int) -> str:
    aliases = [", ".join([f"*a{index}"] * 9) for index in range(count)]
    return "- &a0 [lol]\n" + "".join(
        f"- &a{index} [{before}]\n" for index, before in enumerate(aliases, 1)
    )


BOMBS = {
    "brackets.json": "[" * 100_000,
    "closed.json": "[" * 100_000 + "]" * 100_000,
    "objects.json": '{"a":' * 100_000,
    "brackets.yaml": "[" * 100_000,
    "braces.yaml": "{a: " * 100_000,
    "dashes.yaml": "- " * 100_000,
    "keys.yaml": "? " * 100_000,
    "merges.yaml": merges(30),
    "laughs.yaml": laughs(30),
    "nested-merges.yaml": "- &a {" + ",".join(f"k{index}: 1" for index in range(9000)) + "}\n"
    + ("- " + "{<<: " * 90 + "*a" + "}" * 90 + "\n") * 9,
    "shared-text.yaml": f"- &s {'é' * 300_000}\n- htcJobDefinition: {{commands: ["
    + "*s, " * 9000 + "]}",
    "shared-key.yaml": f"- &a {{? {'k' * 50_000} : 1}}\n" + "- *a\n" * 300,
    "recursive.yaml": "&a [" + "*a, " * 9000 + "]",
    "directives.yaml": "".join(f"%TAG !a{index}! x\n" for index in range(50_000)) + "--- a",
    "batch.json": '{"batchSize": 1' + "0" * 90 + "}",
    "many-batches.json": "["
    + '{"batchSize":10000000,"htcJobDefinition":{"imageName":"a"}},' * 900
    + "{}]",
    "digits.yaml": "batchSize: " + "9" * 1_000_000,
    "digits.json": '{"batchSize": ' + "9" * 1_000_000 + "}",
    "hexadecimal.yaml": "batchSize: 0x" + "9" * 1_000_000,
    "dots.json": '{"' + ".[" * 400_000 + '": 1}',
    "repeated.json": "{" + '"a":1,' * 9000 + '"a":1}',
    "names.json": "{" + ",".join(f'"{index}":1' for index in range(10_000)) + "}",
    "items.json": '{"htcJobDefinition": {"imageName": "a", "commands": [' + "1," * 200_000 + "1]}}",
    "requests.json": "[" + "{}," * 10_000 + "{}]",
    "requests.yaml": "[" + "{}," * 10_000 + "{}]",
}  # fmt: skip


def test_time_memory_and_output_are_bounded(tmp_path: Path) -> None:
    """All of these with 500 MiB of address space, including the interpreter's own memory."""
    for name, content in BOMBS.items():
        (tmp_path / name).write_text(content)
    done = subprocess.run(
        [sys.executable, "-m", "rescalehtc.cli", "validate", *BOMBS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (500 * MIB, 500 * MIB)),
    )
    assert (done.returncode, done.stderr) == (2, "")
    lines = done.stdout.splitlines()
    found = {name: [line for line in lines if line.startswith(f"{name}:")] for name in BOMBS}
    assert sum(map(len, found.values())) == len(lines)
    for name, problems in found.items():
        assert 1 <= len(problems) <= 2000, name
        assert sum(map(len, problems)) < MIB, name
    for name in ("brackets.json", "closed.json", "objects.json", "brackets.yaml", "braces.yaml",
                 "dashes.yaml", "keys.yaml"):  # fmt: skip
        assert found[name] == [
            f"{name}:1:1: syntax: is nested too deeply; write at most 100 levels"
        ]
    for name in ("merges.yaml", "laughs.yaml", "nested-merges.yaml", "shared-text.yaml"):
        assert len(found[name]) == 1
        assert ": syntax: the aliases in a file must not stand for more than" in found[name][0]
