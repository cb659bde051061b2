"""A pytest plugin: tests of what uses the service, on an emulator and without an account.

`pip install "rescalehtc[emulator]"` is all that it takes; pytest then knows these names:

- `htc_emulator`: an `Emulator` for the whole run; with xdist, one for each worker. In a test that
  uses it, an `HtcSession()` and the command `rescalehtc` reach it too, whatever variables are set.
- `htc_session`: a session with it; `htc_async_session`: an asynchronous one.
- `htc_task`: a task of its own for each test, deleted at its end with its jobs.
- `htc_faults`: the faults of the test's markers, in their order.
- `htc_clock_rate`: emulated seconds a second, 20. Define it in your `conftest.py` for another.
- `@pytest.mark.htc_fault(operation, kind, **options)`: a fault of the emulator during this test.

Nothing is loaded and no emulator starts before a test uses one of them.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._session import BaseSession
    from .aio import AsyncHtcSession
    from .emulator import Emulator, Fault
    from .htcsession import HtcSession
    from .htctasks import HtcTask

    SessionT = TypeVar("SessionT", bound=BaseSession)

_MARKER = "htc_fault"
_VARIABLES = "_htc_variables"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(operation, kind, **options): a fault of the emulator during this test;"
        " the arguments are those of rescalehtc.emulator.Emulator.fault",
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Set the variables for each test that uses the emulator, before its other fixtures.

    The faults of a marked test come last, so that they strike no other fixture.
    """
    if not isinstance(item, pytest.Function):
        return
    names = item.fixturenames
    if item.get_closest_marker(_MARKER):
        names[:] = [*(name for name in names if name != "htc_faults"), "htc_faults"]
    if not {"htc_emulator", "htc_faults"}.isdisjoint(names):
        names.insert(names.index("htc_emulator") + 1 if "htc_emulator" in names else 0, _VARIABLES)


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


@pytest.fixture(name=_VARIABLES)
def _variables(htc_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that lead what the test's own code starts to the emulator."""
    from ._environment import variables_for

    for name, value in variables_for(htc_emulator.url, htc_emulator.api_key).items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)


@pytest.fixture
def htc_session(htc_emulator: Emulator) -> Iterator[HtcSession]:
    """A session with the emulator that loses no time between requests."""
    from .htcsession import HtcSession

    with _new_session(HtcSession, htc_emulator) as rescale:
        yield rescale


@pytest.fixture
def htc_async_session(htc_emulator: Emulator) -> Iterator[AsyncHtcSession]:
    """The same for tests on an event loop; it needs none to be made."""
    from .aio import AsyncHtcSession

    rescale = _new_session(AsyncHtcSession, htc_emulator)
    yield rescale
    rescale.close()


def _new_session(kind: type[SessionT], emulator: Emulator) -> SessionT:
    return kind(
        base_url=emulator.url,
        api_key=emulator.api_key,
        status_refresh_seconds=0.1,
        backoff_seconds=0.05,
        settle_seconds=1.0,
    )


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
