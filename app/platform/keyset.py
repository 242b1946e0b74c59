"""Keyset pages in SQL: the rows behind a key, in the order of an index, so that a page costs the same at any depth."""

from collections.abc import Sequence

from sqlalchemy import SQLColumnExpression, tuple_

from app.platform.records import OneQuery


def page(
    query: OneQuery,
    order: Sequence[SQLColumnExpression[object]],
    key: tuple[object, ...] | None,
    limit: int | None,
    *,
    newest_first: bool = False,
) -> OneQuery:
    """Return the query of a page.

    Args:
        query: of all rows.
        order: columns that tell any two rows apart.
        key: their values in the last row of the page before; None: from the beginning.
        limit: most rows; None: all.
        newest_first: whether the greatest come first.
    """
    query = query.order_by(*(column.desc() if newest_first else column for column in order)).limit(limit)
    if key is None:
        return query
    place = tuple_(*order)
    return query.where(place < key if newest_first else place > key)
