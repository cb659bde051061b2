"""The example that gives jobs files runs in containers: in its image, with files both ways."""

import os
import sys
from pathlib import Path

from .. import programs
from ..limits import HANG_SECONDS
from .conftest import IMAGE

EXAMPLE = Path(__file__).parents[2] / "examples" / "sweep_with_files.py"


def test_a_sweep_with_files_runs_in_an_image(emulator):
    variables = {
        "RESCALE_API_BASE_URL": emulator.url,
        "RESCALE_API_KEY": emulator.api_key,
        "IMAGE": IMAGE,
        "ARCHITECTURE": "X86",
    }
    done = programs.run(
        [sys.executable, str(EXAMPLE)], env={**os.environ, **variables}, timeout=HANG_SECONDS
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[1:-1]]
    assert rows == [[str(3 * index), str((3 * index) ** 2)] for index in range(20)]
