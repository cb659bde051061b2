"""HtcSession: who is calling, and how to reach the service."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import api
from ._credentials import (
    DEFAULT_WORKSPACE,
    SERVICE_URL,
    TokenSource,
    find_credential,
    is_secret_text,
)
from ._environment import BASE_URL_VARIABLE, variable
from ._hidden import Hidden, HiddenList
from ._json_object import require_instance
from ._operation import Call, Page, Response, origin, raise_for_status, read, read_page
from ._retry import (
    RetryBudget,
    RetryPolicy,
    is_outcome_unknown,
    may_be_sent_again,
    seconds_asked_for,
)
from ._transport import Transport
from .bearer_token import BearerToken, token_from_str
from .exceptions import (
    HtcBadRequestError,
    HtcException,
    HtcResponseError,
    HtcValidationError,
    Problem,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from typing import BinaryIO, Self, TypeVar

    from ._operation import Operation

    T = TypeVar("T")

_logger = logging.getLogger("rescalehtc")

CONFIG_FOLDER = "~/.config/rescalehtc"
# So many empty pages in a row are a listing without an end.
MAX_EMPTY_PAGES = 1000
# Attributes of a session that a copy does not take over: tokens, connections and locks.
_NOT_COPIED = frozenset(
    {"_lock", "_token_source", "_transport", "_retry_budget", "_refuses_large_pages"}
    | {"_group_turns", "_process"}
)


class HtcSession:
    """A connection to the service, passed to every call. Safe to use from many threads.

    Making one sends nothing; the first call authenticates. It is a context manager that
    closes its connections at the end:

        with HtcSession() as rescale:
            projects = htcprojects.get_projects(rescale)

    The credential is `api_key`; else the variable RESCALE_HTC_REFRESH_TOKEN, which is set
    inside running jobs; else, unless a workspace is named, the variables RESCALE_API_KEY or
    RESCALE_API_TOKEN; else the file `<config folder>/<workspace>/rescale_api_token.txt`.

    A session can be pickled and copied, as process pools do. The copy has the same settings and
    address, and connections, locks and tokens of its own. A pickle contains the API key only if
    you passed `api_key`. Otherwise the copy looks for a credential again, on its first call, in
    the environment and the files of the process that it is in. A pickle never contains a token.

    Args:
        workspace: The workspace whose key file to use. Not looked at with `api_key`.
        config_folder_override: The config folder, in place of `~/.config/rescalehtc`.
        api_key: An API key of the workspace.
        base_url: The service's address; else the variable RESCALE_API_BASE_URL, else
            `https://htc.rescale.com/api/v1`.
        status_refresh_seconds: For so many seconds a job's or task's status, and a job's log,
            are answered from memory after they were fetched. The service itself refreshes
            them every 30 seconds.
        image_wait_seconds: How long a submission waits for its image to become ready.
        timeout_seconds: How long a request may take, from the connection to the last byte of
            the answer. The upload of a file has this time for each piece of it.
        max_retries: How often a request that failed is sent again at most, after growing
            waits, or for as long as the service asks for but at most 60 s. Requests that
            create something are sent again only when it is certain that the service did not
            carry them out.
        backoff_seconds: The longest wait before the first repetition; it doubles each time, up
            to 30 s. The wait itself is a random part of it.
        deadline_seconds: How long a call may take with all its repetitions; each page of a
            listing is a call.
        settle_seconds: How long a group must not change before a submission whose answer was
            lost is given up as uncertain.

    Attributes:
        workspace: The workspace's name as given.
        base_url: The service's address in use.

    Raises:
        HtcCredentialsError: No credential was found; the message lists where it was looked for.
        HtcValidationError: An argument can't be right.
    """

    def __init__(
        self,
        workspace: str = DEFAULT_WORKSPACE,
        config_folder_override: str | None = None,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        status_refresh_seconds: float = 30.0,
        image_wait_seconds: float = 300.0,
        timeout_seconds: float = 300.0,
        max_retries: int = 5,
        backoff_seconds: float = 1.0,
        deadline_seconds: float = 900.0,
        settle_seconds: float = 60.0,
    ) -> None:
        api_key = _hidden(api_key)
        for name, value in (("workspace", workspace), ("api_key", api_key or "")):
            require_instance(value, str, name, "HtcSession")
        self.workspace: str = workspace
        given = "base_url" if base_url else BASE_URL_VARIABLE
        base_url = _hidden(base_url or variable(os.environ, BASE_URL_VARIABLE) or SERVICE_URL)
        self.base_url: str = _checked_url(base_url, given)
        _check_seconds("status_refresh_seconds", status_refresh_seconds, 0.0)
        _check_seconds("image_wait_seconds", image_wait_seconds, 0.0)
        _check_seconds("timeout_seconds", timeout_seconds, 0.001)
        _check_seconds("backoff_seconds", backoff_seconds, 0.0)
        _check_seconds("deadline_seconds", deadline_seconds, 0.001)
        _check_seconds("settle_seconds", settle_seconds, 0.0)
        if isinstance(max_retries, bool) or not isinstance(max_retries, int) or max_retries < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            problem = Problem("max_retries", "must be an integer of at least 0")
            raise HtcValidationError("HtcSession", [problem])
        self.settle_seconds: float = settle_seconds
        self.status_refresh_seconds: float = status_refresh_seconds
        self.image_wait_seconds: float = image_wait_seconds
        self._api_key = api_key
        self._config_folder = os.fspath(config_folder_override or CONFIG_FOLDER)
        self._timeout_seconds = timeout_seconds
        self._retry_policy = RetryPolicy(max_retries, backoff_seconds, deadline_seconds)
        self._start()
        _ = self._tokens  # without a credential this raises

    def _start(self) -> None:
        """Make what belongs to this session alone: connections, locks, and what it learns."""
        self._lock = threading.Lock()
        self._token_source: TokenSource | None = None
        self._transport = Transport(self.base_url, self._timeout_seconds)
        self._retry_budget = RetryBudget()
        self._refuses_large_pages: set[Operation] = set()
        self._group_turns: dict[tuple[str, str], tuple[threading.Lock, set[str]]] = {}
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in _NOT_COPIED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start()

    def __repr__(self) -> str:
        base_url = getattr(self, "base_url", None)  # a traceback may show one that is not made yet
        return f"HtcSession(workspace={self.workspace!r}, base_url={base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._transport.close()

    def get_bearer_token(self) -> BearerToken:
        """Return the bearer token in use, renewed if it expires soon.

        Operation getToken, if the token has to be renewed.
        """
        self._notice_fork()
        return token_from_str(self._tokens.get())

    def do_authenticate(self) -> None:
        """Ask for a new bearer token. Calls do this by themselves when it is needed.

        Operation getToken.

        Raises:
            HtcCredentialsError: The service refuses the credential.
        """
        self._notice_fork()
        self._tokens.renew()

    def reauthenticate_if_needed(self) -> None:
        """Renew the bearer token if it expires soon. Calls do this by themselves.

        Operation getToken.
        """
        self._notice_fork()
        self._tokens.get()

    def send(self, call: Call, max_items: int | None = None) -> Any:
        """Send a call and return the decoded JSON; of a listing, the items of all pages.

        Args:
            call: An operation of rescalehtc.api with its parameters.
            max_items: At most this many items of a listing, or None for all of them.

        Raises:
            HtcConnectionError, HtcStatusError, HtcResponseError: see rescalehtc.exceptions.
            HtcCredentialsError: The service refuses the credential.
        """
        if not call.operation.is_listing:
            return self._exchange(call, read)
        items = HiddenList[Any]()
        if max_items is not None and max_items <= 0:
            return []
        for page in self.pages(call):
            items += page
            if max_items is not None and len(items) >= max_items:
                return items[:max_items]
        return items[:]

    def pages(self, call: Call) -> Iterator[list[Any]]:
        """Send a listing's call and yield the items of one page after the other.

        The repr of a page does not show its items, which may hold secrets.

        Raises:
            The same as `send`; HtcResponseError also when the listing runs in a circle, or
            has no end.
        """
        following: Call | None = call
        seen: set[str] = set()
        before: set[str] = set()
        empty = 0
        while following is not None:
            address = following.url(self.base_url)
            if address in seen:
                raise HtcResponseError(
                    f"{call.operation.id}: a page names itself or an earlier one as next"
                )
            seen.add(address)
            page = self.page(following)
            empty = 0 if page.items else empty + 1
            if empty > MAX_EMPTY_PAGES:
                raise HtcResponseError(f"{call.operation.id}: {empty} empty pages in a row")
            items, before = _not_repeated(call, page, before)
            yield items
            following = page.next

    def page(self, call: Call) -> Page:
        """Send a listing's call and return one page of it, with the call for the next one.

        A service that refuses large pages is asked for smaller ones, from then on at once.

        Raises:
            The same as `send`.
        """
        smaller = call.in_smaller_pages()
        if smaller is None:
            return self._exchange(call, self._read_page)
        if call.operation not in self._refuses_large_pages:
            with contextlib.suppress(HtcBadRequestError):
                return self._exchange(call, self._read_page)
        page = self._exchange(smaller, self._read_page)
        self._refuses_large_pages.add(call.operation)
        return page

    def upload(self, url: str, file: BinaryIO) -> None:
        """Send a file to a presigned address, which need not be the service's.

        Args:
            url: The address. No credential of the session goes there.
            file: A regular file or one in memory, opened in binary mode; sent from its position.

        Raises:
            HtcFileError: The file can't be read, is not a regular one, or changed meanwhile.
            HtcConnectionError, HtcStatusError: see rescalehtc.exceptions.
        """
        self._notice_fork()
        url = Hidden(url)  # it stands for a password
        raise_for_status("upload", self._transport.upload(url, file), may_show=False)

    @contextmanager
    def group_turn(self, task_id: str, group: str) -> Generator[set[str]]:
        """A turn to submit to a group of a task, which the threads of this session take.

        In it one has, and adds to, the parents of the jobs that were submitted in such turns.
        """
        self._notice_fork()
        key = (task_id, group)
        lock, told = self._group_turns.setdefault(key, (threading.Lock(), set()))
        with lock:
            yield told

    def _read_page(self, call: Call, response: Response) -> Page:
        return read_page(call, response, self.base_url)

    def _exchange(self, call: Call, read_answer: Callable[[Call, Response], T]) -> T:
        """Send a call, again where that does no harm, and read the answer."""
        self._notice_fork()
        deadline = time.monotonic() + self._retry_policy.deadline_seconds
        refused: str | None = None
        retries = 0
        while True:
            authorization = self._authorization(call, refused)
            response: Response | None = None
            try:
                response = self._transport.send(call, authorization, deadline)
                if response.status == 401 and refused is None and call.operation.needs_token:
                    refused = authorization  # expired earlier than it said, or withdrawn
                    continue
                answer = read_answer(call, response)
            except HtcException as error:
                retry_after = response.retry_after if response else None
                wait = self._wait_before_retry(call, error, retries, retry_after, deadline)
                if wait is None:
                    error.outcome_unknown = is_outcome_unknown(call.operation, error)
                    raise
                _logger.info("%s; it is sent again in %.1f s", error, wait)
            else:
                self._retry_budget.succeeded()
                return answer
            retries += 1
            time.sleep(wait)

    def _wait_before_retry(
        self,
        call: Call,
        error: HtcException,
        retries: int,
        retry_after: str | None,
        deadline: float,
    ) -> float | None:
        """For how long to wait before the call is sent again; None if it is not."""
        if retries >= self._retry_policy.max_retries:
            return None
        if not may_be_sent_again(call.operation, error):
            return None
        asked = seconds_asked_for(retry_after, time.time())
        wait = self._retry_policy.wait(retries, asked, random.random)
        if time.monotonic() + wait >= deadline:
            return None
        # A service that says when to come again is not in an outage.
        return wait if asked is not None or self._retry_budget.take() else None

    @property
    def _tokens(self) -> TokenSource:
        """The source of tokens. A copy of a session finds its credential here."""
        with self._lock:
            if self._token_source is None:
                found = find_credential(
                    self._api_key, self.workspace, self._config_folder, os.environ
                )
                self._token_source = TokenSource(found, self.base_url, self._fetch_token)
            return self._token_source

    def _authorization(self, call: Call, refused: str | None) -> str | None:
        """The header's value; another one if one was refused."""
        if call.operation.needs_token:
            if refused is None:
                return Hidden(f"Bearer {self._tokens.get()}")
            token = refused.removeprefix("Bearer ")
            return Hidden(f"Bearer {self._tokens.renew(refused=token)}")
        if call.operation.authorization == "session":
            return self._tokens.credential.authorization
        return call.authorization

    def _fetch_token(self, authorization: str) -> object:
        return self._exchange(api.GET_TOKEN.call(authorization=authorization), read)

    def _notice_fork(self) -> None:
        """In a process forked from the session's, take over neither connections nor locks."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._lock = threading.Lock()
            self._transport.after_fork()
            if self._token_source is not None:
                self._token_source.after_fork()
            self._retry_budget = RetryBudget()
            self._group_turns = {}


def _not_repeated(call: Call, page: Page, before: set[str]) -> tuple[list[Any], set[str]]:
    """Leave out items that the page before had too, as when a job was added to the listing.

    Returns:
        The others, and the ids of all, if they have ids.

    Raises:
        HtcResponseError: They are all the same.
    """
    ids = set(page.ids)
    if ids and ids <= before:
        raise HtcResponseError(f"{call.operation.id}: a page repeats the one before")
    if len(ids) == len(page.ids) and ids.isdisjoint(before):
        return page.items, ids
    named = zip(page.ids, page.items, strict=True)
    unique = {name: item for name, item in named if name not in before}
    return HiddenList(unique.values()), ids


def _hidden(text: T) -> T | Hidden:
    """A text that a traceback that shows variables does not show."""
    return Hidden(text) if isinstance(text, str) else text


def _checked_url(url: str, name: str) -> str:
    require_instance(url, str, name, "HtcSession")
    url = Hidden(url.strip())
    try:
        origin(url)
        right = is_secret_text(url) and "?" not in url and "#" not in url
    except ValueError:
        right = False
    if not right:
        example = f"must be an address such as {SERVICE_URL}, without a user or password"
        raise HtcValidationError("HtcSession", [Problem(name, example)])
    return url.rstrip("/")


def _check_seconds(name: str, value: object, least: float) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not least <= value <= threading.TIMEOUT_MAX:  # type: ignore[operator]
        message = f"must be a number of seconds of at least {least:g}"
        raise HtcValidationError("HtcSession", [Problem(name, message)])
