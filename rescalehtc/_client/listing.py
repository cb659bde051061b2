"""Drop repeated items of listings, and detect listings without an end."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any

from .._facts import MAX_BATCH_SIZE
from ..exceptions import HtcResponseError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._wire.answer import Page

# A listing has no end after this many consecutive pages that are empty or repeat earlier ones. A
# log can have some, because programs print the same lines repeatedly.
MAX_PAGES_WITHOUT_NEWS = 1000
# The minimum number of batches to remember. Each takes about 120 bytes.
_PARENTS_KEPT = 50_000
_BITS = {str(index): 2 << index for index in range(MAX_BATCH_SIZE)}
_ENDS = [f":{index}" for index in _BITS]


class SeenIds:
    """The ids that a listing has returned so far, with one bit per job of a batch.

    The key of an id `<parent>:<index>` is the parent, and its bit is the index. The key of any
    other id is the id, and its bit is the first one.
    """

    def __init__(self) -> None:
        self._bits: dict[str, int] = {}
        self._earlier: dict[str, int] = {}

    def add(self, ids: Sequence[str]) -> set[int]:
        """Add ids, and return the positions of those that were added before."""
        repeated: set[int] = set() if self._has_added_run(ids) else self._add_each(ids)
        if len(self._bits) > _PARENTS_KEPT:
            self._bits, self._earlier = {}, self._bits
        return repeated

    def _add_each(self, ids: Sequence[str]) -> set[int]:
        repeated: set[int] = set()
        latest, bits = "", self._bits_of("")
        for position, (key, _, index) in enumerate(map(str.rpartition, ids, repeat(":"))):
            bit = _BITS.get(index)
            if bit is None or not key:
                key, bit = ids[position], 1
            if key != latest:
                self._bits[latest] = bits
                latest, bits = key, self._bits_of(key)
            if bits & bit:
                repeated.add(position)
            bits |= bit
        self._bits[latest] = bits
        return repeated

    def _has_added_run(self, ids: Sequence[str]) -> bool:
        """Add ids in one step if they are new and belong to consecutive jobs of a batch."""
        key, _, index = ids[0].rpartition(":") if ids else ("", "", "")
        if not key or index not in _BITS:
            return False
        first = int(index)
        if ids != [key + end for end in _ENDS[first : first + len(ids)]]:
            return False
        run, bits = ((1 << len(ids)) - 1) << (first + 1), self._bits_of(key)
        if bits & run:
            return False
        self._bits[key] = bits | run
        return True

    def _bits_of(self, key: str) -> int:
        return self._bits.get(key) or self._earlier.get(key, 0)


class ListingGuard:
    """Drops repeated items of a listing, and detects a listing without an end.

    A listing that changes while it is read may repeat items on later pages. It has no end if many
    consecutive pages have no new item.
    """

    def __init__(self, operation_id: str) -> None:
        self._operation_id = operation_id
        self._addresses: set[str] = set()
        self._pages: set[int] = set()
        self._ids = SeenIds()
        self._without_news = 0

    def new_items(self, page: Page, address: str) -> list[Any]:
        """Return the items of a page without those of earlier pages.

        Args:
            page: The page.
            address: The URL of the page.

        Raises:
            HtcResponseError: The listing has no end.
        """
        if address in self._addresses:
            raise HtcResponseError(
                f"{self._operation_id}: the listing has no end: a page names an earlier one as next"
            )
        self._addresses.add(address)
        items = page.items
        if repeated := self._ids.add(page.ids):
            items = [item for position, item in enumerate(items) if position not in repeated]
        is_news = bool(items) and page.likeness not in self._pages
        self._pages.add(page.likeness)
        self._without_news = 0 if is_news else self._without_news + 1
        if self._without_news > MAX_PAGES_WITHOUT_NEWS:
            raise HtcResponseError(
                f"{self._operation_id}: the listing has no end: nothing new for many pages"
            )
        return items
