"""The methods of `Files` as flows."""

from __future__ import annotations

import errno
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._interrupts import is_from_signal_handler
from .._jobs.progress import Progress
from ..exceptions import HtcFileError, HtcValidationError, Problem
from ._names import (
    base_of,
    checked,
    checked_folder,
    is_pattern,
    joined,
    local_files,
    local_target,
    require_name,
    require_path,
)
from ._transfers import Counter, Down, StoredFile, Up, fetch, find, pages, send

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from os import PathLike

    from .._client.io import Io
    from ._storage import Storage
    from ._transfers import TransferCounts

    Show = bool | Callable[[TransferCounts], None]
    LocalPath = str | PathLike[str]
    # `list` is a method of Files.
    FileList = list[StoredFile]
    Names = list[str]
    Paths = list[Path]

# The maximum of AWS.
MAX_SIGNED_SECONDS = 7 * 24 * 3600


async def upload(
    io: Io, storage: Storage, source: LocalPath, target: str | None, progress: Show
) -> list[str]:
    """See `Files.upload`."""
    kind, files = await io.call(local_files, source)
    if kind == "file":
        ((path, name),) = files
        if target is not None:
            name = joined(checked_folder(target), name) if _is_folder(target) else checked(target)
        named = [(path, name)]
    else:
        folder = os.path.basename(os.path.abspath(source)) if kind == "folder" else ""
        folder = checked_folder(folder if target is None else target)
        named = [(path, joined(folder, name)) for path, name in files]
    await _send(io, storage, named, progress)
    return [name for _, name in named]


async def sync_up(
    io: Io, storage: Storage, source: LocalPath, target: str, delete: bool, progress: Show
) -> list[str]:
    """See `Files.sync_up`."""
    kind, files = await io.call(local_files, source)
    if kind != "folder":
        raise HtcFileError(f"{os.fspath(source)!a} can't be synchronized: it is not a folder")
    folder = checked_folder(target)
    stored = {file.path: file for file, _ in await io.call(find, storage, _all_of(folder))}
    named = [(path, joined(folder, name)) for path, name in files]
    with storage.translated("upload"):
        outdated = [(path, name) for path, name in named if not _is_stored(path, stored.get(name))]
    await _send(io, storage, outdated, progress)
    if delete:
        local = {name for _, name in named}
        await _delete(io, storage, [name for name in stored if name not in local])
    return [name for _, name in outdated]


def _is_stored(path: str, file: StoredFile | None) -> bool:
    """Whether a local file is in the storage, by its size and time."""
    status = os.stat(path)
    return (
        file is not None
        and file.size == status.st_size
        and round(file.modified.timestamp() * 1000) >= status.st_mtime_ns // 1_000_000
    )


async def _send(io: Io, storage: Storage, named: Sequence[tuple[str, str]], progress: Show) -> None:
    with storage.translated("upload"):
        ups = [Up(path, checked(name), os.path.getsize(path)) for path, name in named]
    with Progress(progress) as show, Counter([up.size for up in ups], show) as counter:
        await send(io, storage, ups, counter)


async def download(
    io: Io, storage: Storage, source: str, target: LocalPath, progress: Show
) -> list[Path]:
    """See `Files.download`."""
    files = await io.call(find, storage, source)
    if not files:
        raise _missing(f"download of {source or 'the storage'}", source)
    destination = require_path(target)
    folder = base_of(source) if is_pattern(source) else source.strip("/")
    if [file.path for file, _ in files] == [folder]:  # a single file
        if os.path.isdir(destination) or destination.endswith(("/", os.sep)):
            destination = local_target(destination, os.path.basename(folder))
        downs = [Down(*files[0], destination)]
    else:
        downs = below(folder, files, destination)
    await fetch_all(io, storage, downs, progress)
    return [Path(down.path) for down in downs]


async def sync_down(
    io: Io, storage: Storage, target: LocalPath, source: str, delete: bool, progress: Show
) -> list[Path]:
    """See `Files.sync_down`."""
    folder, local_folder = checked_folder(source), require_path(target)
    files = await io.call(find, storage, _all_of(folder))
    downs = below(folder, files, local_folder)
    outdated = [down for down in downs if not is_current(down)]
    await fetch_all(io, storage, outdated, progress)
    if delete and os.path.isdir(local_folder):
        paths = {os.path.normpath(down.path) for down in downs}
        _, local = await io.call(local_files, local_folder)
        for path, _ in local:
            if os.path.normpath(path) not in paths:
                with storage.translated(f"delete of {path}"):
                    Path(path).unlink(missing_ok=True)
    return [Path(down.path) for down in outdated]


