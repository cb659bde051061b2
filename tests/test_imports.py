"""Importing is light, and what the package offers is there."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rescalehtc


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after a statement."""
    program = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_neither_models_nor_http_nor_emulator() -> None:
    loaded = loaded_by("import rescalehtc")
    assert not loaded & {"pydantic", "httpx", "starlette", "dataclasses", "json"}
    assert {name for name in loaded if name.startswith("rescalehtc")} == {"rescalehtc"}


def test_importing_the_facade_loads_neither_models_nor_http() -> None:
    loaded = loaded_by("from rescalehtc import api, exceptions, htcjobs, htcprojects, htctasks")
    assert not loaded & {"pydantic", "pydantic_core", "httpx", "starlette", "rescalehtc.models"}


@pytest.mark.parametrize("name", rescalehtc.__all__)
def test_every_exported_name_is_there_and_listed(name: str) -> None:
    assert getattr(rescalehtc, name) is not None
    assert name in dir(rescalehtc)


def test_the_exported_names_are_sorted_and_others_are_not_there() -> None:
    assert rescalehtc.__all__ == sorted(rescalehtc.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = rescalehtc.nonsense  # type: ignore[attr-defined]


def test_the_names_of_1_1_0_are_importable() -> None:
    statement = (
        "from rescalehtc import HtcSession, htcprojects, htctasks, htcjobs, api, exceptions\n"
        "from rescalehtc.container_registry import HtcContainerRegistry, get_container_registry\n"
        "from rescalehtc.htcsession import HtcSession\n"
        "from rescalehtc.bearer_token import BearerToken, token_from_str\n"
        "from rescalehtc.exceptions import HtcException\n"
        "import rescalehtc\n"
        "rescalehtc.htcjobs.HtcJob, rescalehtc.htctasks.HtcTask, rescalehtc.htcprojects.HtcProject"
    )
    assert "rescalehtc.htcjobs" in loaded_by(statement)
