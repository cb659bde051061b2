"""The examples run and print what they promise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rescalehtc.emulator import Emulator

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def test_quickstart(emulator: Emulator) -> None:
    environment = {
        **os.environ,
        "RESCALE_API_BASE_URL": emulator.url,
        "RESCALE_API_KEY": emulator.api_key,
    }
    program = [sys.executable, str(EXAMPLES / "quickstart.py")]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "20/20 ended, 0 failed" in done.stdout
    assert "148,933 primes below 2,000,000" in done.stdout
    assert "SUCCEEDED in AWS_US_EAST_1, exit code 0" in done.stdout
    for argument in ("batch_size", "priority", "exec_timeout_seconds", "envs[0].name", "region"):
        assert f"\n  {argument}: must be" in done.stdout
