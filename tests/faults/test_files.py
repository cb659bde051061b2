"""Transfers of files are complete or raise an exception, regardless of faults."""

from __future__ import annotations

import os
import resource
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from rescalehtc import htcprojects
from rescalehtc.emulator import Emulator
from rescalehtc.exceptions import HtcFileError

from .. import programs
from .matrix import row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rescalehtc.emulator import FaultKind
    from rescalehtc.files import Files

LARGE = 17 << 20


@pytest.fixture(scope="module")
def misbehaving() -> Iterator[Emulator]:
    with Emulator(slots=1) as emulator:
        yield emulator


@pytest.fixture
def files(misbehaving: Emulator) -> Iterator[Files]:
    with misbehaving.session() as rescale:
        files = htcprojects.get_projects(rescale)[0].files(rescale)
        yield files
        files.delete("**")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "small").write_bytes(os.urandom(10_000))
    (folder / "large").write_bytes(os.urandom(LARGE))
    return folder


def there_and_back(files: Files, source: Path, target: Path) -> None:
    files.sync_up(source, "s")
    files.sync_down(target, "s")
    for path in source.iterdir():
        assert (target / path.name).read_bytes() == path.read_bytes()
    assert len(list(target.iterdir())) == len(list(source.iterdir()))


def strike(
    emulator: Emulator, kind: FaultKind, files: Files, source: Path, target: Path, **options: int
) -> None:
    with emulator.fault("storage", kind, probability=0.3, seed=1, **options) as fault:  # type: ignore[arg-type]
        there_and_back(files, source, target)
    assert fault.count


@row("503", "requests for files", "retried; the files are complete")
def test_the_storage_is_overloaded(
    misbehaving: Emulator, files: Files, source: Path, tmp_path: Path
) -> None:
    strike(misbehaving, "status_before", files, source, tmp_path / "t", status=503)


@row("500 after the request was carried out", "requests for files", "retried")
def test_the_storage_fails_afterwards(
    misbehaving: Emulator, files: Files, source: Path, tmp_path: Path
) -> None:
    with misbehaving.fault("storage", "status_after", times=3, status=500) as fault:
        there_and_back(files, source, tmp_path / "t")
    assert fault.count == 3


@row("truncated responses", "requests for files", "retried; the files are complete")
def test_answers_are_truncated(
    misbehaving: Emulator, files: Files, source: Path, tmp_path: Path
) -> None:
    strike(misbehaving, "truncate", files, source, tmp_path / "t")


@row("connection reset", "requests for files", "retried")
def test_connections_are_reset(
    misbehaving: Emulator, files: Files, source: Path, tmp_path: Path
) -> None:
    strike(misbehaving, "reset_before", files, source, tmp_path / "t")


@row("credentials expire early", "transfers", "the session fetches new ones")
def test_credentials_expire(
    misbehaving: Emulator, files: Files, source: Path, tmp_path: Path
) -> None:
    with misbehaving.fault("storage", "expire_token", times=3, probability=0.3, seed=3) as fault:
        there_and_back(files, source, tmp_path / "t")
    assert fault.count


@row("the storage does not respond", "transfers", "HtcFileError; no partial file is left")
def test_the_storage_is_gone(
    misbehaving: Emulator, files: Files, source: Path, tmp_path: Path
) -> None:
    files.sync_up(source, "s")
    quick = files.storage._rescale.with_options(max_retries=1)
    impatient = htcprojects.get_projects(quick)[0].files(quick)
    target = tmp_path / "t"
    (source / "new").touch()
    with (
        misbehaving.fault("storage", "reset_before"),
        pytest.raises(HtcFileError, match="upload of s/new failed"),
    ):
        impatient.upload(source / "new", "s/new")
    listed = len(impatient.list("s"))
    assert listed == 2
    with misbehaving.fault("storage", "status_before"), pytest.raises(HtcFileError):
        impatient.download("s", target)
    assert not target.exists() or not list(target.iterdir())


DOWNLOAD = """
import resource, signal, sys
from rescalehtc import HtcSession, htcprojects
from rescalehtc.exceptions import HtcFileError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with HtcSession() as rescale:
    files = htcprojects.get_projects(rescale)[0].files(rescale)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    try:
        files.download(sys.argv[1], sys.argv[2])
    except HtcFileError as error:
        print(error)
"""


@row("the local disk is full", "download", "HtcFileError; the old file is unchanged")
@pytest.mark.parametrize("name", ["large"])
def test_the_disk_here_is_full(
    misbehaving: Emulator, files: Files, source: Path, tmp_path: Path, name: str
) -> None:
    files.sync_up(source, "s")
    target = tmp_path / "t"
    target.mkdir()
    (target / name).write_bytes(b"old")
    command = [sys.executable, "-c", DOWNLOAD, f"s/{name}", str(target / name)]
    done = programs.run(command, env=misbehaving.environment())
    assert done.stdout == f"download of s/{name} failed: File too large\n", done.stderr
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {name: b"old"}


@row(
    "the emulator's disk is full",
    "upload",
    "HtcFileError without a retry; nothing is stored, and you can delete files",
)
def test_the_disk_of_the_emulator_is_full(files: Files, source: Path) -> None:
    files.write("small", b"x")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(HtcFileError, match="QuotaExceeded: The emulator's disk is full"):
            files.upload(source / "large", "large")
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        files.delete("small")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert files.list() == []


UPLOAD = """
import os, sys
from rescalehtc import HtcSession, htcprojects
with HtcSession() as rescale:
    files = htcprojects.get_projects(rescale)[0].files(rescale)
    seen = []
    def kill(counts):
        seen.append(counts)
        if len(seen) == int(sys.argv[2]):
            os.kill(os.getpid(), 9)
    getattr(files, sys.argv[1])(sys.argv[3], "s", progress=kill)
"""


@row("kill -9", "sync in either direction", "no partial file; the next sync completes it")
def test_a_sync_is_killed(
    misbehaving: Emulator, files: Files, source: Path, tmp_path: Path
) -> None:
    for moment in range(1, 4):
        for direction, folder in (("sync_up", source), ("sync_down", tmp_path / "t")):
            command = [sys.executable, "-c", UPLOAD, direction, str(moment), str(folder)]
            assert programs.run(command, env=misbehaving.environment()).returncode in (-9, 0)
        for file in files.list("s"):
            assert files.read(file.path) == (source / file.path.removeprefix("s/")).read_bytes()
    there_and_back(files, source, tmp_path / "t")


@row("names that lead out of the folder", "download", "HtcFileError; nothing is written")
@pytest.mark.parametrize("name", ["out/x", "a/out/x"])
def test_names_lead_out_of_the_target(files: Files, tmp_path: Path, name: str) -> None:
    files.write(name, b"x")
    files.write("a-first", b"x")
    target = tmp_path / "t"
    link = target / name.removesuffix("/x")
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path)
    for move in (lambda: files.download("", target), lambda: files.sync_down(target)):
        with pytest.raises(HtcFileError, match="leads out of"):
            move()
    assert not (tmp_path / "x").exists()
    assert not (target / "a-first").exists()


@row(
    "control characters in a file's name",
    "results of jobs",
    "HtcFileError that names the file, not incomplete results",
)
def test_a_job_wrote_an_impossible_name(misbehaving: Emulator, files: Files) -> None:
    files.write("ok", b"x")
    project_id = files.url().split("/")[4]
    created = misbehaving._folders.project(project_id) / "new\nline"
    created.touch()
    with pytest.raises(HtcFileError, match=r"the name '.*/new\\nline' can't be used"):
        files.list()
    created.unlink()
    assert len(files.list()) == 1
