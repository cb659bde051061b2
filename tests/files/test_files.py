"""Files of a task: uploads, downloads and invalid arguments."""

import asyncio
import gc
import os
import pickle
import signal
import subprocess
import sys
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pandas as pd
import pytest
import trio
from obstore.exceptions import UnauthenticatedError

from rescalehtc import api, htcprojects, htctasks
from rescalehtc import files as files_module
from rescalehtc.aio import htcprojects as aio_projects
from rescalehtc.emulator import Emulator, tokens
from rescalehtc.emulator.tokens import STORAGE_SECONDS
from rescalehtc.exceptions import (
    HtcConnectionError,
    HtcFileError,
    HtcForbiddenError,
    HtcValidationError,
)
from rescalehtc.files import _partial
from rescalehtc.files._names import matcher

from .. import programs
from ..clock import Clock
from ..limits import HANG_SECONDS
from ..service import Answer
from .conftest import tree


def test_a_folder_goes_up_and_comes_down_whole(files, folder, source, tmp_path):
    assert sorted(files.upload(source)) == sorted(f"source/{name}" for name in tree(source))
    assert tree(folder / "source") == tree(source)
    paths = files.download("source", tmp_path / "down")
    assert tree(tmp_path / "down") == tree(source)
    assert {path.relative_to(tmp_path / "down").as_posix() for path in paths} == {*tree(source)}


@pytest.mark.parametrize(
    ("target", "stored"),
    [(None, "a b"), ("", "a b"), ("in/", "in/a b"), ("in/c", "in/c"), ("c", "c")],
)
def test_a_file_goes_where_the_target_says(files, folder, source, target, stored):
    assert files.upload(source / "a b", target) == [stored]
    assert (folder / stored).read_text() == "one"


@pytest.mark.parametrize(
    ("target", "stored"), [(None, "source/a b"), ("", "a b"), ("in", "in/a b"), ("in/", "in/a b")]
)
def test_the_files_of_a_folder_go_below_the_target(files, source, target, stored):
    assert stored in files.upload(source, target)


def test_patterns_choose_files_here_and_there(files, source, tmp_path):
    assert files.upload(f"{source}/*", "top") == ["top/a b", "top/empty", "top/large"]
    assert {*files.upload(f"{source}/**", "all")} == {f"all/{name}" for name in tree(source)}
    assert files.upload(f"{source}/**/.hid*", "in") == ["in/sub/deep/.hidden"]
    assert [item.path for item in files.list("all/**/*[*]")] == ["all/sub/ü+%20~*"]
    assert [item.path for item in files.list("all/?*/deep/*")] == ["all/sub/deep/.hidden"]
    assert files.download("all/[!l]*", tmp_path / "x") == [
        tmp_path / "x" / name for name in ("a b", "empty")
    ]


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("*", ["a", ".a", "a b"], ["a/b"]),
        ("a.?", ["a.b"], ["axb", "a./"]),
        ("**", ["a", "a/b/c"], []),
        ("**/c", ["c", "a/b/c"], ["ac", "a/bc"]),
        ("**/*b/**/c*", ["b/c", "a/ab/b/b/cd"], ["b", "c", "a/c", "b/a/b"]),
        ("a*b*c", ["abc", "abbcc", "abcbc"], ["ab/c", "acb"]),
        ("[a&&b]", ["a", "&", "b"], ["c"]),
        # Backtracking would take longer than the universe exists.
        ("*a" * 30 + "b", ["a" * 60 + "b"], ["a" * 200]),
        ("**/a/" * 30 + "b", ["a/" * 60 + "b"], ["a/" * 200 + "a"]),
        ("a/**/c", ["a/c", "a/b/b/c"], ["a/b", "ac"]),
        ("[ab]", ["a", "b"], ["c", "/"]),
        ("[!ab]", ["c"], ["a", "/"]),
        ("[]]", ["[]]"], ["]"]),
        ("x+(y)", ["x+(y)"], ["xxy"]),
    ],
)
def test_a_pattern_matches_within_a_part_and_two_stars_any_parts(pattern, matching, others):
    found = matcher(pattern)
    assert [name for name in [*matching, *others] if found.fullmatch(name)] == matching


