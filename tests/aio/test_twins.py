"""Each public call has an asynchronous twin with the same name, parameters and docstring."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

import rescalehtc
from rescalehtc import HtcSession
from rescalehtc.aio import AsyncHtcSession

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULES = ["api", "container_registry", "htcjobs", "htcprojects", "htctasks", "htcworkspaces"]
# The session's methods that send nothing.
AT_ONCE = {"with_options", "close", "pages"}
# Differences: a session is closed on a loop, and reads files in a thread.
ONLY_ASYNC = {"aclose"}
# A run has the session that it was made with.
HAS_SESSION = {"htcjobs.Run.wait"}
ONLY_GIVES_SESSION = {"htcjobs.run"}
OTHERWISE_DESCRIBED = {"HtcSession", "HtcSession.upload"}


def twins_in(module: str) -> Iterator[tuple[str, Any, Any]]:
    blocking = import_module(f"rescalehtc.{module}")
    twin = import_module(f"rescalehtc.aio.{module}")
    for name in dir(blocking):
        there = getattr(blocking, name)
        is_here = str(getattr(there, "__module__", "")).startswith(blocking.__name__)
        is_call = inspect.isfunction(there) or inspect.isclass(there)
        if name.startswith("_") or not (is_here and is_call):
            continue
        here = getattr(twin, name)
        yield f"{module}.{name}", there, here
        if inspect.isclass(there):
            for member in public_methods(there):
                yield (
                    f"{module}.{name}.{member}",
                    inspect.getattr_static(there, member),
                    inspect.getattr_static(here, member),
                )


def public_methods(kind: type) -> list[str]:
    names = [name for name in dir(kind) if not name.startswith("_")]
    return [name for name in names if inspect.isfunction(inspect.getattr_static(kind, name))]


TWINS = {name: (there, here) for module in MODULES for name, there, here in twins_in(module)}
for method in public_methods(HtcSession):
    TWINS[f"HtcSession.{method}"] = (
        getattr(HtcSession, method),
        getattr(AsyncHtcSession, method),
    )


def takes_session(name: str, function: Any) -> bool:
    if name.startswith("HtcSession."):
        return name.partition(".")[2] not in AT_ONCE
    if name in HAS_SESSION | ONLY_GIVES_SESSION:
        return name in HAS_SESSION
    return "rescale" in inspect.signature(function).parameters


def test_there_is_something_to_compare() -> None:
    assert len(TWINS) > 100
    assert {"htcjobs.create_job_batch", "htcjobs.HtcJob.wait", "api.get_htc_projects"} <= {*TWINS}


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_has_the_same_parameters_and_docstring(name: str) -> None:
    there, here = TWINS[name]
    if not name.endswith(("Error", "Exception")):
        before, after = inspect.signature(there), inspect.signature(here)
        assert [(p.name, p.kind, p.default) for p in before.parameters.values()] == [
            (p.name, p.kind, p.default) for p in after.parameters.values()
        ]
    assert name in OTHERWISE_DESCRIBED or inspect.getdoc(there) == inspect.getdoc(here)


@pytest.mark.parametrize("name", [name for name in TWINS if inspect.isfunction(TWINS[name][1])])
def test_what_takes_the_session_is_awaited_or_iterated_over(name: str) -> None:
    """The rule: calls that take the session are awaited, iterators are used with async for."""
    there, here = TWINS[name]
    returned = str(inspect.signature(there).return_annotation)
    function = inspect.unwrap(here)
    if returned.startswith("Iterator["):
        result = str(inspect.signature(here).return_annotation)
        assert result == returned.replace("Iterator[", "AsyncGenerator[", 1)
        assert not inspect.iscoroutinefunction(function)
    else:
        is_awaited = takes_session(name, there)
        assert inspect.iscoroutinefunction(function) is is_awaited


def test_the_sessions_have_the_same_members() -> None:
    for there, here in ((HtcSession, AsyncHtcSession),):
        names = {name for name in dir(there) if not name.startswith("_")}
        assert {name for name in dir(here) if not name.startswith("_")} - names == ONLY_ASYNC
        assert names <= {*dir(here)}
    assert inspect.signature(HtcSession.__init__) == inspect.signature(AsyncHtcSession.__init__)


def test_what_the_modules_export_is_the_same() -> None:
    for module in MODULES:
        there = import_module(f"rescalehtc.{module}")
        here = import_module(f"rescalehtc.aio.{module}")
        assert {*getattr(here, "__all__", ())} == {*getattr(there, "__all__", ())} - {"HtcSession"}


def test_data_are_shared() -> None:
    """A twin's job is a job, and records and exceptions have the same classes."""
    aio = import_module("rescalehtc.aio")
    assert issubclass(aio.htcjobs.HtcJob, rescalehtc.htcjobs.HtcJob)
    assert issubclass(aio.htcjobs.HtcJobBatch, rescalehtc.htcjobs.HtcJobBatch)
    assert aio.htcjobs.HtcException is rescalehtc.htcjobs.HtcException
    assert aio.htcjobs.JobCounts is rescalehtc.htcjobs.JobCounts
