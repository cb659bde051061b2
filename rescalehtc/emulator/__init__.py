"""A local stand-in for the service, which runs jobs as processes on this machine.

    with Emulator() as emulator, emulator.session() as rescale:
        projects = htcprojects.get_projects(rescale)

It needs the extra packages of `pip install "rescalehtc[emulator]"`. It is not a sandbox: a
job's command can do whatever the user who started the emulator can do.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import socket
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self, Unpack, get_args

from ..exceptions import HtcException, HtcFileError

try:
    import uvicorn

    from .app import BASE_PATH, create_app
    from .executor import Executor
    from .faults import Fault, FaultKind, FaultOptions, Faults
    from .folders import Folders
    from .handlers.received import Service
    from .misbehaviour import Protocol
    from .store import Store
    from .tokens import WORKSPACE_ID, Tokens
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        f'the emulator needs {_error.name}: pip install "rescalehtc[emulator]"', name=_error.name
    ) from _error

if TYPE_CHECKING:
    from collections.abc import Generator

    from starlette.applications import Starlette

    from .. import HtcSession

__all__ = ["Emulator", "Fault", "FaultKind", "FaultOptions"]

ImageStatus = Literal["READY", "PENDING", "UNKNOWN"]

# The service refreshes a status every 30 s. Here one may change within milliseconds.
SESSION_REFRESH_SECONDS: Final = 0.2
SESSION_BACKOFF_SECONDS: Final = 0.1
KEEP_ALIVE_SECONDS: Final = 60
STATE_FILE: Final = "state.sqlite3"


class Emulator:
    """The service on this machine, for as long as the `with` block runs.

    At its end, jobs that run are ended with all their processes. With `fault` it can be told
    to misbehave, before or while it runs.

    Args:
        host: The address to listen on. Whoever reaches it and knows the API key can run
            commands here.
        port: The port, or 0 for any that is free.
        data: A folder to keep everything in, made if it is not there, so that the next
            emulator on it goes on where this one ended. None for a temporary one.
        slots: How many jobs run at once; None for the number of processors.
        clock_rate: How many emulated seconds pass in a second, where timeouts of jobs,
            lifetimes of tokens, retention of tasks and images that become ready are concerned.

    Attributes:
        url: The base URL, in the `with` block.
        api_key: The API key, in the `with` block.

    Raises:
        HtcFileError: The folder can't be used, or another emulator uses it.
        HtcException: The address can't be listened on.
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
    ) -> None:
        if slots is not None and slots < 1:
            raise ValueError("slots must be at least 1")
        if not clock_rate > 0:
            raise ValueError("clock_rate must be above 0")
        self._host = host
        self._port = port
        self._data = data
        self._slots = slots or os.cpu_count() or 1
        self._clock_rate = clock_rate
        self._faults = Faults()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = stack.enter_context(_folder(self._data))
            listener = stack.enter_context(_listener(self._host, self._port))
            self.url = f"{_origin(listener)}{BASE_PATH}"
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
                )
            )
            service = Service(self._store, self._executor, tokens, folders, self._clock_rate)
            app = create_app(service, self._host, self._faults)
            stack.enter_context(_served(app, listener))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def session(self) -> HtcSession:
        """Make a session with this emulator."""
        from .. import HtcSession

        return HtcSession(
            base_url=self.url,
            api_key=self.api_key,
            status_refresh_seconds=SESSION_REFRESH_SECONDS,
            backoff_seconds=SESSION_BACKOFF_SECONDS,
        )

    def set_image_status(
        self,
        image_name: str,
        status: ImageStatus,
        *,
        ready_after_seconds: float | None = None,
    ) -> None:
        """Set what the service says of an image; every other image is READY.

        Args:
            image_name: The image; without a tag, its tag is `latest`.
            status: The status. UNKNOWN is answered with 404.
            ready_after_seconds: The image becomes READY after so many emulated seconds.

        Raises:
            ValueError: There is no such status.
        """
        if status not in get_args(ImageStatus):
            right = ", ".join(get_args(ImageStatus))
            raise ValueError(f"an image's status is one of {right}, not {status!r}")
        after = None if ready_after_seconds is None else ready_after_seconds / self._clock_rate
        self._store.set_image_status(image_name, status, after)

    def fault(self, operation: str, kind: FaultKind, **options: Unpack[FaultOptions]) -> Fault:
        """Make the emulator misbehave, until the fault is lifted.

            with emulator.fault("submitJobs", "reset_after", times=1) as fault:
                ...
            assert fault.count == 1

        A request meets at most one fault before it is carried out and one after: the one that
        was asked for first. Faults may be asked for and lifted at any time, from any thread.

        Args:
            operation: The operationId of the requests that it strikes (docs/operations.md lists
                them), `upload` for uploads to presigned addresses, or `*` for all.
            kind: What it does.

                - `delay`: the request is carried out; the answer comes `seconds` late.
                - `status_before`, `status_after`: the answer is the error `status`, with
                  `retry_after` as its header; the request was not, or was, carried out.
                - `reset_before`, `reset_after`: the connection is reset in place of an answer;
                  the request was not, or was, carried out.
                - `truncate`: the connection ends in the middle of the answer.
                - `truncate_gzip`: the answer is compressed and lacks its end; its length is right.
                - `expire_token`: the request's bearer token has expired, for good.
                - `nulls`: all fields of the records in the answer are null, or only `field`.
                - `unknown`: records have a field that nobody knows, and an unknown value where
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
        """
        if vcpus is None:
            self._store.delete_limits(WORKSPACE_ID)
        elif vcpus < 0:
            raise ValueError("vcpus must not be negative")
        else:
            self._store.set_limit(WORKSPACE_ID, None, vcpus)
        self._executor.wake()


@contextmanager
def _folder(data: str | Path | None) -> Generator[Path]:
    if data is None:
        with tempfile.TemporaryDirectory(prefix="rescalehtc-emulator-") as temporary:
            yield Path(temporary).resolve()
        return
    folder = Path(data).resolve()
    with ExitStack() as stack:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_own(folder)
            lock = stack.enter_context((folder / "lock").open("a"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except HtcFileError:
            raise
        except BlockingIOError as error:
            raise HtcFileError(f"another emulator uses {folder}") from error
        except OSError as error:
            raise HtcFileError(f"can't keep data in {folder}: {error.strerror}") from error
        yield folder


def _check_own(folder: Path) -> None:
    """Refuse a folder with other things in it: some would be taken for the emulator's."""
    found = {path.name for path in folder.iterdir() if path.stat().st_size or path.name != "lock"}
    if found and STATE_FILE not in found:
        raise HtcFileError(
            f"{folder} holds something else: name a new folder, or one of an emulator"
        )


@contextmanager
def _listener(host: str, port: int) -> Generator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise HtcException(f"can't listen on {host}, port {port}: {reason}") from error
    with listener:
        # Without this an answer's body waits 40 ms for its header to be acknowledged.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


def _origin(listener: socket.socket) -> str:
    address, port = listener.getsockname()[:2]
    host = ipaddress.ip_address(address)
    if host.is_unspecified:  # every address of this machine, the loopback one among them
        host = ipaddress.ip_address("127.0.0.1" if host.version == 4 else "::1")
    return f"http://[{host}]:{port}" if host.version == 6 else f"http://{host}:{port}"


@contextmanager
def _served(app: Starlette, listener: socket.socket) -> Generator[None]:
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="emulator", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
