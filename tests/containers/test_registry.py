"""The emulator's registry, without an engine: a script stands for podman and follows the test's instructions."""

import base64
import errno
import hashlib
import json
import os
import socket
import threading
from contextlib import contextmanager
from functools import partial

import pytest

from rescalehtc.emulator import Emulator
from rescalehtc.emulator.registry import http as registry_http

from ..emulator.conftest import User, plain_client, until

OCI = "application/vnd.oci.image."
MANIFEST, INDEX = f"{OCI}manifest.v1+json", f"{OCI}index.v1+json"

# `pull` waits for a file, and fails if there is something in it.
PODMAN = """#!/bin/sh
PATH=/usr/bin:/bin
if [ "$1" = pull ]; then
  while [ ! -e {folder}/go ]; do sleep 0.02; done
  [ ! -s {folder}/go ] || {{ echo "Error: no room" >&2; exit 125; }}
fi
"""


def digest_of(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Registry:
    """A client of the registry that sends any request."""

    def __init__(self, emulator, user, folder):
        self.emulator, self.user, self.folder = emulator, user, folder
        project = user.project()
        self.images = f"/htc/projects/{project['projectId']}/container-registry"
        self.address = project["containerRegistry"]
        host, _, self.prefix = self.address.partition("/")
        self.host = host
        self.password = user.http.get(f"{self.images}/token").text
        self.http = plain_client(base_url=f"http://{host}", auth=("AWS", self.password))

    def path(self, rest, name="app"):
        return f"/v2/{self.prefix}{name}/{rest}"

    def begin(self, name="app"):
        answer = self.http.post(self.path("blobs/uploads/", name))
        assert answer.status_code == 202, answer.text
        return answer.headers["Location"]

    def put_blob(self, content, name="app"):
        digest = digest_of(content)
        where = self.begin(name)
        answer = self.http.put(where, params={"digest": digest}, content=content)
        assert answer.status_code == 201, answer.text
        return {"digest": digest, "size": len(content), "mediaType": "application/octet-stream"}

    def put_manifest(self, reference, manifest, media_type=MANIFEST, name="app"):
        text = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
        headers = {"Content-Type": media_type}
        return self.http.put(
            self.path(f"manifests/{reference}", name), content=text, headers=headers
        )

    def push(self, tag, architecture="amd64", name="app"):
        config = json.dumps({"architecture": architecture, "os": "linux"}).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.put_blob(config, name),
            "layers": [self.put_blob(b"layer" * 1000, name)],
        }
        answer = self.put_manifest(tag, manifest, name=name)
        assert answer.status_code == 201, answer.text
        return answer.headers["Docker-Content-Digest"]

    def status(self, image):
        answer = self.user.http.get(f"{self.images}/images/{image}")
        return answer.json()["status"] if answer.status_code == 200 else answer.status_code

    def let_pulls_end(self, failing=False):
        (self.folder / "go").write_text("x" if failing else "")


