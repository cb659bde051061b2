"""A task of the shared emulator, its files, and the folder that its jobs see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rescalehtc import htcprojects, htctasks
from rescalehtc.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rescalehtc import HtcSession
    from rescalehtc.files import Files


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """An emulator of the module's own: its tests make requests for the storage fail."""
    with Emulator(slots=2) as emulator:
        yield emulator


@pytest.fixture
def rescale(emulator: Emulator) -> Iterator[HtcSession]:
    with emulator.session() as rescale:
        yield rescale


@pytest.fixture
def task(rescale: HtcSession) -> htctasks.HtcTask:
    project = htcprojects.get_projects(rescale)[0]
    return htctasks.create_task_with_name(rescale, project, "files")


@pytest.fixture
def files(rescale: HtcSession, task: htctasks.HtcTask) -> Files:
    return task.files(rescale)


@pytest.fixture
def folder(emulator: Emulator, task: htctasks.HtcTask) -> Path:
    """The folder that jobs see."""
    return emulator._folders.task(task.json["taskId"])


def tree(folder: Path) -> dict[str, bytes]:
    """The files of a folder and their contents."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A local folder with a file for each kind of trouble, one of them large."""
    folder = tmp_path / "source"
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "a b").write_text("one")
    (folder / "empty").touch()
    (folder / "sub" / "ü+%20~*").write_text("two")
    (folder / "sub" / "deep" / ".hidden").write_text("three")
    (folder / "large").write_bytes(bytes(range(256)) * (9 << 12))
    return folder
