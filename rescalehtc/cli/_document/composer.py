"""Compose one value, with the locations of its parts, from events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from .nodes import (
    MERGE_KEY,
    UNREADABLE,
    DocumentError,
    Entry,
    Finding,
    InvalidScalar,
    Node,
    one_line,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .nodes import Event

MAX_DEPTH = 100
MAX_PROBLEMS = 1000
# The number of values that the aliases of a file may stand for. A string counts once per 64 characters.
MAX_ALIASED_VALUES = 1_000_000
CHARACTERS_PER_VALUE = 64

_KINDS: dict[type, str] = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
    list: "a list",
    dict: "a mapping",
}


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not been read yet.

    Attributes:
        key: The last key of a mapping, until its value has been read.
        name: The key as a string.
        merged: The mappings after `<<`.
    """

    node: Node
    key: Node | None = None
    name: str = ""
    merged: list[Node] = field(default_factory=list["Node"])


class Composer:
    """Composes one value from events.

    Attributes:
        root: The value with its locations.
        findings: The problems.
    """

    root: Node

    def __init__(self, events: Iterator[Event]) -> None:
        self.findings: list[Finding] = []
        self._anchors: dict[str, Node] = {}
        self._aliased = 0
        self._stack: list[_Open] = []
        for event in events:
            if event.kind == "scalar":
                self._add(self._scalar(event), event.text)
            elif event.kind == "{":
                self._open(Node(event.offset, {}, {}, size=0), event.anchor)
            elif event.kind == "[":
                self._open(Node(event.offset, [], [], size=0), event.anchor)
            elif event.kind == "end":
                self._add(_close(self._stack.pop()), "")
            else:
                self._add(self._resolve_alias(event), event.text)
            if len(self.findings) > MAX_PROBLEMS:
                self.root = Node(event.offset, UNREADABLE)
                return

    def _open(self, node: Node, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = node
        self._stack.append(_Open(node))
        if len(self._stack) > MAX_DEPTH:
            start = MAX_DEPTH  # the outermost one that contains only the next one so far
            while start and not self._stack[start - 1].node.children:
                start -= 1
            message = f"is nested too deeply; write at most {MAX_DEPTH} levels"
            raise DocumentError(self._stack[start].node.offset, message)

    def _scalar(self, event: Event) -> Node:
        node = Node(event.offset, event.value, size=_size(event.text))
        if isinstance(event.value, InvalidScalar):
            node.value = UNREADABLE
            name = event.text if self._awaits_key() else None
            self._report(node.offset, event.value.message, name)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _resolve_alias(self, event: Event) -> Node:
        node = self._anchors.get(event.text)
        shown = one_line(event.text)
        if node is None:
            self._report(event.offset, f"*{shown} needs an anchor, &{shown}, before it")
        elif node.size == 0:
            self._report(node.offset, f"must not contain itself: *{shown} is inside of &{shown}")
        else:
            self._count(node, event.offset)
            return node
        return Node(event.offset, UNREADABLE)

    def _count(self, node: Node, offset: int) -> None:
        self._aliased += node.size
        if self._aliased > MAX_ALIASED_VALUES:
            limit = f"{MAX_ALIASED_VALUES:,}"
            message = f"the aliases in a file must not stand for more than {limit} values in all"
            raise DocumentError(offset, f"{message}; write several files")

    def _awaits_key(self) -> bool:
        return bool(
            self._stack
            and isinstance(self._stack[-1].node.children, dict)
            and self._stack[-1].key is None
        )

    def _add(self, node: Node, text: str) -> None:
        """Add a complete value, or a key with its text, to the open list or mapping."""
        top = self._stack[-1] if self._stack else None
        if node.value is MERGE_KEY and not self._awaits_key():
            node.value = "<<"
        if top is None:
            self.root = node
        elif isinstance(top.node.children, list):
            values: Any = top.node.value
            values.append(node.value)
            top.node.children.append(node)
        elif top.key is None:
            self._set_key(top, node, text)
        else:
            self._add_entry(top, top.key, node)
            top.key = None

    def _set_key(self, top: _Open, key: Node, text: str) -> None:
        top.key = key
        top.name = key.value if isinstance(key.value, str) else text
        if isinstance(key.value, str) or key.value in (MERGE_KEY, UNREADABLE):
            return
        hint = f'write "{one_line(text)}" in quotes' if text else "write a name before the colon"
        self._report(key.offset, f"the key must be a string, not {_KINDS[type(key.value)]}; {hint}")

    def _add_entry(self, top: _Open, key: Node, node: Node) -> None:
        if key.value is MERGE_KEY:
            self._merge(top, key, node)
        elif isinstance(key.value, str):
            children: Any = top.node.children
            values: Any = top.node.value
            if key.value in children:
                self._report_repeated(key.offset, key.value)
            children[key.value] = Entry(key.offset, node)
            values[key.value] = node.value

    def _merge(self, top: _Open, key: Node, node: Node) -> None:
        if top.merged:
            self._report_repeated(key.offset, "<<", "; write <<: [*first, *second]")
        mappings = node.children if isinstance(node.children, list) else [node]
        for mapping in mappings:
            if isinstance(mapping.children, dict):
                self._count(mapping, mapping.offset)
                top.merged.append(mapping)
            elif mapping.value is not UNREADABLE:
                self._report(mapping.offset, "must be a mapping or a list of them, as in <<: *name")

    def _report(self, offset: int, message: str, key: str | None = None) -> None:
        self._add_finding(Finding(offset, self._where(key), message))

    def _report_repeated(self, offset: int, name: str, hint: str = "") -> None:
        message = f"is a duplicate key{hint}"
        self._add_finding(Finding(offset, one_line(name), message))

    def _add_finding(self, finding: Finding) -> None:
        if len(self.findings) < MAX_PROBLEMS:
            self.findings.append(finding)
        else:
            message = f"has more problems than the first {MAX_PROBLEMS:,}"
            self.findings.append(Finding(finding.offset, "text", message))

    def _where(self, key: str | None = None) -> str:
        """Return the path of the current value or key, such as `[0].envs[1].name`."""
        where = ""
        for opened in self._stack:
            if isinstance(opened.node.children, list):
                where += f"[{len(opened.node.children)}]"
            elif opened.key and opened.key.children is None:
                where += f".{one_line(opened.name)}"
        if key is not None:
            where += f".{one_line(key)}"
        return where.removeprefix(".") or "text"


def _close(opened: _Open) -> Node:
    node = opened.node
    if isinstance(node.children, dict):
        value = cast("dict[str, object]", node.value)
        for mapping in opened.merged:
            for name, entry in cast("dict[str, Entry]", mapping.children).items():
                if name not in node.children:
                    node.children[name] = entry
                    value[name] = entry.node.value
        sizes = (_size(name) + entry.node.size for name, entry in node.children.items())
    else:
        sizes = (child.size for child in node.children or ())
    node.size = 1 + sum(sizes)
    return node


def _size(text: str) -> int:
    return 1 + len(text) // CHARACTERS_PER_VALUE
