"""Objects as files of shared folders: find, list, store and delete them."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import stat
import tempfile
import zlib
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Generator, Iterator, Mapping
    from typing import IO, BinaryIO

MAX_KEY_BYTES: Final = 1024
MAX_NAME_BYTES: Final = 255
CHUNK_BYTES: Final = 1 << 20
MAX_OBJECT_BYTES: Final = 5 << 30  # S3's maximum for a single request
SHA256: Final = "x-amz-content-sha256"
# A folder has the file's name, or a file that of a folder.
_CONFLICTS: Final = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENOTEMPTY)
_MISSING: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4)


# The headers with checksums of a body, all in Base64 except the last.
CHECKSUMS: Final[Mapping[str, Callable[[], Any]]] = {
    "content-md5": partial(hashlib.md5, usedforsecurity=False),
    "x-amz-checksum-crc32": _Crc32,
    "x-amz-checksum-sha1": partial(hashlib.sha1, usedforsecurity=False),
    "x-amz-checksum-sha256": hashlib.sha256,
    SHA256: hashlib.sha256,
}


class InvalidNameError(Exception):
    """A file can't have this name, or the name leads out of the folder."""


class NameConflictError(Exception):
    """A folder has the file's name, or a file has the name of one of its folders."""


class TooLargeError(Exception):
    """The body is larger than this number of bytes."""


class ChecksumError(Exception):
    """The body does not have the checksum in the named header."""


