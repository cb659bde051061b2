"""Importing is fast, and the package has all its names."""

from __future__ import annotations

import builtins
import importlib
import subprocess
import sys

import pytest

import rescalehtc
from rescalehtc.exceptions import HtcException

from . import programs


def loaded_by(statement: str) -> set[str]:
    """The imported modules of a new interpreter after a statement."""
    program = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=programs.without_coverage(),
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_neither_models_nor_http_nor_emulator() -> None:
    loaded = loaded_by("import rescalehtc")
    assert not loaded & {"pydantic", "httpx", "starlette", "dataclasses", "json"}
    assert {name for name in loaded if name.startswith("rescalehtc")} == {"rescalehtc"}


def test_importing_the_facade_loads_neither_models_nor_http() -> None:
    loaded = loaded_by("from rescalehtc import api, exceptions, htcjobs, htcprojects, htctasks")
    assert not loaded & {"pydantic", "pydantic_core", "httpx", "starlette", "rescalehtc.models"}


@pytest.mark.parametrize("module", ["rescalehtc.htcsession", "rescalehtc.cli._app"])
def test_the_http_library_is_loaded_by_the_first_session(module: str) -> None:
    """So help, completion and validation on the command line don't wait for it."""
    loaded = loaded_by(f"import {module}")
    assert not loaded & {"pydantic", "httpx", "httpcore", "obstore", "rescalehtc.models"}
    assert not loaded & {"ssl", "urllib.request", "yaml"}


def test_listing_jobs_loads_nothing_of_submissions_and_runs() -> None:
    loaded = loaded_by("from rescalehtc import htcjobs, htctasks; htcjobs.iter_jobs")
    flows = (
        "submission recovery marks policy report rerunning ledger once scope why causes planning"
    )
    facade = "_batch _submit _check _results _run _batches _plan _map"
    assert not loaded & {f"rescalehtc._jobs.{name}" for name in flows.split()}
    assert not loaded & {f"rescalehtc.htcjobs.{name}" for name in facade.split()}


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


# The names of `from rescalehtc.<module> import *` in 1.1.0, except its internals, names of the
# standard library, and the functions of `api`, which other tests cover.
STAR_IMPORTS = {
    "api": {"HtcException", "HtcSession"},
    "bearer_token": {"BearerToken", "HtcException", "token_from_str"},
    "container_registry": {"HtcContainerRegistry", "HtcException", "HtcProject", "HtcSession"}
    | {"api", "get_container_registry"},
    "exceptions": {"HtcException"},
    "htcjobs": {"HtcException", "HtcJob", "HtcJobBatch", "HtcSession", "HtcTask", "api"}
    | {"create_job_batch", "create_job_batch_raw", "create_single_job"}
    | {"get_job_with_id", "get_jobs"},
    "htcprojects": {"HtcException", "HtcProject", "HtcSession", "api"}
    | {"get_project_with_id", "get_project_with_name", "get_projects"},
    "htcsession": {"BearerToken", "HtcSession"},
    "htctasks": {"HtcException", "HtcProject", "HtcSession", "HtcTask", "api"}
    | {"create_task_with_name", "delete_task_with_id", "delete_tasks_with_name"}
    | {"get_task_with_id", "get_tasks", "get_tasks_with_name"},
}


@pytest.mark.parametrize("module", STAR_IMPORTS)
def test_a_module_has_the_names_that_it_had_in_1_1_0(module: str) -> None:
    found: dict[str, object] = {}
    exec(f"from rescalehtc.{module} import *", found)
    owner = importlib.import_module(f"rescalehtc.{module}")
    for name in STAR_IMPORTS[module]:
        assert found[name] is getattr(owner, name), name
    assert found.get("HtcException", HtcException) is HtcException


@pytest.mark.parametrize("module", STAR_IMPORTS)
def test_every_public_name_is_exported(module: str) -> None:
    """`__all__` has every function that a module defines."""
    owner = importlib.import_module(f"rescalehtc.{module}")
    exported = getattr(owner, "__all__", dir(owner))
    defined = {
        name
        for name, value in vars(owner).items()
        if getattr(value, "__module__", "") == owner.__name__ and not name.startswith("_")
    }
    assert defined <= set(exported)
    assert len(set(exported)) == len(exported)
    with pytest.raises(
        AttributeError, match=rf"'rescalehtc\.{module}' has no attribute 'nonsense'"
    ):
        _ = owner.nonsense


# `import *` in a script for 1.1.0 does not replace built-in functions.
NAMED_LIKE_A_BUILTIN = {"htcjobs": {"map"}}


@pytest.mark.parametrize("module", rescalehtc.__all__)
def test_importing_all_names_replaces_no_built_in_function(module: str) -> None:
    exported = getattr(rescalehtc, module)
    assert not {*getattr(exported, "__all__", ())} & {*dir(builtins)}


@pytest.mark.parametrize("module", [name for name in rescalehtc.__all__ if name != "HtcSession"])
def test_a_module_offers_what_is_public_and_nothing_else(module: str) -> None:
    owner = importlib.import_module(f"rescalehtc.{module}")
    assert dir(owner) == sorted([*owner.__all__, *NAMED_LIKE_A_BUILTIN.get(module, ())])
    assert len(set(owner.__all__)) == len(owner.__all__)
    for name in owner.__all__:
        assert not name.startswith("_")
        assert getattr(owner, name) is not None
        origin = getattr(getattr(owner, name), "__module__", "rescalehtc")
        assert origin.startswith(("rescalehtc", "typing")), name  # from no other package
