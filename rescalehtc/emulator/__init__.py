"""A local stand-in for the service, which runs jobs on this machine: as processes, or in containers.

    with Emulator() as emulator, emulator.session() as rescale:
        projects = htcprojects.get_projects(rescale)

It needs the extra packages of `pip install "rescalehtc[emulator]>=2"`. It is not a sandbox: a
job's command can do whatever the user who started the emulator can do.
"""

from __future__ import annotations

import os
import weakref
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, Self, TypeVar, Unpack, get_args

from .._environment import EMULATOR_REFRESH_SECONDS, applied, variables_for

try:
    from .app import BASE_PATH, create_app
    from .clouds import REGISTRY
    from .descriptors import retry_if_out_of_descriptors
    from .engine import Engine
    from .executor import Executor
    from .faults import Fault, FaultKind, FaultOptions, Faults
    from .folders import STATE_FILE, Folders, open_data, open_temporary, remove, remove_abandoned
    from .handlers.request import Service
    from .job_log import DEFAULT_MAX_LOG_BYTES
    from .registry.http import NAMESPACE
    from .runners import RUNNERS, RunnerName
    from .runners.container import ContainerRunner
    from .runners.images import RegistryImages
    from .runners.process import ProcessRunner
    from .server import Server, listen, origin
    from .store import Store
    from .tokens import WORKSPACE_ID, Tokens
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        f'the emulator needs {_error.name}: pip install "rescalehtc[emulator]>=2"', name=_error.name
    ) from _error

if TYPE_CHECKING:
    from pathlib import Path

    from .. import HtcSession
    from .._session import BaseSession
    from ..aio import AsyncHtcSession
    from .runners import Runner

    SessionT = TypeVar("SessionT", bound=BaseSession)

__all__ = ["Emulator", "Fault", "FaultKind", "FaultOptions"]

ImageStatus = Literal["READY", "PENDING", "UNKNOWN"]

SESSION_BACKOFF_SECONDS: Final = 0.1