def below(
    folder: str, files: Sequence[tuple[StoredFile, str | None]], target: LocalPath
) -> list[Down]:
    """Return the local paths for the files of a folder in the storage."""
    root, prefix = require_path(target), _all_of(folder)
    return [Down(*item, local_target(root, item[0].path.removeprefix(prefix))) for item in files]


def is_current(down: Down) -> bool:
    """Whether the local file is current, by its size and time."""
    try:
        status = os.stat(down.path)
    except OSError as error:
        if is_from_signal_handler(error):
            raise
        return False
    is_new = round(down.file.modified.timestamp() * 1000) <= round(status.st_mtime_ns / 1_000_000)
    return status.st_size == down.file.size and is_new


async def fetch_all(io: Io, storage: Storage, downs: Sequence[Down], progress: Show) -> None:
    """Download files and show the progress."""
    with Progress(progress) as show, Counter([down.file.size for down in downs], show) as counter:
        await fetch(io, storage, downs, counter)


async def iterate(io: Io, storage: Storage, path: str) -> AsyncGenerator[StoredFile]:
    """See `Files.iter`."""
    stream = pages(storage, path)
    while (page := await io.call(next, stream, None)) is not None:
        for file, _ in page:
            yield file


async def listed(io: Io, storage: Storage, path: str) -> list[StoredFile]:
    """See `Files.list`."""
    return [file for file, _ in await io.call(find, storage, path)]


def url(storage: Storage, path: str, signed_seconds: object) -> str:
    """See `Files.url`."""
    name = checked(path) if path else ""
    if signed_seconds is None:
        return joined(storage.address, name) if name else storage.address
    if not isinstance(signed_seconds, int) or not 1 <= signed_seconds <= MAX_SIGNED_SECONDS:
        message = f"must be an integer from 1 to {MAX_SIGNED_SECONDS}, got {signed_seconds!r}"
        raise HtcValidationError("files", [Problem("signed_seconds", message)])
    from obstore import sign

    store: Any = storage.store
    valid = timedelta(seconds=signed_seconds)
    signed: str = storage.run(f"signing of {name}", sign, store, "GET", checked(name), valid)
    return signed


async def read(io: Io, storage: Storage, path: str) -> bytes:
    """See `Files.read`."""
    name = checked(path)
    return await io.call(
        storage.run, f"read of {name}", lambda: bytes(storage.store.get(name).bytes())
    )


async def write(io: Io, storage: Storage, path: str, content: object) -> None:
    """See `Files.write`."""
    name = checked(path)
    data = content.encode() if isinstance(content, str) else content
    if not isinstance(data, bytes | bytearray):
        message = f"must be bytes or a string, got {type(content).__name__}"
        raise HtcValidationError("files", [Problem("content", message)])
    await io.call(storage.run, f"write of {name}", lambda: storage.store.put(name, data))


async def delete(io: Io, storage: Storage, path: str) -> list[str]:
    """See `Files.delete`."""
    if not require_name(path).strip("/"):
        raise HtcFileError("delete failed: the name is empty; use '**' to delete all files")
    names = [file.path for file, _ in await io.call(find, storage, path)]
    if not is_pattern(path) and not path.endswith("/"):
        if not names:
            raise _missing(f"delete of {path}", path)
        if names != [path]:
            raise HtcFileError(
                f"delete of {path} failed: it is a folder; use '{path}/' to delete its files"
            )
    await _delete(io, storage, names)
    return names


async def _delete(io: Io, storage: Storage, names: Sequence[str]) -> None:
    if names:
        action = f"delete of {names[0]}" + (" and others" if len(names) > 1 else "")
        await io.call(storage.run, action, lambda: storage.store.delete(names))


def _is_folder(target: str) -> bool:
    return require_name(target) in ("", ".") or target.endswith("/")


def _all_of(folder: str) -> str:
    return f"{folder}/" if folder else ""


def _missing(action: str, path: str) -> HtcFileError:
    error = HtcFileError(f"{action} failed: no file in the storage is {path!a} or below it")
    error.errno = errno.ENOENT
    return error