@contextmanager
def starting(folder):
    """Start emulators whose engine is the script."""
    program = folder / "bin" / "podman"
    program.parent.mkdir()
    program.write_text(PODMAN.format(folder=folder))
    program.chmod(0o755)
    running = []

    def start(**options):
        emulator = Emulator(runner="container", **options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", str(program.parent))
            emulator.__enter__()
        user = User(emulator.url, emulator.api_key)
        running.append(Registry(emulator, user, folder))
        return running[-1]

    yield start
    (folder / "go").touch()
    for registry in running:
        registry.http.close()
        registry.user.http.close()
        registry.emulator.__exit__()


@pytest.fixture
def start(tmp_path):
    with starting(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """A registry whose engine gets its copies at once."""
    with starting(tmp_path_factory.mktemp("registry")) as start:
        registry = start()
        registry.let_pulls_end()
        yield registry


def error(answer):
    """The status and the code of an error that docker can read."""
    (problem,) = answer.json()["errors"]
    assert problem["message"]
    return answer.status_code, problem["code"]


# ---- images


def test_a_pushed_image_is_pending_until_the_engine_has_it_and_then_ready(start):
    registry = start()
    assert registry.status("app:1") == 404
    registry.push("1")
    assert registry.status("app:1") == "PENDING"
    task = registry.user.new_task()
    request = {"htcJobDefinition": {"imageName": "app:1"}}
    assert registry.user.send_batch(task, request).status_code == 400
    registry.let_pulls_end()
    until(lambda: registry.status("app:1") == "READY", "the image is ready")
    assert registry.user.send_batch(task, request).status_code == 200
    assert registry.user.get(f"{registry.images}/images")["images"] == ["app:1"]


def test_an_image_without_a_tag_is_the_latest(registry):
    registry.push("latest", name="plain")
    until(lambda: registry.status("plain") == "READY", "the image is ready")


def test_an_image_that_was_not_pushed_is_not_there(registry):
    request = {"htcJobDefinition": {"imageName": "python:3"}}
    answer = registry.user.send_batch(registry.user.new_task(), request)
    assert (answer.status_code, answer.json()["error"]) == (404, "IMAGE_UNAVAILABLE")


def test_a_status_that_was_set_goes_before_what_was_pushed(registry):
    registry.emulator.set_image_status("unpushed:1", "READY")
    assert registry.status("unpushed:1") == "READY"


def test_an_image_of_another_project_is_not_there(registry):
    registry.push("1", name="theirs")
    other = registry.user.new_project()
    assert registry.user.http.get(f"{other}/container-registry/images/theirs:1").status_code == 404


def test_an_image_that_can_not_be_copied_fails_the_job_with_the_reason(start):
    registry = start()
    registry.let_pulls_end(failing=True)
    registry.push("1")
    until(lambda: registry.status("app:1") == "READY", "the copy has failed")
    job, _ = registry.user.run([], imageName="app:1")
    assert job["failureCode"] == "ErrorStartingContainer"
    assert "no room" in job["statusReason"]
    registry.let_pulls_end()
    job, _ = registry.user.run([], imageName="app:1")
    assert job["status"] == "SUCCEEDED"


@pytest.mark.parametrize("any_architecture", [False, True])
def test_an_image_runs_only_on_its_kind_of_processor(start, any_architecture):
    registry = start(any_architecture=any_architecture)
    registry.let_pulls_end()
    task = registry.user.new_task()
    for architecture in ("amd64", "arm64"):
        registry.push(architecture, architecture)
    for image, of_job, fits in [
        ("amd64", "X86", True),
        ("amd64", "A100", True),
        ("arm64", "AARCH64", True),
        ("amd64", "AARCH64", False),
        ("arm64", "X86", False),
        ("arm64", None, True),
    ]:
        until(lambda name=image: registry.status(f"app:{name}") == "READY", "it is ready")
        expected = {"architecture": of_job} if of_job else {}
        (job_id,) = registry.user.submit(task, [], imageName=f"app:{image}", **expected)
        job = registry.user.wait(task, job_id)
        if fits or any_architecture:
            assert job["status"] == "SUCCEEDED"
        else:
            assert job["failureCode"] == "ErrorStartingContainer"
            assert f"the image is for {image} and the job for {of_job}" in job["statusReason"]


def test_of_an_index_the_image_that_fits_is_run(registry):
    parts = [
        {
            "digest": registry.push(architecture, architecture),
            "size": 0,
            "platform": {"architecture": architecture},
        }
        for architecture in ("arm64", "amd64")
    ]
    for part in parts:
        text = registry.http.get(registry.path(f"manifests/{part['digest']}")).content
        part["size"] = len(text)
    index = {"schemaVersion": 2, "manifests": parts}
    assert registry.put_manifest("all", index, INDEX).status_code == 201
    until(lambda: registry.status("app:all") == "READY", "the image is ready")
    for architecture in ("X86", "AARCH64"):
        job, _ = registry.user.run([], imageName="app:all", architecture=architecture)
        assert job["status"] == "SUCCEEDED"
    only_arm = {"schemaVersion": 2, "manifests": parts[:1]}
    registry.put_manifest("arm", only_arm, INDEX)
    until(lambda: registry.status("app:arm") == "READY", "the image is ready")
    job, _ = registry.user.run([], imageName="app:arm", architecture="X86")
    assert "the image is for arm64" in job["statusReason"]


# ---- the registry as it is reached


def test_the_registry_of_every_project_is_the_emulator(registry):
    other = registry.user.get(registry.user.new_project())
    for project in (registry.user.project(), other):
        host = registry.emulator.url.removeprefix("http://").removesuffix("/api/v1")
        assert project["containerRegistry"] == f"{host}/rescale/{project['projectId']}/"


def test_images_are_there_after_a_restart_on_another_port(start, tmp_path):
    registry = start(data=tmp_path / "data")
    registry.let_pulls_end()
    digest = registry.push("1")
    registry.emulator.__exit__()
    again = start(data=tmp_path / "data")
    assert again.status("app:1") == "READY"
    answer = again.http.get(again.path("manifests/1"))
    assert digest_of(answer.content) == answer.headers["Docker-Content-Digest"] == digest
    assert again.user.project()["containerRegistry"].startswith(again.host)


def test_a_folder_of_containers_is_one_of_processes_again(start, tmp_path, make_user):
    start(data=tmp_path / "data").emulator.__exit__()
    with Emulator(data=tmp_path / "data") as emulator:
        user = make_user(emulator.url, emulator.api_key)
        assert ".amazonaws.com/" in user.project()["containerRegistry"]
        assert user.http.get(emulator.url.replace("/api/v1", "/v2/")).status_code == 404


# ---- passwords


def test_only_a_password_of_the_emulator_opens_the_registry(registry):
    url = f"http://{registry.host}/v2/"
    good = base64.b64decode(registry.password)
    altered = base64.b64encode(good.replace(b'"payload": "e', b'"payload": "f')).decode()
    bearer = base64.b64encode(json.dumps({"payload": registry.user.token}).encode()).decode()
    nested = base64.b64encode(b"[" * 100_000).decode()
    with plain_client() as nobody:
        assert nobody.get(url, auth=("AWS", registry.password)).status_code == 200
        for auth in [
            None,
            ("AWS", ""),
            ("AWS", "x"),
            ("AWS", altered),
            ("AWS", bearer),
            ("AWS", nested[:60_000]),
            ("AWS", registry.user.api_key),
            ("root", registry.password),
        ]:
            answer = nobody.get(url, auth=auth)
            assert error(answer) == (401, "UNAUTHORIZED")
            assert answer.headers["WWW-Authenticate"].startswith("Basic ")
            put = nobody.put(
                f"http://{registry.host}{registry.path('manifests/1')}", content=b"{}", auth=auth
            )
            assert error(put) == (401, "UNAUTHORIZED")
        for header in ("Basic", "Basic %%%", "Bearer x", f"Basic {'=' * 9}", "Basic /w=="):
            answer = nobody.get(url, headers={"Authorization": header})
            assert error(answer) == (401, "UNAUTHORIZED")


def test_a_password_expires_by_the_emulated_clock(start):
    registry = start(clock_rate=12 * 3600)  # it is valid for a second
    until(
        lambda: registry.http.get("/v2/").status_code == 401,
        "the password has expired, as others do",
    )


# ---- hostile and broken requests


def test_names_that_lead_elsewhere_are_refused(registry):
    for name in [
        *("../app", "app/../..", "..", "%2e%2e/app", "app/%2e%2e%2f%2e%2e", "App", "app:1"),
        *("app//x", "-app", "a" * 500, "app%00"),
    ]:
        path = f"/v2/{registry.prefix}{name}/"
        assert raw(registry, "PUT", f"{path}manifests/1", b"{}") in (400, 404), name
        assert raw(registry, "POST", f"{path}blobs/uploads/") in (400, 404), name


def raw(registry, method, path, body=b""):
    """The status of an answer to a path that no client would send as it is."""
    sign = base64.b64encode(f"AWS:{registry.password}".encode()).decode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {registry.host}\r\nAuthorization: Basic {sign}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    host, port = registry.host.split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + body)
        return int(connection.makefile("rb").readline().split()[1])


def test_a_blob_with_another_digest_is_refused_and_forgotten(registry):
    content = b"content of no blob"
    for digest in [
        *("sha256:" + "0" * 64, "sha256:x", "sha512:" + "0" * 128, "", "../../state.sqlite3"),
        "x" * 9000,
    ]:
        where = registry.begin()
        answer = registry.http.put(where, params={"digest": digest}, content=content)
        assert error(answer) == (400, "DIGEST_INVALID")
        again = registry.http.put(where, params={"digest": digest_of(content)}, content=b"")
        assert error(again) == (404, "BLOB_UPLOAD_UNKNOWN")
        found = registry.http.get(registry.path(f"blobs/{digest_of(content)}"))
        assert error(found) == (404, "BLOB_UNKNOWN")


def test_a_blob_comes_in_parts_of_which_each_begins_where_the_last_ended(registry):
    content = os.urandom(5000)
    where = registry.begin()
    for begin, end in ((0, 2000), (2000, 3000)):
        headers = {"Content-Range": f"{begin}-{end - 1}"}
        answer = registry.http.patch(where, content=content[begin:end], headers=headers)
        assert (answer.status_code, answer.headers["Range"]) == (202, f"0-{end - 1}")
    for value in ("0-10", "4000-5000", "x", "-1", "3000-"):
        answer = registry.http.patch(where, content=b"x", headers={"Content-Range": value})
        assert error(answer) == (416, "BLOB_UPLOAD_INVALID")
    digest = digest_of(content)
    answer = registry.http.put(where, params={"digest": digest}, content=content[3000:])
    assert answer.status_code == 201
    blob = registry.http.get(answer.headers["Location"])
    assert blob.content == content
    part = registry.http.get(answer.headers["Location"], headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, content[10:20])


def test_half_an_upload_is_no_blob(registry):
    """The connection breaks. The received part counts, and the client can send the rest."""
    where = registry.begin()
    sign = base64.b64encode(f"AWS:{registry.password}".encode()).decode()
    host, port = registry.host.split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            f"PATCH {where} HTTP/1.1\r\nHost: {registry.host}\r\nAuthorization: Basic {sign}\r\n"
            "Content-Length: 1000\r\n\r\nhalf".encode()
        )

    def finish():
        params = {"digest": digest_of(b"half and the rest")}
        return registry.http.put(where, params=params, content=b" and the rest")

    uploads = registry.emulator._folders.uploads
    until(lambda: [f.read_bytes() for f in uploads.iterdir()] == [b"half"], "half has arrived")
    answer = until(lambda: (a := finish()).status_code != 409 and a, "the connection is gone")
    assert answer.status_code == 201
    assert list(uploads.iterdir()) == []


