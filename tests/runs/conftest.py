"""A session with a short interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ..limits import EXEC_SECONDS

if TYPE_CHECKING:
    from rescalehtc import HtcSession


@pytest.fixture
def fast(rescale: HtcSession) -> HtcSession:
    """A session that polls often, and does not wait for submissions of other sessions."""
    rescale.status_refresh_seconds = 0.05
    rescale.settle_seconds = 0.0
    return rescale


def request(size: int = 1, script: str = "true", **more: Any) -> dict[str, Any]:
    """A submit request whose jobs run a script of the shell."""
    definition = {
        "imageName": "image",
        "commands": ["sh", "-c", script],
        "execTimeoutSeconds": EXEC_SECONDS,
        **more,
    }
    return {"batchSize": size, "htcJobDefinition": definition}