def test_files_are_listed_with_size_and_time(files, folder):
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    files.write("a/x", b"12345")
    (folder / "a" / "job").write_bytes(b"by a job")
    job, mine = files.list("a")
    assert (mine.path, mine.size) == ("a/x", 5)
    assert before <= mine.modified <= datetime.now(UTC)
    assert (job.path, job.size) == ("a/job", 8)
    assert [(item.path, item.size) for item in files.list("a/x")] == [("a/x", 5)]
    assert [*files.iter()] == [job, mine]
    assert files.list("none") == []
    assert files.list("a/x/") == []


def test_small_content_is_read_and_written_at_once(files, folder):
    files.write("a", "ü")
    assert (folder / "a").read_bytes() == "ü".encode()
    assert files.read("a") == "ü".encode()
    with pytest.raises(HtcFileError, match="read of none failed: the file does not exist") as info:
        files.read("none")
    assert info.value.errno == 2


def test_nothing_is_deleted_but_what_is_named(files):
    for name in ("a", "b/c", "b/d", "bb"):
        files.write(name, b"")
    with pytest.raises(HtcFileError, match="it is a folder; use 'b/'"):
        files.delete("b")
    for everything in ("", "/"):
        with pytest.raises(HtcFileError, match=r"use '\*\*' to delete all"):
            files.delete(everything)
    with pytest.raises(HtcFileError, match="no file in the storage is 'none'"):
        files.delete("none")
    assert files.delete("b/") == ["b/c", "b/d"]
    assert files.delete("a*") == ["a"]
    assert files.delete("none*") == []
    assert [item.path for item in files.list()] == ["bb"]


# ---- sync


def test_a_sync_moves_what_is_missing_or_changed_and_deletes_only_if_asked(
    files, folder, source, tmp_path
):
    assert len(files.sync_up(source, "s")) == len(tree(source))
    assert files.sync_up(source, "s") == []
    (source / "a b").write_text("new")
    assert files.sync_up(source, "s") == ["s/a b"]
    down = tmp_path / "down"
    assert len(files.sync_down(down, "s")) == len(tree(source))
    assert files.sync_down(down, "s") == []
    (folder / "s" / "a b").write_text("job")
    (folder / "s" / "empty").unlink()
    assert files.sync_down(down, "s") == [down / "a b"]
    assert (down / "empty").exists()
    files.sync_down(down, "s", delete=True)
    assert tree(down) == tree(folder / "s")
    (source / "empty").unlink()
    (source / "a b").write_text("newer")
    files.sync_up(source, "s", delete=True)
    assert tree(folder / "s") == tree(source)


SYNC = """
import sys
from rescalehtc import HtcSession, htcprojects, htctasks
with HtcSession() as rescale:
    project = htcprojects.get_projects(rescale)[0]
    task = htctasks.get_task_with_id(rescale, project, sys.argv[1])
    files = task.files(rescale)
    print("ready", flush=True)
    (files.sync_up if sys.argv[3] == "up" else files.sync_down)(sys.argv[2], "s")
"""


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_sync_that_is_killed_leaves_nothing_torn_and_goes_on(
    emulator, files, folder, task, tmp_path, direction
):
    here, there = tmp_path / "here", folder / "s"
    start, end = (here, there) if direction == "up" else (there, here)
    start.mkdir(parents=True)
    for i in range(60):
        (start / f"{i}").write_bytes(os.urandom(20_000))
    (start / "large").write_bytes(os.urandom(17 << 20))
    expected = tree(start)
    arguments = [task.json["taskId"], str(here), direction]
    for attempt in range(4):
        with programs.Process(
            [sys.executable, "-c", SYNC, *arguments], env=emulator.environment()
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.05 * attempt)  # the process may be killed at any moment
            process.send_signal(signal.SIGKILL)
        whole = {name: content for name, content in tree(end).items() if "partial" not in name}
        assert whole.items() <= expected.items()
    (files.sync_up if direction == "up" else files.sync_down)(here, "s")
    assert tree(end) == expected


# ---- whole or an error


def test_a_file_that_changes_during_its_upload_is_an_error(files, source):
    def grow(counts):
        with (source / "large").open("ab") as file:
            file.write(b"more")

    with pytest.raises(HtcFileError, match="large' changed during the upload"):
        files.upload(source / "large", progress=grow)
    assert files.list() == []


@pytest.fixture
def vanishing(monkeypatch):
    """Remove a local file after it was found."""

    def remove(file):
        stat = os.stat

        def stat_and_remove(path, **options):
            found = stat(path, **options)
            if path == str(file):
                file.unlink()
            return found

        monkeypatch.setattr(os, "stat", stat_and_remove)

    return remove