def test_two_requests_do_not_write_to_one_upload(registry):
    where = registry.begin()
    uploads = registry.emulator._folders.uploads
    go_on = threading.Event()

    def slow():
        yield b"x"
        go_on.wait()

    slowly = threading.Thread(target=lambda: registry.http.patch(where, content=slow()))
    slowly.start()
    try:
        until(lambda: registry.http.patch(where).status_code == 409, "the upload is busy")
        assert error(registry.http.delete(where)) == (409, "BLOB_UPLOAD_INVALID")
    finally:
        go_on.set()
        slowly.join()
    until(lambda: registry.http.delete(where).status_code == 204, "the upload is cancelled")
    assert list(uploads.iterdir()) == []


@pytest.fixture
def full_once(monkeypatch):
    """Make the disk full when a file is stored, once."""

    def fill():
        def fsync(_):
            monkeypatch.undo()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", fsync)

    return fill


@pytest.mark.parametrize("in_put", [True, False])
def test_an_upload_that_finds_the_disk_full_can_be_sent_again(registry, full_once, in_put):
    content = os.urandom(5000)
    where = registry.begin()
    if not in_put:
        assert registry.http.patch(where, content=content).status_code == 202
    body = content if in_put else b""
    put = partial(registry.http.put, where, params={"digest": digest_of(content)}, content=body)
    full_once()
    assert put().status_code == 507
    answer = put()
    assert answer.status_code == 201
    assert registry.http.get(answer.headers["Location"]).content == content


