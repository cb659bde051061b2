"""The files for maintainers are consistent, and valid for their schemas."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from ..limits import HANG_SECONDS

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
CI_PAGE = "docs/how-to/ci.md"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCHEMAS = {
    **{f".github/workflows/{path.name}": "vendor.github-workflows" for path in WORKFLOWS},
    ".github/dependabot.yml": "vendor.dependabot",
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_file_follows_its_schema(name: str) -> None:
    check = [str(BIN / "check-jsonschema"), "--builtin-schema", SCHEMAS[name], str(ROOT / name)]
    done = subprocess.run(check, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr


def steps() -> list[dict[str, Any]]:
    workflows = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in WORKFLOWS]
    return [step for flow in workflows for job in flow["jobs"].values() for step in job["steps"]]


def test_workflows_call_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    called = [step["run"] for step in steps() if "run" in step]
    assert called
    for command in called:
        found = re.fullmatch(r"make ([\w -]+?)( SESSION=.*)?", command)
        assert found, command
        assert targets >= set(found[1].split()), command


def test_workflows_use_no_secret_and_pin_what_they_use() -> None:
    for path in WORKFLOWS:
        text = path.read_text(encoding="utf-8")
        assert "secrets." not in text
        assert re.search(r"^permissions:\n  contents: read\n", text, re.M)
    for used in (step["uses"] for step in steps() if "uses" in step):
        assert re.search(r"@([0-9a-f]{40}|v\d+)$", used), used


def test_all_pinned_packages_run_on_the_oldest_python() -> None:
    pins = re.findall(
        r"^([\w.-]+)==", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M
    )
    assert pins
    for name in pins:
        allowed = str(metadata.metadata(name).json.get("requires_python", ""))
        assert SpecifierSet(allowed).contains("3.11.0"), f"{name} needs Python {allowed}"


def test_all_files_have_the_same_address_of_the_repository() -> None:
    """pyproject.toml defines it. These files can't read it from there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    source = project["urls"]["Source"]
    for name in ("pyproject.toml", "SECURITY.md", ".github/ISSUE_TEMPLATE/config.yml", CI_PAGE):
        text = (ROOT / name).read_text(encoding="utf-8")
        found = re.findall(
            r"https://(?:raw\.githubusercontent|github)\.com/([\w.-]+/rescalehtc)\b", text
        )
        assert set(found) == {source.removeprefix("https://github.com/")}, name


def test_the_hooks_of_pre_commit_name_existing_programs() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    for hook in (hook for repo in config["repos"] for hook in repo["hooks"]):
        assert (BIN / Path(hook["entry"].split()[0]).name).exists(), hook