def test_a_file_that_vanishes_during_a_sync_is_an_error(files, source, vanishing):
    files.sync_up(source, "s")
    vanishing(source / "large")
    with pytest.raises(HtcFileError, match=r"upload failed: No such file or directory: .*large"):
        files.sync_up(source, "s")


@pytest.mark.parametrize("size", [10, 9 << 20])
def test_a_download_with_another_checksum_is_an_error(emulator, files, folder, tmp_path, size):
    (tmp_path / "a").write_bytes(b"x" * size)
    files.upload(tmp_path / "a")
    with (folder / "a").open("r+b") as file:
        before = os.fstat(file.fileno())
        file.write(b"y")
    os.utime(folder / "a", ns=(before.st_atime_ns, before.st_mtime_ns))  # the disk did it
    with pytest.raises(HtcFileError, match="its SHA-256 checksum is "):
        files.download("a", tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_a_file_that_cannot_be_written_here_is_an_error(files, tmp_path):
    files.write("a/b", b"x")
    (tmp_path / "a").write_text("a file")
    with pytest.raises(HtcFileError, match="download of a/b failed: "):
        files.download("a", tmp_path / "a")
    (tmp_path / "b").mkdir()
    with pytest.raises(HtcFileError, match="failed: Is a directory"):
        files.download("a/b", tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(HtcFileError, match="can't be replaced: it is not a regular file"):
        files.download("a/b", tmp_path / "pipe")


def test_a_download_waits_for_another_one_of_the_same_file(files, tmp_path, monkeypatch):
    files.write("a", b"x")
    target = tmp_path / "a"
    with ThreadPoolExecutor() as pool:
        with _partial.downloaded(str(target), 0) as file:
            file.write(b"first")
            with monkeypatch.context() as patch:
                patch.setattr(_partial, "WAIT_SECONDS", 0)
                with pytest.raises(HtcFileError, match="another transfer is writing it"):
                    files.download("a", target)
            second = pool.submit(files.download, "a", target)
            assert not target.exists()
        assert second.result(HANG_SECONDS) == [target]
    assert target.read_bytes() == b"x"


@pytest.mark.parametrize("name", ["../x", "/x", "a/../x", ".", "a//b", "a\nb", "a\0b", "a/./b"])
def test_a_name_that_no_file_can_have_is_refused_before_anything_is_sent(files, tmp_path, name):
    (tmp_path / "x").touch()
    for call in (
        lambda: files.read(name),
        lambda: files.write(name, b""),
        lambda: files.upload(tmp_path / "x", name) if name != "." else files.read(name),
        lambda: files.url(name),
    ):
        with pytest.raises(HtcFileError, match="can't be the name of a file"):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda files: files.read(None), "name: must be a string, got NoneType"),
        (lambda files: files.delete(b"a"), "name: must be a string, got bytes"),
        (lambda files: files.list(Path("a")), "name: must be a string, got PosixPath"),
        (lambda files: files.download(1), "name: must be a string, got int"),
        (lambda files: files.upload(__file__, 5), "name: must be a string, got int"),
        (lambda files: files.upload(None), "path: must be a path, got NoneType"),
        (lambda files: files.sync_down(1), "path: must be a path, got int"),
        (lambda files: files.write("a", 5), "content: must be bytes or a string, got int"),
        (lambda files: files.url("a", 0), "signed_seconds: must be an integer from 1 to 604800"),
        (lambda files: files.url("a", "1"), "signed_seconds: must be an integer from 1 to 604800"),
    ],
)
def test_arguments_are_checked(files, call, message):
    with pytest.raises(HtcValidationError, match=message):
        call(files)


def test_links_out_of_a_folder_are_not_followed(files, source, tmp_path, caplog):
    (tmp_path / "secret").write_text("secret")
    (source / "out").symlink_to(tmp_path / "secret")
    (source / "dir").symlink_to(tmp_path)
    (source / "in").symlink_to("a b")
    os.mkfifo(source / "pipe")
    for pattern in (source, f"{source}/**", f"{source}/*"):
        uploaded = files.upload(pattern, "s")
        assert not {"s/out", "s/dir", "s/pipe", "s/dir/secret"} & {*uploaded}
        assert "s/in" in uploaded
    assert "out' is left out" in caplog.text
    files.write("out/x", b"x")
    target = tmp_path / "target"
    target.mkdir()
    (target / "out").symlink_to(tmp_path)
    with pytest.raises(HtcFileError, match="leads out of"):
        files.download("", target)
    assert not (tmp_path / "x").exists()


