"""Keyset pages in SQL: the rows behind a key, in the order of an index, so that a page costs the same at any depth."""

from collections.abc import Sequence

from sqlalchemy import Integer, SQLColumnExpression, literal_column, tuple_

from app.platform.records import OneQuery

MOST_READ = 3_000
"""Most rows that are read of an index for a page, where no index serves all of a filter."""


def at_most(rows: int) -> SQLColumnExpression[int]:
    """Return a LIMIT for rows that others are joined to.

    It is written into the statement: plans are made without the values of parameters (`connections.py`), and one that
    does not know the LIMIT takes it for a tenth of the table, and would join ten million rows to it.
    """
    return literal_column(str(rows), Integer)


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
