"""A script written from the documentation runs unchanged, with this package as with 1.1.0."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rescalehtc.emulator import Emulator

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = Path(__file__).parent / "scripts" / "documented.py"
UNTYPED = ROOT / ".venv" / "rescalehtc-1.1.0"  # `make test` installs it

EXPECTED = """\
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


def run(program: list[str], emulator: Emulator, **more: str) -> str:
    environment = {
        **os.environ,
        "RESCALE_API_KEY": emulator.api_key,
        "PYTHONIOENCODING": "utf-8",
        **more,
    }
    done = subprocess.run(
        [sys.executable, "-P", *program],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_with_this_package(emulator: Emulator) -> None:
    assert run([str(SCRIPT)], emulator, RESCALE_API_BASE_URL=emulator.url) == EXPECTED


@pytest.mark.skipif(not UNTYPED.exists(), reason="1.1.0 is installed by `make test`")
def test_with_1_1_0_whose_address_is_set_and_nothing_else(emulator: Emulator) -> None:
    """The emulator is a service that a client of somebody else's understands."""
    program = (
        "import runpy, sys\n"
        "from rescalehtc.internals import constants\n"
        "constants._RESCALE_API_BASE_URL = sys.argv[1]\n"
        "runpy.run_path(sys.argv[2])"
    )
    said = run(["-c", program, emulator.url, str(SCRIPT)], emulator, PYTHONPATH=str(UNTYPED))
    assert said == EXPECTED


def test_the_script_uses_every_documented_entry() -> None:
    documented: dict[str, object] = runpy.run_path(
        str(Path(__file__).with_name("test_signatures.py")), run_name="signatures"
    )["DOCUMENTED"]
    text = SCRIPT.read_text(encoding="utf-8")
    for entry in documented:
        name = entry.rpartition(".")[2]
        if name not in ("HtcJob", "HtcJobBatch"):  # made by the functions
            assert f"{name}(" in text
