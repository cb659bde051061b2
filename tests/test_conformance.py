"""The emulator answers whatever it is asked as the description says, for every operation.

`make fuzz` runs the same with many more examples.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from rescalehtc.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

SPEC = Path(__file__).resolve().parent.parent / "openapi" / "htc.yaml"
EXAMPLES = 300 if settings.get_current_profile_name() == "fuzz" else 8
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
BOUNDED = settings(
    max_examples=EXAMPLES,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]
)

schema = schemathesis.openapi.from_path(str(SPEC))
if "FUZZ_SEED" in os.environ:  # Hypothesis's own option does not reach it
    schema.config.seed = int(os.environ["FUZZ_SEED"])
pytestmark = pytest.mark.hypothesis


@pytest.fixture(scope="module")
def own_emulator() -> Iterator[Emulator]:
    """One that this module may leave in any state, and that runs none of the jobs made up here."""
    with Emulator(slots=1) as emulator:
        emulator.set_workspace_limit(0)
        yield emulator


def authorization(emulator: Emulator, operation_id: str) -> dict[str, str]:
    if operation_id in ("getToken", "getUser", "createOAuthToken"):
        return {"Authorization": f"Token {emulator.api_key}"}
    with emulator.session() as rescale:
        return {"Authorization": f"Bearer {rescale.get_bearer_token().encoded_token}"}


@schema.parametrize()
@BOUNDED
def test_every_operation(case: schemathesis.Case, own_emulator: Emulator) -> None:
    """No 5xx, no undeclared status, no answer that breaks its schema."""
    headers = authorization(own_emulator, case.operation.definition.raw["operationId"])
    case.call_and_validate(base_url=own_emulator.url, headers=headers, checks=CHECKS)


def test_operations_one_after_the_other(own_emulator: Emulator) -> None:
    """The same along the links from what was made to what can be done with it."""
    bearer = authorization(own_emulator, "listProjects")
    token = authorization(own_emulator, "getToken")

    class Workflow(schema.as_state_machine()):  # type: ignore[misc]
        def get_call_kwargs(self, case: schemathesis.Case) -> dict[str, Any]:
            operation_id = case.operation.definition.raw["operationId"]
            given = token if operation_id in ("getToken", "getUser", "createOAuthToken") else bearer
            return {"base_url": own_emulator.url, "headers": given}

        def validate_response(self, response: Any, case: Any, *_: Any, **__: Any) -> None:
            case.validate_response(response, checks=CHECKS)

    Workflow.run(settings=settings(BOUNDED, max_examples=EXAMPLES, stateful_step_count=10))
