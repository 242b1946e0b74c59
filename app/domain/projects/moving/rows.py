"""Rows of a project: copied from one database to the other, and compared."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from psycopg import sql

from app.domain.projects.moving.errors import MismatchError
from app.domain.projects.moving.tables import Connection, Key, Table, upto

CHUNK = 20_000
"""Rows that one transaction copies."""
ASKED = 5_000
"""Keys of one statement."""
Changes = Mapping[str, set[Key]]
"""Keys of changed rows by their table."""


@dataclass(frozen=True, slots=True)
class Sum:
    """What tells whether two sets of rows are the same."""

    rows: int
    digest: int


class Rows:
    """The rows of one project in two databases, each with a connection of its owner."""

    def __init__(self, source: Connection, target: Connection, tables: list[Table], project: int) -> None:
        self._source, self._target, self.tables = source, target, tables
        self._number, self._project = project, sql.Literal(project)
        self._staged: set[str] = set()

    def copy_chunk(self, table: Table, after: Key | None) -> Key | None:
        """Copy the rows behind a key; return the last one's key, None after the end.

        What is at the target already stays: if it changed since, that is told, and it is copied once more.
        """
        behind, last = upto(self._source, table, self._number, after, CHUNK)
        with self._target.transaction():
            self._stage(
                table, sql.SQL("SELECT {} FROM {} WHERE {}").format(table.listed(), table.named, behind)
            )
            self._insert(table, sql.SQL(" ON CONFLICT DO NOTHING"))
        return last

    def copy_again(self, changes: Changes) -> None:
        """Bring changed rows at the target to what they are at the source, whose transaction is open: all at once."""
        with self._target.transaction():
            for table in self.tables:
                keys = sorted(changes.get(table.name, ()))
                for n in range(0, len(keys), ASKED):
                    given = table.given(keys[n : n + ASKED])
                    self._target.execute(
                        sql.SQL("DELETE FROM {} AS row USING {} WHERE row.project_id = {} AND {}").format(
                            table.named, given, self._project, table.matches("row")
                        )
                    )
            for table in self.tables:
                keys = sorted(changes.get(table.name, ()))
                for n in range(0, len(keys), ASKED):
                    self._stage(table, self._of(table, keys[n : n + ASKED]))
                    self._insert(table, sql.SQL(""))

    def compare(self, table: Table, keys: Iterable[Key] | None = None) -> int:
        """Hold the rows of a table against each other, or those with some keys; return how many there are.

        Raises:
            MismatchError: they are not the same.
        """
        if keys is None:
            here, there = self._sum(self._source, table, None), self._sum(self._target, table, None)
            self._hold(table, here, there)
            return here.rows
        asked, rows = sorted(keys), 0
        for n in range(0, len(asked), ASKED):
            some = asked[n : n + ASKED]
            here, there = self._sum(self._source, table, some), self._sum(self._target, table, some)
            self._hold(table, here, there)
            rows += here.rows
        return rows

    @staticmethod
    def _hold(table: Table, here: Sum, there: Sum) -> None:
        if here != there:
            raise MismatchError(
                f"Table {table.name} is not the same in both databases:"
                f" {here.rows} rows at the source, {there.rows} at the target, or other contents."
            )

    def _sum(self, connection: Connection, table: Table, keys: list[Key] | None) -> Sum:
        if keys is None:
            connection.execute("SET enable_seqscan = on")  # see READS_ALL in app/platform/database.py
            rows = sql.SQL("SELECT {} FROM {} WHERE project_id = {}").format(
                table.listed(), table.named, self._project
            )
        else:
            rows = self._of(table, keys)
        row = connection.execute(
            sql.SQL(
                """SELECT count(*), coalesce(sum(hashtextextended(row::text COLLATE "C", 0)), 0) FROM ({}) AS row"""
            ).format(rows)
        ).fetchone()
        connection.execute("RESET enable_seqscan")
        assert row is not None  # noqa: S101  (an aggregate)
        return Sum(int(row[0]), int(row[1]))

    def _of(self, table: Table, keys: list[Key]) -> sql.Composed:
        return sql.SQL("SELECT {} FROM {} JOIN {} ON {} WHERE {} = {}").format(
            table.listed(table.name),
            table.named,
            table.given(keys),
            table.matches(table.name),
            sql.Identifier(table.name, "project_id"),
            self._project,
        )

    def _stage(self, table: Table, query: sql.Composed) -> None:
        """Copy what a query finds at the source into a table of the session: under policies no table is copied to."""
        stage = sql.Identifier(f"moving_{table.name}")
        if table.name not in self._staged:
            self._target.execute(
                sql.SQL(
                    "CREATE TEMP TABLE IF NOT EXISTS {} ON COMMIT DELETE ROWS AS SELECT {} FROM {} LIMIT 0"
                ).format(stage, table.listed(), table.named)
            )
            self._staged.add(table.name)
        else:
            self._target.execute(sql.SQL("DELETE FROM {}").format(stage))
        with (
            self._source.cursor().copy(sql.SQL("COPY ({}) TO STDOUT").format(query)) as found,
            self._target.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(stage)) as staged,
        ):
            for block in found:
                staged.write(block)

    def _insert(self, table: Table, rule: sql.SQL) -> None:
        self._target.execute(
            sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {}{}").format(
                table.named,
                table.listed(),
                table.listed(),
                sql.Identifier(f"moving_{table.name}"),
                rule,
            )
        )
