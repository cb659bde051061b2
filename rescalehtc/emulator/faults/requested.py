"""The faults of an emulator, the requests and jobs that they affect, and counts. No I/O."""

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
    "out_of_memory",
    "slow_start",
]
KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)
# These faults occur before the request is carried out.
BEFORE: Final[tuple[FaultKind, ...]] = ("status_before", "reset_before", "expire_token")
# These faults affect jobs, not requests.
OF_JOBS: Final[tuple[FaultKind, ...]] = ("preempt", "out_of_memory", "slow_start")
_CHANGES_NEXT: Final[tuple[FaultKind, ...]] = ("repeat_next", "foreign_next")

ANY: Final = "*"
UPLOAD: Final = "upload"
STORAGE: Final = "storage"
_OTHERS: Final = (UPLOAD, STORAGE)

DEFAULT_STATUS: Final = 503
DEFAULT_SECONDS: Final = 1.0


class FaultOptions(TypedDict, total=False):
    """The options of a fault; see `Emulator.fault`."""

    times: int
    probability: float
    seed: int
    status: int
    retry_after: int | str
    seconds: float
    field: str
    memory_mib: int


_KINDS_BY_OPTION: Final[Mapping[str, tuple[FaultKind, ...]]] = {
    "status": ("status_before", "status_after"),
    "retry_after": ("status_before", "status_after"),
    "seconds": ("delay", *OF_JOBS),
    "field": ("nulls", "unknown"),
    "memory_mib": ("out_of_memory",),
}
_READERS: Final[Mapping[str, Callable[[str], object]]] = {
    "times": int,
    "probability": float,
    "seed": int,
    "status": int,
    "retry_after": lambda text: int(text) if text.isdecimal() else text,
    "seconds": float,
    "field": str,
    "memory_mib": int,
}


class Fault:
    """A fault that `Emulator.fault` returned.

    As a context manager, it is removed at the end of the block.

    Attributes:
        operation: The id of the affected operation, or `*` for all.
        kind: The effect.
        options: The other arguments.
    """

    def __init__(self, operation: str, kind: FaultKind, **options: Unpack[FaultOptions]) -> None:
        _check(operation, kind, options)
        self.operation: Final = operation
        self.kind: Final[FaultKind] = kind
        self.options: Final[FaultOptions] = options
        self._lock = threading.Lock()
        self._random = random.Random(options.get("seed", 0))  # noqa: S311 - must be repeatable
        self._count = 0
        self._lifted = False

    def __repr__(self) -> str:
        options = "".join(f":{name}={value}" for name, value in self.options.items())
        return f"<Fault {self.operation}:{self.kind}{options}, count={self.count}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.lift()

    @property
    def count(self) -> int:
        """The number of affected requests or jobs."""
        return self._count

    @property
    def seconds(self) -> float:
        """The option `seconds`, or its default."""
        return self.options.get("seconds", DEFAULT_SECONDS)

    def lift(self) -> None:
        """Remove the fault."""
        with self._lock:
            self._lifted = True

    def is_over(self) -> bool:
        """Whether the fault was removed or has reached `times`."""
        return self._lifted or self._count >= self.options.get("times", float("inf"))

    def concerns(self, operation: str) -> bool:
        """Whether the fault affects requests for this operation.

        Args:
            operation: The operation's id.
        """
        if self.kind in OF_JOBS or self.operation not in (ANY, operation):
            return False
        return _problem(operation, self.kind) is None

    def strikes(self) -> bool:
        """Decide whether the fault occurs now, and count it."""
        with self._lock:
            if self.is_over() or self._random.random() >= self.options.get("probability", 1.0):
                return False
            self._count += 1
            return True


