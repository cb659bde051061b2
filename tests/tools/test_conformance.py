"""The emulator's responses match the description, for every operation and request.

Each operation gets about 30 requests at the bounds of its schema and outside of them. `make
fuzz` also sends random requests. Schemathesis needs seconds to import and generate cases, so the
tests do this, not their collection.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from rescalehtc._wire import operations
from rescalehtc._wire.operation import Operation
from rescalehtc.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import schemathesis

SPEC = Path(__file__).resolve().parents[2] / "openapi" / "htc.yaml"
OPERATIONS = {made.id: made for made in vars(operations).values() if isinstance(made, Operation)}
IS_FUZZ = settings.get_current_profile_name() == "fuzz"
EXAMPLES = 300 if IS_FUZZ else 4
BOUNDED = settings(
    max_examples=EXAMPLES,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]
)
pytestmark = pytest.mark.hypothesis


@pytest.fixture(scope="module")
def own_emulator() -> Iterator[Emulator]:
    """An emulator for this module only, which does not run the generated jobs."""
    with Emulator(slots=1) as emulator:
        emulator.set_workspace_limit(0)
        yield emulator


@pytest.fixture(scope="module")
def call(own_emulator: Emulator) -> Iterator[Callable[[Any], dict[str, Any]]]:
    """The arguments for calling the emulator, over persistent connections."""
    import requests

    with requests.Session() as connections, own_emulator.session() as rescale:
        connections.trust_env = False
        token = f"Token {own_emulator.api_key}"
        bearer = f"Bearer {rescale.get_bearer_token().encoded_token}"

        def arguments(case: schemathesis.Case) -> dict[str, Any]:
            needed = OPERATIONS[case.operation.definition.raw["operationId"]].authorization
            value = token if needed in ("given", "session") else bearer
            return {
                "base_url": own_emulator.url,
                "headers": {"Authorization": value},
                "session": connections,
            }

        yield arguments


@pytest.fixture(scope="module")
def schema(own_emulator: Emulator) -> Any:
    import schemathesis

    schema = schemathesis.openapi.from_path(str(SPEC))
    if "FUZZ_SEED" in os.environ:  # Hypothesis's own option has no effect here
        schema.config.seed = int(os.environ["FUZZ_SEED"])
    return schema


@pytest.fixture(scope="module")
def checks(own_emulator: Emulator) -> list[Any]:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    return [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_every_operation(
    operation_id: str, call: Callable[[Any], dict[str, Any]], schema: Any, checks: list[Any]
) -> None:
    """No 5xx, no undeclared status, no response that violates its schema."""
    from schemathesis.generation.hypothesis import builder

    @BOUNDED
    def conforms(case: schemathesis.Case) -> None:
        case.call_and_validate(**call(case), checks=checks)

    (operation,) = schema.include(operation_id=operation_id).get_all_operations()
    modes = set(builder.HypothesisTestMode)
    if not IS_FUZZ:
        modes.remove(builder.HypothesisTestMode.FUZZING)
    config = builder.HypothesisTestConfig(project=schema.config, modes=list(modes))
    builder.create_test(operation=operation.ok(), test_func=conforms, config=config)()


def test_operations_one_after_the_other(
    call: Callable[[Any], dict[str, Any]], schema: Any, checks: list[Any]
) -> None:
    """The same for sequences of requests along the links of the description."""

    class Workflow(schema.as_state_machine()):  # type: ignore[misc]
        def get_call_kwargs(self, case: schemathesis.Case) -> dict[str, Any]:
            return call(case)

        def validate_response(self, response: Any, case: Any, *_: Any, **__: Any) -> None:
            case.validate_response(response, checks=checks)

    Workflow.run(settings=settings(BOUNDED, max_examples=EXAMPLES, stateful_step_count=10))
