"""A pytest plugin: tests of what uses the service, on an emulator and without an account.

`pip install "rescalehtc[emulator]"` is all that it takes; pytest then knows these names:

- `htc_emulator`: an `Emulator` for the whole run; with xdist, one for each worker.
- `htc_session`: a session with it. Whatever makes an `HtcSession()` in the test reaches it too.
- `htc_task`: a task of its own for each test, deleted at its end with its jobs.
- `htc_faults`: the faults of the test's markers, in their order.
- `htc_clock_rate`: emulated seconds a second, 20. Define it in your `conftest.py` for another.
- `@pytest.mark.htc_fault(operation, kind, **options)`: the emulator misbehaves in this test.

Nothing is loaded and no emulator starts before a test uses one of them.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .emulator import Emulator, Fault
    from .htcsession import HtcSession
    from .htctasks import HtcTask

_MARKER = "htc_fault"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(operation, kind, **options): make the emulator misbehave in this test;"
        " the arguments are those of rescalehtc.emulator.Emulator.fault",
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let the faults of a marked test be the last fixture, so that they strike no other one."""
    if isinstance(item, pytest.Function) and item.get_closest_marker(_MARKER):
        others = [name for name in item.fixturenames if name != "htc_faults"]
        item.fixturenames[:] = [*others, "htc_faults"]


@pytest.fixture(scope="session")
def htc_clock_rate() -> float:
    """Emulated seconds that pass in a second: a timeout of 60 s strikes after 3."""
    return 20.0


@pytest.fixture(scope="session")
def htc_emulator(htc_clock_rate: float) -> Iterator[Emulator]:
    """An emulator for the whole run, on a free port, which keeps nothing."""
    from .emulator import Emulator

    with Emulator(clock_rate=htc_clock_rate) as emulator:
        yield emulator


@pytest.fixture
def htc_session(htc_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[HtcSession]:
    """A session with the emulator that loses no time between requests.

    Environment variables lead sessions that the test's own code makes to the emulator as well.
    """
    from .htcsession import BASE_URL_VARIABLE, HtcSession

    monkeypatch.delenv("RESCALE_HTC_REFRESH_TOKEN", raising=False)  # would come before the key
    monkeypatch.setenv(BASE_URL_VARIABLE, htc_emulator.url)
    monkeypatch.setenv("RESCALE_API_KEY", htc_emulator.api_key)
    with HtcSession(
        base_url=htc_emulator.url,
        api_key=htc_emulator.api_key,
        status_refresh_seconds=0.1,
        backoff_seconds=0.05,
        settle_seconds=1.0,
    ) as rescale:
        yield rescale


@pytest.fixture
def htc_task(htc_session: HtcSession, request: pytest.FixtureRequest) -> Iterator[HtcTask]:
    """A task of the test's own, named after it, in the emulator's first project."""
    from . import htcprojects, htctasks

    project = htcprojects.get_projects(htc_session)[0]
    task = htctasks.create_task_with_name(htc_session, project, request.node.name)
    yield task
    task.delete_task(htc_session)


@pytest.fixture
def htc_faults(htc_emulator: Emulator, request: pytest.FixtureRequest) -> Iterator[list[Fault]]:
    """The faults that the test's markers ask for, until its end; the first decorator's first."""
    with ExitStack() as stack:
        faults: list[Fault] = []
        for marker in request.node.iter_markers(_MARKER):
            try:
                fault = htc_emulator.fault(*marker.args, **marker.kwargs)
            except (TypeError, ValueError) as error:
                pytest.fail(f"{_MARKER}{marker.args}: {error}", pytrace=False)
            faults.append(stack.enter_context(fault))
        yield faults
