"""The tables that move with a project, as the databases describe them."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from app.domain.projects.moving.errors import MoveError
from app.schema.projects import tables_of_projects

Connection = psycopg.Connection[TupleRow]
Key = tuple[str, ...]
"""The primary key of a row, as texts; the project is left out."""

_COLUMNS = """
SELECT relname, attname, format_type(atttypid, atttypmod), attgenerated = '',
    array_position(indkey::smallint[], attnum)
FROM pg_class
JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_index ON indrelid = pg_class.oid AND indisprimary
WHERE relnamespace = to_regnamespace(current_schema()) AND relname = ANY(%s) ORDER BY relname, attnum
"""
_FIRST = "project_id"


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose rows belong to projects."""

    name: str
    columns: tuple[str, ...]
    """Those that are stored; what the database works out from others is left to it."""
    key: tuple[tuple[str, str], ...]
    """Names and types of the primary key's columns behind the project, which leads it."""

    @property
    def named(self) -> sql.Identifier:
        """Return the name, quoted."""
        return sql.Identifier(self.name)

    def listed(self, of: str | None = None) -> sql.Composed:
        """Return the columns as a list, each of `of` where that is given."""
        names = (sql.Identifier(name) if of is None else sql.Identifier(of, name) for name in self.columns)
        return sql.SQL(", ").join(names)

    def keys(self) -> sql.Composed:
        """Return the columns of the key as a list."""
        return sql.SQL(", ").join(sql.Identifier(name) for name, _ in self.key)

    def given(self, keys: list[Key]) -> sql.Composed:
        """Return keys as a table `given`, whose columns are named as the key's are."""
        lists = sql.SQL(", ").join(
            sql.SQL("{}::text[]::{}[]").format(sql.Literal([key[n] for key in keys]), sql.SQL(kind))
            for n, (_, kind) in enumerate(self.key)
        )
        return sql.SQL("unnest({}) AS given ({})").format(lists, self.keys())

    def matches(self, of: str) -> sql.Composed:
        """Return the condition that a row's key is among those `given`."""
        return sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier(of, name), sql.Identifier("given", name))
            for name, _ in self.key
        )


def read(connection: Connection) -> list[Table]:
    """Return the tables of projects, those that others refer to first.

    Raises:
        MoveError: one has no primary key that begins with the project, so that its changes cannot be followed.
    """
    names = tables_of_projects()
    found: dict[str, list[TupleRow]] = {name: [] for name in names}
    for row in connection.execute(_COLUMNS, [names]):
        found[row[0]].append(row)
    tables = []
    for name, rows in found.items():
        key = sorted((row[4], row[1], row[2]) for row in rows if row[4] is not None)
        if not key or key[0][1] != _FIRST:
            raise MoveError(f"Table {name} has no primary key that begins with {_FIRST}.")
        columns = tuple(row[1] for row in rows if row[3])
        tables.append(Table(name, columns, tuple((column, kind) for _, column, kind in key[1:])))
    return tables


def has_rows(connection: Connection, tables: list[Table], project: int) -> bool:
    """Tell whether any table has rows of a project."""
    asked = sql.SQL(" OR ").join(
        sql.SQL("EXISTS (SELECT FROM {} WHERE project_id = {})").format(table.named, project)
        for table in tables
    )
    row = connection.execute(sql.SQL("SELECT {}").format(asked)).fetchone()
    return row is not None and bool(row[0])


def upto(
    connection: Connection, table: Table, project: int, after: Key | None, rows: int
) -> tuple[sql.Composed, Key | None]:
    """Return the condition of so many rows of a project behind a key, and the last one's key; None after the end."""
    behind = sql.SQL("project_id = {}").format(sql.Literal(project))
    if after is not None:
        behind += sql.SQL(" AND ({}) > ({})").format(table.keys(), _literal(table, after))
    last = connection.execute(
        sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY {} OFFSET {} LIMIT 1").format(
            sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name, _ in table.key),
            table.named,
            behind,
            table.keys(),
            sql.Literal(rows - 1),
        )
    ).fetchone()
    if last is not None:
        behind += sql.SQL(" AND ({}) <= ({})").format(table.keys(), _literal(table, last))
    return behind, last


def empty(
    connection: Connection,
    tables: list[Table],
    project: int,
    is_over: Callable[[], bool] = lambda: False,
    rows: int = 5_000,
) -> bool:
    """Delete all rows of a project, those that refer to others first; return whether it was all of them.

    Args:
        connection: of the owner.
        tables: which.
        project: the project's id.
        is_over: tells whether to leave the rest to another time.
        rows: how many a transaction deletes, in the order of their key.
    """
    for table in reversed(tables):
        after: Key | None = None
        while True:
            began = time.monotonic()
            which, after = upto(connection, table, project, after, rows)
            connection.execute(sql.SQL("DELETE FROM {} WHERE {}").format(table.named, which))
            if is_over():
                return False
            if after is None:
                break
            time.sleep(time.monotonic() - began)  # as long as it took: others have the half of the disk
    return True


def _literal(table: Table, key: Key) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{}::{}").format(sql.Literal(value), sql.SQL(kind))
        for value, (_, kind) in zip(key, table.key, strict=True)
    )
