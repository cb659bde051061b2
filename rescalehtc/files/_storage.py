"""The storage of a token: its store, its credentials, and its errors."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .._environment import STORAGE_ENDPOINT_VARIABLE, proxy_for
from .._interrupts import is_from_signal_handler
from .._wire.answer import DESCRIPTION_CHARACTERS, shown
from ..exceptions import HtcException, HtcFileError, HtcValidationError, Problem
from ._credentials import StorageCredentials
from ._errors import TransientError, errno_of, is_outage, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from datetime import datetime
    from typing import ParamSpec, TypeVar

    from obstore import GetOptions, ObjectMeta
    from obstore.store import ObjectStore

    from .. import models
    from .._session import BaseSession
    from .._wire.operation import Call
    from ..htcsession import HtcSession

    P = ParamSpec("P")
    T = TypeVar("T")

_KINDS = {"s3": "AWS", "gs": "GCP", "az": "AZURE", "abfs": "AZURE", "abfss": "AZURE"}


def require_extra(module: str) -> Any:
    """Import a module of the extra packages.

    Raises:
        ModuleNotFoundError: They are not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        message = f'files need {error.name}: pip install "rescalehtc[storage]>=2"'
        raise ModuleNotFoundError(message, name=error.name) from None


@cache
def _first_process() -> int:
    """Return the id of the process that called this first, also in its forked children."""
    return os.getpid()


def _check_process() -> None:
    """Check that obstore can be used in this process.

    obstore's threads do not survive a fork: a child process would wait for them forever.

    Raises:
        HtcFileError: The process was forked from one that used obstore.
    """
    if os.getpid() != _first_process():
        raise HtcFileError(
            "files can't be used in a process that was forked from one that used them; start "
            "processes with the method 'spawn' or 'forkserver'"
        )


