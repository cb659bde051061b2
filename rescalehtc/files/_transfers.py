"""Transfer files, large ones in parts."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..exceptions import HtcException, HtcFileError
from ._names import base_of, checked_folder, is_pattern, matcher
from ._partial import downloaded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
    from typing import BinaryIO, Self

    from obstore import ObjectMeta

    from .._client.io import Io
    from ._storage import Storage

T = TypeVar("T")

# Larger files are transferred in parts of this size.
PART_BYTES = 8 << 20
PARTS = 4
FILES = 16
MAX_PARTS = 10_000
PAGE_SIZE = 1000
# The metadata of an object that was uploaded here.
SHA256 = "rescalehtc-sha256"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the storage."""

    path: str
    """The name relative to the shared folder, with `/` between parts."""
    size: int
    """Bytes."""
    modified: datetime
    """The time of the last change, in UTC."""


@dataclass(frozen=True, slots=True)
class TransferCounts:
    """The progress of a transfer."""

    files: int
    """Transferred files."""
    bytes: int
    """Transferred bytes."""
    total_files: int
    """All files of the transfer."""
    total_bytes: int
    """All bytes of the transfer."""

    def __str__(self) -> str:
        done, total = (f"{value / 1e6:.1f} MB" for value in (self.bytes, self.total_bytes))
        return f"{self.files} of {self.total_files} files, {done} of {total}"


class Up(NamedTuple):
    """A local file to be uploaded."""

    path: str
    name: str
    size: int


class Down(NamedTuple):
    """A file to be downloaded."""

    file: StoredFile
    etag: str | None
    path: str


class Counter:
    """Counts transferred files and bytes, and shows the counts after each percent.

    As a context manager, it raises an exception of the function that shows them unchanged. Inside,
    such an exception looks like one of the transfer.
    """

    def __init__(self, sizes: Sequence[int], show: Callable[[TransferCounts], None]) -> None:
        self._lock = threading.Lock()
        self._show = show
        self._counts = TransferCounts(0, 0, len(sizes), sum(sizes))
        self._shown = -1
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self._failure is not None and isinstance(error, HtcException):
            raise self._failure from None

    def add(self, files: int, size: int) -> None:
        """Count files and bytes."""
        with self._lock:
            old = self._counts
            moved = min(old.bytes + size, old.total_bytes)  # parts may be retried
            counts = self._counts = TransferCounts(
                old.files + files, moved, old.total_files, old.total_bytes
            )
            share = 100 * (counts.files + counts.bytes) // (old.total_files + old.total_bytes)
            if share != self._shown:
                self._shown = share
                try:
                    self._show(counts)
                except Exception as error:
                    self._failure = error
                    raise


# ---- listing


def pages(storage: Storage, path: str) -> Iterator[list[tuple[StoredFile, str | None]]]:
    """Yield the files of a folder or pattern, or a single file, with their ETags.

    Raises:
        HtcFileError: The storage did not respond, or a file can't have this name.
    """
    has_pattern = is_pattern(path)
    folder = checked_folder(base_of(path) if has_pattern else path.rstrip("/"))
    matching = matcher(path) if has_pattern else None
    action = f"listing of {path or 'the storage'}"
    has_files = False
    for page in storage.pages(action, folder, PAGE_SIZE):
        has_files = True
        files = [_stored(meta) for meta in page]
        yield [item for item in files if matching is None or matching.fullmatch(item[0].path)]
    if folder and not has_files and not has_pattern and not path.endswith("/"):
        try:
            yield [_stored(storage.run(action, storage.describe, path)[0])]
        except HtcFileError as error:
            if error.errno != errno.ENOENT:
                raise


def find(storage: Storage, path: str) -> list[tuple[StoredFile, str | None]]:
    """Return the files of `pages` as a list."""
    return [item for page in pages(storage, path) for item in page]


def _stored(meta: ObjectMeta) -> tuple[StoredFile, str | None]:
    modified = meta["last_modified"].astimezone(UTC)
    return StoredFile(meta["path"], meta["size"], modified), meta.get("e_tag")


# ---- up


async def send(io: Io, storage: Storage, files: Sequence[Up], counter: Counter) -> None:
    """Upload files."""
    small = [file for file in files if file.size <= PART_BYTES]

    async def send_one(file: Up) -> None:
        await io.call(storage.run, f"upload of {file.name}", _put, storage, file, counter)

    await _each(io, small, send_one, FILES)
    for file in files:
        if file.size > PART_BYTES:
            stopped = threading.Event()
            action = f"upload of {file.name}"
            try:
                await io.call(storage.run, action, _put_in_parts, storage, file, counter, stopped)
            finally:
                stopped.set()  # the thread of a cancelled task still runs


def _put(storage: Storage, up: Up, counter: Counter) -> None:
    with open(up.path, "rb") as file:
        before = _state(file)
        content = file.read(PART_BYTES + 1)
        attributes: Any = {SHA256: hashlib.sha256(content).hexdigest()}
        if len(content) <= PART_BYTES:  # else it has grown
            storage.store.put(up.name, content, attributes=attributes, use_multipart=False)
        if len(content) != before[0] or _state(file) != before:
            raise _changed(up.path, "upload")
    counter.add(1, up.size)


