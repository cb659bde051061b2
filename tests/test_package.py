"""Only the package's files are installed."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from email.message import Message

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    package = ROOT / "rescalehtc"
    sources = {str(path.relative_to(ROOT)) for path in package.rglob("*.py")}
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == {*sources, "rescalehtc/py.typed", "rescalehtc/cli/submit.schema.json"}


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    name = next(name for name in wheel.namelist() if name.endswith("METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_the_core_needs_pydantic_and_httpx_with_what_comes_with_it(metadata: Message) -> None:
    needed = metadata.get_all("Requires-Dist") or []
    core = {item.split(">")[0] for item in needed if "extra ==" not in item}
    assert core == {"anyio", "httpcore", "httpx", "pydantic"}


def test_the_metadata_tells_who_makes_it_and_where_to_read_on(metadata: Message) -> None:
    links = dict(link.split(", ") for link in metadata.get_all("Project-URL") or [])
    assert links.keys() >= {"Homepage", "Documentation", "Changelog", "Issues", "Source"}
    for name in ("Author", "Keywords", "License-Expression", "Requires-Python"):
        assert metadata[name]
    assert len(metadata.get_all("Classifier") or []) > 10


def test_each_link_of_the_description_works_outside_of_the_repository(metadata: Message) -> None:
    text = str(metadata.get_payload())
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 10
    assert [link for link in links if not link.startswith("https://")] == []
    for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_each_tool_that_the_project_is_developed_with_has_a_pinned_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    pins = {
        canonical(line.partition("==")[0])
        for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    }
    for group in (*extras.values(), *project["dependency-groups"].values()):
        named = {canonical(item) for item in group if isinstance(item, str)}
        assert named <= pins, named - pins


def canonical(requirement: str) -> str:
    return re.sub("[-_.]+", "-", re.split(r"[\[<>=]", requirement)[0]).lower()
