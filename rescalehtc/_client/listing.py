"""Listings: what their pages have in common, and noticing one without an end."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any

from .._facts import MAX_BATCH_SIZE
from ..exceptions import HtcResponseError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._wire.answer import Page

# This many pages in a row that are empty, or only repeat earlier ones, are a listing without an
# end. A log may well have some: programs repeat themselves.
MAX_PAGES_WITHOUT_NEWS = 1000
# How many parents of jobs are remembered at least. Each takes about 120 bytes.
_PARENTS_KEPT = 50_000
_BITS = {str(index): 2 << index for index in range(MAX_BATCH_SIZE)}
_ENDS = [f":{index}" for index in _BITS]


class SeenIds:
    """Exactly which ids a listing had, in a bit for each job of a batch.

    An id is a key and a bit: `<parent>:<index>` is the parent and the bit of the index, any other
    id is itself and the first bit.
    """

    def __init__(self) -> None:
        self._bits: dict[str, int] = {}
        self._earlier: dict[str, int] = {}

    def add(self, ids: Sequence[str]) -> set[int]:
        """Remember ids; return the positions of those that are known already."""
        known: set[int] = set() if self._has_added_run(ids) else self._add_each(ids)
        if len(self._bits) > _PARENTS_KEPT:
            self._bits, self._earlier = {}, self._bits
        return known

    def _add_each(self, ids: Sequence[str]) -> set[int]:
        known: set[int] = set()
        latest, bits = "", self._bits_of("")
        for position, (key, _, index) in enumerate(map(str.rpartition, ids, repeat(":"))):
            bit = _BITS.get(index)
            if bit is None or not key:
                key, bit = ids[position], 1
            if key != latest:
                self._bits[latest] = bits
                latest, bits = key, self._bits_of(key)
            if bits & bit:
                known.add(position)
            bits |= bit
        self._bits[latest] = bits
        return known

    def _has_added_run(self, ids: Sequence[str]) -> bool:
        """Remember ids if they are those of consecutive jobs of a batch, and all new: faster."""
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
    """Drops items that a listing repeats, and notices a listing without an end.

    A listing that changes while it is read may repeat items on later pages. Only a listing that
    brings nothing new for many pages has no end.
    """

    def __init__(self, operation_id: str) -> None:
        self._operation_id = operation_id
        self._addresses: set[str] = set()
        self._pages: set[int] = set()
        self._ids = SeenIds()
        self._without_news = 0

    def new_items(self, page: Page, address: str) -> list[Any]:
        """Return the items of a page that the pages before it did not have.

        Args:
            page: The page.
            address: Where it was fetched from.

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
                f"{self._operation_id}: the listing has no end: it has had nothing new for many pages"
            )
        return items
