"""Images and repositories of a project."""

import base64
import json
import time

import pytest

from rescalehtc import models
from rescalehtc.emulator import Emulator
from rescalehtc.emulator.store import projects

from ..clock import Clock
from ..limits import HANG_SECONDS


@pytest.fixture
def project(user):
    return user.new_project()


def listed(user, project):
    answer = user.get(f"{project}/container-registry/images")
    assert answer["containerRegistry"] == user.get(project)["containerRegistry"]
    return models.HTCImages.model_validate(answer).images or []


def test_images_that_were_used_or_set_are_listed(emulator, user, project):
    before = listed(user, project)
    task = user.new_task(project.rpartition("/")[2])
    for image in ("team/used:2", "untagged", "team/used:2"):
        request = {"htcJobDefinition": {"imageName": image, "commands": ["true"]}}
        assert user.send_batch(task, request).status_code == 200
    emulator.set_image_status("set", "PENDING")
    try:
        new = {"team/used:2", "untagged:latest", "set:latest"}
        assert set(listed(user, project)) == new | set(before)
        assert listed(user, project) == sorted(listed(user, project))
        assert "untagged:latest" not in listed(user, user.new_project())
        assert user.get(f"{project}/container-registry/images/set:latest") == {"status": "PENDING"}
    finally:
        emulator.set_image_status("set:latest", "UNKNOWN")
    assert "set:latest" not in listed(user, project)
    assert user.http.get(f"{project}/container-registry/images/set").status_code == 404
    user.wait_for_all(task)


def test_a_pending_image_becomes_ready_after_a_while(make_user, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(projects, "time", clock)
    with Emulator(slots=1, clock_rate=10) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        path = f"/htc/projects/{user.project()['projectId']}/container-registry/images/slow"
        for ago, status in ((0, "PENDING"), (11 * HANG_SECONDS, "READY")):
            clock.ahead["time"] = -ago
            emulator.set_image_status("slow", "PENDING", ready_after_seconds=100 * HANG_SECONDS)
            assert user.get(path) == {"status": status}
        task = user.new_task()
        request = {"htcJobDefinition": {"imageName": "slow", "commands": ["true"]}}
        assert user.send_batch(task, request).status_code == 200
        emulator.set_image_status("slow", "PENDING")
        assert user.get(path) == {"status": "PENDING"}


def test_a_repository_is_made_once_and_belongs_to_the_project(user, project):
    path = f"{project}/container-registry/repo/team/solver"
    first = user.http.post(path)
    assert first.status_code == 200
    record = models.HTCRepository.model_validate(first.json())
    assert (record.repository_name, record.successfully_created) == ("team/solver", True)
    assert record.registry_uri == user.get(project)["containerRegistry"]
    assert user.http.post(path).json() == {**first.json(), "successfullyCreated": False}
    assert user.get(project)["repositories"] == ["team/solver"]
    assert user.get(user.new_project())["repositories"] == []


@pytest.mark.parametrize("name", ["Team", "a:b", "a//b", "-a", "a%20b", "a/", "%F0", "x" * 400])
def test_a_name_that_no_repository_can_have_is_400(user, project, name):
    assert user.http.post(f"{project}/container-registry/repo/{name}").status_code == 400
    assert user.get(project)["repositories"] == []


def test_the_registrys_password_is_fresh_and_tells_when_it_expires(user, project):
    answers = [user.http.get(f"{project}/container-registry/token") for _ in range(2)]
    assert answers[0].text != answers[1].text
    assert answers[0].headers["Content-Type"].startswith("text/plain")
    password = json.loads(base64.b64decode(answers[0].text, validate=True))
    assert 0 < password["expiration"] - time.time() <= 12 * 3600


def test_repositories_and_images_outlive_the_emulator(tmp_path, make_user):
    with Emulator(data=tmp_path, slots=1) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        project = user.new_project()
        user.http.post(f"{project}/container-registry/repo/solver")
        task = user.new_task(project.rpartition("/")[2])
        user.submit(task)
        user.wait_for_all(task)
        emulator.set_image_status("slow", "PENDING", ready_after_seconds=0.01)
        emulator.set_image_status("stuck", "PENDING", ready_after_seconds=1000)
    with Emulator(data=tmp_path, slots=1) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        assert user.get(project)["repositories"] == ["solver"]
        assert listed(user, project) == ["image:latest", "slow:latest", "stuck:latest"]
        images = f"{project}/container-registry/images"
        assert user.get(f"{images}/slow") == {"status": "READY"}
        assert user.get(f"{images}/stuck") == {"status": "PENDING"}
