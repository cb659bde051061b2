"""What CONTRIBUTING promises about files and names, and about exceptions from strict types."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "rescalehtc"
SOURCES = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
WRITTEN = {
    path: text
    for path, text in SOURCES.items()
    if "GENERATED" not in text[:1000].partition("\nimport")[0]
}


# Participles and pronouns that say nothing about a value.
VAGUE_NAME = re.compile(
    "_?(asked|given|gone|kept|made|nothing|ours|said|theirs|told|wanted|what|whose)", re.IGNORECASE
)


def names_defined_in(source: str) -> set[str]:
    """The names of the variables, arguments, attributes, functions and classes of a file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                names.add(name)
            case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case _:
                pass
    return names


def test_names_are_nouns_and_verbs_that_describe_the_value() -> None:
    folders = (PACKAGE, ROOT / "codegen", ROOT / "benchmarks")
    vague = [
        f"{path.name}: {name}"
        for folder in folders
        for path in folder.rglob("*.py")
        for name in names_defined_in(path.read_text(encoding="utf-8"))
        if VAGUE_NAME.fullmatch(name)
    ]
    assert vague == []


def test_no_file_written_by_hand_has_more_than_400_lines() -> None:
    assert len(WRITTEN) > 100
    assert [path for path, text in WRITTEN.items() if len(text.splitlines()) > 400] == []


def test_at_most_eight_lines_are_exempt_from_pyright_and_each_says_why() -> None:
    exempt = [
        line for text in WRITTEN.values() for line in text.splitlines() if "pyright: ignore" in line
    ]
    assert len(exempt) <= 8
    assert [line for line in exempt if not re.search(r"ignore\[\w+\] +- \w", line)] == []
