"""Which faults were requested, which requests and jobs they strike, and how often. No I/O here."""

from __future__ import annotations

import difflib
import random
import re
import threading
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypedDict, Unpack, get_args

from ..._wire.operations import BY_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

FaultKind = Literal[
    "delay",
    "status_before",
    "status_after",
    "reset_before",
    "reset_after",
    "truncate",
    "truncate_gzip",
    "expire_token",
    "nulls",
    "unknown",
    "repeat_next",
    "foreign_next",
    "preempt",
]
KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)
# These strike before the request is carried out.
BEFORE: Final[tuple[FaultKind, ...]] = ("status_before", "reset_before", "expire_token")
_CHANGES_NEXT: Final[tuple[FaultKind, ...]] = ("repeat_next", "foreign_next")

ANY: Final = "*"
UPLOAD: Final = "upload"

DEFAULT_STATUS: Final = 503
DEFAULT_SECONDS: Final = 1.0


class FaultOptions(TypedDict, total=False):
    """How often a fault strikes, and what some kinds need; `Emulator.fault` explains each."""

    times: int
    probability: float
    seed: int
    status: int
    retry_after: int | str
    seconds: float
    field: str


_KINDS_BY_OPTION: Final[Mapping[str, tuple[FaultKind, ...]]] = {
    "status": ("status_before", "status_after"),
    "retry_after": ("status_before", "status_after"),
    "seconds": ("delay", "preempt"),
    "field": ("nulls", "unknown"),
}
_READERS: Final[Mapping[str, Callable[[str], object]]] = {
    "times": int,
    "probability": float,
    "seed": int,
    "status": int,
    "retry_after": lambda text: int(text) if text.isdecimal() else text,
    "seconds": float,
    "field": str,
}


class Fault:
    """A fault that `Emulator.fault` returned.

    As a context manager it is lifted at the end of the block.

    Attributes:
        operation: The id of the operation that it strikes, or `*` for any.
        kind: The effect.
        options: The other arguments.
    """

    def __init__(self, operation: str, kind: FaultKind, **options: Unpack[FaultOptions]) -> None:
        _check(operation, kind, options)
        self.operation: Final = operation
        self.kind: Final[FaultKind] = kind
        self.options: Final[FaultOptions] = options
        self._lock = threading.Lock()
        self._random = random.Random(options.get("seed", 0))  # noqa: S311 - to be repeatable
        self._count = 0
        self._lifted = False

    def __repr__(self) -> str:
        options = "".join(f":{name}={value}" for name, value in self.options.items())
        return f"<Fault {self.operation}:{self.kind}{options}, struck {self.count} times>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.lift()

    @property
    def count(self) -> int:
        """How often it struck."""
        return self._count

    @property
    def seconds(self) -> float:
        """The `seconds` in force."""
        return self.options.get("seconds", DEFAULT_SECONDS)

    def lift(self) -> None:
        """Stop it from striking again."""
        with self._lock:
            self._lifted = True

    def is_over(self) -> bool:
        """Whether it will never strike again."""
        return self._lifted or self._count >= self.options.get("times", float("inf"))

    def concerns(self, operation: str) -> bool:
        """Whether it strikes requests for this operation.

        Args:
            operation: The operation's id.
        """
        if self.kind == "preempt" or self.operation not in (ANY, operation):
            return False
        return _problem(operation, self.kind) is None

    def strikes(self) -> bool:
        """Decide whether it strikes now, and count it."""
        with self._lock:
            if self.is_over() or self._random.random() >= self.options.get("probability", 1.0):
                return False
            self._count += 1
            return True


