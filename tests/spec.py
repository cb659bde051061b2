"""The description of the service, read once for all tests that look into it."""

from __future__ import annotations

from pathlib import Path

from codegen.spec import Spec

SPEC = Spec(Path(__file__).resolve().parent.parent / "openapi" / "htc.yaml")
