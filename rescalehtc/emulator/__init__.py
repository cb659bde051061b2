"""A local emulator of the service, which runs jobs as processes or in containers.

    with Emulator() as emulator, emulator.session() as rescale:
        projects = htcprojects.get_projects(rescale)

Install the extra packages with `pip install "rescalehtc[emulator]>=2"`. The emulator is not a
sandbox: a job's command has the permissions of the user who started the emulator.
"""

from __future__ import annotations

import os
import weakref
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, Self, TypeVar, Unpack, get_args

from .._environment import EMULATOR_REFRESH_SECONDS, process_environment, variables_for

try:
    from .app import BASE_PATH, create_app
    from .clouds import REGISTRY
    from .descriptors import retry_if_out_of_descriptors
    from .engine import Engine
    from .executor import Executor
    from .faults import Fault, FaultKind, FaultOptions, Faults
    from .folders import (
        STATE_FILE,
        Folders,
        open_data,
        open_temporary,
        remove_abandoned,
        remove_temporary,
    )
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
    """An emulator of the service, which runs during its `with` block.

    At the end of the block, running jobs are killed with all their processes. `fault` injects
    faults, before the emulator starts or while it runs.

    Args:
        host: The address to listen on. Everyone who can connect to it and knows the API key can run
            commands on this machine.
        port: The port, or 0 for any free port.
        data: A folder for persistent state, which is created if necessary. The next emulator with
            the same folder continues from this state. None for a temporary folder.
        slots: The maximum number of running jobs. None for the number of processors.
        clock_rate: Emulated seconds per real second. The emulated clock controls the timeouts of
            jobs, the lifetimes of tokens, the retention of tasks, and the time until an image is
            ready.
        max_log_bytes: The maximum size of a job's log, including the times of its lines. A job that
            writes more keeps running, and the last line of its log reports the limit.
        runner: `process` runs each job's command as a process on this machine and ignores the
            image. `container` runs each job in its image with docker or podman. The emulator is
            then the container registry of its projects, and only images that you push exist.
        any_architecture: Also run images for another architecture than the job's.

    A process that you fork from this one does not hold the emulator's folder or port, and does not
    stop the emulator.

    Attributes:
        url: The base URL, in the `with` block.
        api_key: The API key, in the `with` block.

    Raises:
        HtcFileError: The folder can't be used, or another emulator uses it.
        HtcException: The emulator can't listen on the address, its server did not start, or
            neither docker nor podman works and the runner is `container`.
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
                stack.callback(retry_if_out_of_descriptors, partial(remove_temporary, folder))
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
            stack.callback(_running.discard, self)
            self._stack = stack.pop_all()
            _running.add(self)
        return self

    def _make_runner(
        self, folders: Folders, tokens: Tokens, address: str
    ) -> tuple[Runner, RegistryImages | None]:
        """Create the runner and, for containers, the images of the registry."""
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
        own = (self._lock.fileno(), self._listener.fileno())
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (*own, *self._server.descriptors(), *self._executor.descriptors()):
            if descriptor >= 0:
                os.dup2(null, descriptor, inheritable=False)
        os.close(null)

    def session(self) -> HtcSession:
        """Create a session connected to this emulator."""
        from .. import HtcSession

        return self._new_session(HtcSession)

    def async_session(self) -> AsyncHtcSession:
        """Create an asynchronous session connected to this emulator."""
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

        The variables are those of this process, with the emulator's URL, API key and polling
        interval. Variables for another service, such as a profile or a refresh token, are removed.
        Pass the result as the complete environment.
        """
        return process_environment(variables_for(self.url, self.api_key))

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
                  ErrorNotEnoughMemory. With `memory_mib`, this affects only jobs with a smaller
                  `maxMemory`. The operation is `*`.
                - `slow_start`: jobs stay STARTING for `seconds`. The operation is `*`.

        Keyword Args:
            times: The maximum number of occurrences; unlimited by default.
            probability: The probability of each occurrence, above 0 and at most 1, the default.
            seed: The seed for random choices; 0 by default.
            status: The HTTP status, 400 to 599; 503 by default.
            retry_after: The header Retry-After, in seconds or as an HTTP date; none by default.
            seconds: Real seconds, at least 0; 1 by default.
            field: The name of a field, at any depth of the response.
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
