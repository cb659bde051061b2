"""The tables in docs/reliability.md are generated from the tests."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from . import table

FILES = [Path(__file__).with_name(f"test_{subject}.py") for subject in table.SUBJECTS]


def test_the_table_is_current() -> None:
    page = table.PAGE.read_text(encoding="utf-8")
    assert table.MARKS.search(page), "the marks between which it stands are not there"
    assert table.with_tables(page) == page, "run python -m tests.faults.table"


def test_there_are_at_least_64_rows() -> None:
    table.text()
    assert len({(row.module, row.test) for row in table.rows}) >= 64
    rows = [(row.fault, row.place) for row in {row.test: row for row in table.rows}.values()]
    assert sorted(rows) == sorted(set(rows)), "two rows say the same"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_test_is_a_row(file: Path) -> None:
    tests = [
        node
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert tests
    for test in tests:
        decorators = [ast.unparse(decorator) for decorator in test.decorator_list]
        is_row = any(decorator.startswith("row(") for decorator in decorators)
        assert is_row or test.name.startswith("test_the_canary_"), test.name
