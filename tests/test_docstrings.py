"""Docstrings describe each argument, field, member and setting with its unit and range."""

from __future__ import annotations

import ast
import enum
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import rescalehtc
from rescalehtc import models
from rescalehtc.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(rescalehtc.__file__).parent
# Users do not call the constructors of other classes, which are results or exceptions.
MADE_BY_USERS = ("HtcSession", "HtcProject", "HtcTask", "HtcJob", "HtcJobBatch", "Emulator")


def public_calls() -> Iterator[tuple[str, Any, str]]:
    """The functions, methods and constructors that users call, with their docstrings."""
    owners: list[tuple[str, Any]] = [("Emulator", Emulator)]
    for name in rescalehtc.__all__:
        owner = getattr(rescalehtc, name)
        if inspect.ismodule(owner) and name not in ("models", "types"):
            owners += [(item, getattr(owner, item)) for item in dir(owner)]
    for name, owner in dict(owners).items():
        if inspect.isfunction(owner):
            yield name, owner, inspect.getdoc(owner) or ""
        elif inspect.isclass(owner):
            for method in dir(owner):
                function = inspect.getattr_static(owner, method)
                ours = inspect.isfunction(function) and "rescalehtc" in function.__module__
                if ours and not method.startswith("_"):
                    yield f"{name}.{method}", function, inspect.getdoc(function) or ""
            if name in MADE_BY_USERS:
                of_init = inspect.getdoc(inspect.getattr_static(owner, "__init__"))
                yield name, owner, f"{inspect.getdoc(owner)}\n\n{of_init}"


CALLS = {name: (call, docstring) for name, call, docstring in public_calls()}


def described(docstring: str) -> dict[str, str]:
    """The arguments in a docstring, with their descriptions."""
    sections = re.findall(r"^(?:Keyword )?Args:\n((?:    .*\n?|\n)+)", docstring, re.MULTILINE)
    entries = re.findall(
        r"^    (\w+): ((?:.*\n?)(?:     .*\n?|\n)*)", "".join(sections), re.MULTILINE
    )
    return {name: " ".join(text.split()) for name, text in entries}


def test_there_are_public_calls() -> None:
    assert {"create_job_batch", "HtcJob.wait", "HtcSession", "get_htc_projects"} <= CALLS.keys()
    assert len(CALLS) > 150


@pytest.mark.parametrize("name", CALLS)
def test_each_argument_is_described(name: str) -> None:
    call, docstring = CALLS[name]
    parameters = inspect.signature(call).parameters.values()
    named = {p.name for p in parameters if p.kind is not p.VAR_KEYWORD} - {"self"}
    assert named <= described(docstring).keys()


# Arguments whose meaning depends on the function.
OWN_WORDS = {"task", "project", "task_name", "name", "regions", "region"}


def test_arguments_of_one_name_are_described_in_the_same_words() -> None:
    """If two functions have the same argument, its description is the same."""
    for ours, theirs in {
        "create_single_job": "create_job_batch",
        "get_jobs": "iter_jobs",
        "get_tasks": "iter_tasks",
        "get_tasks_with_name": "iter_tasks",
        "HtcTask.get_group_summaries": "HtcTask.iter_group_summaries",
        "HtcJobBatch.wait": "HtcTask.wait",
    }.items():
        mine, other = described(CALLS[ours][1]), described(CALLS[theirs][1])
        shared = (mine.keys() & other.keys()) - OWN_WORDS
        assert shared
        assert {k: mine[k] for k in shared} == {k: other[k] for k in shared}, ours


@pytest.mark.parametrize(
    ("call", "argument", "message"),
    [
        ("create_single_job", "exec_timeout_seconds", "60 to 1209600 (14 days)"),
        ("create_single_job", "max_memory_mib", "in MiB, 4 to 235520"),
        ("get_tasks", "lifecycle_status", "ACTIVE, ARCHIVED or DELETED"),
        ("HtcSession", "timeout_seconds", "Seconds, at least 0.001"),
    ],
)
def test_units_and_ranges_are_said(call: str, argument: str, message: str) -> None:
    assert message in described(CALLS[call][1])[argument]


def classes_with_fields() -> Iterator[tuple[str, ast.ClassDef]]:
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                yield node.name, node


FIELDS = dict(classes_with_fields())


@pytest.mark.parametrize(
    "name",
    [
        *("JobCounts", "FailedJob", "Resubmission", "Problem", "LostRequest", "UnsentRequest"),
        *("RetryPolicy", "JobFailure", "RetryDecision", "JobAttempt", "RunReport"),
        *("Cause", "Amount", "Plan", "Usage"),
    ],
)
def test_each_field_of_a_data_class_has_a_docstring(name: str) -> None:
    check_fields(FIELDS[name])


def check_fields(node: ast.ClassDef) -> None:
    fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
    assert fields
    for field in fields:
        following = node.body[node.body.index(field) + 1 :]
        assert following, ast.unparse(field)
        assert isinstance(following[0], ast.Expr), ast.unparse(field)
        assert isinstance(following[0].value, ast.Constant), ast.unparse(field)


ENUMERATIONS = [
    kind
    for kind in vars(models).values()
    if isinstance(kind, type) and issubclass(kind, enum.Enum) and kind.__module__ == models.__name__
]


@pytest.mark.parametrize("kind", ENUMERATIONS, ids=lambda kind: kind.__name__)
def test_each_member_of_an_enumeration_has_a_docstring(kind: type[enum.Enum]) -> None:
    node = FIELDS[kind.__name__]
    members = [i for i, part in enumerate(node.body) if isinstance(part, ast.Assign)]
    assert len(members) == len(kind)
    assert all(isinstance(node.body[i + 1], ast.Expr) for i in members)


def test_each_setting_of_a_session_that_can_be_read_has_a_docstring() -> None:
    init = next(
        part
        for part in FIELDS["BaseSession"].body
        if isinstance(part, ast.FunctionDef) and part.name == "__init__"
    )
    settings: dict[str, bool] = {}
    for block in ast.walk(init):
        body = getattr(block, "body", None)
        if not isinstance(body, list) or not body:
            continue
        for item, following in zip(body, [*body[1:], None], strict=True):
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Attribute):
                settings[item.target.attr] = isinstance(following, ast.Expr)
    assert {"workspace", "base_url", "status_refresh_seconds"} <= settings.keys()
    assert all(settings.values()), settings