def test_a_manifest_that_finds_the_disk_full_leaves_nothing(registry, full_once):
    part = registry.put_blob(b"{}")
    full_once()
    manifest = {"schemaVersion": 2, "config": part}
    assert registry.put_manifest("full", manifest).status_code == 507
    assert list(registry.emulator._folders.uploads.iterdir()) == []
    assert registry.put_manifest("full", manifest).status_code == 201


def test_an_image_is_never_ready_before_it_is_pending(start, monkeypatch):
    registry = start()
    run, seen = registry_http.run_in_threadpool, []

    async def run_and_look(*arguments):
        result = await run(*arguments)
        seen.append(await run(registry.status, "app:1"))
        return result

    monkeypatch.setattr(registry_http, "run_in_threadpool", run_and_look)
    registry.push("1")
    assert seen == [404, 404, "PENDING"]


def test_what_is_not_a_manifest_is_refused(registry):
    part = registry.put_blob(b"{}")
    put = partial(registry.put_manifest, name="strict")
    absent = {"digest": "sha256:" + "0" * 64, "size": 1}
    good = {"schemaVersion": 2, "config": part, "layers": [part]}
    assert put("good", good).status_code == 201
    invalid = [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 100_000,
        {},
        {**good, "schemaVersion": 1},
        {**good, "mediaType": INDEX},
        {**good, "config": {"digest": "../x", "size": 1}},
        {**good, "config": {**part, "size": -1}},
        {**good, "layers": "x"},
        {"schemaVersion": 2, "manifests": []},
    ]
    for manifest in invalid:
        answer = put("1", manifest)
        assert error(answer) == (400, "MANIFEST_INVALID"), manifest
    for manifest in ({**good, "layers": [absent]}, {**good, "config": {**part, "size": 10**30}}):
        answer = put("1", manifest)
        assert error(answer) == (400, "MANIFEST_BLOB_UNKNOWN"), manifest
    index = {"schemaVersion": 2, "manifests": [absent]}
    assert error(put("1", index, INDEX)) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert error(put("1", good, "text/html")) == (400, "MANIFEST_INVALID")
    assert error(put("1", good, INDEX)) == (400, "MANIFEST_INVALID")
    assert error(put("x" * 129, good)) == (400, "TAG_INVALID")
    other = f"sha256:{'1' * 64}"
    assert error(put(other, good)) == (400, "DIGEST_INVALID")
    assert error(registry.http.get(registry.path("manifests/1", "strict"))) == (
        404,
        "MANIFEST_UNKNOWN",
    )
    assert registry.http.get(registry.path("tags/list", "strict")).json()["tags"] == ["good"]


