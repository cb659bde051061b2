"""Read JSON and YAML as plain values with their locations, with limits for any text.

Both formats become the same events, and a composer makes values of them. The composer has its own
stack, and counts the values that aliases stand for, so that neither depth nor aliases exhaust the
memory. YAML is read with the core schema of YAML 1.2. `yes`, `on` and the other booleans of YAML
1.1 are booleans too, so that you must quote a string that other readers would take for a boolean.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..._collector import without_collections
from .composer import MAX_DEPTH, Composer
from .json_events import decode_json, read_json_children, read_json_events, skip_blanks
from .nodes import (
    UNREADABLE,
    Children,
    DocumentError,
    Finding,
    Node,
    line_and_column,
    one_line,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .nodes import Event

__all__ = [
    "UNREADABLE",
    "Document",
    "DocumentError",
    "Finding",
    "Node",
    "line_and_column",
    "one_line",
    "read_either",
    "read_json",
    "read_yaml",
]


class Document:
    """A text, its value and its problems.

    Attributes:
        text: The text.
        root: The value with its locations. UNREADABLE replaces each part that has a problem.
        findings: The problems.
    """

    def __init__(self, text: str, root: Node, findings: list[Finding] | None = None) -> None:
        self.text = text
        self.root = root
        self.findings: list[Finding] = findings or []

    def children(self, node: Node) -> Children:
        """The nodes of a list's items or of a mapping's entries. Empty for other values."""
        if node.children is None and type(node.value) in (list, dict):
            node.children = read_json_children(self.text, node)
        return node.children or []


def read_json(text: str) -> Document:
    """Read JSON.

    Raises:
        DocumentError: The text is not JSON, or is nested too deeply.
    """
    try:
        value = decode_json(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError):
            _raise_syntax_error(text)
        return _compose(text, read_json_events(text))
    return Document(text, Node(skip_blanks(text, 0), value))


def _raise_syntax_error(text: str) -> None:
    """Raise the error of invalid JSON, unless it is nested too deeply. Faster than composing."""
    depth = 0
    for event in read_json_events(text):
        depth += (event.kind in ("{", "[")) - (event.kind == "end")
        if depth > MAX_DEPTH:
            return


def read_yaml(text: str) -> Document:
    """Read YAML: one document, with the tags of the core schema only.

    Raises:
        DocumentError: The text is not such YAML, or exceeds a limit.
    """
    from .yaml_events import read_yaml_events

    return _compose(text, read_yaml_events(text))


def read_either(text: str) -> Document:
    """Read a text that is JSON or YAML.

    Raises:
        DocumentError: The text is neither, or exceeds a limit.
    """
    try:
        return read_json(text)
    except DocumentError as error:
        json_error = error
    try:
        return read_yaml(text)
    except DocumentError as yaml_error:
        is_like_json = text[skip_blanks(text, 0) :][:1] in ("{", "[")
        raise (json_error if is_like_json else yaml_error) from None


@without_collections
def _compose(text: str, events: Iterator[Event]) -> Document:
    composer = Composer(events)
    return Document(text, composer.root, composer.findings)
