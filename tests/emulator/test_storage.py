"""Storage tokens, and uploads to presigned URLs."""

import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
import pytest

from rescalehtc import models
from rescalehtc.emulator import Emulator, objects

from .conftest import plain_client, put

REGIONS = ["GCP_US_EAST_1", "AWS_EU_NORTH_1"]


@pytest.fixture
def project(user):
    return user.new_project(*REGIONS)


@pytest.fixture
def task(user, project):
    return user.new_task(project.rpartition("/")[2])


@pytest.fixture(params=["project", "task"])
def owner(request, user, project, task):
    return {"project": project, "task": task}[request.param]


def folder_of(address):
    parts = urlsplit(address)
    assert (parts.scheme, parts.netloc) == ("file", "")
    return Path(unquote(parts.path))


def folder(user, owner):
    """The folder that jobs see."""
    if "/tasks/" in owner:
        store = user.get(f"{owner}/storage/regional-storage")["regionalStores"][0]
        return folder_of(store["taskPath"])
    return folder_of(user.get(f"{owner}/storage/token")["projectSharedStoragePath"])


def presigned(user, owner, file_path):
    return user.get(f"{owner}/storage/presigned-url", filePath=file_path)["url"]


# ---- credentials


def test_tokens_are_for_the_projects_regions_and_expire(user, owner):
    second = timedelta(seconds=1)  # they expire at a whole one
    asked_at = datetime.now(UTC)
    token = user.get(f"{owner}/storage/token")
    answered_at = datetime.now(UTC)
    record = models.StorageAccessToken.model_validate(token)
    assert (record.region, record.provider) == (REGIONS[0], "GCP")
    assert record.expiration is not None
    hour = timedelta(hours=1)
    assert asked_at + hour - second <= record.expiration <= answered_at + hour
    assert record.credentials
    assert folder_of(record.project_shared_storage_path).is_dir()
    for region in REGIONS:
        named = user.get(f"{owner}/storage/token/{region}")
        assert (named["region"], named["provider"]) == (region, region.partition("_")[0])
    aws = user.get(f"{owner}/storage/token/{REGIONS[1]}")
    assert set(aws["credentials"]) == {
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    }
    tokens = models.StorageAccessTokens.model_validate(user.get(f"{owner}/storage/tokens"))
    assert tokens.default_region == REGIONS[0]
    assert [store.region for store in tokens.region_stores or ()] == REGIONS
    assert user.get(f"{owner}/storage/token")["credentials"] != token["credentials"]


@pytest.mark.parametrize("region", ["AWS_US_EAST_1", "AWS_MOON_1", "UNASSIGNED", "x%00", "%F0"])
def test_a_region_that_the_project_has_not_is_404(user, owner, region):
    assert user.http.get(f"{owner}/storage/token/{region}").status_code == 404


def test_regional_storage_names_the_folders_that_jobs_see(user, project, task):
    answer = user.get(f"{task}/storage/regional-storage")
    record = models.RegionalStorageResponse.model_validate(answer)
    assert record.rescale_region == REGIONS[0]
    assert [store.region for store in record.regional_stores or ()] == REGIONS
    code = 'echo "$PROJECT_SHARED_FOLDER"; echo "$TASK_SHARED_FOLDER"'
    (job_id,) = user.submit(task, ["sh", "-c", code])
    user.wait(task, job_id)
    gcp, aws = answer["regionalStores"]
    assert aws["projectPath"].startswith("s3://emulator-aws-eu-north-1/projects/")
    assert aws["taskPath"].startswith(aws["projectPath"].removesuffix("shared/"))
    assert aws["credentials"]
    seen = [str(folder_of(gcp[name])) for name in ("projectPath", "taskPath")]
    assert seen == user.log(f"{task}/jobs/{job_id}")
    assert gcp["credentials"]


def test_credentials_live_as_long_as_the_clock_lets_them(make_user):
    with Emulator(slots=1, clock_rate=360) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        project = f"/htc/projects/{user.project()['projectId']}"
        token = user.get(f"{project}/storage/token")
        expires = datetime.fromisoformat(token["expiration"]).timestamp()
        assert expires - time.time() <= 10


# ---- uploads


@pytest.mark.parametrize(
    "file_path", ["a", "input/mesh 1.dat", "ä/%2e%2e/😀?x=1#y&z+", "..a/.b", "~/$HOME"]
)
def test_a_file_is_put_without_authorization_where_jobs_see_it(user, owner, file_path):
    answer = user.get(f"{owner}/storage/presigned-url", filePath=file_path)
    record = models.PresignedPutUrlResponse.model_validate(answer)
    assert record.region == REGIONS[0]
    assert record.expiration is not None
    assert record.expiration > datetime.now(UTC)
    assert answer["url"].startswith(user.url.removesuffix("/api/v1") + "/uploads/")
    content = bytes(range(256)) * 800
    with plain_client() as nobody:
        assert nobody.put(answer["url"], content=content).status_code == 200
        assert (folder(user, owner) / file_path).read_bytes() == content
        assert nobody.put(answer["url"], content=b"").status_code == 200
        assert (folder(user, owner) / file_path).read_bytes() == b""
        assert nobody.get(answer["url"]).status_code == 405


