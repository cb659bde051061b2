"""Listings: what their pages have in common, and noticing one without an end."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from ..exceptions import HtcResponseError

if TYPE_CHECKING:
    from .._wire.answer import Page

# This many pages in a row that are empty, or only repeat earlier ones, are a listing without an
# end. A log may well have some: programs repeat themselves.
MAX_PAGES_WITHOUT_NEWS = 1000
# A listing that shifts while it is read repeats items of the pages just before. To keep the ids
# of all pages would take more memory than the pages.
_PAGES_KEPT = 5


class ListingGuard:
    """Drops items that a listing repeats, and notices a listing without an end.

    A listing that changes while it is read may repeat items on later pages. Only a listing that
    brings nothing new for many pages has no end.
    """

    def __init__(self, operation_id: str) -> None:
        self._operation_id = operation_id
        self._addresses: set[str] = set()
        self._pages: set[int] = set()
        self._ids: set[str] = set()
        self._ids_by_page: deque[set[str]] = deque()
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
        items = self._without_repeated(page) if page.ids else page.items
        is_news = bool(items) and self._is_unlike_earlier(page)
        self._without_news = 0 if is_news else self._without_news + 1
        if self._without_news > MAX_PAGES_WITHOUT_NEWS:
            raise HtcResponseError(
                f"{self._operation_id}: the listing has no end: it has had nothing new for many pages"
            )
        return items

    def _without_repeated(self, page: Page) -> list[Any]:
        items = page.items
        ids = set(page.ids)
        if len(ids) < len(page.ids) or not ids.isdisjoint(self._ids):
            by_id = dict(zip(page.ids, items, strict=True))
            items = [item for name, item in by_id.items() if name not in self._ids]
            ids -= self._ids
        self._ids |= ids
        self._ids_by_page.append(ids)
        if len(self._ids_by_page) > _PAGES_KEPT:
            self._ids -= self._ids_by_page.popleft()
        return items

    def _is_unlike_earlier(self, page: Page) -> bool:
        """Whether no earlier page had these ids, or began and ended with like items."""
        items = page.items
        likeness = hash(tuple(page.ids) or (len(items), str(items[0]), str(items[-1])))
        before = len(self._pages)
        self._pages.add(likeness)
        return len(self._pages) > before
