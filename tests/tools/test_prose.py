"""Text keeps the rules of CONTRIBUTING.md ("Writing"), as far as patterns can tell."""

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

# The files that keep the rules. Add yours.
CHECKED = [
    *("README.md", "CONTRIBUTING.md", "AGENTS.md", "SECURITY.md"),
    *(".github/*.md", ".github/ISSUE_TEMPLATE/*.yml"),
    *("docs/index.md", "docs/install.md", "docs/faq.md", "docs/glossary.md"),
    *(
        f"docs/how-to/{name}.md"
        for name in ("images", "retries", "cancelling", "costs", "gpus", "orchestrators", "pandas")
    ),
    *("docs/reference/htcjobs.md", "docs/reference/api.md"),
    *("codegen/commands.py", "codegen/schema.py", "docs/picture.py", "rescalehtc/_html.py"),
]

THING = "number|string|text|list|integer|dictionary|mapping|boolean|path|date|address|time|file"
RULES = {
    "1. use the field's word": r"sent again|asked (for )?again|passing errors?|harm\b|heed(s|ed)?\b"
    r"|turned round|goes before|in time\b(?! zone)|mends?\b",
    "2. no noun made of a what clause": r"(?:^|[.;,] |\b(?:of|with|from|in|to|for|and|than) )"
    r"what (?:is|was|were|are|it|you|can|has|had|comes|came|there|holds)\b(?![^.]*\?)",
    "3. name the actor": r"\b(is|are|was|were|be) (told|asked|heeded|let be)\b",
    "5. not a number": rf"(?<!there )\b(is|are) no ({THING})s?\b",
    "6. one per line": r"\ban? \w+ (each|a (line|row|job|request|file|page))\b|\bso many\b",
    "7. no metaphors": r"\b(two faces|storms?|rooms?|houses?|drained|hold nobody up)\b",
    "8. one idea a sentence": r";[^.;|]*;",
}


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """The paragraphs of a file with their lines, without code, and without quoted text."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from comments(text)
        yield from docstrings(text)
        return
    text = re.sub(r"^( *)(```|~~~).*?^\1\2", blank, text, flags=re.MULTILINE | re.DOTALL)
    yield from paragraphs(text, 1)


def blank(found: re.Match[str]) -> str:
    return "\n" * found[0].count("\n")


def paragraphs(text: str, line: int) -> Iterator[tuple[int, str]]:
    for part in re.split(r"(\n\s*\n)", text):
        yield (
            line,
            re.sub(r'`[^`]*`|"[^"]*"|\s+', lambda one: " " if one[0].isspace() else "x", part),
        )
        line += part.count("\n")


def comments(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield from paragraphs(token.string, token.start[0])


def docstrings(text: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text_of_node))):
                yield from paragraphs(text_of_node, node.lineno)
            case _:
                pass


FILES = sorted({path for pattern in CHECKED for path in ROOT.glob(pattern)})


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_keeps_the_rules(path: Path) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {rule}: ...{text[max(0, hit.start() - 30) : hit.end() + 30]}..."
        for line, text in prose(path)
        for rule, pattern in RULES.items()
        for hit in re.finditer(pattern, text, re.IGNORECASE)
    ]
    assert found == []


@pytest.mark.parametrize("pattern", CHECKED)
def test_each_pattern_finds_files(pattern: str) -> None:
    assert list(ROOT.glob(pattern))


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
        "Run `what is no number`, as in a time zone.",
    ):
        for _, text in paragraphs(right, 1):
            assert not [rule for rule in RULES if re.search(RULES[rule], text, re.IGNORECASE)], (
                right
            )
