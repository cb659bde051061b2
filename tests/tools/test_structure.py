"""What CONTRIBUTING promises about the size of files and about exceptions from strict types."""

from __future__ import annotations

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "rescalehtc"
SOURCES = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
WRITTEN = {
    path: text
    for path, text in SOURCES.items()
    if "GENERATED" not in text[:1000].partition("\nimport")[0]
}


def test_no_file_written_by_hand_has_more_than_400_lines() -> None:
    assert len(WRITTEN) > 100
    assert [path for path, text in WRITTEN.items() if len(text.splitlines()) > 400] == []


def test_at_most_eight_lines_are_exempt_from_pyright_and_each_says_why() -> None:
    exempt = [
        line for text in WRITTEN.values() for line in text.splitlines() if "pyright: ignore" in line
    ]
    assert len(exempt) <= 8
    assert [line for line in exempt if not re.search(r"ignore\[\w+\] +- \w", line)] == []
