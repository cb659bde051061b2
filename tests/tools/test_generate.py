"""`make generate` writes files, and `make check` compares them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_only_a_file_changed_by_hand_is_outdated(tmp_path: Path) -> None:
    """`--check` fails and names the file. Without it, the file is written again."""
    for name in ("codegen", "rescalehtc", "openapi", "docs", "schema"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)

    def codegen(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "codegen", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    path = tmp_path / "rescalehtc" / "models.py"
    generated = path.read_bytes()
    path.write_bytes(generated + b"\n")
    found = codegen("--check")
    assert found.returncode == 1
    assert found.stderr == "rescalehtc/models.py is outdated: run `make generate`\n"
    assert codegen().returncode == 0
    assert path.read_bytes() == generated
