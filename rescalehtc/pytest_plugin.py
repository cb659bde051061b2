"""A pytest plugin to test programs against the emulator, without an account.

`pip install "rescalehtc[emulator]>=2"` installs the plugin, and pytest loads it automatically:

- `htc_emulator`: an `Emulator` for the whole run, or one per worker with xdist. In a test that uses
  it, `HtcSession()` and the command `rescalehtc` connect to the emulator, regardless of your
  environment.
- `htc_session`: a session connected to the emulator. `htc_async_session`: an asynchronous session.
- `htc_task`: a new task for each test, deleted with its jobs at the end of the test.
- `htc_faults`: the faults of the test's markers, in order.
- `htc_clock_rate`: emulated seconds per real second, 20. Override it in your `conftest.py`.
- `@pytest.mark.htc_fault(operation, kind, **options)`: inject a fault during this test.

The plugin starts nothing before a test uses one of these names.
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
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(operation, kind, **options): inject a fault into the emulator during this test;"
        " takes the arguments of rescalehtc.emulator.Emulator.fault",
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Set the variables for each test that uses the emulator, before its other fixtures.

    The faults of a marked test come last, so that they do not affect other fixtures.
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
    """Emulated seconds per real second: a timeout of 60 s takes effect after 3 s."""
    return 20.0


@pytest.fixture(scope="session")
def htc_emulator(htc_clock_rate: float) -> Iterator[Emulator]:
    """An emulator for the whole run, on a free port, without persistent state."""
    from .emulator import Emulator

    with Emulator(clock_rate=htc_clock_rate) as emulator:
        yield emulator


@pytest.fixture(name=_VARIABLES)
def _variables(htc_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables that connect sessions and programs of the test to the emulator."""
    from ._environment import variables_for

    for name, value in variables_for(htc_emulator.url, htc_emulator.api_key).items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)


@pytest.fixture
def htc_session(htc_emulator: Emulator) -> Iterator[HtcSession]:
    """A session connected to the emulator, with a short polling interval."""
    from .htcsession import HtcSession

    with _new_session(HtcSession, htc_emulator) as rescale:
        yield rescale


@pytest.fixture
def htc_async_session(htc_emulator: Emulator) -> Iterator[AsyncHtcSession]:
    """An asynchronous session connected to the emulator, with a short polling interval."""
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
    """A new task for the test, with the test's name, in the emulator's first project."""
    from . import htcprojects, htctasks

    project = htcprojects.get_projects(htc_session)[0]
    task = htctasks.create_task_with_name(htc_session, project, request.node.name)
    yield task
    task.delete_task(htc_session)


@pytest.fixture
def htc_faults(htc_emulator: Emulator, request: pytest.FixtureRequest) -> Iterator[list[Fault]]:
    """The faults of the test's markers, in the order of the decorators."""
    with ExitStack() as stack:
        faults: list[Fault] = []
        for marker in request.node.iter_markers(_MARKER):
            try:
                fault = htc_emulator.fault(*marker.args, **marker.kwargs)
            except (TypeError, ValueError) as error:
                pytest.fail(f"{_MARKER}{marker.args}: {error}", pytrace=False)
            faults.append(stack.enter_context(fault))
        yield faults
