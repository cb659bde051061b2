"""check-jsonschema checks submit files with the schema, and pre-commit with the hook."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..limits import HANG_SECONDS
from .test_readme import clone  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SCHEMA = ROOT / "schema" / "submit.schema.json"
GOOD = """\
- jobName: squares
  batchSize: 3
  htcJobDefinition: {imageName: "python:3", envs: {CASE: "7"}}
- htcJobDefinition: {imageName: "solvers/cfd:2.4"}
"""
BAD = GOOD.replace("batchSize: 3", "batchSiz: 3")


def run(command: list[str], folder: Path, **variables: str) -> tuple[int, str]:
    done = subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=HANG_SECONDS,
        env={**os.environ, **variables},
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(("text", "status", "message"), [(GOOD, 0, "ok"), (BAD, 1, "batchSiz")])
def test_check_jsonschema_accepts_good_files_and_refuses_bad_ones(
    tmp_path: Path, text: str, status: int, message: str
) -> None:
    (tmp_path / "jobs.yaml").write_text(text)
    command = [str(BIN / "check-jsonschema"), "--schemafile", str(SCHEMA), "jobs.yaml"]
    found, printed = run(command, tmp_path)
    assert (found, message in printed) == (status, True), printed


def test_pre_commit_runs_validate_from_a_clone(clone: Path, tmp_path: Path) -> None:  # noqa: F811
    commit = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "x"]
    for command in (["git", "init", "-q"], ["git", "add", "-A"], commit):
        assert run(command, clone) == (0, "")
    revision = run(["git", "rev-parse", "HEAD"], clone)[1].strip()
    user = tmp_path / "user"
    user.mkdir()
    (user / ".pre-commit-config.yaml").write_text(
        f"repos:\n- repo: {clone}\n  rev: {revision}\n  hooks:\n  - id: rescalehtc-validate\n"
        "    files: ^jobs/\n"
    )
    (user / "jobs").mkdir()
    (user / "jobs" / "good.yaml").write_text(GOOD)
    (user / "other.yaml").write_text("a: 1\n")
    assert run(["git", "init", "-q"], user) == (0, "")
    tried = [str(BIN / "pre-commit"), "run", "--all-files", "--color", "never"]
    home = {"PRE_COMMIT_HOME": str(tmp_path / "home")}
    assert run(["git", "add", "-A"], user) == (0, "")
    status, printed = run(tried, user, **home)
    assert status == 0, printed
    assert "Passed" in printed
    (user / "jobs" / "bad.yaml").write_text(BAD)
    assert run(["git", "add", "-A"], user) == (0, "")
    status, printed = run(tried, user, **home)
    assert status == 1
    assert "jobs/bad.yaml:2:3: [0].batchSiz: is not a field of HTCJobSubmitRequest" in printed
