"""A local stand-in for the service, which runs jobs as processes on this machine.

    with Emulator() as emulator, emulator.session() as rescale:
        projects = htcprojects.get_projects(rescale)

It needs the extra packages of `pip install "rescalehtc[emulator]"`. It is not a sandbox: a
job's command can do whatever the user who started the emulator can do.
"""

from __future__ import annotations

import os
import weakref
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, Self, TypeVar, Unpack, get_args

from .._environment import applied, variables_for

try:
    from .app import BASE_PATH, create_app
    from .descriptors import retry_if_out_of_descriptors
    from .executor import Executor
    from .faults import Fault, FaultKind, FaultOptions, Faults
    from .folders import STATE_FILE, Folders, open_data, open_temporary, remove, remove_abandoned
    from .handlers.request import Service
    from .job_log import DEFAULT_MAX_LOG_BYTES
    from .server import Server, listen, origin
    from .store import Store
    from .tokens import WORKSPACE_ID, Tokens
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        f'the emulator needs {_error.name}: pip install "rescalehtc[emulator]"', name=_error.name
    ) from _error

if TYPE_CHECKING:
    from pathlib import Path

    from .. import HtcSession
    from .._session import BaseSession
    from ..aio import AsyncHtcSession

    SessionT = TypeVar("SessionT", bound=BaseSession)

__all__ = ["Emulator", "Fault", "FaultKind", "FaultOptions"]

ImageStatus = Literal["READY", "PENDING", "UNKNOWN"]

# The service refreshes a status every 30 s. Here one may change within milliseconds.
SESSION_REFRESH_SECONDS: Final = 0.2
SESSION_BACKOFF_SECONDS: Final = 0.1


