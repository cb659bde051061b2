"""What is installed with the package, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

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
    assert held == {*sources, "rescalehtc/py.typed"}


def test_the_core_needs_pydantic_and_httpx_with_what_comes_with_it(wheel: zipfile.ZipFile) -> None:
    metadata = next(name for name in wheel.namelist() if name.endswith("METADATA"))
    needed = Parser().parsestr(wheel.read(metadata).decode()).get_all("Requires-Dist") or []
    core = {one.split(">")[0] for one in needed if "extra ==" not in one}
    assert core == {"anyio", "httpcore", "httpx", "pydantic"}
