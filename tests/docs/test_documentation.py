"""Scripts for 1.1.0 run unchanged, with the same results as in 1.1.0."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rescalehtc import htcprojects
from rescalehtc.emulator import Emulator

from .. import programs
from ..limits import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "scripts" / "documented.py"
EVERY_CALL = ROOT / "tests" / "scripts" / "every_call.py"
UNTYPED = ROOT / ".venv" / "rescalehtc-1.1.0"  # `make test` installs it

EXPECTED = """\
workspace Emulator
batch of 3 my-image:latest
partial ['group', 'jobUUID', 'projectId', 'taskId']
single my-image 1 4000
raw Sample job 2
counts 5 1
still running False
SUCCEEDED ['hello wörld', 'index 0']
SUCCEEDED ['hello wörld', 'index 1']
SUCCEEDED ['hello wörld', 'index 2']
last line ['raw']
updated True 0
file ['hello wörld', 'index 1', '']
listed 6
succeeded 5
found FAILED ErrorNonZeroContainerExitCode 3
not found None
tasks left 0
"""


SAID_OF_EVERY_CALL = """\
token user@emulator.invalid RS256 {}
again True
jwks 1
auth ['expiresIn', 'tokenValue']
claims Emulator
whoami Emulator
refused 401
regions True
region True
clusters True
storages True
storage AWS
dimensions 2
limit 1000
policy 0
policy 0
no project None
named True
not named None
listed True
listed True
folder True
dimensions 1
dimensions c7g.medium
limit 8 True
limit True
limit True
limit 9
limits 1
policy 0
policy 0
storage AWS_EU_WEST_1 False
storage AWS
storages 1
registry username_token AWS
registry True rescale True solver:1
repo True
repo False True
repos ['tools/echo']
images []
images True []
image {'status': 'READY'}
ready True
password True
password True
pushed local:2-0123456789
pushed solver:2
repos ['tools/echo', 'local', 'solver']
task True
no task None
folder True
archived ARCHIVED
active 1
any 2
named 1
tasks 2
task None
storage True ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN']
storage True ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN']
storages AWS_EU_WEST_1
stores 1
batch 2 tools/echo:1
single True
counts None 4 1
task False False
batch False
groups 3 True
groups [0, 2, 2]
jobs 5 None 0
job True
logs ['two', 'one']
events SUCCEEDED None
succeeded 4
images ['tools/echo:1']
cancelled 2
deleted 1
deleted None
deleted DELETED
left []
"""

# Calls that fail in 1.1.0, and a call without an operation.
NOT_CALLED = {
    "get_htc_metrics",
    "post_oauth_token",
    "get_htc_projects_storage_presigned_url",
    "get_htc_projects_tasks_storage_presigned_url",
}

# Both ways to inspect an image's id, and a log of the other calls.
DOCKER = """\
#!/bin/sh
case "$1" in
images) echo '{"ID": "sha256:0123456789abcdef"}' ;;
image) echo sha256:0123456789abcdef ;;
login) cat > /dev/null ;;
*) echo "$@" >> "$0.log" ;;
esac
"""

# The only change to 1.1.0.
SET_ADDRESS = (
    "import runpy, sys\n"
    "from rescalehtc.internals import constants\n"
    "constants._RESCALE_API_BASE_URL = sys.argv.pop(1)\n"
)
RUN_SCRIPT = f"{SET_ADDRESS}runpy.run_path(sys.argv[1])"

needs_untyped = pytest.mark.skipif(not UNTYPED.exists(), reason="1.1.0 is installed by `make test`")


def run(program: list[str], **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", *program],
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **variables},
        capture_output=True,
        encoding="utf-8",
        timeout=HANG_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def authenticate(emulator: Emulator) -> str:
    done = programs.run(
        [sys.executable, "-m", "rescalehtc.rauthenticate"],
        env={
            **os.environ,
            "RESCALE_API_TOKEN": emulator.api_key,
            "RESCALE_API_BASE_URL": emulator.url,
        },
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_with_this_package(emulator: Emulator, empty_home: Path) -> None:
    assert emulator.api_key not in authenticate(emulator)
    assert run([str(SCRIPT)], RESCALE_API_BASE_URL=emulator.url) == EXPECTED


@needs_untyped
def test_with_1_1_0_whose_address_is_set_and_nothing_else(
    emulator: Emulator, empty_home: Path
) -> None:
    """The emulator works with another client."""
    authenticate = "from rescalehtc.scripts.rauthenticate import argmain; argmain()"
    untyped = {"PYTHONPATH": str(UNTYPED)}
    key = {"RESCALE_API_TOKEN": emulator.api_key}
    run(["-c", f"{SET_ADDRESS}{authenticate}", emulator.url], **untyped, **key)
    assert run(["-c", RUN_SCRIPT, emulator.url, str(SCRIPT)], **untyped) == EXPECTED


@pytest.fixture
def own_emulator() -> Iterator[Emulator]:
    with Emulator(slots=2) as emulator:
        emulator.set_workspace_limit(1000)
        yield emulator


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program named docker, first in PATH."""
    program = tmp_path / "docker"
    program.write_text(DOCKER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return program


def check_pushes(docker: Path, emulator: Emulator) -> None:
    """Both images were pushed to the project's registry: its URL and the image's name."""
    with emulator.session() as rescale:
        project = htcprojects.get_project_with_name(rescale, "every call")
    assert project is not None
    registry = project.json["containerRegistry"]
    pushed = [f"push {registry}{name}" for name in ("local:2-0123456789", "solver:2")]
    commands = docker.with_name("docker.log").read_text().splitlines()
    assert [command for command in commands if command.startswith("push")] == pushed


def test_every_call_of_1_1_0_with_this_package(own_emulator: Emulator, docker: Path) -> None:
    found = {"RESCALE_API_BASE_URL": own_emulator.url, "EXAMPLE_KEY": own_emulator.api_key}
    assert run([str(EVERY_CALL)], **found) == SAID_OF_EVERY_CALL
    check_pushes(docker, own_emulator)


@needs_untyped
def test_every_call_of_1_1_0_with_1_1_0(
    own_emulator: Emulator, docker: Path, empty_home: Path
) -> None:
    """Including the container registry: 1.1.0 supports only AWS registries."""
    found = {"PYTHONPATH": str(UNTYPED), "EXAMPLE_KEY": own_emulator.api_key}
    program = ["-c", RUN_SCRIPT, own_emulator.url, str(EVERY_CALL)]
    assert run(program, **found) == SAID_OF_EVERY_CALL
    check_pushes(docker, own_emulator)


def test_the_script_makes_every_call_of_1_1_0() -> None:
    functions: dict[str, str] = runpy.run_path(
        str(ROOT / "tests" / "test_codegen.py"), run_name="known"
    )["KNOWN"]
    text = EVERY_CALL.read_text(encoding="utf-8")
    assert [name for name in functions if f"api.{name}(" not in text] == [
        name for name in functions if name in NOT_CALLED
    ]


def test_rauthenticate_keeps_the_key_where_1_1_0_does(emulator: Emulator, empty_home: Path) -> None:
    authenticate(emulator)
    folder = empty_home / ".config" / "rescalehtc"
    assert (folder / "default").resolve() == folder / "Emulator"
    assert (folder / "default" / "rescale_api_token.txt").read_text().strip() == emulator.api_key


def test_the_script_uses_every_documented_entry() -> None:
    documented: dict[str, object] = runpy.run_path(
        str(ROOT / "tests" / "test_signatures.py"), run_name="signatures"
    )["DOCUMENTED"]
    text = SCRIPT.read_text(encoding="utf-8")
    for entry in documented:
        name = entry.rpartition(".")[2]
        if name not in ("HtcJob", "HtcJobBatch"):  # created by the functions
            assert f"{name}(" in text
