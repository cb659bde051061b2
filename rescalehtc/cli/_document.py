"""JSON and YAML text as plain values that know their places, within bounds for any text.

Both formats become the same events, and one composer makes values of them. It keeps its own
stack and counts the values that aliases stand for, so neither depth nor aliases can exhaust
memory. YAML is read by the core schema of YAML 1.2. The words that YAML 1.1 takes for booleans,
such as `yes` and `on`, are booleans too: text must have quotes wherever readers disagree.
"""

from __future__ import annotations

import bisect
import functools
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 100
MAX_DIGITS = 100
MAX_PROBLEMS = 1000
MAX_SHOWN_CHARACTERS = 80
# How many values aliases may stand for in one file. A string counts once for each 64 characters.
MAX_ALIASED_VALUES = 1_000_000
CHARACTERS_PER_VALUE = 64
# Of a YAML key without `? `.
MAX_KEY_CHARACTERS = 1024

_LINE_END = re.compile(r"\r\n?|\n")
_BLANKS = re.compile(r"[ \t\n\r]*")
_NOT_YAML = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"  # nor lone surrogates
)
_YAML_TAG = "tag:yaml.org,2002:"
_TAG_DIRECTIVE = re.compile(r"^%TAG", re.MULTILINE)
_VALUE_STARTS = ("", *"~nNtTfFyYoO0123456789+-.")
_YAML_VALUE = re.compile(
    r"""(?P<null> ~ | null | Null | NULL | )
    | (?P<true> true | True | TRUE | yes | Yes | YES | on | On | ON )
    | (?P<false> false | False | FALSE | no | No | NO | off | Off | OFF )
    | (?P<int> [-+]?(?: 0 | [1-9][0-9]* ) | 0x[0-9a-fA-F]+ | 0o[0-7]+ )
    | (?P<leading_zero> [-+]?0[0-9]+ )
    | (?P<float> [-+]?(?: \.[0-9]+ | [0-9]+(?:\.[0-9]*)? )(?:[eE][-+]?[0-9]+)? )
    | (?P<not_finite> [-+]?\.(?: inf | Inf | INF ) | \.(?: nan | NaN | NAN ) )
    """,
    re.VERBOSE,
)
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# Stands for a value that has a problem already.
UNREADABLE = object()
# Stands for the YAML key `<<` without quotes.
_MERGE = object()


class Finding(NamedTuple):
    """A problem of a text, at a number of characters from its start."""

    offset: int
    where: str
    message: str


class DocumentError(Exception):
    """The text is not JSON or YAML, or exceeds what is read."""

    def __init__(self, offset: int, message: str, where: str = "syntax") -> None:
        super().__init__(message)
        self.finding = Finding(offset, where, message)


@dataclass(slots=True, eq=False)
class Node:
    """A value and its place.

    Attributes:
        offset: Where it begins.
        value: The plain value; UNREADABLE if it has a problem.
        children: The nodes of a list's items, or by name of a mapping's entries; None of
            other values, and of JSON that nobody looked into yet.
        size: How many values it stands for, aliases included; 0 until its end was read.
    """

    offset: int
    value: object
    children: Children | None = None
    size: int = 1


class Entry(NamedTuple):
    """An entry of a mapping: where its key begins, and its value."""

    offset: int
    node: Node


Children = list[Node] | dict[str, Entry]


class Document:
    """What a text holds.

    Attributes:
        text: The text.
        root: The value with its places; UNREADABLE stands for each part that has a problem.
        findings: The problems.
    """

    def __init__(self, text: str, root: Node, findings: list[Finding] | None = None) -> None:
        self.text = text
        self.root = root
        self.findings: list[Finding] = findings or []

    def children(self, node: Node) -> Children:
        """The nodes of a list's items or of a mapping's entries; nothing of other values."""
        if node.children is None and type(node.value) in (list, dict):
            node.children = _json_children(self.text, node)
        return node.children or []


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """The line and the column of a character, both from 1, as editors count them."""
    starts = _line_starts(text)
    line = bisect.bisect_right(starts, offset)
    return line, offset - starts[line - 1] + 1


@functools.lru_cache(maxsize=1)
def _line_starts(text: str) -> list[int]:
    return [0, *(match.end() for match in _LINE_END.finditer(text))]


def one_line(text: str, limit: int = MAX_SHOWN_CHARACTERS) -> str:
    """The text, cut at a number of characters and with escape sequences for the unprintable."""
    cut = text[: limit + 1]
    if not cut.isprintable():
        cut = "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut)
    return cut if len(cut) <= limit else f"{cut[:limit]}…"


def read_json(text: str) -> Document:
    """Read JSON.

    Raises:
        DocumentError: The text is not JSON, or is nested too deeply.
    """
    try:
        value: object = json.loads(
            text, object_pairs_hook=_unique, parse_int=_integer, parse_constant=_refuse
        )
    except (ValueError, RecursionError):
        return _composed(text, _json_events(text))
    return Document(text, Node(_blanks_end(text, 0), value))