def test_a_huge_manifest_is_refused_while_it_arrives(registry):
    huge = b" " * (registry_http.MAX_MANIFEST_BYTES + 1)
    assert error(registry.put_manifest("1", huge)) == (413, "SIZE_INVALID")


def test_a_manifest_comes_back_as_it_was_put(registry):
    registry.put_blob(b"{}")
    part = {"digest": digest_of(b"{}"), "size": 2}
    text = json.dumps({"layers": [], "schemaVersion": 2, "config": part}, indent=7).encode()
    assert registry.put_manifest(digest_of(text), text).status_code == 201
    for method in ("GET", "HEAD"):
        answer = registry.http.request(method, registry.path(f"manifests/{digest_of(text)}"))
        assert answer.headers["Content-Type"] == MANIFEST
        assert int(answer.headers["Content-Length"]) == len(text)
    assert registry.http.get(registry.path(f"manifests/{digest_of(text)}")).content == text


def test_blobs_of_another_project_are_not_there(registry):
    digest = registry.put_blob(b"secret")["digest"]
    other = registry.user.get(registry.user.new_project())["projectId"]
    assert error(registry.http.get(f"/v2/rescale/{other}/app/blobs/{digest}")) == (
        404,
        "BLOB_UNKNOWN",
    )
    nowhere = registry.http.get(f"/v2/rescale/nowhere/app/blobs/{digest}")
    assert error(nowhere) == (404, "NAME_UNKNOWN")


def test_what_is_not_supported_is_refused_by_name(registry):
    assert error(registry.http.get("/v2/_catalog")) == (404, "UNSUPPORTED")
    assert error(registry.http.get(registry.path("referrers/sha256:0"))) == (404, "UNSUPPORTED")
    assert error(registry.http.delete(registry.path("manifests/1"))) == (405, "UNSUPPORTED")
    assert error(registry.http.delete(registry.path("blobs/sha256:0"))) == (405, "UNSUPPORTED")
    assert error(registry.http.get(registry.path("blobs/uploads/"))) == (405, "UNSUPPORTED")


# ---- no engine


def test_without_an_engine_one_sentence_says_so(tmp_path, monkeypatch):
    from rescalehtc.exceptions import HtcException

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HtcException) as caught, Emulator(runner="container"):
        pass
    assert str(caught.value) == (
        "neither docker nor podman was found; install one of them to run jobs in containers"
    )


def test_an_engine_that_does_not_work_gives_its_reason(tmp_path, monkeypatch):
    from rescalehtc.exceptions import HtcException

    for name in ("docker", "podman"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho '{name} is asleep' >&2\nexit 1\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HtcException) as caught, Emulator(runner="container"):
        pass
    assert str(caught.value) == (
        "jobs can't run in containers: docker: docker is asleep; podman: podman is asleep"
    )


def test_a_runner_has_to_be_one_of_the_two():
    with pytest.raises(ValueError, match="runner must be one of process, container"):
        Emulator(runner="vm")  # type: ignore[arg-type]
