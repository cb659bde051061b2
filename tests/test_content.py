"""Uploads of files that are not regular, or that change during the upload."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

from rescalehtc.exceptions import HtcFileError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rescalehtc import HtcSession
    from rescalehtc.emulator import Emulator
    from rescalehtc.htctasks import HtcTask

    from .service import Service

CONTENT = bytes(range(256)) * 1000


class Changing(io.FileIO):
    """A file with an event after the first chunk was read."""

    def __init__(self, path: Path, change: Callable[[Path], object]) -> None:
        super().__init__(path)
        self._path = path
        self._change: Callable[[Path], object] | None = change

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        if self._change is not None:
            self._change(self._path)
            self._change = None
        return piece or b""


def address(rescale: HtcSession, task: HtcTask) -> str:
    """A presigned URL."""
    url = task.get_presigned_url(rescale, "file").url
    assert isinstance(url, str)
    return url


def stored(emulator: Emulator, url: str) -> Path:
    """The path of an upload to a presigned URL."""
    return emulator._folders.root / unquote(urlsplit(url).path).removeprefix("/uploads/")


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def write_anew(path: Path) -> None:
    path.write_bytes(b"y" * len(CONTENT))
    os.utime(path, (1, 1))  # even with a coarse file system clock


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"another file's")
    other.replace(path)


@pytest.mark.parametrize("change", [append, write_anew, lambda path: os.truncate(path, 70_000)])
def test_a_file_that_changes_during_its_upload_is_an_error_and_nothing_is_stored(
    emulator: Emulator,
    rescale: HtcSession,
    task: HtcTask,
    tmp_path: Path,
    change: Callable[[Path], object],
) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    url = address(rescale, task)
    with (
        Changing(path, change) as file,
        pytest.raises(HtcFileError, match="changed during the upload") as info,
    ):
        rescale.upload(url, file)
    assert str(path) in str(info.value)
    assert not stored(emulator, url).exists()
    task.upload_file(rescale, path, "file")
    assert stored(emulator, url).read_bytes() == path.read_bytes()


def test_of_a_file_that_is_replaced_the_one_that_was_opened_is_uploaded(
    emulator: Emulator, rescale: HtcSession, task: HtcTask, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    url = address(rescale, task)
    with Changing(path, replace) as file:
        rescale.upload(url, file)
    assert stored(emulator, url).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("position", "expected"),
    [(0, b"0123456789"), (4, b"456789"), (10, b""), (20, b"")],
)
@pytest.mark.parametrize("in_memory", [False, True])
def test_a_file_is_uploaded_from_its_position(
    emulator: Emulator,
    rescale: HtcSession,
    task: HtcTask,
    tmp_path: Path,
    position: int,
    expected: bytes,
    in_memory: bool,
) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    url = address(rescale, task)
    with io.BytesIO(b"0123456789") if in_memory else (tmp_path / "file").open("rb") as file:
        file.seek(position)
        rescale.upload(url, file)
    assert stored(emulator, url).read_bytes() == expected


def pipe_without_a_writer(path: Path) -> Path:
    os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    "make",
    [
        pipe_without_a_writer,
        lambda path: path.mkdir() or path,
        lambda _: Path("/dev/null"),
        lambda _: Path("/dev/zero"),
    ],
    ids=["pipe", "folder", "null", "device"],
)
def test_what_is_not_a_regular_file_is_rejected_before_anything_is_sent(
    service: Service,
    scripted: HtcSession,
    scripted_task: HtcTask,
    tmp_path: Path,
    make: Callable[[Path], Path],
) -> None:
    path = make(tmp_path / "it")
    with pytest.raises(HtcFileError, match=r"it is not a regular file|directory") as info:
        scripted_task.upload_file(scripted, path, "file")
    assert str(path) in str(info.value)
    assert not service.requests


def test_an_open_pipe_is_rejected(service: Service, scripted: HtcSession) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"content")
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe, pytest.raises(HtcFileError, match="regular file"):
        scripted.upload(f"{service.origin}/bucket/file", pipe)
    assert not service.requests


def test_a_file_that_can_not_be_read_is_an_error_of_ours(
    service: Service, scripted: HtcSession, tmp_path: Path
) -> None:
    url = f"{service.origin}/bucket/file"
    (tmp_path / "file").write_text("content")
    with (tmp_path / "file").open() as text, pytest.raises(HtcFileError, match="binary mode"):
        scripted.upload(url, text)  # type: ignore[arg-type]
    with (
        io.FileIO(os.open(tmp_path / "file", os.O_WRONLY), "w") as unreadable,
        pytest.raises(HtcFileError, match="read"),
    ):
        scripted.upload(url, unreadable)  # type: ignore[arg-type]
    closed = (tmp_path / "file").open("rb")
    closed.close()
    with pytest.raises(HtcFileError, match="closed"):
        scripted.upload(url, closed)
