"""Images that skopeo, podman and this package push to the emulator, and pull from it."""

import json
import shutil
from pathlib import Path

import pytest

from rescalehtc import container_registry, htcjobs, htcprojects, htctasks

from .conftest import IMAGE, run
from .layouts import write_layout


@pytest.fixture
def skopeo():
    path = shutil.which("skopeo")
    if path is None:
        pytest.skip("skopeo is not there (Debian: skopeo)")
    return path


@pytest.fixture
def registry(user):
    """The address of the registry, and credentials for it."""
    project = user.project()
    token = user.http.get(f"/htc/projects/{project['projectId']}/container-registry/token").text
    return project["containerRegistry"], f"AWS:{token}"


def files_of(layout: Path) -> dict[str, bytes]:
    """The content of an OCI layout by name."""
    return {
        str(path.relative_to(layout)): path.read_bytes()
        for path in layout.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("count", [1, 2])
def test_an_oci_layout_comes_back_from_the_registry_byte_for_byte(
    skopeo, registry, tmp_path, count
):
    """Of one image, and of an index of two."""
    address, credentials = registry
    sent, back = tmp_path / "sent", tmp_path / "back"
    write_layout(sent, ["amd64", "arm64"][:count])
    remote = f"docker://{address}round-trip:{count}"
    insecure, every = "tls-verify=false", ["--all", "--preserve-digests"]
    copy = [skopeo, "copy", "--quiet", *every]
    run(*copy, f"--dest-{insecure}", f"--dest-creds={credentials}", f"oci:{sent}:x", remote)
    run(*copy, f"--src-{insecure}", f"--src-creds={credentials}", remote, f"oci:{back}:x")
    assert files_of(back) == files_of(sent)


def test_skopeo_inspects_an_image_and_its_tags(skopeo, registry, engine, emulator):
    address, credentials = registry
    name, tag = IMAGE.split(":")
    found = json.loads(
        run(
            *(skopeo, "inspect", "--tls-verify=false", f"--creds={credentials}"),
            f"docker://{address}{name}:{tag}",
        )
    )
    assert (found["Architecture"], found["RepoTags"]) == ("amd64", [tag])


def test_skopeo_is_refused_without_the_token(skopeo, registry, tmp_path):
    address, _ = registry
    write_layout(tmp_path / "sent", ["amd64"])
    for credentials in ("--dest-no-creds", "--dest-creds=AWS:wrong"):
        with pytest.raises(AssertionError, match=r"unauthorized|authentication required"):
            run(
                *(skopeo, "copy", "--quiet", "--dest-tls-verify=false", credentials),
                *(f"oci:{tmp_path / 'sent'}:x", f"docker://{address}refused:1"),
            )


def test_an_image_that_was_pushed_by_this_package_runs_under_the_name_that_it_returned(
    engine, emulator
):
    with emulator.session() as rescale:
        project = htcprojects.get_projects(rescale)[0]
        registry = container_registry.get_container_registry(rescale, project)
        name = registry.push_docker_image(rescale, IMAGE, quiet=True)
        assert name.startswith(f"{IMAGE}-")
        assert registry.get_repos(rescale) == [IMAGE.partition(":")[0]]
        task = htctasks.create_task_with_name(rescale, project, "pushed")
        job = htcjobs.create_single_job(
            rescale,
            task,
            image_name=name,
            priority="ON_DEMAND_ECONOMY",
            architecture="X86",
            exec_timeout_seconds=600,
            commands=["echo", "it runs"],
        )
        assert list(job.follow_logs(rescale)) == ["it runs"]
        run(engine, "rmi", f"{registry.registry_url}{name}")
