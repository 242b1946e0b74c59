"""Keyset pages: a cursor is the sort key of the last row, so a page costs the same at any depth.

A sort key may hold a code: cursors are sealed, and tell nothing to who reads them.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Annotated, Generic, TypedDict, TypeVar
from urllib.parse import quote, urlencode

import orjson
from fastapi import Query, Request, Response
from pydantic import BaseModel, Field, TypeAdapter

from app.platform.errors import InvalidRequestError
from app.platform.sealing import text_sealer
from app.platform.settings import get_settings

Item = TypeVar("Item")
Other = TypeVar("Other")
Key = TypeVar("Key")

_PURPOSE = "cursor"
_next: ContextVar[str | None] = ContextVar("next_cursor", default=None)
"""The cursor that the reply under way tells."""

Limit = Annotated[int, Query(ge=1, le=1000, description="Most items on the page")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before")]


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    items: list[Item] = Field(description="The items, in the order of the list")
    next_cursor: str | None = Field(description="Pass as `cursor` for the next page; null on the last")


class Listed(TypedDict, Generic[Item]):
    """A page of a list before it goes over the wire."""

    items: Sequence[Item]
    next_cursor: str | None


def page(rows: Sequence[Item], limit: int, key: Callable[[Item], object]) -> Listed[Item]:
    """Return the page of the first `limit` rows; a query asks for one more, which tells that there is a next page."""
    items = rows[:limit]
    more = len(rows) > limit
    return {"items": items, "next_cursor": encode(key(items[-1])) if more else None}


def each(listed: Listed[Item], change: Callable[[Item], Other]) -> Listed[Other]:
    """Return the page with each item changed."""
    return {"items": [change(item) for item in listed["items"]], "next_cursor": listed["next_cursor"]}


def encode(key: object) -> str:
    """Seal a sort key as a cursor."""
    cursor = text_sealer(get_settings()).seal(orjson.dumps(key, default=str), _PURPOSE)
    _next.set(cursor)
    return cursor


def begin() -> None:
    """Forget the page of a request before."""
    _next.set(None)


def link(request: Request, response: Response) -> None:
    """Write on a reply where the next page is (RFC 8288), if the request has turned one."""
    cursor = _next.get()
    if cursor is not None:
        query = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
        page = quote(request.scope["raw_path"], safe="/%:@!$&'()*+,;=")  # as it was asked for
        address = f"{page}?{urlencode([*query, ('cursor', cursor)])}"
        response.headers["Link"] = f'<{address}>; rel="next"'


def decode(cursor: str | None, key: TypeAdapter[Key]) -> Key | None:
    """Return the sort key in a cursor, or None where there is no cursor.

    Raises:
        InvalidRequestError: the text is no cursor of this list.
    """
    if cursor is None:
        return None
    try:
        return key.validate_json(text_sealer(get_settings()).open(cursor, _PURPOSE), strict=True)
    except (
        ValueError
    ):  # of the seal and of Pydantic, whose message would tell the key: it is not kept as a cause
        raise InvalidRequestError(
            "The cursor is not one of this list.", [{"loc": ["query", "cursor"], "msg": "not a cursor"}]
        ) from None