class Object(NamedTuple):
    """An object, which is a file of a shared folder."""

    name: str
    size: int
    modified_ns: int

    @property
    def modified(self) -> datetime:
        """When the file was last written."""
        return datetime.fromtimestamp(self.modified_ns // 1_000_000 / 1000, UTC)

    @property
    def etag(self) -> str:
        """The ETag. Like other ETags with a dash, this value is not an MD5 checksum."""
        return f'"{self.modified_ns:x}-{self.size:x}"'


def check_name(name: str) -> str:
    """Return a file's name below a folder.

    Raises:
        InvalidNameError: A file can't have this name, or the name may lead out of the folder.
    """
    parts = name.split("/")
    if {"", ".", ".."} & set(parts) or "\0" in name:
        raise InvalidNameError("names must not have empty parts, '.' or '..'")
    try:
        sizes = [len(part.encode()) for part in parts]
    except UnicodeEncodeError:
        raise InvalidNameError("names must be UTF-8") from None
    if max(sizes) > MAX_NAME_BYTES or sum(sizes) + len(sizes) - 1 > MAX_KEY_BYTES:
        raise InvalidNameError(
            f"names must have at most {MAX_KEY_BYTES} bytes, and {MAX_NAME_BYTES} per part"
        )
    return name


def _inside(folder: Path, path: Path) -> Path:
    """Return the path, unless a symbolic link leads out of the folder. Jobs may create links."""
    if not Path(os.path.realpath(path)).is_relative_to(folder):
        raise InvalidNameError("the name leads out of the storage")
    return path


def open_object(folder: Path, name: str) -> tuple[BinaryIO, Object]:
    """Open a file.

    Raises:
        FileNotFoundError: The file does not exist in the folder.
        InvalidNameError: A file can't have this name.
    """
    path = _inside(folder, folder / check_name(name))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (*_MISSING, errno.EACCES):
            raise
        raise FileNotFoundError from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise FileNotFoundError
    return os.fdopen(descriptor, "rb"), Object(name, status.st_size, status.st_mtime_ns)


def iterate(folder: Path, prefix: str = "", after: str = "") -> Iterator[Object]:
    """Yield the files whose names begin with a prefix and come after a name, in byte order."""
    if not folder.is_symlink():  # a job may replace the folder
        yield from _iterate(folder, folder, "", prefix.encode(), after.encode())


def _iterate(
    folder: Path, directory: Path, above: str, prefix: bytes, after: bytes
) -> Iterator[Object]:
    entries: list[tuple[bytes, str, os.DirEntry[str]]] = []
    with (
        suppress(FileNotFoundError, NotADirectoryError, PermissionError),
        os.scandir(directory) as all_,
    ):
        for entry in all_:
            name = above + entry.name + "/" * entry.is_dir(follow_symlinks=False)
            with suppress(UnicodeEncodeError):  # an object's name is UTF-8
                entries.append((name.encode(), name, entry))
    for encoded, name, entry in sorted(entries, key=lambda item: item[0]):
        if entry.is_dir(follow_symlinks=False):
            is_wanted = encoded.startswith(prefix) or prefix.startswith(encoded)
            if is_wanted and (encoded > after or after.startswith(encoded)):
                yield from _iterate(folder, Path(entry.path), name, prefix, after)
        elif encoded.startswith(prefix) and encoded > after:
            # It may have been deleted, or be a link out of the folder.
            with suppress(OSError, InvalidNameError):
                status = entry.stat()
                if entry.is_symlink():
                    _inside(folder, Path(entry.path))
                if stat.S_ISREG(status.st_mode):
                    yield Object(name, status.st_size, status.st_mtime_ns)


def chunks(file: IO[bytes], size: int) -> Iterator[bytes]:
    """Yield a number of bytes of a file, and close it."""
    with file:
        while size and (chunk := file.read(min(size, CHUNK_BYTES))):
            size -= len(chunk)
            yield chunk


@contextmanager
def partial_file(folder: Path) -> Generator[IO[bytes]]:
    """Open a temporary file for a body. The file is removed unless `place` renames it."""
    folder.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        try:
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


async def receive(
    stream: AsyncIterable[bytes], file: IO[bytes], headers: Mapping[str, str] = {}
) -> None:
    """Write a request's body to a file, and compare it with the checksums in the headers.

    Raises:
        TooLargeError: The body is larger than MAX_OBJECT_BYTES.
        ChecksumError: A checksum does not match, or is malformed.
    """
    hashers = {name: new() for name, new in CHECKSUMS.items() if name in headers}
    async for chunk in stream:
        for hasher in hashers.values():
            hasher.update(chunk)
        file.write(chunk)
        if file.tell() > MAX_OBJECT_BYTES:
            raise TooLargeError(MAX_OBJECT_BYTES)
    file.flush()
    for name, hasher in hashers.items():
        digest: bytes = hasher.digest()
        actual = digest.hex() if name == SHA256 else base64.b64encode(digest).decode()
        if actual != headers[name]:
            raise ChecksumError(name)


def find_target(folder: Path, name: str) -> Path:
    """Return the path for a new file.

    Raises:
        FileNotFoundError: The folder was deleted.
        InvalidNameError: A file can't have this name, or the name leads out of the folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError
    target = folder / check_name(name)
    _inside(folder, target.parent)
    return target


def place(partial: Path, folder: Path, name: str, *, replace: bool = True) -> Object:
    """Rename a received file atomically.

    Raises:
        FileExistsError: The file exists, and `replace` is false.
        NameConflictError: A folder has this name, or a file has the name of a folder above.
        FileNotFoundError, InvalidNameError: See `find_target`.
    """
    partial.chmod(0o644)  # jobs in containers may run as other users
    for _ in range(10):  # an emptied folder may be removed between the two steps
        target = find_target(folder, name)
        try:
            _make_parents(folder, target)
            status = partial.stat()
            if replace:
                partial.replace(target)
            else:
                target.hardlink_to(partial)
        except FileNotFoundError:
            continue
        except OSError as error:
            if not replace and error.errno == errno.EEXIST and target.is_file():
                raise
            if error.errno not in _CONFLICTS:
                raise
            raise NameConflictError(
                "a folder has this name, or a file the name of a folder above"
            ) from None
        return Object(name, status.st_size, status.st_mtime_ns)
    raise FileNotFoundError


def _make_parents(folder: Path, target: Path) -> None:
    """Create the folders between a folder and a file, but not the folder: it may be deleted.

    Every user can write to them, because jobs in containers may run as other users.
    """
    for part in reversed(target.relative_to(folder).parents[:-1]):
        parent = folder / part
        if not parent.is_dir():
            parent.mkdir(exist_ok=True)
            parent.chmod(0o777)


def delete(folder: Path, name: str) -> None:
    """Delete a file if it exists, and the folders that are empty then.

    Raises:
        InvalidNameError: A file can't have this name, or the name leads out of the folder.
    """
    path = folder / check_name(name)
    _inside(folder, path.parent)
    try:
        path.unlink()
        for above in path.parents:
            if above == folder:
                break
            above.rmdir()
    except OSError as error:
        if error.errno not in (*_MISSING, *_CONFLICTS, errno.EPERM):
            raise
