"""The README works in a new clone, and with only a wheel, from an empty home folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..docs.test_pages import README, Page, blocks, commands
from ..limits import HANG_SECONDS

ROOT = Path(__file__).resolve().parents[2]
INSTALLS = "it installs"
END = "--- the end of a command ---"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the repository with its current files."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).exists():
            copy = tmp_path / "clone" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy)
    return tmp_path / "clone"


def newcomer(home: Path) -> dict[str, str]:
    """The variables of a new user: Python on the PATH, and an empty home folder."""
    home.mkdir()
    ours = {
        name for name in os.environ if name.startswith(("RESCALE", "PYTHON", "VIRTUAL_ENV", "MAKE"))
    }
    path = f"{Path(sys.base_prefix, 'bin')}:/usr/local/bin:/usr/bin:/bin"
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    return {**inherited, "HOME": str(home), "PATH": path, "COLUMNS": "120"}


def test_every_block_of_the_readme_runs_in_a_clone(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone)
    page = Page({})
    with subprocess.Popen(
        ["bash", "-u"],
        env=newcomer(tmp_path / "home"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as shell:
        assert shell.stdin
        assert shell.stdout
        for block in blocks(README, INSTALLS):
            if block.kind != "console":
                assert page.keep(block.text)
                continue
            for command, expected in commands(block.text):
                for shown, real in page.ids.items():
                    command = command.replace(shown, real)
                shell.stdin.write(f"{command} < /dev/null\necho '{END}' $?\n")
                shell.stdin.flush()
                printed = ""
                for line in iter(shell.stdout.readline, ""):
                    if END in line:
                        status = line.split()[-1]
                        break
                    printed += line
                else:
                    status = "ended"
                assert status == "0", f"{command}\n{printed}"
                if expected:
                    page.compare(expected, printed)
        shell.stdin.close()
        assert shell.wait(HANG_SECONDS) == 0
