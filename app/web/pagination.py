"""Keyset pages: a cursor is the sort key of the last row, so a page costs the same at any depth."""

import base64
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar

import orjson
from fastapi import Query
from pydantic import BaseModel, Field, TypeAdapter

from app.platform.errors import InvalidRequestError

Item = TypeVar("Item")
Key = TypeVar("Key")

Limit = Annotated[int, Query(ge=1, le=1000, description="Most items on the page")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before")]


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    items: list[Item] = Field(description="The items, in the order of the list")
    next_cursor: str | None = Field(description="Pass as `cursor` for the next page; null on the last")


def page(rows: Sequence[Any], limit: int, key: Callable[[Any], Any]) -> dict[str, Any]:
    """The page of the first `limit` rows; a query asks for one more, which tells that there is a next page."""
    shown = rows[:limit]
    more = len(rows) > limit
    return {"items": shown, "next_cursor": encode(key(shown[-1])) if more else None}


def encode(key: Any) -> str:
    """A sort key as an opaque text."""
    return base64.urlsafe_b64encode(orjson.dumps(key, default=str)).decode().rstrip("=")


def decode(cursor: str | None, key: TypeAdapter[Key]) -> Key | None:
    """The sort key in a cursor, or None where there is no cursor.

    Raises:
        InvalidRequestError: the text is no cursor of this list.
    """
    if cursor is None:
        return None
    try:
        return key.validate_json(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), strict=True)
    except ValueError as error:  # of base64 and of Pydantic
        raise InvalidRequestError(
            "The cursor is not one of this list.", [{"loc": ["query", "cursor"], "msg": "not a cursor"}]
        ) from error