def test_what_is_not_there_is_an_error(files, tmp_path):
    for source in (tmp_path / "none", tmp_path / "*.none"):
        with pytest.raises(HtcFileError, match="none"):
            files.upload(source)
    with pytest.raises(HtcFileError, match="no file in the storage is 'none' or below it"):
        files.download("none", tmp_path)
    with pytest.raises(HtcFileError, match="not a folder"):
        files.sync_up(__file__)


# ---- credentials


def test_credentials_are_renewed_in_the_middle_of_a_transfer(rescale, task, tmp_path, monkeypatch):
    clock = Clock()
    with monkeypatch.context() as patch:
        patch.setattr(tokens, "time", clock)
        clock.ahead["time"] = 2 - STORAGE_SECONDS  # the first ones live for 2 s
        files = task.files(rescale)
        expires_at = files.expires_at
    (tmp_path / "a").write_bytes(b"x" * (20 << 20))

    def wait(counts):
        deadline = time.monotonic() + HANG_SECONDS
        while datetime.now(UTC) <= expires_at and time.monotonic() < deadline:
            time.sleep(0.05)

    files.upload(tmp_path / "a", progress=wait)
    assert files.list()[0].size == 20 << 20
    assert files.expires_at > expires_at


def test_credentials_that_expire_early_are_fetched_again(emulator, files):
    with emulator.fault("storage", "expire_token", times=1) as fault:
        files.write("a", b"x")
    with emulator.fault("storage", "expire_token", times=1):
        assert len(files.list()) == 1
    assert fault.count == 1


def test_an_error_of_the_service_is_the_error_of_the_transfer(emulator, rescale, task):
    files = task.files(rescale.with_options(max_retries=0))
    with (
        emulator.fault("storage", "expire_token", times=1),
        emulator.fault("getTaskStorageToken", "reset_before"),
        pytest.raises(HtcConnectionError),
    ):
        files.read("a")


def test_an_error_of_the_service_is_not_the_error_of_another_transfer(
    service, scripted, tmp_path, vanishing
):
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    token = {
        "projectSharedStoragePath": "s3://b/p",
        "expiration": "2000-01-01T00:00:00Z",
        "credentials": dict.fromkeys(names, "x"),
    }
    service.on("GET /htc/projects/p/storage/token", Answer(token), Answer({}, 403))
    files = htcprojects.HtcProject({"projectId": "p"}).files(scripted)
    (tmp_path / "local").touch()
    with pytest.raises(UnauthenticatedError, match="HtcForbiddenError"):
        files.store.get("a")
    vanishing(tmp_path / "local")
    with pytest.raises(HtcFileError, match="upload failed: No such file or directory"):
        files.upload(tmp_path)
    with pytest.raises(HtcForbiddenError):
        files.read("a")


def test_the_projects_storage_and_a_region_can_be_named(rescale, task, files):
    project = task.project
    project.files(rescale, project.json["regions"][0]).write("shared", b"x")
    assert [item.path for item in project.files(rescale).list("shared")] == ["shared"]
    assert files.list("shared") == []


def test_a_storage_of_an_unknown_form_is_one_clear_error(rescale):
    body = {"projectName": "g", "projectDescription": "", "regions": ["GCP_US_EAST_1"]}
    project = htcprojects.HtcProject(rescale.send(api.CREATE_PROJECT.call({}, body=body)))
    with pytest.raises(HtcFileError, match="GCP_US_EAST_1 can't be used: its address begins"):
        project.files(rescale)


@pytest.mark.parametrize(
    ("address", "credentials", "message"),
    [
        ("gs://b/p/", {}, "the storage token for gs://b/p has no credentials"),
        ("gs://b/p/", {"ACCESS_TOKEN": "secret"}, "not accept the variables ACCESS_TOKEN for GCP"),
        ("s3://b/p/", {"AWS_ACCESS_KEY_ID": "secret"}, "has no AWS_SECRET_ACCESS_KEY and no AWS_"),
        ("ftp://b/p/", {"KEY": "secret"}, "its address begins with ftp:, not with one of s3, gs"),
        (None, {"KEY": "secret"}, "the token has no address"),
    ],
)
def test_credentials_that_can_not_be_used_are_one_clear_error(
    service, scripted, address, credentials, message
):
    token = {"projectSharedStoragePath": address, "credentials": credentials}
    service.on("GET /htc/projects/p/storage/token", Answer(token))
    project = htcprojects.HtcProject({"projectId": "p"})
    with pytest.raises(HtcFileError, match=message) as info:
        project.files(scripted).read("a")
    assert "secret" not in str(info.value)


