"""An engine that runs containers here, and an image for it; without one, tests are skipped.

The engine is used as it is set up. If it can't run a container so, and it is podman, it is tried
with settings that need little of the machine, in files that only these tests use.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from rescalehtc import container_registry, htcprojects
from rescalehtc._docker import find_programs
from rescalehtc.emulator import Emulator
from rescalehtc.exceptions import HtcException

from ..emulator.conftest import User, make_user, until
from ..limits import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["make_user"]

# Of each worker its own.
IMAGE = f"rescalehtc-tests-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}:1"
SETTINGS = {
    "CONTAINERS_CONF": """\
[containers]
default_ulimits = ["nofile=1000:1000", "nproc=1000:1000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
""",
    "CONTAINERS_STORAGE_CONF": """\
[storage]
driver = "vfs"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
""",
    # Logins of the tests.
    "REGISTRY_AUTH_FILE": "{{}}",
}
# The image's own settings.
CHANGES = [
    "ENV FROM_IMAGE=yes",
    "WORKDIR /home",
    "USER 1000:1000",
    'ENTRYPOINT ["/bin/env", "ENTERED=yes"]',
    'CMD ["sh", "-c", "id -u; pwd; echo $ENTERED $FROM_IMAGE"]',
]


def run(program: str, *arguments: str, stdin: bytes | None = None) -> str:
    """Run a program to its end and return what it printed."""
    done = subprocess.run(
        [program, *arguments], input=stdin, capture_output=True, timeout=HANG_SECONDS
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def root_files() -> bytes:
    """The files of an image: busybox under the names of its commands, and some folders."""
    busybox = shutil.which("busybox")
    assert busybox, "busybox is not there (Debian: busybox-static)"
    with io.BytesIO() as content:
        with tarfile.open(fileobj=content, mode="w") as tar:
            for name, mode in (("bin", 0o755), ("home", 0o777), ("tmp", 0o777)):
                folder = tarfile.TarInfo(name)
                folder.type, folder.mode = tarfile.DIRTYPE, mode
                tar.addfile(folder)
            tar.add(Path(busybox).resolve(), "bin/busybox")
            for name in run(busybox, "--list").split():
                if name != "busybox":
                    link = tarfile.TarInfo(f"bin/{name}")
                    link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                    tar.addfile(link)
        return content.getvalue()


def engine_problem(image_files: bytes) -> tuple[str, str]:
    """The program that runs a container here, and why there is none."""
    problem = ""
    for program in find_programs("to run jobs in containers"):
        try:
            changes = [f"--change={change}" for change in CHANGES]
            run(program.path, "import", *changes, "-", IMAGE, stdin=image_files)
            run(program.path, "run", "--rm", "--network=host", "--memory=64m", IMAGE, "true")
        except AssertionError as error:
            subprocess.run([program.path, "rmi", "--force", IMAGE], capture_output=True)
            problem = f"{program.name} can't run a container here: {str(error).strip()[-500:]}"
        else:
            return program.path, ""
    return "", problem


def give_up(reason: str) -> NoReturn:
    """Skip the test, or let it fail where the engine was installed for the tests."""
    if "NEEDS_ENGINE" in os.environ:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def engine() -> Iterator[str]:
    """The path of docker or podman, which has the image."""
    try:
        files = root_files()
        find_programs("to run jobs in containers")
    except (AssertionError, HtcException) as error:
        give_up(str(error))
    with contextlib.ExitStack() as stack:
        program, problem = engine_problem(files)
        if problem:
            folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            for name, text in SETTINGS.items():
                path = Path(folder, name.lower())
                path.write_text(text.format(folder=folder))
                patch.setenv(name, str(path))
            program, problem = engine_problem(files)
        if problem:
            give_up(problem)
        yield program
        left = run(program, "ps", "--all", "--quiet", f"--filter=ancestor={IMAGE}")
        assert not left.split(), "containers were left behind"
        image_id = run(program, "image", "inspect", "--format={{.Id}}", IMAGE).strip()
        run(program, "rmi", "--force", image_id)  # under all names that it was given


@pytest.fixture(scope="session")
def emulator(engine: str) -> Iterator[Emulator]:
    """An emulator that runs jobs in containers, and has the image."""
    with Emulator(runner="container", slots=4) as running:
        push(running, IMAGE)
        yield running


def push(emulator: Emulator, image: str) -> str:
    """Push an image as a user does, wait until it is ready, and return its name."""
    with emulator.session() as rescale:
        project = htcprojects.get_projects(rescale)[0]
        registry = container_registry.get_container_registry(rescale, project)
        registry.push_docker_image(rescale, image, image, quiet=True)
        until(lambda: registry.is_image_ready(rescale, image), f"{image} is ready")
    return image


@pytest.fixture(scope="session")
def user(emulator: Emulator) -> Iterator[User]:
    user = User(emulator.url, emulator.api_key)
    yield user
    user.http.close()
