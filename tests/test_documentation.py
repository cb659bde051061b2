"""A script written from the documentation runs unchanged, with this package as with 1.1.0."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .limits import HANG_SECONDS

if TYPE_CHECKING:
    from rescalehtc.emulator import Emulator

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = Path(__file__).parent / "scripts" / "documented.py"
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


def test_with_this_package(emulator: Emulator, empty_home: Path) -> None:
    address = {"RESCALE_API_BASE_URL": emulator.url}
    said = run(["-m", "rescalehtc.rauthenticate"], RESCALE_API_TOKEN=emulator.api_key, **address)
    assert emulator.api_key not in said
    assert run([str(SCRIPT)], **address) == EXPECTED


@pytest.mark.skipif(not UNTYPED.exists(), reason="1.1.0 is installed by `make test`")
def test_with_1_1_0_whose_address_is_set_and_nothing_else(
    emulator: Emulator, empty_home: Path
) -> None:
    """The emulator is a service that a client of somebody else's understands."""
    set_address = (
        "import runpy, sys\n"
        "from rescalehtc.internals import constants\n"
        "constants._RESCALE_API_BASE_URL = sys.argv.pop(1)\n"
    )
    authenticate = "from rescalehtc.scripts.rauthenticate import argmain; argmain()"
    untyped = {"PYTHONPATH": str(UNTYPED)}
    key = {"RESCALE_API_TOKEN": emulator.api_key}
    run(["-c", f"{set_address}{authenticate}", emulator.url], **untyped, **key)
    script = f"{set_address}runpy.run_path(sys.argv[1])"
    assert run(["-c", script, emulator.url, str(SCRIPT)], **untyped) == EXPECTED


def test_rauthenticate_keeps_the_key_where_1_1_0_does(emulator: Emulator, empty_home: Path) -> None:
    address = {"RESCALE_API_BASE_URL": emulator.url}
    run(["-m", "rescalehtc.rauthenticate"], RESCALE_API_TOKEN=emulator.api_key, **address)
    folder = empty_home / ".config" / "rescalehtc"
    assert (folder / "default").resolve() == folder / "Emulator"
    assert (folder / "default" / "rescale_api_token.txt").read_text().strip() == emulator.api_key


def test_the_script_uses_every_documented_entry() -> None:
    documented: dict[str, object] = runpy.run_path(
        str(Path(__file__).with_name("test_signatures.py")), run_name="signatures"
    )["DOCUMENTED"]
    text = SCRIPT.read_text(encoding="utf-8")
    for entry in documented:
        name = entry.rpartition(".")[2]
        if name not in ("HtcJob", "HtcJobBatch"):  # made by the functions
            assert f"{name}(" in text
