"""Hide secrets, and redact them from the service's texts."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MASK = "***"
# Shorter strings are not secrets. Masking them would garble messages.
MIN_CHARACTERS = 4
# A text may show only a part of a secret, so half of a secret is masked too, and any 8 characters
# of it. A match of fewer than 6 characters is often a part of another word.
_LEAST_PIECE, _MOST_PIECE = 6, 8
# The maximum depth of nested encodings, such as JSON in JSON in HTML.
_MAX_DECODINGS = 3


class Secret(str):
    """A key, token or password. Its repr does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'{MASK}'"


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return the text with secrets and parts of secrets masked, even if they are encoded.

    If the text contains escaped secrets, it is returned unescaped.
    """
    forms = {form for secret in secrets for form in _forms(secret)}
    if not forms:
        return text
    pieces = _Pieces(forms)
    text = pieces.masked(text)
    for _ in range(10):  # each round may reveal another secret
        for decoded in _decodings(text):
            masked = pieces.masked(decoded)
            if masked != decoded:
                text = masked
                break
        else:
            return text
    return MASK


def values_in(json: object) -> list[str]:
    """Return the values of environment variables and claims in submit requests."""
    if isinstance(json, list):
        return [value for item in cast("list[object]", json) for value in values_in(item)]
    if not isinstance(json, dict):
        return []
    fields = cast("dict[str, object]", json)
    value = fields.get("value")
    if "name" in fields and isinstance(value, str):
        return [value]
    return values_in([*fields.values()])


def _forms(secret: str) -> Iterator[str]:
    """Yield the secret, and its base64 (at any offset) and hexadecimal encodings."""
    secret = secret.strip()
    if len(secret) < MIN_CHARACTERS:
        return
    yield secret
    raw = secret.encode("utf-8", "surrogatepass")
    yield raw.hex()
    for before in range(3):
        first, end = (before * 8 + 5) // 6, (before + len(raw)) * 8 // 6
        padded = bytes(before) + raw
        yield base64.b64encode(padded)[first:end].decode()
        yield base64.urlsafe_b64encode(padded)[first:end].decode()


class _Pieces:
    """The parts of secrets, in lower case and without whitespace, because a text may wrap lines."""

    def __init__(self, forms: set[str]) -> None:
        self._pieces: dict[int, set[str]] = {}
        self._whole: list[str] = []
        for form in forms:
            # Non-ASCII characters may have another encoding.
            for letters in {_without_separators(form), _without_separators(form, is_ascii=True)}:
                if len(letters) < _LEAST_PIECE:
                    self._whole.append(form)
                size = min(max(_LEAST_PIECE, (len(letters) + 1) // 2), _MOST_PIECE)
                starts = range(len(letters) - size + 1)
                pieces = (letters[start : start + size] for start in starts)
                self._pieces.setdefault(size, set()).update(pieces)
        self._whole.sort(key=len, reverse=True)

    def masked(self, text: str) -> str:
        """Return the text with all parts of secrets masked."""
        hidden = bytearray(len(text))
        for is_ascii in (True,) if text.isascii() else (True, False):
            letters: list[str] = []
            positions: list[int] = []
            for position, character in enumerate(text):
                compact = _without_separators(character, is_ascii=is_ascii)
                letters += compact
                positions += [position] * len(compact)
            compact = "".join(letters)
            for size, pieces in self._pieces.items():
                for start in range(len(letters) - size + 1):
                    if compact[start : start + size] in pieces:
                        first, last = positions[start], positions[start + size - 1]
                        hidden[first : last + 1] = b"x" * (last + 1 - first)
        if self._whole:
            for match in re.finditer("|".join(map(re.escape, self._whole)), text, re.IGNORECASE):
                hidden[match.start() : match.end()] = b"x" * len(match[0])
        return _without_hidden(text, hidden)


def _without_separators(text: str, *, is_ascii: bool = False) -> str:
    """The text in lower case without whitespace, with or without its non-ASCII characters."""
    if is_ascii and not text.isascii():
        text = text.encode("ascii", "ignore").decode()
    if not text.isprintable() or " " in text:
        text = "".join(c for c in text if c.isprintable() and c != " ")
    return text.lower()


def _without_hidden(text: str, hidden: bytearray) -> str:
    shown: list[str] = []
    end = 0
    for run in re.finditer(b"x+", hidden):
        shown += text[end : run.start()], MASK
        end = run.end()
    return "".join([*shown, text[end:]])


def _decodings(text: str) -> Iterator[str]:
    """Yield the text decoded with each encoding, recursively."""
    decoded_texts = {text}
    latest = [text]
    for _ in range(_MAX_DECODINGS):
        decoded = {decode(encoded) for encoded in latest for decode in _DECODERS}
        latest = sorted(decoded - decoded_texts)
        decoded_texts |= decoded
        yield from latest


def _without_entities(text: str) -> str:
    import html  # half a megabyte, only needed once a secret may be shown

    return html.unescape(text)


def _without_backslashes(text: str) -> str:
    unescaped = re.sub(r"\\(u[\da-f]{4}|x[\da-f]{2}|.)", _unescaped, text, flags=re.IGNORECASE)
    # Join surrogate pairs.
    return unescaped.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _unescaped(match: re.Match[str]) -> str:
    escaped = match[1]
    return chr(int(escaped[1:], 16)) if len(escaped) > 1 else _BLANKS.get(escaped, escaped)


_BLANKS = dict.fromkeys("nrtbfv", " ")
_DECODERS = (_without_entities, unquote_plus, _without_backslashes)