@pytest.mark.parametrize(
    ("address", "credentials", "kind"),
    [
        ("gs://b/p/", {"GOOGLE_BEARER_TOKEN": "secret"}, "GCSStore"),
        (
            "az://c/p/",
            {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_SAS_KEY": "sv=1&sig=s"},
            "AzureStore",
        ),
    ],
)
def test_credentials_that_obstore_reads_make_its_store(
    service, scripted, address, credentials, kind
):
    token = {"projectSharedStoragePath": address, "credentials": credentials}
    service.on("GET /htc/projects/p/storage/token", Answer(token))
    files = htcprojects.HtcProject({"projectId": "p"}).files(scripted)
    assert type(files.store).__name__ == kind


# ---- other ways in


def test_addresses_lead_to_a_file(files):
    files.write("a b", b"x")
    assert files.url("a b").startswith("s3://emulator-aws-us-east-1/projects/")
    assert files.url("a b").endswith("/shared/a b")
    assert httpx.get(files.url("a b", signed_seconds=HANG_SECONDS)).content == b"x"


def test_pandas_reads_through_fsspec_and_obstore_through_the_store(files):
    files.write("7/out.csv", "a,b\n1,2\n")
    with files.fsspec.open("7/out.csv") as file:
        assert pd.read_csv(file).b.tolist() == [2]
    system = files.fsspec
    with system.open("7/new.csv", "w") as file:
        pd.DataFrame({"c": [3]}).to_csv(file, index=False)
    assert files.read("7/new.csv") == b"c\n3\n"
    assert system.glob("*/*.csv") == ["7/new.csv", "7/out.csv"]
    for _ in range(2):
        assert (system.info("7/out.csv")["name"], system.size("7/out.csv")) == ("7/out.csv", 8)
    assert system.isdir("7")
    assert bytes(files.store.get("7/out.csv").bytes()) == b"a,b\n1,2\n"


def test_variables_of_other_programs_do_not_matter(rescale, task, monkeypatch):
    for name in ("HTTP_PROXY", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AWS_S3_EXPRESS", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
    files = task.files(rescale)
    files.write("a", b"x")
    assert files.read("a") == b"x"


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, OSError])
@pytest.mark.parametrize("name", ["a b", "large"])
def test_an_exception_of_the_progress_function_is_raised_unchanged(files, source, name, kind):
    def fail(_counts):
        raise kind("no")

    with pytest.raises(kind, match=r"^no$") as caught:
        files.upload(source / name, progress=fail)
    assert caught.traceback[-1].name == "fail"
    files.upload(source / name)
    with pytest.raises(kind, match=r"^no$") as caught:
        files.download(name, source.parent / "copy", progress=fail)
    assert caught.traceback[-1].name == "fail"


def test_progress_goes_to_a_function_or_to_the_error_stream(files, source, capsys):
    seen = []
    files.upload(source, progress=seen.append)
    assert (seen[-1].files, seen[-1].bytes) == (seen[-1].total_files, seen[-1].total_bytes)
    assert [item.bytes for item in seen] == sorted(item.bytes for item in seen)
    files.download("source", source.parent / "x", progress=True)
    assert capsys.readouterr().err.splitlines()[-1] == "5 of 5 files, 9.4 MB of 9.4 MB"


@pytest.mark.parametrize("run", [lambda main: asyncio.run(main()), trio.run])
def test_an_event_loop_has_the_same(emulator, task, source, tmp_path, run):
    async def main():
        async with emulator.async_session() as rescale:
            (project, *_) = await aio_projects.get_projects(rescale)
            files = await project.files(rescale)
            assert type(files).__module__.startswith("rescalehtc.aio")
            name = f"up-{run.__name__}"
            await files.upload(source, name)
            assert {item.path async for item in files.iter(name)} == {
                f"{name}/{path}" for path in tree(source)
            }
            await files.sync_down(tmp_path / "down", name)
            assert tree(tmp_path / "down") == tree(source)
            await files.delete(f"{name}/")
            assert await files.list(name) == []

    run(main)


