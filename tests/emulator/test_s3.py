"""The S3 interface of the shared folders, with independent clients."""

import html
import logging
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import s3fs
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from rescalehtc import htcprojects, htctasks
from rescalehtc.emulator import Emulator

from ..limits import HANG_SECONDS

AWSCLI = Path(__file__).parents[2] / ".venv" / "awscli"  # `make test` installs it
NAMES = ["plain", "a b/ü+%20~*&=?#'\"", "deep/" * 50 + "x", "new\nline", "<&>", "é\u0301"]


@pytest.fixture(scope="module")
def emulator():
    with Emulator(slots=1) as emulator:
        yield emulator


@pytest.fixture
def task(emulator):
    with emulator.session() as rescale:
        project = htcprojects.get_projects(rescale)[0]
        return htctasks.create_task_with_name(rescale, project, "files")


@pytest.fixture
def token(emulator, task):
    with emulator.session() as rescale:
        return task.get_storage_token(rescale)


@pytest.fixture
def variables(emulator, token):
    """The environment of the tutorial's programs."""
    return {**emulator.environment(), **token.credentials}


@pytest.fixture
def folder(emulator, task):
    """The folder that jobs see."""
    return emulator._folders.task(task.json["taskId"])


class Storage:
    """The task's objects through boto3."""

    def __init__(self, token, variables):
        self.bucket, _, self.prefix = token.storage_path.removeprefix("s3://").partition("/")
        self.client = boto3.client(
            "s3",
            region_name="us-east-1",
            endpoint_url=variables["AWS_ENDPOINT_URL_S3"],
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=variables["AWS_SESSION_TOKEN"],
            config=Config(signature_version="s3v4", retries={"total_max_attempts": 1}),
        )

    def at(self, name):
        return {"Bucket": self.bucket, "Key": self.prefix + name}

    def put(self, name, body=b"x", **options):
        return self.client.put_object(**self.at(name), Body=body, **options)

    def get(self, name, **options):
        return self.client.get_object(**self.at(name), **options)["Body"].read()

    def list(self, prefix="", **options):
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self.prefix + prefix, **options
        )
        return [item for page in pages for item in page.get("Contents", [])]

    def names(self, prefix="", **options):
        return [item["Key"].removeprefix(self.prefix) for item in self.list(prefix, **options)]


@pytest.fixture
def storage(token, variables):
    return Storage(token, variables)


def refused(call):
    with pytest.raises(ClientError) as info:
        call()
    return info.value.response["Error"]["Code"]


# ---- boto3


@pytest.mark.parametrize("name", NAMES)
def test_boto3_writes_the_files_that_jobs_see_and_reads_what_they_wrote(storage, folder, name):
    storage.put(name, b"hello", ACL="private", StorageClass="STANDARD")
    assert (folder / name).read_bytes() == b"hello"
    (folder / name).write_bytes(b"by a job")
    assert storage.get(name) == b"by a job"
    assert storage.get(name, Range="bytes=3-5") == b"a j"
    assert storage.get(name, Range="bytes=-3") == b"job"
    whole = storage.client.get_object(**storage.at(name), Range="bytes=0-1,4-5", IfMatch="*")
    assert (whole["ResponseMetadata"]["HTTPStatusCode"], whole["ContentLength"]) == (200, 8)
    head = storage.client.head_object(**storage.at(name))
    assert (head["ContentLength"], storage.names()) == (8, [name])
    storage.client.delete_object(**storage.at(name))
    assert not list(folder.iterdir())
    storage.client.delete_object(**storage.at(name))