class Faults:
    """The faults of an emulator.

    At most one of them strikes a request before it is carried out, and one after: the one that
    was requested first.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Let a fault strike from now on."""
        with self._lock:
            self._faults = [one for one in self._faults if not one.is_over()] + [fault]

    def strike_before(self, operation: str) -> Fault | None:
        """Return the fault that strikes a request before it is carried out, and count it."""
        return self._first(operation, lambda fault: fault.kind in BEFORE)

    def strike_after(self, operation: str, applies: Callable[[FaultKind], bool]) -> Fault | None:
        """Return the fault that strikes a request after it was carried out, and count it.

        Args:
            operation: The operation's id.
            applies: Whether a kind of fault can be applied to the answer.
        """
        return self._first(
            operation, lambda fault: fault.kind not in BEFORE and applies(fault.kind)
        )

    def _first(self, operation: str, may: Callable[[Fault], bool]) -> Fault | None:
        found = (fault for fault in self._faults if fault.concerns(operation) and may(fault))
        return next((fault for fault in found if fault.strikes()), None)

    def preemptions(self) -> Iterator[Fault]:
        """The faults that may end running jobs."""
        return (f for f in self._faults if f.kind == "preempt" and not f.is_over())


def parse_fault(text: str) -> Fault:
    """Read a fault from its text form, such as `submitJobs:reset_after:times=2`.

    Raises:
        ValueError: The text is not one.
    """
    place, *given = re.split(r":(?=\w+=)", text)
    operation, _, kind = place.partition(":")
    options: dict[str, Any] = {}
    for option in given:
        name, _, value = option.partition("=")
        if name not in _READERS:
            raise ValueError(_unknown_option(name))
        try:
            options[name] = _READERS[name](value)
        except ValueError:
            raise ValueError(f"{name} must be a number, not {value[:40]!r}") from None
    for known in KINDS:
        if known == kind:
            return Fault(operation, known, **options)
    raise ValueError(_unknown_kind(kind))


def _check(operation: str, kind: str, options: FaultOptions) -> None:
    """Refuse what makes no fault.

    Raises:
        ValueError: Says what would be right.
    """
    if kind not in KINDS:
        raise ValueError(_unknown_kind(kind))
    if operation not in (ANY, UPLOAD) and operation not in BY_ID:
        near = difflib.get_close_matches(operation, [*BY_ID, UPLOAD])
        hint = " or ".join(near) if near else f"{ANY!r} is any; docs/operations.md lists them"
        raise ValueError(f"there is no operation {operation[:80]!r}: {hint}")
    for name in options:
        if name not in _READERS:
            raise ValueError(_unknown_option(name))
    if operation != ANY and (problem := _problem(operation, kind)):
        raise ValueError(f"{kind} {problem}, not {operation}")
    for name, kinds in _KINDS_BY_OPTION.items():
        if name in options and kind not in kinds:
            raise ValueError(f"{name} is for {' and '.join(kinds)}, not for {kind}")
    _check_numbers(options)


def _check_numbers(options: FaultOptions) -> None:
    if options.get("times", 1) < 1:
        raise ValueError("times must be at least 1")
    if not 0 < options.get("probability", 1.0) <= 1:
        raise ValueError("probability must be above 0 and at most 1")
    if not 400 <= options.get("status", DEFAULT_STATUS) <= 599:
        raise ValueError("status must be 400 to 599")
    if not 0 <= options.get("seconds", 0.0) < float("inf"):
        raise ValueError("seconds must be a number, at least 0")
    if not re.fullmatch(r"[\x21-\x7e][\x20-\x7e]*", str(options.get("retry_after", 0))):
        raise ValueError("retry_after must be seconds, or a date as HTTP writes it")


def _problem(operation: str, kind: str) -> str | None:
    """Why a kind can't strike requests for an operation."""
    described = BY_ID.get(operation)
    if kind == "preempt":
        return f"ends jobs, whatever the operation: write {ANY!r}"
    if kind == "expire_token" and not (described and described.authorization == "bearer"):
        return "is for operations that take a bearer token"
    if kind in _CHANGES_NEXT and not (described and described.is_listing):
        return "is for operations that list"
    return None


def _unknown_kind(kind: str) -> str:
    return f"there is no kind {kind[:80]!r}: kinds are {', '.join(KINDS)}"


def _unknown_option(name: str) -> str:
    return f"there is no {name[:80]!r}: options are {', '.join(_READERS)}"