def test_a_transfer_that_is_cancelled_leaves_nothing(emulator, task, tmp_path):
    (tmp_path / "large").write_bytes(b"x" * (40 << 20))

    async def main():
        async with emulator.async_session() as rescale:
            (project, *_) = await aio_projects.get_projects(rescale)
            files = await project.files(rescale)
            begun = asyncio.Event()
            loop = asyncio.get_running_loop()

            def show(_: object) -> None:
                loop.call_soon_threadsafe(begun.set)

            transfer = asyncio.create_task(files.upload(tmp_path / "large", progress=show))
            await begun.wait()
            transfer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await transfer
            assert await files.list("large") == []

    asyncio.run(main())


def test_a_session_with_a_transport_of_its_own_is_refused_on_a_loop(emulator):
    from rescalehtc.aio import AsyncHtcSession

    async def main():
        async with httpx.AsyncHTTPTransport() as transport:
            rescale = AsyncHtcSession(
                base_url=emulator.url, api_key=emulator.api_key, transport=transport
            )
            (project, *_) = await aio_projects.get_projects(rescale)
            with pytest.raises(HtcValidationError, match="without a custom transport"):
                await project.files(rescale)

    asyncio.run(main())


def test_without_the_extra_one_sentence_says_what_to_install(emulator):
    code = """
import sys
sys.modules["obstore"] = None
from rescalehtc import HtcSession, htcprojects
with HtcSession() as rescale:
    try:
        htcprojects.get_projects(rescale)[0].files(rescale)
    except ModuleNotFoundError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=emulator.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == 'files need obstore: pip install "rescalehtc[storage]>=2"\n'


def test_a_fork_of_a_process_that_used_files_is_refused_and_harms_nobody(emulator):
    code = """
import os
from rescalehtc import HtcSession, htcprojects
with HtcSession() as rescale:
    files = htcprojects.get_projects(rescale)[0].files(rescale)
    if os.fork() == 0:
        files.write("fork/before", b"x")
        os._exit(0)
    assert os.wait()[1] == 0
    files.write("fork/parent", b"x")
    if os.fork() == 0:
        try:
            files.read("fork/parent")
        except OSError as error:
            print(error, flush=True)
        os._exit(0)
    os.wait()
    print(sorted(file.path for file in files.iter("fork")))
    files.delete("fork/")
"""
    done = programs.run([sys.executable, "-c", code], env=emulator.environment())
    refused, listed = done.stdout.splitlines()
    assert refused.endswith("start processes with the method 'spawn' or 'forkserver'")
    assert listed == "['fork/before', 'fork/parent']"


def test_the_modules_names_are_few():
    assert dir(files_module) == ["Files", "StoredFile", "TransferCounts"]
    assert htctasks.HtcTask.files


@pytest.mark.parametrize("kind", ["status_after", "reset_after"])
def test_the_emulator_closes_files_that_it_does_not_send(kind, until):
    with Emulator(slots=1) as emulator, emulator.session() as rescale:
        files = htcprojects.get_projects(rescale)[0].files(rescale)
        files.write("discarded", bytes(2 << 20))
        with emulator.fault("storage", kind, times=2) as fault:
            assert len(files.read("discarded")) == 2 << 20
        assert fault.count == 2
        fds = Path("/dev/fd")
        until(lambda: not any(os.path.realpath(fd).endswith("/discarded") for fd in fds.iterdir()))


def test_files_that_are_no_longer_used_are_freed(rescale, task):
    """Otherwise, their connections would stay open."""
    files = task.files(rescale)
    files.write("a", b"x")
    storage = weakref.ref(files.storage)
    del files
    gc.collect()
    assert storage() is None


def test_an_expiration_without_a_time_zone_is_in_utc(service, scripted):
    token = {"projectSharedStoragePath": "s3://b/p", "expiration": "2026-01-01T00:00:00"}
    service.on("GET /htc/projects/p/storage/token", Answer(token))
    files = htcprojects.HtcProject({"projectId": "p"}).files(scripted)
    assert files.expires_at == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_pickle_with_credentials_is_refused(files):
    with pytest.raises(TypeError, match="pickle the task instead"):
        pickle.dumps(files)
