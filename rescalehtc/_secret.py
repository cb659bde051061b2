"""Secrets: texts that no message shows, and removing them from the texts of others."""

from __future__ import annotations

import base64
import html
import re
from collections import defaultdict
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MASK = "***"
# A shorter text is not a secret; masking it would garble messages.
MIN_CHARACTERS = 4
# A piece of a secret of this length is masked too: a text may show only a part, or break lines.
_PIECE_CHARACTERS = 8
# How deep texts are decoded: JSON within JSON, in HTML.
_MAX_DECODINGS = 3


class Secret(str):
    """A key, token or password. Its repr does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'{MASK}'"


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return the text with the secrets and their pieces masked, also where they are encoded.

    A text in which they are escaped is returned unescaped.
    """
    forms = {form for secret in secrets for form in _forms(secret)}
    if not forms:
        return text
    text = _masked(text, forms)
    for _ in range(10):  # each one may uncover another secret
        for decoded in _decodings(text):
            masked = _masked(decoded, forms)
            if masked != decoded:
                text = masked
                break
        else:
            return text
    return MASK


def _forms(secret: str) -> Iterator[str]:
    """Yield the secret, and what it is in base64, wherever it begins there, and hexadecimal."""
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


def _masked(text: str, forms: set[str]) -> str:
    hidden = bytearray(len(text))
    # Other characters than those of ASCII may have come in another encoding.
    for is_ascii in (True,) if text.isascii() else (True, False):
        letters, positions = _squeezed(text, is_ascii)
        pieces: defaultdict[str, list[int]] = defaultdict(list)
        for start in range(len(letters) - _PIECE_CHARACTERS + 1):
            pieces[letters[start : start + _PIECE_CHARACTERS]].append(start)
        for form in {_squeezed(form, is_ascii)[0] for form in forms}:
            for begin in range(len(form) - _PIECE_CHARACTERS + 1):
                for start in pieces.get(form[begin : begin + _PIECE_CHARACTERS], ()):
                    first, last = positions[start], positions[start + _PIECE_CHARACTERS - 1]
                    hidden[first : last + 1] = b"x" * (last + 1 - first)
    short = sorted(filter(_is_short, forms), key=len, reverse=True)
    if short:
        for found in re.finditer("|".join(map(re.escape, short)), text, re.IGNORECASE):
            hidden[found.start() : found.end()] = b"x" * len(found[0])
    return _without_hidden(text, hidden)


def _is_short(form: str) -> bool:
    return any(len(_squeezed(form, is_ascii)[0]) < _PIECE_CHARACTERS for is_ascii in (True, False))


def _squeezed(text: str, is_ascii: bool) -> tuple[str, list[int]]:
    """The text in lower case and without blanks, and where each of its letters was."""
    letters: list[str] = []
    positions: list[int] = []
    for position, character in enumerate(text):
        if character.isprintable() and character != " " and (character.isascii() or not is_ascii):
            for letter in character.lower():
                letters.append(letter)
                positions.append(position)
    return "".join(letters), positions


def _without_hidden(text: str, hidden: bytearray) -> str:
    shown: list[str] = []
    end = 0
    for run in re.finditer(b"x+", hidden):
        shown += text[end : run.start()], MASK
        end = run.end()
    return "".join([*shown, text[end:]])


def _decodings(text: str) -> Iterator[str]:
    """Yield the text unescaped in each way, and these again."""
    known = {text}
    latest = [text]
    for _ in range(_MAX_DECODINGS):
        decoded = {decode(one) for one in latest for decode in _DECODERS}
        latest = sorted(decoded - known)
        known |= decoded
        yield from latest


def _without_backslashes(text: str) -> str:
    unescaped = re.sub(r"\\(u[\da-f]{4}|x[\da-f]{2}|.)", _unescaped, text, flags=re.IGNORECASE)
    # Halves of characters become whole ones.
    return unescaped.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _unescaped(found: re.Match[str]) -> str:
    escaped = found[1]
    return chr(int(escaped[1:], 16)) if len(escaped) > 1 else _BLANKS.get(escaped, escaped)


_BLANKS = dict.fromkeys("nrtbfv", " ")
_DECODERS = (html.unescape, unquote_plus, _without_backslashes)
