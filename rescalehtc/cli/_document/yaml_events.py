"""Read YAML as events, with the core schema of YAML 1.2."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import yaml

from .nodes import (
    MAX_DIGITS,
    MERGE_KEY,
    TOO_MANY_DIGITS,
    DocumentError,
    Event,
    InvalidScalar,
    one_line,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# The limit for a key without `? `.
MAX_KEY_CHARACTERS = 1024

_NOT_YAML = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"  # no lone surrogates either
)
_YAML_TAG = "tag:yaml.org,2002:"
_TAG_DIRECTIVE = re.compile(r"^%TAG", re.MULTILINE)
_VALUE_STARTS = frozenset(("", *"~nNtTfFyYoO0123456789+-."))
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


def read_yaml_events(text: str) -> Iterator[Event]:
    """Yield the events of a text.

    Raises:
        DocumentError: The text is not YAML, or uses something that is not supported.
    """
    refused = _NOT_YAML.search(text)
    if refused:
        code = f"U+{ord(refused[0]):04X}"
        message = f"YAML must not have the character {code}; write an escape sequence in quotes"
        raise DocumentError(refused.start(), message)
    directive = _TAG_DIRECTIVE.search(text)  # many of them would make the reader slow
    if directive:
        raise DocumentError(directive.start(), "%TAG is not supported; remove this line")
    documents = 0
    try:
        for event in yaml.parse(text, Loader=_Loader):
            offset: int = cast("yaml.Mark", event.start_mark).index
            if isinstance(event, yaml.ScalarEvent):  # the most frequent kind
                value = _yaml_value(event, offset)
                yield Event("scalar", offset, value, event.value, event.anchor)
            elif isinstance(event, yaml.MappingStartEvent):
                if event.tag is not None:
                    _check_tag(event.tag, "map", offset)
                yield Event("{", offset, anchor=event.anchor)
            elif isinstance(event, yaml.SequenceStartEvent):
                if event.tag is not None:
                    _check_tag(event.tag, "seq", offset)
                yield Event("[", offset, anchor=event.anchor)
            elif isinstance(event, yaml.CollectionEndEvent):
                yield Event("end", offset)
            elif isinstance(event, yaml.AliasEvent):
                yield Event("alias", offset, text=cast("str", event.anchor))
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    message = "a file holds one document; write a list, each item after '- '"
                    raise DocumentError(offset, message)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: from PyYAML without its C parser
        raise _yaml_error(text, error) from None
    if not documents:
        raise DocumentError(0, "contains no submit request; write one, or a list of them", "file")


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


def _check_tag(tag: str, supported: str, offset: int) -> None:
    if tag not in ("!", _YAML_TAG + supported):
        shown = one_line(tag.replace(_YAML_TAG, "!!"))
        raise DocumentError(offset, f"the tag {shown} is not supported here; remove it")


def _yaml_value(event: yaml.ScalarEvent, offset: int) -> object:
    text: str = event.value
    tag: str | None = event.tag
    if tag is None or tag == "!":
        if tag or not event.implicit[0]:
            return text
        return MERGE_KEY if text == "<<" else _plain_value(text)
    kind = tag.removeprefix(_YAML_TAG)
    if kind == "str":
        return text
    _check_tag(tag, kind if kind in _TAGGED else "str", offset)
    value = _plain_value(text)
    if kind == "float" and type(value) is int:
        return float(value)
    if type(value) in (_TAGGED[kind], InvalidScalar):
        return value
    return InvalidScalar(f"does not fit its tag, !!{kind}; remove the tag or correct the value")


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
            return InvalidScalar(
                "has a leading zero, so some read it as octal; remove it, or put text in quotes"
            )
        case "int":
            return int(text, 0) if len(text) <= MAX_DIGITS else InvalidScalar(TOO_MANY_DIGITS)
        case _:
            return float(text if match["float"] else text.replace(".", ""))