class Storage:
    """The folder of a project or task in the storage of a region."""

    def __init__(
        self,
        rescale: BaseSession,
        call: Call,
        token: models.StorageAccessToken,
        address: str | None,
    ) -> None:
        """Create the store.

        Args:
            rescale: The session, which renews credentials in any thread.
            call: The call that renews the token.
            token: The token.
            address: The folder's address, from the token.

        Raises:
            HtcFileError: The storage of the token can't be used.
        """
        require_extra("obstore")
        self._rescale = _blocking(rescale)
        self._store: ObjectStore | None = None
        self.address: str = (address or "").rstrip("/")
        scheme = urlsplit(self.address).scheme
        if scheme not in _KINDS:
            where = getattr(token, "region", None) or "the project"
            reason = f"its address begins with {scheme}:, not with one of {', '.join(_KINDS)}"
            reason = reason if scheme else "the token has no address"
            raise HtcFileError(f"the storage of {where} can't be used: {reason}")
        self._credentials = StorageCredentials(self._rescale, call, token)

    def variables(self) -> dict[str, str]:
        """Return the token's variables, and the storage's endpoint if it is not the default."""
        credentials = {name: str(value) for name, value in self._credentials.variables.items()}
        if self._scheme == "s3" and (endpoint := self._credentials.endpoint):
            credentials.setdefault(STORAGE_ENDPOINT_VARIABLE, endpoint)
        return credentials

    @property
    def expires_at(self) -> datetime:
        """When the variables expire."""
        return self._credentials.expires_at

    @property
    def _scheme(self) -> str:
        return urlsplit(self.address).scheme

    @property
    def store(self) -> ObjectStore:
        """The obstore store, with renewed credentials. On AWS, obstore renews them."""
        _check_process()
        with self._credentials.lock:
            if self._store is not None and self._scheme != "s3" and self._credentials.is_due:
                self._renew()
            if self._store is None:
                self._store = self._new_store()
            return self._store

    def _new_store(self) -> ObjectStore:
        from obstore.exceptions import BaseError
        from obstore.store import S3Store, from_url

        parts, options = urlsplit(self.address), self.options()
        try:
            if parts.scheme != "s3":
                return from_url(self.address, **options)
            if (
                endpoint := self._credentials.endpoint
            ):  # otherwise an environment variable overrides it
                options["aws_endpoint_url_s3"] = endpoint
            return S3Store(parts.netloc, prefix=parts.path.strip("/") or None, **options)
        except (BaseError, ValueError):
            names = ", ".join(self.variables())
            raise HtcFileError(
                f"the credentials for {parts.scheme}://{parts.netloc} can't be used: obstore does "
                f"not accept the variables {names} for {_KINDS[parts.scheme]}"
            ) from None

    def options(self) -> dict[str, Any]:
        """Return the arguments for an obstore store."""
        policy = self._rescale.client.retry
        endpoint = self._credentials.endpoint
        options: dict[str, Any] = {
            "client_options": {
                "allow_http": bool(endpoint and endpoint.startswith("http:")),
                "timeout": timedelta(seconds=self._rescale.client.timeout_seconds),
            },
            "retry_config": {
                "max_retries": policy.max_retries,
                "retry_timeout": timedelta(seconds=policy.deadline_seconds),
                "backoff": {"init_backoff": timedelta(seconds=policy.backoff_seconds)},
            },
        }
        if endpoint and proxy_for(endpoint, os.environ) is None:
            # The only way to bypass a proxy from an environment variable.
            options["client_options"]["proxy_url"] = "http://127.0.0.1:9"
            options["client_options"]["proxy_excludes"] = urlsplit(endpoint).hostname
        if self._scheme != "s3":
            if not self.variables():  # obstore would use the credentials of the user's own account
                raise HtcFileError(f"the storage token for {self.address} has no credentials")
            return {**options, "config": self.variables()}
        self._credentials.for_aws()  # rejects incomplete credentials
        config: dict[str, object] = {
            "region": self._credentials.aws_region,
            # Variables for other programs must not change these settings.
            "skip_signature": False,
            "unsigned_payload": False,
            "s3_express": False,
            "virtual_hosted_style_request": False,
        }
        if endpoint:
            config["endpoint"] = endpoint
        return {**options, "config": config, "credential_provider": self._credentials.provide}

    @property
    def fsspec(self) -> Any:
        """An fsspec file system of the folder."""
        module: Any = require_extra(f"{__package__}._fsspec")
        return module.file_system(self.address, self.options())

    def _renew(self) -> None:
        """Renew the credentials. obstore keeps the old ones in its store, so make another one."""
        self._credentials.renew()
        self._store = None

    # ---- operations

    def pages(self, action: str, folder: str, page_size: int) -> Iterator[Sequence[ObjectMeta]]:
        """Yield the files of a folder, page by page."""
        stream: Iterator[Sequence[ObjectMeta]] | None = None
        last: str | None = None

        def following() -> Sequence[ObjectMeta] | None:
            nonlocal stream
            store: Any = self.store
            source = stream or iter(store.list(folder or None, offset=last, chunk_size=page_size))
            stream = None  # it can't be used after an error
            page = next(source, None)
            stream = source
            return page

        while page := self.run(action, following):
            last = page[-1]["path"]
            yield page

    def describe(self, path: str) -> tuple[ObjectMeta, Mapping[str, Any]]:
        """Return the size, time and ETag of a file, and its metadata."""
        answer = self.store.get(path, options={"head": True})
        return answer.meta, answer.attributes

    def read_range(self, meta: ObjectMeta, start: int, end: int) -> bytes:
        """Read a part of a file, if it is still the described one."""
        options: GetOptions = {"range": (start, end)}
        if etag := meta.get("e_tag"):
            options["if_match"] = etag
        return bytes(self.store.get(meta["path"], options=options).bytes())

    def run(self, action: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that uses the store, and retry where obstore does not.

        obstore does not retry if a response was truncated or if the credentials have expired.

        Args:
            action: A description for messages, such as `upload of a.txt`.
            function: An idempotent function.
            *args: The positional arguments of the function.
            **kwargs: The keyword arguments of the function.

        Raises:
            HtcFileError: The storage rejected a request or did not respond.
        """
        _check_process()
        from obstore.exceptions import BaseError

        policy = self._rescale.client.retry
        retries = 0
        while True:
            try:
                return function(*args, **kwargs)
            except HtcException as error:
                failure = error
            except (OSError, ValueError, BaseError) as error:
                failure = self._translate(action, error)
            # Raise it here, because its context would show the secrets in the library's exception.
            if not isinstance(failure, TransientError):
                raise failure
            if retries >= max(1, policy.max_retries):
                failed = HtcFileError(f"{action} failed: {failure}")
                failed.is_transient = not failure.has_expired
                raise failed
            if failure.has_expired:
                with self._credentials.lock:
                    self._renew()
            else:
                io = self._rescale.client.io
                time.sleep(policy.wait(retries, None, io.random()))
            retries += 1

    @contextmanager
    def translated(self, action: str) -> Generator[None]:
        """Translate exceptions of the local disk to those of this package."""
        try:
            yield
        except HtcException:
            raise
        except (OSError, ValueError) as error:
            raise self._translate(action, error) from None

    def _translate(self, action: str, error: Exception) -> HtcException:
        """Return this package's exception for another one. Raises that of a signal handler."""
        if is_from_signal_handler(error):
            raise error
        credentials, text = self._credentials, str(error)
        for failure in credentials.failures.copy():
            if str(failure) in text:  # obstore quotes the exception of this thread's renewal
                with suppress(ValueError):  # another thread raises an equal one
                    credentials.failures.remove(failure)
                    return failure
        secrets = [str(value) for value in credentials.variables.values()]
        reason = shown(reason_of(error), lambda: secrets, DESCRIPTION_CHARACTERS)
        if "ExpiredToken" in reason or "body error" in reason:
            return TransientError(reason)
        failed = HtcFileError(f"{action} failed: {reason}")
        failed.errno = errno_of(error)
        failed.is_transient = is_outage(error)
        return failed


def _blocking(rescale: BaseSession) -> HtcSession:
    """Return the session, or a blocking session with the settings of an asynchronous one."""
    from ..htcsession import HtcSession

    if isinstance(rescale, HtcSession):
        return rescale
    try:
        state = rescale.__getstate__()
    except TypeError:
        problem = Problem("rescale", "must be a session without a custom transport")
        raise HtcValidationError("files", [problem]) from None
    twin = object.__new__(HtcSession)
    vars(twin).update(state)
    return twin
