"""Names of files, local and in the storage: patterns, folders, and invalid names."""

from __future__ import annotations

import logging
import os
import re
import stat
import sys
from typing import TYPE_CHECKING, Any

from .._interrupts import is_from_signal_handler
from ..exceptions import HtcFileError, HtcValidationError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

_logger = logging.getLogger("rescalehtc")

_MAGIC = re.compile(r"[*?\[]")
_TOKEN = re.compile(r"\*+|\?|\[!?[^\]]+\]|.", re.DOTALL)
# A partial download; see `_partial.py`.
PARTIAL = re.compile(r"\.[0-9a-f]{16}\.partial")


def require_name(name: object) -> str:
    """Return a name if it is a string.

    Raises:
        HtcValidationError: The name is not a string.
    """
    if not isinstance(name, str):
        problem = Problem("name", f"must be a string, got {type(name).__name__}")
        raise HtcValidationError("files", [problem])
    return name


def require_path(path: Any) -> str:
    """Return a local path as a string.

    Raises:
        HtcValidationError: The argument is not a path.
    """
    try:
        return os.fsdecode(path)
    except TypeError:
        problem = Problem("path", f"must be a path, got {type(path).__name__}")
        raise HtcValidationError("files", [problem]) from None


def is_pattern(name: str) -> bool:
    """Whether a name is a pattern: `*` and `?` match within a part of it, `**` any parts."""
    return bool(_MAGIC.search(require_name(name)))


def base_of(pattern: str) -> str:
    """Return the folder above the first part of a pattern that has wildcards."""
    parts = pattern.split("/")
    index = next(i for i, part in enumerate(parts) if is_pattern(part))
    return "/".join(parts[:index])


def matcher(pattern: str) -> re.Pattern[str]:
    """Return a regular expression for the names that match a pattern.

    The atomic groups, `(?>...)`, prevent exponential time. They are correct because the first match
    after a wildcard leaves the most text to the rest of the pattern.

    Raises:
        HtcFileError: A range of characters in it is invalid.
    """
    parts = pattern.split("/")
    groups = [""]  # between `**`
    for i, part in enumerate(parts):
        if part == "**":
            groups.append("")
        else:
            groups[-1] += _part(part) + "/" * (i < len(parts) - 1)
    regex = groups[0] + "".join(f"(?>(?:[^/]+/)*?{group})" for group in groups[1:-1])
    if len(groups) > 1:
        regex += f"(?:[^/]+/)*{groups[-1] or '[^/]+'}"
    try:
        return re.compile(regex, re.DOTALL)
    except re.error:
        raise HtcFileError(f"{pattern!a} is not a pattern: a range in it is invalid") from None


def _part(part: str) -> str:
    """Return a regular expression for a part of a pattern."""
    groups = [""]  # between `*`
    for token in _TOKEN.findall(part):
        if token.startswith("*"):
            groups.append("")
        else:
            groups[-1] += _translated(token)
    regex = groups[0] + "".join(f"(?>[^/]*?{group})" for group in groups[1:-1])
    return regex + f"[^/]*{groups[-1]}" if len(groups) > 1 else regex


def _translated(text: str) -> str:
    if text == "?":
        return "[^/]"
    if len(text) > 1:
        inner = re.sub(r"[\\\[&~|]|(?<=-)-", r"\\\g<0>", text[1:-1])  # `--` is not for sets
        return f"[^/{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
    return re.escape(text)


def checked(name: str) -> str:
    """Return a name for a file in the storage, without slashes around it.

    Raises:
        HtcFileError: A file in the storage can't have this name.
    """
    parts = require_name(name).strip("/").split("/")
    if name.startswith("/") or {"", ".", ".."} & {*parts} or not _is_storable(name):
        raise HtcFileError(
            f"{name!a} can't be the name of a file in the storage: use a relative name without "
            "'.', '..', empty parts and control characters"
        )
    return name.strip("/")