class Faults:
    """The faults of an emulator.

    At most one fault affects a request before it is carried out, and one after. If several faults
    match, the first one that was added applies.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Add a fault."""
        with self._lock:
            self._faults = [old for old in self._faults if not old.is_over()] + [fault]

    def strike_before(self, operation: str) -> Fault | None:
        """Return the fault that affects a request before it is carried out, and count it."""
        return self._first(operation, lambda fault: fault.kind in BEFORE)

    def strike_after(self, operation: str, applies: Callable[[FaultKind], bool]) -> Fault | None:
        """Return the fault that affects a request after it was carried out, and count it.

        Args:
            operation: The operation's id.
            applies: A function that returns whether a kind can be applied to the response.
        """
        return self._first(
            operation, lambda fault: fault.kind not in BEFORE and applies(fault.kind)
        )

    def _first(self, operation: str, may: Callable[[Fault], bool]) -> Fault | None:
        faults = (fault for fault in self._faults if fault.concerns(operation) and may(fault))
        return next((fault for fault in faults if fault.strikes()), None)

    def ends_job(
        self, seconds: float, memory_mib: int, exempt: set[Fault]
    ) -> Literal["preempted", "out_of_memory"] | None:
        """Decide whether a running job ends now. Each fault decides once per attempt.

        Args:
            seconds: The time since the start of the attempt.
            memory_mib: The memory of the job.
            exempt: The faults that have decided about this attempt. More are added.
        """
        for fault in self._of_jobs("preempt", "out_of_memory"):
            is_small = memory_mib < fault.options.get("memory_mib", float("inf"))
            if fault in exempt or fault.seconds > seconds or not is_small:
                continue
            exempt.add(fault)
            if fault.strikes():
                return "preempted" if fault.kind == "preempt" else "out_of_memory"
        return None

    def start_delay(self) -> float:
        """Decide how many seconds an attempt that begins now stays STARTING."""
        return max((f.seconds for f in self._of_jobs("slow_start") if f.strikes()), default=0.0)

    def _of_jobs(self, *kinds: FaultKind) -> Iterator[Fault]:
        return (f for f in self._faults if f.kind in kinds and not f.is_over())


def parse_fault(text: str) -> Fault:
    """Parse a fault, such as `submitJobs:reset_after:times=2`.

    Raises:
        ValueError: The string is invalid.
    """
    place, *parameters = re.split(r":(?=\w+=)", text)
    operation, _, kind = place.partition(":")
    options: dict[str, Any] = {}
    for option in parameters:
        name, _, value = option.partition("=")
        if name not in _READERS:
            raise ValueError(_unknown_option(name))
        try:
            options[name] = _READERS[name](value)
        except ValueError:
            raise ValueError(f"{name} must be a number, got {value[:40]!r}") from None
    for kind_ in KINDS:
        if kind_ == kind:
            return Fault(operation, kind_, **options)
    raise ValueError(_unknown_kind(kind))


def _check(operation: str, kind: str, options: FaultOptions) -> None:
    """Validate the arguments of a fault.

    Raises:
        ValueError: An argument is invalid. The message lists the valid values.
    """
    if kind not in KINDS:
        raise ValueError(_unknown_kind(kind))
    if operation not in (ANY, *_OTHERS) and operation not in BY_ID:
        near = difflib.get_close_matches(operation, [*BY_ID, *_OTHERS])
        hint = f"did you mean {' or '.join(near)}?" if near else "docs/operations.md lists them"
        raise ValueError(f"unknown operation {operation[:80]!r}; {hint}")
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
        raise ValueError("seconds must be a number of at least 0")
    if options.get("memory_mib", 1) < 1:
        raise ValueError("memory_mib must be at least 1")
    if not re.fullmatch(r"[\x21-\x7e][\x20-\x7e]*", str(options.get("retry_after", 0))):
        raise ValueError("retry_after must be a number of seconds or an HTTP date")


def _problem(operation: str, kind: str) -> str | None:
    """The reason why a kind can't affect an operation."""
    described = BY_ID.get(operation)
    if kind in OF_JOBS:
        return f"affects jobs: use the operation {ANY!r}"
    takes_token = operation == STORAGE or (described and described.authorization == "bearer")
    if kind == "expire_token" and not takes_token:
        return "is for operations that take a bearer token"
    if kind in _CHANGES_NEXT and not (described and described.is_listing):
        return "is for operations that list"
    return None


def _unknown_kind(kind: str) -> str:
    return f"unknown kind {kind[:80]!r}: kinds are {', '.join(KINDS)}"


def _unknown_option(name: str) -> str:
    return f"unknown option {name[:80]!r}: options are {', '.join(_READERS)}"
