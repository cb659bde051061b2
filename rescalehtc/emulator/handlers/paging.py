"""Pages of listings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from ..._facts import DEFAULT_PAGE_SIZE, PAGE_SIZE
from .answers import json_response
from .request import read_number

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from starlette.responses import Response

    from ..store import Row
    from .request import ApiRequest

# Greater than the number of any row.
MAX_ROW_NUMBER: Final = 1 << 62


def read_page_query(request: ApiRequest) -> tuple[int, int]:
    """Return the size of the requested page, and the number of the row before it."""
    size = read_number(request, "pageSize") or DEFAULT_PAGE_SIZE
    return min(size, PAGE_SIZE), read_number(request, "pageIndex") or 0


def page_response(
    request: ApiRequest, rows: Sequence[Row], size: int, *, repeated: Collection[str] = ()
) -> Response:
    """Return the response with a page.

    Args:
        request: The request.
        rows: The rows of the page, and one more if another page follows.
        size: The page size.
        repeated: The query parameters that may be repeated.
    """
    items = ",".join(row.text for row in rows[:size])
    if len(rows) <= size:
        return json_response(f'{{"items":[{items}]}}')
    # If another parameter is repeated, pass it only once.
    query = [(name, value) for name in repeated for value in request.query.getlist(name)]
    query += [(n, v) for n, v in request.query.items() if n not in (*repeated, "pageIndex")]
    query.append(("pageIndex", str(rows[size - 1].number)))
    path = quote(request.http.url.path, safe="/:")
    following = f"{request.origin}{path}?{urlencode(query)}"
    return json_response(f'{{"items":[{items}],"next":{json.dumps(following)}}}')