def read_yaml(text: str) -> Document:
    """Read YAML: one document, with the tags of the core schema only.

    Raises:
        DocumentError: The text is not such YAML, or exceeds what is read.
    """
    return _composed(text, _yaml_events(text))


def read_either(text: str) -> Document:
    """Read JSON or YAML, whichever it is.

    Raises:
        DocumentError: It is neither, or exceeds what is read.
    """
    try:
        return read_json(text)
    except DocumentError as error:
        json_error = error
    try:
        return read_yaml(text)
    except DocumentError as yaml_error:
        is_like_json = text[_blanks_end(text, 0) :][:1] in ("{", "[")
        raise (json_error if is_like_json else yaml_error) from None


def _composed(text: str, events: Iterator[_Event]) -> Document:
    composer = _Composer(events)
    return Document(text, composer.root, composer.findings)


class _Unreadable(NamedTuple):
    """In the place of a scalar's value: what is wrong with it."""

    message: str


class _Event(NamedTuple):
    """A step through a text: `{`, `[`, their `end`, a `scalar`, or an `alias` of an anchor."""

    kind: str
    offset: int
    value: object = None
    text: str = ""
    anchor: str | None = None


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end was not read yet.

    Attributes:
        key: A mapping's last key, while its value was not read.
        name: That key as text.
        merged: The mappings given with `<<`.
    """

    node: Node
    key: Node | None = None
    name: str = ""
    merged: list[Node] = field(default_factory=list["Node"])


class _Composer:
    """Makes one value of events.

    Attributes:
        root: The value with its places.
        findings: The problems found on the way.
    """

    root: Node

    def __init__(self, events: Iterator[_Event]) -> None:
        self.findings: list[Finding] = []
        self._anchors: dict[str, Node] = {}
        self._aliased = 0
        self._stack: list[_Open] = []
        for event in events:
            if event.kind == "{":
                self._open(Node(event.offset, {}, {}, size=0), event.anchor)
            elif event.kind == "[":
                self._open(Node(event.offset, [], [], size=0), event.anchor)
            elif event.kind == "end":
                self._add(_closed(self._stack.pop()), "")
            elif event.kind == "alias":
                self._add(self._aliased_node(event), event.text)
            else:
                self._add(self._scalar(event), event.text)

    def _open(self, node: Node, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = node
        self._stack.append(_Open(node))
        if len(self._stack) > MAX_DEPTH:
            start = MAX_DEPTH  # the outermost one that begins with nothing but the next one
            while start and not self._stack[start - 1].node.children:
                start -= 1
            message = f"is nested too deeply; write at most {MAX_DEPTH} levels"
            raise DocumentError(self._stack[start].node.offset, message)

    def _scalar(self, event: _Event) -> Node:
        node = Node(event.offset, event.value, size=_size(event.text))
        if isinstance(event.value, _Unreadable):
            node.value = UNREADABLE
            name = event.text if self._awaits_key() else None
            self._report(node.offset, event.value.message, name)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _aliased_node(self, event: _Event) -> Node:
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
        """Add a complete value to what is open; its text, if it has one, makes it a key."""
        top = self._stack[-1] if self._stack else None
        if node.value is _MERGE and not self._awaits_key():
            node.value = "<<"
        if top is None:
            self.root = node
        elif isinstance(top.node.children, list):
            top.node.children.append(node)
            cast("list[object]", top.node.value).append(node.value)
        elif top.key is None:
            self._set_key(top, node, text)
        else:
            self._add_entry(top, top.key, node)
            top.key = None

    def _set_key(self, top: _Open, key: Node, text: str) -> None:
        top.key = key
        top.name = key.value if isinstance(key.value, str) else text
        if isinstance(key.value, str) or key.value in (_MERGE, UNREADABLE):
            return
        hint = f'write "{one_line(text)}" in quotes' if text else "write a name before the colon"
        self._report(key.offset, f"the key must be a string, not {_KINDS[type(key.value)]}; {hint}")

    def _add_entry(self, top: _Open, key: Node, node: Node) -> None:
        if key.value is _MERGE:
            self._merge(top, key, node)
        elif isinstance(key.value, str):
            children = cast("dict[str, Entry]", top.node.children)
            if key.value in children:
                self._report_repeated(key.offset, key.value)
            children[key.value] = Entry(key.offset, node)
            cast("dict[str, object]", top.node.value)[key.value] = node.value

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
        message = f"is given twice in the same place{hint}"
        self._add_finding(Finding(offset, one_line(name), message))

    def _add_finding(self, finding: Finding) -> None:
        if len(self.findings) < MAX_PROBLEMS:
            self.findings.append(finding)
        elif len(self.findings) == MAX_PROBLEMS:
            message = f"has more problems than the first {MAX_PROBLEMS:,}"
            self.findings.append(Finding(finding.offset, "text", message))

    def _where(self, key: str | None = None) -> str:
        """The path of what is read now, such as `[0].envs[1].name`, or of a key there."""
        where = ""
        for opened in self._stack:
            if isinstance(opened.node.children, list):
                where += f"[{len(opened.node.children)}]"
            elif opened.key and opened.key.children is None:
                where += f".{one_line(opened.name)}"
        if key is not None:
            where += f".{one_line(key)}"
        return where.removeprefix(".") or "text"


def _closed(opened: _Open) -> Node:
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


_KINDS: dict[type, str] = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
    list: "a list",
    dict: "a mapping",
}
_TOO_LONG = f"must have at most {MAX_DIGITS} digits; put it in quotes if it is text"


# JSON. The decoder of the standard library reads all that has no problem. Otherwise these
# events tell where each part is; the decoder reads the scalars.


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name is repeated")
    return made


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(_TOO_LONG)
    return int(digits)


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _integer_or_problem(digits: str) -> object:
    return _Unreadable(_TOO_LONG) if len(digits) > MAX_DIGITS else int(digits)


def _constant_problem(name: str) -> object:
    return _Unreadable(f'{name} is not JSON; write a number, null or "{name}"')


_SCALARS = json.JSONDecoder(parse_int=_integer_or_problem, parse_constant=_constant_problem)
_VALUE = "a value: a string in double quotes, a number, true, false, null, a list or an object"
_NAME = "a name in double quotes"
_EXPECTED = {
    "value": _VALUE,
    "first value": f"']' or {_VALUE}",
    "name": _NAME,
    "first name": f"'}}' or {_NAME}",
    "colon": "':'",
    "comma": "',' or the closing bracket",
    "nothing": "the end of the file; several requests must be in a list, [..., ...]",
}
_STRING_ERRORS = {
    "Unterminated": "this string needs a closing quote",
    "Invalid control": r"a string must not have this character; write \n, \t or \u and its code",
    "Invalid \\": r"a string must not have this escape sequence; write \\ for a backslash",
}


def _json_events(text: str) -> Iterator[_Event]:
    closers: list[str] = []
    expected = "value"
    position = 0
    while True:
        start = _blanks_end(text, position)
        char = text[start : start + 1]
        position = start + 1
        if expected == "nothing" and not char:
            return
        if expected in ("first value", "first name", "comma") and char == closers[-1]:
            yield _Event("end", start)
            closers.pop()
        elif expected == "comma" and char == ",":
            expected = "name" if closers[-1] == "}" else "value"
            continue
        elif expected == "colon" and char == ":":
            expected = "value"
            continue
        elif expected in ("value", "first value") and char in ("{", "["):
            yield _Event(char, start)
            closers.append("}" if char == "{" else "]")
            expected = "first name" if char == "{" else "first value"
            continue
        elif expected in ("name", "first name") and char == '"':
            name, position = _json_scalar(text, start)
            yield _Event("scalar", start, name, str(name))
            expected = "colon"
            continue
        elif expected in ("value", "first value") and char and char in '"-0123456789tfnNI':
            value, position = _json_scalar(text, start)
            yield _Event("scalar", start, value, value if isinstance(value, str) else "")
        else:
            raise _unexpected(text, start, expected)
        expected = "comma" if closers else "nothing"


def _json_children(text: str, node: Node) -> Children:
    """The nodes of a list or an object; the text is known to be JSON."""
    values = cast("dict[Any, object]", node.value)
    is_object = text[node.offset] == "{"
    items: list[Node] = []
    entries: dict[str, Entry] = {}
    start = _blanks_end(text, node.offset + 1)
    try:
        while text[start] not in "]}":
            name: Any = len(items)
            value_start = start
            if is_object:
                name, colon = _SCALARS.raw_decode(text, start)
                value_start = _blanks_end(text, _blanks_end(text, colon) + 1)
            child = Node(value_start, values[name])
            items.append(child)
            entries[name] = Entry(start, child)
            end = _blanks_end(text, _SCALARS.raw_decode(text, value_start)[1])
            start = _blanks_end(text, end + 1) if text[end] == "," else end
    except RecursionError:  # it is nested to the limit; places deep inside are not found
        pass
    return entries if is_object else items


def _json_scalar(text: str, start: int) -> tuple[object, int]:
    try:
        return _SCALARS.raw_decode(text, start)
    except json.JSONDecodeError as error:
        for beginning, message in _STRING_ERRORS.items():
            if error.msg.startswith(beginning):
                raise DocumentError(error.pos, message) from None
    raise _unexpected(text, start, "value")


def _unexpected(text: str, offset: int, expected: str) -> DocumentError:
    got = repr(text[offset]) if offset < len(text) else "the end of the file"
    return DocumentError(offset, f"got {got}; expected {_EXPECTED[expected]}")


def _blanks_end(text: str, start: int) -> int:
    match = _BLANKS.match(text, start)
    return match.end() if match else start


# YAML


def _yaml_events(text: str) -> Iterator[_Event]:
    refused = _NOT_YAML.search(text)
    if refused:
        code = f"U+{ord(refused[0]):04X}"
        message = f"YAML must not have the character {code}; write an escape sequence in quotes"
        raise DocumentError(refused.start(), message)
    directive = _TAG_DIRECTIVE.search(text)  # their number would make the reader slow
    if directive:
        raise DocumentError(directive.start(), "%TAG is not supported; remove this line")
    documents = 0
    try:
        for event in yaml.parse(text, Loader=_Loader):
            offset: int = cast("yaml.Mark", event.start_mark).index
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    message = "a file holds one document; write a list, each item after '- '"
                    raise DocumentError(offset, message)
            elif isinstance(event, yaml.ScalarEvent):
                value = _yaml_value(event, offset)
                yield _Event("scalar", offset, value, event.value, event.anchor)
            elif isinstance(event, yaml.MappingStartEvent):
                _check_tag(event.tag, "map", offset)
                yield _Event("{", offset, anchor=event.anchor)
            elif isinstance(event, yaml.SequenceStartEvent):
                _check_tag(event.tag, "seq", offset)
                yield _Event("[", offset, anchor=event.anchor)
            elif isinstance(event, yaml.CollectionEndEvent):
                yield _Event("end", offset)
            elif isinstance(event, yaml.AliasEvent):
                yield _Event("alias", offset, text=cast("str", event.anchor))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: of PyYAML without its C parser
        raise _yaml_error(text, error) from None
    if not documents:
        raise DocumentError(0, "holds no submit request; write one, or a list of them", "file")


def _yaml_error(text: str, error: yaml.YAMLError | ValueError) -> DocumentError:
    if not isinstance(error, yaml.MarkedYAMLError):
        return DocumentError(0, one_line(str(error), 300))
    mark = error.problem_mark or error.context_mark
    offset = mark.index if mark else 0
    character = text[offset : offset + 1]
    message = ": ".join(filter(None, (error.context, error.problem))) or "is not YAML"
    if character == "\t":
        hint = "indent with spaces, not tabs"
    elif "directive" in message or "incompatible" in message:
        hint = "remove this line"
    elif "cannot start any token" in message:
        hint = f"put text that starts with {character} in quotes"
    elif "mapping values" in message and mark and mark.column > MAX_KEY_CHARACTERS:
        hint = f"write '? ' before a key of over {MAX_KEY_CHARACTERS:,} characters"
    elif "mapping values" in message:
        hint = "put text that has ': ' in quotes"
    else:
        hint = "check the indentation, brackets and quotes up to here"
    return DocumentError(offset, f"{one_line(message, 300)}; {hint}")


def _check_tag(tag: str | None, supported: str, offset: int) -> None:
    if tag not in (None, "!", _YAML_TAG + supported):
        shown = one_line((tag or "").replace(_YAML_TAG, "!!"))
        raise DocumentError(offset, f"the tag {shown} is not supported here; remove it")


def _yaml_value(event: yaml.ScalarEvent, offset: int) -> object:
    text: str = event.value
    tag: str | None = event.tag
    if tag is None or tag == "!":
        if tag or not event.implicit[0]:
            return text
        return _MERGE if text == "<<" else _plain_value(text)
    kind = tag.removeprefix(_YAML_TAG)
    if kind == "str":
        return text
    _check_tag(tag, kind if kind in _TAGGED else "str", offset)
    value = _plain_value(text)
    if kind == "float" and type(value) is int:
        return float(value)
    if type(value) in (_TAGGED[kind], _Unreadable):
        return value
    return _Unreadable(f"does not fit its tag, !!{kind}; remove the tag or correct the value")


_TAGGED: dict[str, type] = {"int": int, "float": float, "bool": bool, "null": type(None)}


def _plain_value(text: str) -> object:
    """The value of a scalar without quotes."""
    match = _YAML_VALUE.fullmatch(text) if text[:1] in _VALUE_STARTS else None
    if match is None:
        return text
    match match.lastgroup:
        case "null":
            return None
        case "true" | "false" as word:
            return word == "true"
        case "leading_zero":
            return _Unreadable(
                "has a leading zero, so some read it as octal; remove it, or put text in quotes"
            )
        case "int":
            return int(text, 0) if len(text) <= MAX_DIGITS else _Unreadable(_TOO_LONG)
        case _:
            return float(text if match["float"] else text.replace(".", ""))
