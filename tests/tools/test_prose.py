"""All text follows the rules of CONTRIBUTING.md ("Writing"), as far as patterns can check."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (".github", "benchmarks", "codegen", "docs", "examples", "openapi", "rescalehtc", "tests")
KINDS = (".md", ".py", ".yaml", ".yml")
NOT_CHECKED = [
    *("tests/data/*/*", "tests/tools/test_prose.py"),  # intentional mistakes
    # generated from checked files
    *("rescalehtc/aio/*", "rescalehtc/aio/*/*", "docs/operations.md", "docs/commands/*"),
    *(f"rescalehtc/{name}.py" for name in ("api", "models", "records", "types", "_facts")),
]
FILES = [
    path
    for folder in ("", *FOLDERS)
    for path in sorted((ROOT / folder).glob("**/*" if folder else "*"))
    if path.suffix in KINDS and not any(map(path.relative_to(ROOT).match, NOT_CHECKED))
]

THING = "number|string|text|list|integer|dictionary|mapping|boolean|path|date|address|time|file"
RULES = {
    "1. use the field's word": r"\b(sent again|asked (for )?again|passing errors?|harm|heed(s|ed)?"
    r"|turned round|goes before|mends?|guesswork|side by side|in place of|presigned address"
    r"|trying again|in (our )?words|(no|whole|unreadable) answer|by (itself|themselves))\b",
    "2. no noun made of a what clause": r"(?:^|[.;,:] |\b(?:of|with|from|in|to|for|and|than) )"
    r"what (?:an?|the|is|was|were|are|its?|you|jobs|can|has|had|must|comes|came|there|holds)\b"
    r"(?![^.]*\?)|\b(who|what)ever\b",
    "3. name the actor": r"\b(is|are|was|were|be) (told|asked|heeded|let be)\b|\b(some|no)body\b",
    "5. not a number": rf"(?<!there )\b(is|are) no ({THING})s?\b",
    "6. one per line": r"\ban? \w+ (each|a (line|row|job|request|file|page))\b|\bso many\b",
    "7. no metaphors": r"\b(two faces|storms?|rooms?|houses?|drained|hold nobody up|vouch(es)?"
    r"|strikes?|struck|untold|speaks?|(goes|go|went) on|of (its|their|our|one's) own)\b",
    "8. one idea a sentence": r";[^;.|]*;",
    "10. a noun close by": r"\b(but for|all the same|(make|create) one\.)",
}


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """The paragraphs of a file with their lines, without code, and without quoted text."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from comments(text)
        yield from strings(text, "tests" not in path.parts)
        return
    text = re.sub(r"^( *)(```|~~~).*?^\1\2", blank, text, flags=re.MULTILINE | re.DOTALL)
    if path.suffix != ".md":
        text = re.sub(r"^# .*", "", text, flags=re.MULTILINE)  # tables in comments
    yield from paragraphs(text, 1)


def blank(found: re.Match[str]) -> str:
    return "\n" * found[0].count("\n")


def paragraphs(text: str, line: int) -> Iterator[tuple[int, str]]:
    for part in re.split(r"(\n\s*\n)", text):
        yield (
            line,
            re.sub(r'`[^`]*`|"[^"]*"|\s+', lambda item: " " if item[0].isspace() else "x", part),
        )
        line += part.count("\n")


def comments(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield from paragraphs(token.string, token.start[0])


def strings(text: str, with_messages: bool) -> Iterator[tuple[int, str]]:
    """Docstrings, and messages: strings of several words that are not programs."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(docstring))):
                yield from paragraphs(docstring, node.lineno)
            case ast.Constant(value=str(message)) if with_messages and message.count(" ") > 2:
                yield from paragraphs(re.sub("[;{}]", "", message), node.lineno)
            case _:
                pass


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_keeps_the_rules(path: Path) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {rule}: ...{text[max(0, hit.start() - 30) : hit.end() + 30]}..."
        for line, text in prose(path)
        for rule, pattern in RULES.items()
        for hit in re.finditer(pattern, text, re.IGNORECASE)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ("it is sent again after passing errors", "1"),
        ("Reads of what was submitted fail.", "2"),
        ("it is told in a variable", "3"),
        ("maxVCpus is no number", "5"),
        ("prints a line each", "6"),
        ("an object a line", "6"),
        ("two faces of the same data", "7"),
        ("one; two; three", "8"),
        ("complete, but for the last line", "10"),
    ],
)
def test_a_mistake_of_each_kind_is_found(wrong: str, rule: str) -> None:
    assert next(name for name in RULES if re.search(RULES[name], wrong)).startswith(rule)


def test_right_sentences_are_let_through() -> None:
    for right in (
        "What happens to the jobs if I press Ctrl-C?",
        "there is no file",
        "one object per line",
        "Idempotent requests are retried.",
        "Not all jobs ended in time.",
        "Run `what is no number`, as in a time zone.",
    ):
        for _, text in paragraphs(right, 1):
            assert not [rule for rule in RULES if re.search(RULES[rule], text, re.IGNORECASE)], (
                right
            )
