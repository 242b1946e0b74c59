"""Rows of a statement as records: each column under the field of its name, each record of a declared type."""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import CompoundSelect, CursorResult, Result, Row, Select

Record = TypeVar("Record")
Query: TypeAlias = Select[*tuple[Any, ...]] | CompoundSelect[*tuple[Any, ...]]  # type: ignore[explicit-any]  # the columns of any query
OneQuery: TypeAlias = Select[*tuple[Any, ...]]  # type: ignore[explicit-any]  # as above
AnyRow: TypeAlias = Row[*tuple[Any, ...]]  # type: ignore[explicit-any]  # its columns are not known
"""A row that stays in the file which read it."""
Kind = Callable[..., Record]  # type: ignore[explicit-any]  # a dataclass: its fields are not known here
Rows = CursorResult[Any] | Result[Any]  # type: ignore[explicit-any]  # the columns of any statement


def all_of(rows: Rows, kind: Kind[Record]) -> list[Record]:
    """Return every row as a record."""
    return [kind(**row) for row in rows.mappings()]


def one_of(rows: Rows, kind: Kind[Record]) -> Record:
    """Return the only row as a record."""
    return kind(**rows.mappings().one())


def any_of(rows: Rows, kind: Kind[Record]) -> Record | None:
    """Return the only row as a record, or None where there is none."""
    row = rows.mappings().one_or_none()
    return None if row is None else kind(**row)
