"""Five type checkers accept valid code and report mistakes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..limits import HANG_SECONDS

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SNIPPETS = ROOT / "tests" / "data" / "typing" / "snippets.py"

PYRIGHT = ["--outputjson", "--pythonpath", sys.executable]
COMMANDS = {
    "mypy": [
        *("--strict", "--no-pretty", "--no-error-summary", "--config-file", os.devnull),
        *("--cache-dir", str(ROOT / ".mypy_cache")),
    ],
    "pyright": PYRIGHT,
    "basedpyright": PYRIGHT,
    "pyrefly": ["check", "--output-format=min-text", "--python-interpreter-path", sys.executable],
    "ty": ["check", "--output-format=concise", "--python", sys.executable],
}


def marked(checker: str) -> set[int]:
    """The lines that a checker rejects."""
    return {
        number
        for number, line in enumerate(SNIPPETS.read_text(encoding="utf-8").splitlines(), 1)
        if (mark := re.search(r"  # error(?:: (.*))?$", line))
        and (mark[1] is None or checker in mark[1].split())
    }


def refused(checker: str, output: str) -> set[int]:
    if checker in ("pyright", "basedpyright"):
        answer = json.loads(output)
        assert answer["summary"]["filesAnalyzed"] == 1
        return {
            finding["range"]["start"]["line"] + 1
            for finding in answer["generalDiagnostics"]
            if finding["severity"] == "error"
        }
    return {
        int(line[1])
        for line in re.finditer(r"^.*snippets\.py:(\d+):.*$", output, re.MULTILINE)
        if re.search("error", line[0], re.IGNORECASE)
    }


@pytest.mark.parametrize("checker", COMMANDS)
def test_a_checker_rejects_the_mistakes_and_nothing_else(checker: str, tmp_path: Path) -> None:
    copy = tmp_path / SNIPPETS.name
    copy.write_bytes(SNIPPETS.read_bytes())
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    done = subprocess.run(
        [str(BIN / checker), *COMMANDS[checker], str(copy)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MYPYPATH": str(ROOT)},
    )
    output = done.stdout + done.stderr
    assert refused(checker, done.stdout) == marked(checker), output