class Emulator:
    """The service on this machine, for as long as the `with` block runs.

    At its end, running jobs are ended with all their processes. `fault` makes requests fail on
    demand, before the emulator runs or while it does.

    Args:
        host: The address to listen on. Whoever reaches it and knows the API key can run
            commands here.
        port: The port, or 0 for any that is free.
        data: A folder to keep everything in, made if it is not there, so that the next
            emulator on it goes on where this one ended. None for a temporary one.
        slots: How many jobs run at once; None for the number of processors.
        clock_rate: How many emulated seconds pass in a second, where timeouts of jobs,
            lifetimes of tokens, retention of tasks and images that become ready are concerned.
        max_log_bytes: How large a job's log may become, with the times of its lines. A job that
            writes more goes on; the last line of its log then says that the rest is missing.

    A process that is forked from this one has no part in the emulator: it holds neither its
    folder nor its port, and ends nothing.

    Attributes:
        url: The base URL, in the `with` block.
        api_key: The API key, in the `with` block.

    Raises:
        HtcFileError: The folder can't be used, or another emulator uses it.
        HtcException: The address can't be listened on, or the server did not start.
    """

    url: str
    api_key: str

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        data: str | Path | None = None,
        slots: int | None = None,
        clock_rate: float = 1.0,
        max_log_bytes: int = DEFAULT_MAX_LOG_BYTES,
    ) -> None:
        if slots is not None and slots < 1:
            raise ValueError("slots must be at least 1")
        if not clock_rate > 0:
            raise ValueError("clock_rate must be above 0")
        if max_log_bytes < 1:
            raise ValueError("max_log_bytes must be at least 1")
        self._host = host
        self._port = port
        self._data = data
        self._slots = slots or os.cpu_count() or 1
        self._clock_rate = clock_rate
        self._max_log_bytes = max_log_bytes
        self._faults = Faults()

    def __enter__(self) -> Self:
        remove_abandoned()
        with ExitStack() as stack:
            folder, self._lock = open_temporary() if self._data is None else open_data(self._data)
            stack.callback(self._lock.close)
            if self._data is None:
                stack.callback(retry_if_out_of_descriptors, partial(remove, folder))
            listener = stack.enter_context(listen(self._host, self._port))
            self._listener = listener
            self.url = f"{origin(listener)}{BASE_PATH}"
            self._store = stack.enter_context(Store(folder / STATE_FILE))
            self.api_key = self._store.api_key
            tokens = Tokens(self._store.signing_key, self._clock_rate)
            self._folders = folders = Folders(folder)
            self._executor = stack.enter_context(
                Executor(
                    self._store,
                    tokens,
                    folders,
                    self._faults,
                    self._slots,
                    self._clock_rate,
                    self.url,
                    self._max_log_bytes,
                )
            )
            service = Service(self._store, self._executor, tokens, folders, self._clock_rate)
            self._server = Server(create_app(service, self._host, self._faults), listener)
            stack.enter_context(self._server)
            _running.add(self)
            stack.callback(_running.discard, self)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _leave_to_parent(self) -> None:
        """In a process that was forked from the emulator's, hold nothing of it and end nothing.

        Descriptors lead to the null device from now on. Closed, their numbers could become those
        of other files, which the objects that have them would close.
        """
        self._stack.pop_all()
        held = (self._lock.fileno(), self._listener.fileno())
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (*held, *self._server.descriptors(), *self._executor.descriptors()):
            if descriptor >= 0:
                os.dup2(null, descriptor, inheritable=False)
        os.close(null)

    def session(self) -> HtcSession:
        """Make a session with this emulator."""
        from .. import HtcSession

        return self._new_session(HtcSession)

    def async_session(self) -> AsyncHtcSession:
        """Make an asynchronous session with this emulator."""
        from ..aio import AsyncHtcSession

        return self._new_session(AsyncHtcSession)

    def _new_session(self, kind: type[SessionT]) -> SessionT:
        return kind(
            base_url=self.url,
            api_key=self.api_key,
            status_refresh_seconds=SESSION_REFRESH_SECONDS,
            backoff_seconds=SESSION_BACKOFF_SECONDS,
        )

    def environment(self) -> dict[str, str]:
        """Return environment variables for a program that is to use this emulator.

            subprocess.run(["rescalehtc", "jobs", "--task", "study"], env=emulator.environment())

        They are this process's own, with the emulator's address and API key, and without the
        variables that would lead the program to another service: a refresh token, another key,
        a profile. Pass them as the whole environment.
        """
        return applied(variables_for(self.url, self.api_key), os.environ)

    def set_image_status(
        self,
        image_name: str,
        status: ImageStatus,
        *,
        ready_after_seconds: float | None = None,
    ) -> None:
        """Set the status of an image; every other image is READY.

        Args:
            image_name: The image; without a tag, its tag is `latest`.
            status: The status. UNKNOWN is answered with 404.
            ready_after_seconds: The image becomes READY after this number of emulated seconds.

        Raises:
            ValueError: There is no such status.
        """
        if status not in get_args(ImageStatus):
            right = ", ".join(get_args(ImageStatus))
            raise ValueError(f"an image's status is one of {right}, not {status!r}")
        after = None if ready_after_seconds is None else ready_after_seconds / self._clock_rate
        self._store.set_image_status(image_name, status, after)

    def fault(self, operation: str, kind: FaultKind, **options: Unpack[FaultOptions]) -> Fault:
        """Make requests or jobs fail, until the fault is lifted.

            with emulator.fault("submitJobs", "reset_after", times=1) as fault:
                ...
            assert fault.count == 1

        At most one fault strikes a request before it is carried out, and one after: the one that
        was requested first. You can request and lift faults at any time, from any thread.

        Args:
            operation: The operationId of the requests that it strikes (docs/operations.md lists
                them), `upload` for uploads to presigned addresses, or `*` for all.
            kind: The effect.

                - `delay`: the request is carried out; the answer comes `seconds` late.
                - `status_before`, `status_after`: the answer is the error `status`, with
                  `retry_after` as its header; the request was not, or was, carried out.
                - `reset_before`, `reset_after`: the connection is reset in place of an answer;
                  the request was not, or was, carried out.
                - `truncate`: the connection ends in the middle of the answer.
                - `truncate_gzip`: the answer is compressed and lacks its end; its length is right.
                - `expire_token`: the request's bearer token has expired, for good.
                - `nulls`: all fields of the records in the answer are null, or only `field`.
                - `unknown`: records have an unknown field, and an unknown value where
                  values are listed; or only `field` has an unknown value.
                - `repeat_next`: a page's `next` is its own address.
                - `foreign_next`: a page's `next` is on another host.
                - `preempt`: jobs that have run for `seconds` lose their instance and fail with
                  ErrorInstanceTermination, or are retried. The operation is `*`.

        Keyword Args:
            times: How often it strikes; any number of times if left out.
            probability: How likely it is to strike, above 0 and up to 1, which is the default.
            seed: Repeats the choices of a probability; 0 if left out.
            status: 400 to 599; 503 if left out.
            retry_after: Seconds, or a date as HTTP writes it; no such header if left out.
            seconds: Real seconds, at least 0; 1 if left out.
            field: The name of a field, at any depth of the answer.

        Returns:
            The fault, which counts how often it struck, and can be lifted.

        Raises:
            ValueError: There is no such operation or kind, or an option is wrong for it.
        """
        fault = Fault(operation, kind, **options)
        self._faults.add(fault)
        return fault

    def set_workspace_limit(self, vcpus: int | None) -> None:
        """Set how many virtual CPUs all projects together may use at once; None for any number.

        Jobs that run go on.

        Args:
            vcpus: Virtual CPUs, at least 0, or None.
        """
        if vcpus is None:
            self._store.delete_limits(WORKSPACE_ID)
        elif vcpus < 0:
            raise ValueError("vcpus must not be negative")
        else:
            self._store.set_limit(WORKSPACE_ID, None, vcpus)
        self._executor.wake()


_running: weakref.WeakSet[Emulator] = weakref.WeakSet()


def _leave_to_parent() -> None:
    for emulator in _running:
        emulator._leave_to_parent()  # pyright: ignore[reportPrivateUsage] - ours
    _running.clear()


os.register_at_fork(after_in_child=_leave_to_parent)
