"""`rescalehtc schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import Command

SCHEMA = Path(__file__).resolve().parents[2] / "schema" / "submit.schema.json"


def test_it_prints_the_schema_of_the_repository(command: Command) -> None:
    done = command("schema")
    assert (done.status, done.errors) == (0, "")
    assert done.json == json.loads(SCHEMA.read_text(encoding="utf-8"))
