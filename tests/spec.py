"""The description of the service, parsed once for all tests."""

from __future__ import annotations

from pathlib import Path

from codegen.spec import Spec

SPEC = Spec(Path(__file__).resolve().parent.parent / "openapi" / "htc.yaml")