class Emulator:
    """An emulator of the service, which runs while the `with` block runs.

    At the end of the block, running jobs are killed with all their processes. `fault` injects
    faults, before the emulator starts or while it runs.

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
        runner: `process` runs each job's command as a process of this machine, and looks into no
            image. `container` runs each job in its image with docker or podman, whichever works;
            the emulator is then the container registry of all its projects, and knows only the
            images that were pushed to it.
        any_architecture: In containers, also run images that are for another kind of processor
            than the job asks for.

    A process that is forked from this one does not hold the emulator's folder or port, and does not
    stop the emulator.

    Attributes:
        url: The base URL, in the `with` block.
        api_key: The API key, in the `with` block.

    Raises:
        HtcFileError: The folder can't be used, or another emulator uses it.
        HtcException: The address can't be listened on, the server did not start, or there is no
            docker or podman that works and jobs are to run in containers.
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
        runner: RunnerName = "process",
        any_architecture: bool = False,
    ) -> None:
        if slots is not None and slots < 1:
            raise ValueError("slots must be at least 1")
        if not clock_rate > 0:
            raise ValueError("clock_rate must be above 0")
        if max_log_bytes < 1:
            raise ValueError("max_log_bytes must be at least 1")
        if runner not in RUNNERS:
            raise ValueError(f"runner must be one of {', '.join(RUNNERS)}, not {runner!r}")
        self._host = host
        self._port = port
        self._data = data
        self._slots = slots or os.cpu_count() or 1
        self._clock_rate = clock_rate
        self._max_log_bytes = max_log_bytes
        self._runner: RunnerName = runner
        self._any_architecture = any_architecture
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
            runner, images = self._make_runner(folders, tokens, origin(listener))
            self._executor = stack.enter_context(
                Executor(
                    self._store,
                    tokens,
                    folders,
                    runner,
                    self._faults,
                    self._slots,
                    self._clock_rate,
                    self.url,
                    self._max_log_bytes,
                )
            )
            service = Service(
                self._store, self._executor, tokens, folders, self._clock_rate, images
            )
            self._server = Server(create_app(service, self._host, self._faults), listener)
            stack.enter_context(self._server)
            _running.add(self)
            stack.callback(_running.discard, self)
            self._stack = stack.pop_all()
        return self

    def _make_runner(
        self, folders: Folders, tokens: Tokens, address: str
    ) -> tuple[Runner, RegistryImages | None]:
        """Make the runner and, if images are pushed to the emulator, what knows them."""
        if self._runner == "process":
            self._store.set_registry(REGISTRY)
            return ProcessRunner(folders), None
        host = address.removeprefix("http://")
        self._store.set_registry(f"{host}/{NAMESPACE}")
        images = RegistryImages(
            Engine.find(), self._store, folders, tokens, host, self._any_architecture
        )
        return ContainerRunner(images.engine, folders, images), images

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _leave_to_parent(self) -> None:
        """In a forked child, release the emulator without stopping it.

        The descriptors are redirected to the null device. If they were closed, other files could
        get their numbers, and the emulator's objects would close these files.
        """
        self._stack.pop_all()
        held = (self._lock.fileno(), self._listener.fileno())
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (*held, *self._server.descriptors(), *self._executor.descriptors()):
            if descriptor >= 0:
                os.dup2(null, descriptor, inheritable=False)
        os.close(null)

    def session(self) -> HtcSession:
        """Make a session connected to this emulator."""
        from .. import HtcSession

        return self._new_session(HtcSession)

    def async_session(self) -> AsyncHtcSession:
        """Make an asynchronous session connected to this emulator."""
        from ..aio import AsyncHtcSession

        return self._new_session(AsyncHtcSession)

    def _new_session(self, kind: type[SessionT]) -> SessionT:
        return kind(
            base_url=self.url,
            api_key=self.api_key,
            status_refresh_seconds=EMULATOR_REFRESH_SECONDS,
            backoff_seconds=SESSION_BACKOFF_SECONDS,
        )

    def environment(self) -> dict[str, str]:
        """Return environment variables for a program that uses this emulator.

            subprocess.run(["rescalehtc", "jobs", "--task", "study"], env=emulator.environment())

        They are this process's own, with the emulator's address, API key and interval between
        polls, and without the variables that would lead the program to another service: a refresh
        token, another key, a profile. Pass them as the whole environment.
        """
        return applied(variables_for(self.url, self.api_key), os.environ)

    def set_image_status(
        self,
        image_name: str,
        status: ImageStatus,
        *,
        ready_after_seconds: float | None = None,
    ) -> None:
        """Set the status of an image. All other images are READY.

        Args:
            image_name: The image. The default tag is `latest`.
            status: The status. With UNKNOWN, the response is 404.
            ready_after_seconds: The image becomes READY after this number of emulated seconds.

        Raises:
            ValueError: The status is unknown.
        """
        if status not in get_args(ImageStatus):
            right = ", ".join(get_args(ImageStatus))
            raise ValueError(f"status must be one of {right}, got {status!r}")
        after = None if ready_after_seconds is None else ready_after_seconds / self._clock_rate
        self._store.set_image_status(image_name, status, after)

    def fault(self, operation: str, kind: FaultKind, **options: Unpack[FaultOptions]) -> Fault:
        """Inject a fault into requests or jobs, until you remove it.

            with emulator.fault("submitJobs", "reset_after", times=1) as fault:
                ...
            assert fault.count == 1

        At most one fault affects a request before the emulator carries it out, and one after. If
        several faults match, the first one that you added applies. You can add and remove faults
        at any time, from any thread.

        Args:
            operation: The operationId of the affected requests (see docs/operations.md), `upload`
                for uploads to presigned URLs, `storage` for requests to the S3 interface, or
                `*` for all.
            kind: The effect.

                - `delay`: the request is carried out, and the response is `seconds` late.
                - `status_before`, `status_after`: the response is the error `status` with the
                  header `retry_after`, before or after the request is carried out.
                - `reset_before`, `reset_after`: the connection is reset without a response,
                  before or after the request is carried out.
                - `truncate`: the connection is closed in the middle of the response.
                - `truncate_gzip`: the response is compressed and truncated, with a matching length.
                - `expire_token`: the request's bearer token expires permanently.
                - `nulls`: all fields of the records in the response are null, or only `field`.
                - `unknown`: records have an unknown field, and unknown values in enumerations. Or
                  only `field` has an unknown value.
                - `repeat_next`: the `next` of a page points to the same page.
                - `foreign_next`: the `next` of a page points to another host.
                - `preempt`: jobs that have run for `seconds` lose their instance and fail with
                  ErrorInstanceTermination, or are retried. The operation is `*`.
                - `out_of_memory`: jobs that have run for `seconds` are killed and fail with
                  ErrorNotEnoughMemory; only those with a `maxMemory` below `memory_mib`, if it is
                  given. The operation is `*`.
                - `slow_start`: jobs stay STARTING for `seconds`. The operation is `*`.

        Keyword Args:
            times: How often it strikes; any number of times if left out.
            probability: How likely it is to strike, above 0 and up to 1, which is the default.
            seed: Repeats the choices of a probability; 0 if left out.
            status: 400 to 599; 503 if left out.
            retry_after: Seconds, or a date as HTTP writes it; no such header if left out.
            seconds: Real seconds, at least 0; 1 if left out.
            field: The name of a field, at any depth of the answer.
            memory_mib: MiB, at least 1.

        Returns:
            The fault, which counts the affected requests. Use it to remove the fault.

        Raises:
            ValueError: The operation or kind is unknown, or an option is invalid for the kind.
        """
        fault = Fault(operation, kind, **options)
        self._faults.add(fault)
        return fault

    def set_workspace_limit(self, vcpus: int | None) -> None:
        """Limit the number of virtual CPUs in use by all projects together.

        Running jobs are not affected.

        Args:
            vcpus: The maximum number of virtual CPUs, at least 0. None removes the limit.
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