@pytest.mark.parametrize(
    "file_path",
    [
        *("", "/", "/etc/passwd", "..", "../a", "a/../b", "a/..", ".", "./a", "a/", "a//b"),
        *("a\0b", "a\nb", "a\x1bb", "x" * 256, "ä" * 128, "/".join("x" * 600), "a/" * 600 + "a"),
    ],
)
def test_a_path_that_leaves_the_folder_or_can_not_be_is_400(user, owner, file_path):
    answer = user.http.get(f"{owner}/storage/presigned-url", params={"filePath": file_path})
    assert answer.status_code == 400
    assert "filePath" in answer.json()["errorDescription"]
    assert user.http.get(f"{owner}/storage/presigned-url").status_code == 400


def test_an_address_is_good_for_its_own_path_only(user, project, task):
    url = presigned(user, task, "a")
    token = url.partition("?token=")[2]
    other = presigned(user, project, "a")
    altered = [
        url + "x",
        url.replace("/a?", "/b?"),
        url.replace("/a?", "/a/b?"),
        url.replace("/a?", "/../a?"),
        url.replace("/tasks/", "/projects/"),
        url.partition("?")[0],
        url.partition("?")[0] + "?token=",
        f"{other.partition('?')[0]}?token={token}",
        f"{url.partition('?')[0]}?token={user.token}",
        f"{user.url.removesuffix('/api/v1')}/uploads/?token={token}",
    ]
    for address in altered:
        assert user.http.put(address, content=b"x").status_code in (403, 404), address
    assert not list(folder(user, task).iterdir())
    assert not list(folder(user, project).iterdir())
    headers = {"Authorization": f"Bearer {token}"}
    assert user.http.get("/htc/projects", headers=headers).status_code == 401


def test_an_address_expires(make_user, until):
    with Emulator(slots=1, clock_rate=3600) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        url = presigned(user, f"/htc/projects/{user.project()['projectId']}", "a")
        until(lambda: put(url, b"x").status_code == 403, "the address expired")


def test_an_invalid_file_is_409(user, owner):
    assert put(presigned(user, owner, "a/b"), b"x").status_code == 200
    assert put(presigned(user, owner, "a"), b"y").status_code == 409
    assert put(presigned(user, owner, "a/b/c"), b"y").status_code == 409
    assert (folder(user, owner) / "a" / "b").read_bytes() == b"x"


def test_no_link_leads_out_of_the_folder(user, owner, tmp_path):
    (folder(user, owner) / "out").symlink_to(tmp_path)
    (folder(user, owner) / "link").symlink_to(tmp_path / "target")
    (folder(user, owner) / "loop").symlink_to("loop")
    for file_path in ("out/a", "out/a/b"):
        assert put(presigned(user, owner, file_path), b"x").status_code == 403
    for file_path in ("loop/a", "loop/a/b"):
        assert put(presigned(user, owner, file_path), b"x").status_code == 409
    assert put(presigned(user, owner, "link"), b"x").status_code == 200
    assert not list(tmp_path.glob("target")) + list(tmp_path.glob("a"))
    assert (folder(user, owner) / "link").read_bytes() == b"x"


@pytest.mark.parametrize("replacement", ["ln -s /etc", "ln -s nowhere", "touch"])
def test_a_shared_folder_that_a_job_replaces_is_made_again(user, task, replacement):
    script = f'rmdir "$TASK_SHARED_FOLDER" && {replacement} "$TASK_SHARED_FOLDER"'
    user.submit(task, ["sh", "-c", script])
    user.wait_for_all(task)
    (job_id,) = user.submit(
        task, ["sh", "-c", 'ls "$TASK_SHARED_FOLDER" && touch "$TASK_SHARED_FOLDER/x"']
    )
    user.wait_for_all(task)
    assert user.get(f"{task}/jobs/{job_id}")["status"] == "SUCCEEDED"
    assert user.log(f"{task}/jobs/{job_id}") == []


def test_a_file_that_is_too_large_is_413_and_not_there(user, owner, monkeypatch):
    monkeypatch.setattr(objects, "MAX_OBJECT_BYTES", 1000)
    assert put(presigned(user, owner, "a"), b"x" * 1000).status_code == 200
    assert put(presigned(user, owner, "b"), b"x" * 1001).status_code == 413
    assert [path.name for path in folder(user, owner).iterdir()] == ["a"]


def test_half_a_file_is_none(emulator, user, owner, until):
    put(presigned(user, owner, "a"), b"old")
    url = httpx.URL(presigned(user, owner, "a"))
    root = folder(user, owner).parent.parent
    with socket.create_connection((url.host, url.port)) as connection:
        request = f"PUT {url.raw_path.decode()} HTTP/1.1\r\nHost: {url.host}\r\n"
        connection.sendall(f"{request}Content-Length: 1000\r\n\r\nhalf".encode())
        until(lambda: list((root / "uploads").iterdir()), "the upload began")
        assert (folder(user, owner) / "a").read_bytes() == b"old"
    until(lambda: not list((root / "uploads").iterdir()), "the upload ended")
    assert (folder(user, owner) / "a").read_bytes() == b"old"


def test_what_is_half_received_is_gone_at_the_next_start(tmp_path):
    with Emulator(data=tmp_path, slots=1):
        (tmp_path / "uploads").mkdir()
        (tmp_path / "uploads" / "half").touch()
    with Emulator(data=tmp_path, slots=1):
        assert not (tmp_path / "uploads").exists()