def test_boto3_lists_in_the_order_of_bytes_page_by_page(storage, folder):
    names = [*(f"n/{i}/x" for i in range(25)), "n/one", "n/1-", "n/é", "n-/x"]
    for name in names:
        storage.put(name)
    expected = sorted(names, key=str.encode)[1:]
    assert storage.names() == ["n-/x", *expected]
    pages = {"PaginationConfig": {"PageSize": 4}}
    assert storage.names("n/", **pages) == expected
    assert storage.names("n/", **pages, StartAfter=storage.prefix + expected[6]) == expected[7:]
    at = {"Bucket": storage.bucket, "Prefix": f"{storage.prefix}n/"}
    for version in ("list_objects_v2", "list_objects"):
        listed = storage.client.get_paginator(version).paginate(**at, Delimiter="/", **pages)
        groups = [item["Prefix"] for page in listed for item in page.get("CommonPrefixes", [])]
        assert groups == sorted(f"{storage.prefix}n/{i}/" for i in range(25))
    listed = storage.client.get_paginator("list_objects").paginate(**at, **pages)
    keys = [item["Key"] for page in listed for item in page.get("Contents", [])]
    assert keys == [storage.prefix + name for name in expected]
    assert storage.names("other") == []


def test_boto3_moves_large_files_in_parts(storage, folder, tmp_path):
    content = os.urandom(17 << 20)
    (tmp_path / "up").write_bytes(content)
    storage.client.upload_file(str(tmp_path / "up"), storage.bucket, f"{storage.prefix}large")
    assert (folder / "large").read_bytes() == content
    storage.client.download_file(storage.bucket, f"{storage.prefix}large", str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == content
    storage.client.copy(storage.at("large"), storage.bucket, f"{storage.prefix}copy")
    assert (folder / "copy").read_bytes() == content


def test_an_upload_in_parts_is_there_whole_or_not_at_all(storage, folder):
    def start():
        return {
            **storage.at("f"),
            "UploadId": storage.client.create_multipart_upload(**storage.at("f"))["UploadId"],
        }

    upload = start()
    etags = [
        {
            "PartNumber": n,
            "ETag": storage.client.upload_part(**upload, PartNumber=n, Body=b)["ETag"],
        }
        for n, b in ((1, b"one"), (2, b"two"))
    ]
    assert storage.names() == []
    wrong = [etags[0], {**etags[1], "ETag": '"other"'}]
    for parts, code in ((wrong, "InvalidPart"), (etags[::-1], "InvalidPartOrder")):
        finish = {**upload, "MultipartUpload": {"Parts": parts}}
        assert refused(lambda f=finish: storage.client.complete_multipart_upload(**f)) == code
    etags[0]["ETag"] = etags[0]["ETag"].strip('"')  # as s3cmd sends it
    storage.client.complete_multipart_upload(**upload, MultipartUpload={"Parts": etags})
    assert (folder / "f").read_bytes() == b"onetwo"
    other = start()
    storage.client.abort_multipart_upload(**other)
    for ended in (upload, other):
        call = lambda e=ended: storage.client.upload_part(**e, PartNumber=1, Body=b"")  # noqa: E731
        assert refused(call) == "NoSuchUpload"


def test_metadata_stays_with_an_object_until_its_file_is_written(storage, folder):
    storage.put("a", Metadata={"kind": "mesh"}, ContentType="model/mesh")
    storage.client.copy_object(**storage.at("b"), CopySource=storage.at("a"))
    for name in ("a", "b"):
        head = storage.client.head_object(**storage.at(name))
        assert (head["Metadata"], head["ContentType"]) == ({"kind": "mesh"}, "model/mesh")
    (folder / "a").write_bytes(b"by a job")
    head = storage.client.head_object(**storage.at("a"))
    assert (head["Metadata"], head["ContentType"]) == ({}, "binary/octet-stream")


def test_metadata_outlives_the_emulator(tmp_path):
    for run in range(2):
        with Emulator(data=tmp_path / "data") as emulator, emulator.session() as rescale:
            token = htcprojects.get_projects(rescale)[0].get_storage_token(rescale)
            path = {"storage_path": token.project_shared_storage_path}
            variables = {**emulator.environment(), **(token.credentials or {})}
            storage = Storage(token.model_copy(update=path), variables)
            if run == 0:
                storage.put("a", Metadata={"kind": "mesh"})
            head = storage.client.head_object(**storage.at("a"))
            assert head["Metadata"] == {"kind": "mesh"}


def test_a_presigned_address_reads_one_object_until_it_expires(storage):
    storage.put("a", b"hello")
    sign = storage.client.generate_presigned_url
    url = sign("get_object", Params=storage.at("a"), ExpiresIn=60)
    assert httpx.get(url).content == b"hello"
    assert httpx.get(url.replace("/a?", "/b?")).status_code == 403
    assert httpx.put(url, content=b"x").status_code == 403
    put = sign("put_object", Params=storage.at("b"), ExpiresIn=60)
    unsigned = {"X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD"}  # as rclone sends it
    assert httpx.put(put, content=b"by an address", headers=unsigned).status_code == 200
    assert storage.get("b") == b"by an address"
    expired = sign("get_object", Params=storage.at("a"), ExpiresIn=1)
    deadline = time.monotonic() + HANG_SECONDS
    while (answer := httpx.get(expired)).status_code == 200:
        assert time.monotonic() < deadline
    assert "Request has expired" in answer.text


def test_an_object_can_be_stored_only_if_it_is_new(storage):
    storage.put("a", b"first", IfNoneMatch="*")
    assert refused(lambda: storage.put("a", b"second", IfNoneMatch="*")) == "PreconditionFailed"
    assert storage.get("a") == b"first"
    assert refused(lambda: storage.get("a", IfMatch='"other"')) == "PreconditionFailed"


def test_an_emulator_stops_without_a_message_during_a_download_that_nobody_reads(caplog):
    with Emulator(slots=1) as emulator, emulator.session() as rescale:
        project = htcprojects.get_projects(rescale)[0]
        task = htctasks.create_task_with_name(rescale, project, "files")
        token = task.get_storage_token(rescale)
        assert token.credentials
        storage = Storage(token, {**emulator.environment(), **token.credentials})
        with (emulator._folders.task(task.json["taskId"]) / "large").open("wb") as file:
            file.truncate(1 << 28)
        response = storage.client.get_object(**storage.at("large"))
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    with pytest.raises(BotoCoreError):
        response["Body"].read()


# ---- requests and jobs that interfere


# Long enough for a request that no lock delays. On a slower machine, the tests prove less.
WAIT_SECONDS = 0.1


@pytest.fixture
def during(monkeypatch):
    """Call a function once, in the middle of a request: before or after a function of Python."""

    def insert(owner, name, call, is_wanted=lambda *_: True, *, before=False):
        real, calls = getattr(owner, name), [call]

        def wrapper(*arguments, **options):
            found = calls.pop() if calls and is_wanted(*arguments) else None
            if found and before:
                found()
            result = real(*arguments, **options)
            if found and not before:
                found()
            return result

        monkeypatch.setattr(owner, name, wrapper)

    return insert


@pytest.fixture
def truncating(during, folder):
    """Truncate the file `a` after a request has opened it, as a job does."""

    def insert(size):
        def is_wanted(descriptor, *_):
            return os.path.realpath(f"/dev/fd/{descriptor}") == str(folder / "a")

        during(os, "fdopen", lambda: os.truncate(folder / "a", size), is_wanted)

    return insert


def begin(storage):
    """Begin an upload in parts."""
    upload_id = storage.client.create_multipart_upload(**storage.at("f"))["UploadId"]
    return {**storage.at("f"), "UploadId": upload_id}


def add_part(storage, upload, content):
    return storage.client.upload_part(**upload, PartNumber=1, Body=content)["ETag"]


def complete(storage, upload, etag):
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    storage.client.complete_multipart_upload(**upload, MultipartUpload=parts)


@pytest.mark.parametrize("completed", [b"first", b"second"])
def test_a_part_that_is_sent_twice_at_once_has_the_content_of_its_etag(
    storage, folder, during, completed
):
    upload = begin(storage)
    etags = {}

    def add(content):
        etags[content] = add_part(storage, upload, content)

    during(Path, "replace", lambda: add(b"second"))
    add(b"first")
    complete(storage, upload, etags[completed])
    assert (folder / "f").read_bytes() == completed
    assert list((folder.parent.parent / "uploads").iterdir()) == []


def test_an_upload_ends_once(storage, folder, during):
    upload = begin(storage)
    etag = add_part(storage, upload, b"content")
    codes = []
    calls = (
        lambda: complete(storage, upload, etag),
        lambda: storage.client.abort_multipart_upload(**upload),
        lambda: add_part(storage, upload, b"late"),
    )

    def interfere():
        codes.extend(refused(call) for call in calls)

    during(shutil, "copyfileobj", interfere)
    complete(storage, upload, etag)
    assert codes == ["NoSuchUpload"] * 3
    assert (folder / "f").read_bytes() == b"content"


def test_a_part_of_an_upload_that_is_aborted_meanwhile_is_refused(storage, folder, during):
    upload = begin(storage)
    during(Path, "replace", lambda: storage.client.abort_multipart_upload(**upload), before=True)
    assert refused(lambda: add_part(storage, upload, b"late")) == "NoSuchUpload"
    assert list((folder.parent.parent / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    ("first", "second"), [("copy", "head"), ("copy", "put"), ("delete", "put")]
)
def test_an_object_always_has_its_own_metadata(storage, during, first, second):
    for name in ("a", "b"):
        storage.put(name, Metadata={"kind": "old"})
    calls = {
        "copy": lambda: storage.client.copy_object(
            **storage.at("a"),
            CopySource=storage.at("b"),
            Metadata={"kind": "first"},
            MetadataDirective="REPLACE",
        ),
        "delete": lambda: storage.client.delete_objects(
            Bucket=storage.bucket, Delete={"Objects": [{"Key": storage.at("a")["Key"]}]}
        ),
        "head": lambda: storage.client.head_object(**storage.at("a"))["Metadata"],
        "put": lambda: storage.put("a", b"second", Metadata={"kind": "second"}),
    }
    seen = []
    with ThreadPoolExecutor(1) as pool:

        def interfere():
            seen.append(pool.submit(calls[second]))
            wait(seen, WAIT_SECONDS)

        function = "replace" if first == "copy" else "unlink"
        during(Path, function, interfere, lambda *paths: paths[-1].name == "a")
        calls[first]()
    found = seen[0].result() if second == "head" else calls["head"]()
    assert found == {"kind": "first" if second == "head" else "second"}


def test_a_file_for_a_task_that_is_deleted_meanwhile_is_refused(
    emulator, task, storage, folder, during
):
    storage.put("a")

    def delete():
        with emulator.session() as rescale:
            htctasks.delete_task_with_id(rescale, task.project, task.json["taskId"])

    during(os.path, "realpath", delete, lambda path, *_: path == folder / "new")
    copy = partial(storage.client.copy_object, CopySource=storage.at("a"))
    assert refused(lambda: copy(**storage.at("new/a"))) == "NoSuchBucket"
    assert not folder.exists()


def test_an_object_that_is_truncated_while_it_is_read_is_read_again(storage, truncating):
    storage.put("a", b"content")
    truncating(3)
    assert storage.get("a") == b"con"


def test_a_large_object_that_is_truncated_while_it_is_read_is_incomplete(storage, truncating):
    storage.put("a", bytes(2 << 20))
    truncating(3 << 19)
    with pytest.raises(BotoCoreError):
        storage.get("a")
    assert storage.get("a") == bytes(3 << 19)


def test_an_object_that_is_truncated_while_it_is_copied_is_not_copied(storage, truncating):
    storage.put("a", b"content")
    truncating(3)
    copy = partial(storage.client.copy_object, CopySource=storage.at("a"), **storage.at("b"))
    assert refused(copy) == "InternalError"
    assert storage.names() == ["a"]
    copy()
    assert storage.get("b") == b"con"


# ---- refused


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc", "a//b", "./a", "a/", "x" * 256, "a/" * 600 + "a", "nul\0"]
)
def test_a_key_that_can_not_be_a_file_is_refused(storage, folder, name):
    before = sorted(folder.parent.parent.rglob("*"))
    code = refused(lambda: storage.put(name))
    assert code in ("InvalidArgument", "403", "SignatureDoesNotMatch"), code
    assert sorted(p for p in folder.parent.parent.rglob("*") if "uploads" not in p.parts) == [
        p for p in before if "uploads" not in p.parts
    ]


def test_keys_of_others_are_refused(storage, emulator, task):
    with emulator.session() as rescale:
        other = htctasks.create_task_with_name(rescale, task.project, "other")
        theirs = str(other.get_storage_token(rescale).storage_path).partition("emulator")[2]
        key = f"{theirs.partition('/')[2]}x"
        assert refused(lambda: storage.client.put_object(Bucket=storage.bucket, Key=key)) == (
            "AccessDenied"
        )
        shared = f"projects/{task.json['projectId']}/shared/"
        storage.client.put_object(Bucket=storage.bucket, Key=f"{shared}x", Body=b"")
        listing = storage.client.list_objects_v2
        assert listing(Bucket=storage.bucket, Prefix=shared)["KeyCount"] == 1
        for prefix in ("", "projects/", shared[:-3]):
            call = lambda p=prefix: listing(Bucket=storage.bucket, Prefix=p)  # noqa: E731
            assert refused(call) == "AccessDenied"


def test_no_link_leads_out_of_the_folder(storage, folder, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "out").symlink_to(tmp_path)
    (folder / "in").symlink_to("real")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    storage.put("real", b"real")
    assert storage.names() == ["in", "real"]
    assert storage.get("in") == b"real"
    for name in ("link", "out/secret", "loop", "pipe", "none"):
        assert refused(lambda n=name: storage.get(n)) in ("NoSuchKey", "InvalidArgument")
    assert refused(lambda: storage.put("out/new")) == "InvalidArgument"
    storage.put("link", b"mine")
    assert (tmp_path / "secret").read_text() == "secret"
    assert not (tmp_path / "new").exists()


def test_a_file_and_a_folder_can_not_have_the_same_name(storage):
    storage.put("a/b")
    assert refused(lambda: storage.put("a")) == "InvalidArgument"
    assert refused(lambda: storage.put("a/b/c")) == "InvalidArgument"
    storage.client.delete_object(**storage.at("a/b"))
    storage.put("a")


def test_a_request_without_a_good_signature_is_refused(storage, variables, token):
    of_version_2 = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=variables["AWS_ENDPOINT_URL_S3"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=variables["AWS_SESSION_TOKEN"],
    ).generate_presigned_url("get_object", Params=storage.at("a"))
    assert "for boto3, set signature_version='s3v4'" in html.unescape(httpx.get(of_version_2).text)
    url = f"{variables['AWS_ENDPOINT_URL_S3']}/{storage.bucket}/{storage.prefix}a"
    assert "AccessDenied" in httpx.get(url).text
    altered = [
        ("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch"),
        ("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId"),
        ("AWS_SESSION_TOKEN", "InvalidToken"),
    ]
    for name, code in altered:
        other = Storage(token, {**variables, name: f"x{variables[name]}"})
        assert refused(lambda o=other: o.get("a")) == code


def test_a_body_that_was_changed_on_the_way_is_refused(storage):
    assert refused(lambda: storage.put("a", b"x", ContentMD5="A" * 22 + "==")) == "BadDigest"
    wrong = "AAAAAA=="
    assert refused(lambda: storage.put("a", b"x", ChecksumCRC32=wrong)) == "BadDigest"
    assert storage.names() == []


def test_what_it_does_not_do_is_refused_by_name(storage):
    storage.put("a")
    client, at = storage.client, storage.at("a")
    for call in (
        lambda: client.get_object_acl(**at),
        lambda: client.put_object_tagging(**at, Tagging={"TagSet": []}),
        lambda: client.put_object(**at, ACL="public-read"),
        lambda: client.put_object(**at, StorageClass="GLACIER"),
        lambda: client.get_object(**at, VersionId="1"),
        lambda: client.list_object_versions(Bucket=storage.bucket, Prefix=storage.prefix),
        lambda: client.create_bucket(Bucket=storage.bucket),
    ):
        assert refused(call) == "NotImplemented"


def test_expired_credentials_get_the_error_of_s3(emulator, storage):
    with emulator.fault("storage", "expire_token", times=1):
        assert refused(storage.list) == "ExpiredToken"
    assert refused(storage.list) == "ExpiredToken"
    with Emulator(clock_rate=3600) as hurried, hurried.session() as rescale:
        project = htcprojects.get_projects(rescale)[0]
        of_project = project.get_storage_token(rescale)
        key = str(of_project.project_shared_storage_path).removeprefix(f"s3://{storage.bucket}/")
        short = Storage(
            of_project.model_copy(update={"storage_path": f"s3://{storage.bucket}/{key}"}),
            {**hurried.environment(), **(of_project.credentials or {})},
        )
        deadline = time.monotonic() + HANG_SECONDS
        while True:
            try:
                short.list()
            except ClientError as error:
                assert error.response["Error"]["Code"] == "ExpiredToken"
                break
            assert time.monotonic() < deadline


def test_a_deleted_task_has_no_storage(emulator, task, storage, folder):
    storage.put("a")
    with emulator.session() as rescale:
        htctasks.delete_task_with_id(rescale, task.project, task.json["taskId"])
    assert refused(lambda: storage.put("b")) == "NoSuchBucket"
    assert not folder.exists()


# ---- the other witnesses


def test_s3fs_reads_and_writes(token, variables, folder):
    fs = s3fs.S3FileSystem(
        key=variables["AWS_ACCESS_KEY_ID"],
        secret=variables["AWS_SECRET_ACCESS_KEY"],
        token=variables["AWS_SESSION_TOKEN"],
        endpoint_url=variables["AWS_ENDPOINT_URL_S3"],
        skip_instance_cache=True,
    )
    root = token.storage_path.rstrip("/")
    fs.pipe(f"{root}/a/b c.txt", b"data")
    opened: Any = fs.open(f"{root}/large", "wb", block_size=5 << 20)
    with opened as file:
        for _ in range(3):
            file.write(b"x" * (5 << 20))  # type: ignore[arg-type]
    assert (folder / "large").stat().st_size == 15 << 20
    (folder / "job").write_bytes(b"by a job")
    fs.invalidate_cache()
    assert fs.cat(f"{root}/job") == b"by a job"
    assert [Path(name).name for name in fs.ls(root)] == ["a", "job", "large"]
    assert fs.size(f"{root}/large") == 15 << 20
    fs.cp(f"{root}/job", f"{root}/a/copy")
    fs.rm(f"{root}/a", recursive=True)
    assert sorted(path.name for path in folder.iterdir()) == ["job", "large"]


@pytest.mark.skipif(not AWSCLI.exists(), reason="`make test` installs the AWS command line")
def test_the_aws_command_line_does_the_tutorials_round(token, variables, folder, tmp_path):
    """Files go up, a job's results come down, with nothing but the token's variables."""
    up, down = tmp_path / "up", tmp_path / "down"
    (up / "sub").mkdir(parents=True)
    (up / "a b").write_text("one")
    (up / "sub" / "ü").write_text("two")

    def aws(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "awscli", *map(str, arguments)],
            env={**variables, "PYTHONPATH": str(AWSCLI), "AWS_CONFIG_FILE": os.devnull},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    aws("s3", "sync", up, f"{token.storage_path}in/")
    assert (folder / "in" / "sub" / "ü").read_text() == "two"
    (folder / "out").mkdir()
    (folder / "out" / "result").write_bytes(b"by a job")
    aws("s3", "cp", "--recursive", f"{token.storage_path}out/", down)
    assert (down / "result").read_bytes() == b"by a job"