def _put_in_parts(storage: Storage, up: Up, counter: Counter, stopped: threading.Event) -> None:
    with open(up.path, "rb") as file:
        before = _state(file)
        digest = _sha256(file, stopped)
        attributes: Any = {SHA256: digest}
        part_bytes = max(PART_BYTES, -(-before[0] // MAX_PARTS))
        storage.store.put(
            up.name,
            _parts(file, up, part_bytes, digest, counter, stopped),
            attributes=attributes,
            chunk_size=part_bytes,
            max_concurrency=PARTS,
        )
        if _state(file) != before:
            raise _changed(up.path, "upload")
    counter.add(1, 0)


def _parts(
    file: BinaryIO,
    up: Up,
    part_bytes: int,
    digest: str,
    counter: Counter,
    stopped: threading.Event,
) -> Iterator[bytes]:
    hasher = hashlib.sha256()
    file.seek(0)
    while part := file.read(part_bytes):
        _check(stopped)
        hasher.update(part)
        yield part
        counter.add(0, len(part))
    if hasher.hexdigest() != digest:  # nothing is stored then
        raise _changed(up.path, "upload")


def _state(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _changed(path: str, action: str) -> HtcFileError:
    return HtcFileError(f"{path!a} changed during the {action}; run the {action} again")


def _sha256(file: BinaryIO, stopped: threading.Event) -> str:
    hasher = hashlib.sha256()
    file.seek(0)
    while part := file.read(1 << 20):
        _check(stopped)
        hasher.update(part)
    return hasher.hexdigest()


def _check(stopped: threading.Event) -> None:
    if stopped.is_set():
        raise HtcFileError("the transfer was cancelled")


# ---- down


async def fetch(io: Io, storage: Storage, files: Sequence[Down], counter: Counter) -> None:
    """Download files."""
    small = [down for down in files if down.file.size <= PART_BYTES]

    async def fetch_one(down: Down) -> None:
        await io.call(storage.run, _download(down), _get, storage, down, counter)

    await _each(io, small, fetch_one, FILES)
    for down in files:
        if down.file.size > PART_BYTES:
            await _get_in_parts(io, storage, down, counter)


def _download(down: Down) -> str:
    return f"download of {down.file.path}"


def _get(storage: Storage, down: Down, counter: Counter) -> None:
    answer = storage.store.get(down.file.path)
    content = bytes(answer.bytes())
    _compare(down, len(content), answer.meta["size"], "size")
    digest: Any = answer.attributes.get(SHA256)
    if digest is not None:
        _compare(down, hashlib.sha256(content).hexdigest(), digest, "SHA-256 checksum")
    with _written(storage, down, answer.meta) as file:
        file.write(content)
    counter.add(1, down.file.size)


async def _get_in_parts(io: Io, storage: Storage, down: Down, counter: Counter) -> None:
    meta, attributes = await io.call(storage.run, _download(down), storage.describe, down.file.path)
    size = meta["size"]
    digest = attributes.get(SHA256)
    lock = threading.Lock()
    async with io.holding(_written(storage, down, meta)) as (file, call):

        def write(start: int, part: bytes) -> None:
            with lock:
                file.seek(start)
                file.write(part)

        async def get_part(start: int) -> None:
            end = min(size, start + PART_BYTES)
            part = await io.call(storage.run, _download(down), storage.read_range, meta, start, end)
            _compare(down, len(part), end - start, "size")
            await call(storage.run, _download(down), write, start, part)
            counter.add(0, len(part))

        await _each(io, range(0, size, PART_BYTES), get_part, PARTS)
        if digest is not None:
            actual = await call(_sha256, file, threading.Event())
            _compare(down, actual, digest, "SHA-256 checksum")
    counter.add(1, 0)


@contextmanager
def _written(storage: Storage, down: Down, meta: ObjectMeta) -> Generator[BinaryIO]:
    # The time in the listing is more exact, unless the file was replaced since then.
    modified = down.file.modified if meta.get("e_tag") == down.etag else meta["last_modified"]
    written = downloaded(down.path, modified.timestamp())
    with storage.translated(_download(down)), written as file:
        yield file


def _compare(down: Down, actual: object, expected: object, name: str) -> None:
    if actual != expected:
        raise HtcFileError(
            f"{_download(down)} failed: its {name} is {actual}, not {expected}; run it again"
        )


async def _each(
    io: Io, items: Sequence[T], work: Callable[[T], Awaitable[None]], count: int
) -> None:
    """Process items in parallel, and stop at the first error."""
    queue = deque(items)

    async def worker() -> None:
        try:
            while queue:
                try:
                    item = queue.popleft()
                except IndexError:  # another worker took it
                    return
                await work(item)
        except BaseException:
            queue.clear()
            raise

    if queue:
        await io.run_workers(worker, min(count, len(queue)))
