"""The tests depend neither on randomness nor on the time of their collection."""

from __future__ import annotations

import ast
import pkgutil
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

import rescalehtc

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
# Functions with different results in each run.
VARYING = re.compile(
    r"\b((dt|datetime)\.(now|utcnow|today)|time\.(time|monotonic|perf_counter)(_ns)?|os\.urandom"
    r"|uuid\.uuid[14]|secrets\.\w+|random\.(?!Random\b)\w+)$"
)


@pytest.mark.parametrize("profile", ["tests", "fast"])
def test_properties_are_tried_with_the_same_examples_each_time(profile: str) -> None:
    chosen = settings.get_profile(profile)
    assert chosen.derandomize
    assert chosen.database is None
    assert chosen.deadline is None
    assert settings.get_current_profile_name() in ("tests", "fast", "fuzz")


def test_which_tests_ran_before_does_not_change_the_examples() -> None:
    """Hypothesis draws constants from imported modules."""
    for module in pkgutil.walk_packages(rescalehtc.__path__, "rescalehtc."):
        assert module.name in sys.modules or module.name.endswith(".__main__")


def run_when_collected(node: ast.AST) -> Iterator[ast.Call]:
    """The calls that a module makes when it is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Lambda):
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in child.decorator_list:
                yield from run_when_collected(ast.Expr(decorator))
            continue
        if isinstance(child, ast.Call):
            yield child
        yield from run_when_collected(child)


def test_nothing_that_varies_is_computed_when_tests_are_collected() -> None:
    varying = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in Path(__file__).parent.rglob("*.py")
        for call in run_when_collected(ast.parse(path.read_text(encoding="utf-8")))
        if VARYING.search(ast.unparse(call.func))
    ]
    assert not varying


def test_every_target_of_make_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert found
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for target in set(found[1].split()) - {"help"}:
        assert re.search(rf'@echo "make {target}\s', makefile), target
        assert target in ("demo", "clean") or f"$ make {target}" in contributing, target