def checked_folder(name: str) -> str:
    """Return the name of a folder in the storage, which is empty for the whole storage.

    Raises:
        HtcFileError: A folder in the storage can't have this name.
    """
    name = require_name(name)
    return "" if name in ("", "/", ".") else checked(name.removeprefix("./"))


def _is_storable(name: str) -> bool:
    return not any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 for c in name)


def joined(folder: str, name: str) -> str:
    """Return the name of a file in a folder of the storage."""
    return f"{folder}/{name}" if folder else name


def local_target(folder: str, name: str) -> str:
    """Return the local path for a file of the storage.

    Raises:
        HtcFileError: The name leads out of the folder.
    """
    parts = name.split("/")
    separators = {os.sep, os.altsep or os.sep} - {"/"}
    is_wrong = {"", ".", ".."} & {*parts} or "\0" in name or any(s in name for s in separators)
    path = os.path.join(folder, *parts)
    if (
        is_wrong
        or os.path.isabs(name)
        or os.path.splitdrive(name)[0]
        or not _is_below(folder, path)
    ):
        raise HtcFileError(
            f"{name!a} was not written: it leads out of {folder!a} or is not a valid file name"
        )
    return path


def _is_below(folder: str, path: str) -> bool:
    real = os.path.realpath(folder)
    parent = os.path.realpath(os.path.dirname(path))
    return parent == real or parent.startswith(os.path.join(real, ""))


def local_files(source: str | PathLike[str]) -> tuple[str, list[tuple[str, str]]]:
    """Find the local files of a path or a pattern.

    Links are followed to files in the same folder. Other links and special files are left out with
    a warning.

    Returns:
        `file`, `folder` or `pattern`, and the path and name of each file. The name is relative to
        the folder, or to the part of the pattern without wildcards.

    Raises:
        HtcFileError: No file was found, or a file can't be read.
    """
    path = require_path(source)
    try:
        if os.path.isdir(path):
            return "folder", list(_walk(path))
        if os.path.exists(path) or not is_pattern(path):
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise HtcFileError(f"{path!a} can't be uploaded: it is not a regular file")
            return "file", [(path, os.path.basename(path))]
        pattern = path.replace(os.sep, "/")
        base = base_of(pattern)
        below = pattern.removeprefix(f"{base}/") if base else pattern.removeprefix("/")
        depth = sys.maxsize if "**" in below.split("/") else below.count("/")
        matching = matcher(below)
        root = base or (os.sep if os.path.isabs(path) else ".")
        paths = _walk(root, depth)
        files = [(file, name) for file, name in paths if matching.fullmatch(name)]
    except (OSError, ValueError) as error:
        if isinstance(error, HtcFileError) or is_from_signal_handler(error):
            raise
        reason = getattr(error, "strerror", None) or error
        raise HtcFileError(f"{path!a} can't be read: {reason}") from None
    if not files:
        raise HtcFileError(f"{path!a} can't be uploaded: no file matches it")
    return "pattern", files


def _walk(folder: str, depth: int = sys.maxsize) -> Iterator[tuple[str, str]]:
    """Yield the files down to a depth, each with its name below the folder."""
    real = os.path.join(os.path.realpath(folder), "")

    def fail(error: OSError) -> None:
        raise error

    for directory, folders, names in os.walk(folder, onerror=fail):
        level = 0 if directory == folder else _relative(directory, folder).count("/") + 1
        for name in sorted(folders):
            if os.path.islink(os.path.join(directory, name)) and level < depth:
                _logger.warning("%a is left out: it is a link", os.path.join(directory, name))
        folders[:] = sorted(folders) if level < depth else []
        for name in sorted(names):
            path = os.path.join(directory, name)
            is_inside = not os.path.islink(path) or os.path.realpath(path).startswith(real)
            if os.path.isfile(path) and is_inside:
                if not PARTIAL.fullmatch(name):
                    yield path, _relative(path, folder)
            else:
                _logger.warning("%a is left out: it is not a file of this folder", path)


def _relative(path: str, folder: str) -> str:
    return os.path.relpath(path, folder).replace(os.sep, "/")
