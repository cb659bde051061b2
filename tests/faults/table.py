"""The tables of docs/reliability.md: `python -m tests.faults.table` writes them."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from .matrix import rows

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
MARKS = re.compile(r"(<!-- python -m tests.faults.table -->\n).*?(<!-- end -->)", re.DOTALL)
SUBJECTS = {
    "requests": "Requests",
    "connections": "Connections and proxies",
    "submissions": "Submissions",
    "listings_and_logs": "Listings and logs",
    "tokens": "Tokens",
    "input": "Hostile or broken input",
    "threads": "Threads and forks",
    "interrupts": "Interrupts",
    "files": "Files",
    "secrets": "Secrets",
    "echoes": "Secrets that the service repeats",
}


def text() -> str:
    """The tables, each with a heading."""
    for subject in SUBJECTS:
        importlib.import_module(f"{__package__}.test_{subject}")
    unique = {(row.module.rpartition(".")[2], row.test): row for row in rows}
    lines = [f"{len(unique)} rows, each a test in `tests/faults/`.", ""]
    for subject, title in SUBJECTS.items():
        lines += [f"### {title}", "", "| fault | where | what happens |", "|---|---|---|"]
        lines += [
            f"| {row.fault} | {row.place} | {row.expected} |"
            for (module, _), row in unique.items()
            if module == f"test_{subject}"
        ]
        lines.append("")
    return "\n".join(lines)


def with_tables(page: str) -> str:
    """The page with the current tables."""
    return MARKS.sub(lambda marks: f"{marks[1]}{text()}{marks[2]}", page)


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
