"""The objects that a storage token gives access to, by key."""

from __future__ import annotations

import re
import shutil
import uuid
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from sqlite3 import OperationalError
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from . import objects
from .folders import remove
from .objects import CHUNK_BYTES, Object

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from threading import Lock
    from typing import IO, BinaryIO

    from .folders import Folders
    from .store import Store


_STATUSES: Final[Mapping[str, int]] = {
    "AccessDenied": 403,
    "InternalError": 500,
    "InvalidAccessKeyId": 403,
    "InvalidRange": 416,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "NoSuchUpload": 404,
    "NotImplemented": 501,
    "PreconditionFailed": 412,
    "QuotaExceeded": 403,
    "RequestTimeTooSkewed": 403,
    "SignatureDoesNotMatch": 403,
}


class StorageError(Exception):
    """An error with one of S3's codes, and a message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code: str = code
        self.status: int = _STATUSES.get(code, 400)


def key_prefix(project_id: str, task_id: str | None) -> str:
    """Return the start of the keys in a project's or task's shared folder."""
    return f"projects/{project_id}/{f'tasks/{task_id}/' if task_id else ''}shared/"


class Bucket:
    """The objects in the shared folders of a project and a task.

    Args:
        folders: The emulator's folders.
        store: The emulator's state, which has the metadata of objects.
        lock: Held while an object and its metadata are read or changed.
        claims: The claims of a storage token.

    Raises:
        StorageError: A request to the storage is invalid or not allowed.
    """

    def __init__(
        self, folders: Folders, store: Store, lock: Lock, claims: Mapping[str, Any]
    ) -> None:
        self._folders = folders
        self._store = store
        self._lock = lock
        project_id, task_id = claims["projectId"], claims["taskId"]
        self._found = {key_prefix(project_id, None): folders.root / "projects" / project_id}
        if task_id:
            self._found[key_prefix(project_id, task_id)] = folders.tasks / task_id

    def find(self, key: str) -> tuple[Path, str]:
        """Return the folder of a key, and the name of its file there.

        Raises:
            StorageError: The token does not give access to the key.
        """
        for prefix, folder in self._found.items():
            if key.startswith(prefix):
                return folder, key.removeprefix(prefix)
        raise StorageError("AccessDenied", f"The credentials are for {' and '.join(self._found)}.")

    def list(self, prefix: str, delimiter: str, after: str) -> Iterator[tuple[str, Object | None]]:
        """Yield objects with their keys, or None with the common prefixes up to a delimiter.

        Args:
            prefix: The start of the keys.
            delimiter: The end of the common prefixes; empty for none.
            after: The key or prefix that the listing starts after.
        """
        folder, name = self.find(f"{prefix}/")
        base = f"{prefix}/".removesuffix(name)
        start = after.removeprefix(base) if after.startswith(base) else ""
        last = after
        for entry in objects.iterate(folder, name.removesuffix("/"), start):
            key = base + entry.name
            parent, separator, _ = key.removeprefix(prefix).partition(delimiter or "\0")
            shown = prefix + parent + separator
            if shown > last:
                yield shown, None if separator else entry
                last = shown

    def open(self, key: str, etag: str | None = None) -> tuple[BinaryIO, Object, Mapping[str, str]]:
        """Open an object, and return it with its metadata.

        Args:
            key: The object's key.
            etag: The ETag that the object must have, or None for any.
        """
        folder, name = self.find(key)
        with ExitStack() as stack, self._lock:
            file, stored = objects.open_object(folder, name)
            stack.enter_context(file)
            if etag not in (None, "*") and _quoted(etag) != stored.etag:
                raise StorageError("PreconditionFailed", "The object has another ETag.")
            metadata = self._store.metadata(self._path(folder, name), stored.etag)
            stack.pop_all()
        return file, stored, metadata

    def place(
        self, file: IO[bytes], key: str, metadata: Mapping[str, str], *, replace: bool = True
    ) -> Object:
        """Make a received file an object."""
        folder, name = self.find(key)
        with self._lock:
            try:
                stored = objects.place(Path(file.name), folder, name, replace=replace)
            except FileExistsError:
                raise StorageError("PreconditionFailed", "The object exists.") from None
            except FileNotFoundError:
                raise StorageError("NoSuchBucket", "The storage was deleted.") from None
            self._store.set_metadata(self._path(folder, name), stored.etag, metadata)
        return stored

    def delete(self, key: str) -> None:
        """Delete an object if it exists."""
        folder, name = self.find(key)
        with self._lock:
            objects.delete(folder, name)
            # If the disk is full, the metadata remains, which is harmless.
            with suppress(OperationalError):
                self._store.delete_metadata(self._path(folder, name))

    def _path(self, folder: Path, name: str) -> str:
        """Return the path of an object, by which the store has its metadata."""
        return str((folder / name).relative_to(self._folders.root))


def find_range(header: str, size: int) -> tuple[int, int] | None:
    """Return the offsets of the first byte of a range and of the byte after it.

    None for the whole object: the header is empty, or does not have a single range.

    Raises:
        StorageError: An object of this size does not have the range.
    """
    match = re.fullmatch("bytes=([0-9]{0,18})-([0-9]{0,18})", header)
    first, last = match.groups() if match else ("", "")
    if not first and not last:
        return None
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if start >= end:
        raise StorageError("InvalidRange", "The object does not have this range.")
    return start, end


class Upload(NamedTuple):
    """A multipart upload: its parts are files of a folder."""

    folder: Path
    metadata: Mapping[str, str]
    parts: dict[tuple[str, str], Path]
    """The files by the part's number and ETag.

    A client may retry a part while the emulator still stores the first attempt.
    """

    def add(self, number: str, file: IO[bytes]) -> Object:
        """Make a received file a part."""
        if not re.fullmatch("[1-9][0-9]{0,3}|10000", number):
            raise StorageError("InvalidArgument", "partNumber must be 1 to 10000.")
        path = Path(file.name)
        try:
            part = objects.place(path, self.folder, path.name)
        except FileNotFoundError:
            raise _no_such_upload() from None
        self.parts[number, part.etag] = self.folder / path.name
        return part

    def join(self, parts: Sequence[Sequence[str]], file: IO[bytes]) -> None:
        """Write parts, each given by its number and ETag, to a file."""
        keys = [(number, _quoted(etag)) for number, etag in parts]
        if not self.parts.keys() >= {*keys}:
            raise StorageError("InvalidPart", "A part was not uploaded, or has another ETag.")
        numbers = [int(number) for number, _ in keys]
        if not parts or numbers != sorted({*numbers}):
            raise StorageError("InvalidPartOrder", "The parts are not in ascending order.")
        for key in keys:
            with self.parts[key].open("rb") as part:
                shutil.copyfileobj(part, file, CHUNK_BYTES)
        file.flush()


def _quoted(etag: str) -> str:
    """Add the quotation marks that some clients omit."""
    return '"' + etag.strip('"') + '"'


def _no_such_upload() -> StorageError:
    return StorageError("NoSuchUpload", "The upload does not exist or has ended.")


class Uploads:
    """The multipart uploads that have not ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._uploads: dict[tuple[str, str], Upload] = {}

    def create(self, key: str, metadata: Mapping[str, str]) -> str:
        """Create an upload and return its id."""
        folder = self._folder / uuid.uuid4().hex
        folder.mkdir(parents=True)
        self._uploads[folder.name, key] = Upload(folder, metadata, {})
        return folder.name

    def find(self, upload_id: str, key: str) -> Upload:
        """Return the upload of a key by its id."""
        upload = self._uploads.get((upload_id, key))
        if upload is None:
            raise _no_such_upload()
        return upload

    @contextmanager
    def end(self, upload_id: str, key: str) -> Generator[Upload]:
        """End an upload and remove its parts after the block. If that fails, the upload continues."""
        upload = self._uploads.pop((upload_id, key), None)
        if upload is None:
            raise _no_such_upload()
        try:
            yield upload
        except BaseException:
            self._uploads[upload_id, key] = upload
            raise
        # Rename it first, because a part may arrive while the folder is being removed.
        with suppress(OSError):  # the next emulator with this folder removes it
            remove(upload.folder.rename(f"{upload.folder}-ended"))
