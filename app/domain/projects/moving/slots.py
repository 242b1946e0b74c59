"""The publication and the slot of a move, at the source: a slot that is left keeps all log from then on."""

import time

import psycopg
from psycopg import sql

from app.domain.projects.moving.errors import MoveError
from app.domain.projects.moving.tables import Connection, Table

BEGIN_SECONDS = 300
"""Longest wait for the transactions that are under way when a slot is made."""
LET_GO_SECONDS = 10.0


class Slot:
    """Publication and slot of one project's move; a slot's name is one of the whole server."""

    def __init__(self, connection: Connection, project: int) -> None:
        self._connection = connection
        row = connection.execute("SELECT oid FROM pg_database WHERE datname = current_database()").fetchone()
        assert row is not None  # noqa: S101  (it is there: we are in it)
        self._project = project
        self.name = f"vouchers_move_{row[0]}_{project}"

    def is_whole(self) -> bool:
        """Tell whether both are there, and the source still has all log that the slot needs."""
        row = self._connection.execute(
            "SELECT wal_status IS DISTINCT FROM 'lost' AND EXISTS (SELECT FROM pg_publication WHERE pubname = %s)"
            " FROM pg_replication_slots WHERE slot_name = %s",
            [self.name, self.name],
        ).fetchone()
        return row is not None and bool(row[0])

    def make(self, tables: list[Table]) -> None:
        """Make both: from now on the changes of the project are kept, until they are confirmed.

        Raises:
            MoveError: others' transactions last too long.
        """
        published = sql.SQL(", ").join(
            sql.SQL("{} (project_id, {}) WHERE (project_id = {})").format(
                table.named, table.keys(), sql.Literal(self._project)
            )
            for table in tables
        )
        self._connection.execute(
            sql.SQL("CREATE PUBLICATION {} FOR TABLE {}").format(sql.Identifier(self.name), published)
        )
        try:
            with self._connection.transaction():
                self._connection.execute(f"SET LOCAL statement_timeout = '{BEGIN_SECONDS}s'")
                self._connection.execute(
                    "SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [self.name]
                )
        except psycopg.errors.QueryCanceled:
            raise MoveError(
                f"A transaction at the source has lasted for more than {BEGIN_SECONDS} s: begin again later."
            ) from None
        self._wait_for_others()

    def drop(self) -> None:
        """Drop both, where they are there, and end whoever follows."""
        self.free()
        self._connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s",
            [self.name],
        )
        self._connection.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(self.name)))

    def free(self) -> None:
        """End a session that follows the slot still: of a process that is gone.

        Raises:
            MoveError: it does not end.
        """
        end = time.monotonic() + LET_GO_SECONDS
        while self._connection.execute(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
            " WHERE slot_name = %s AND active_pid IS NOT NULL",
            [self.name],
        ).fetchone():
            if time.monotonic() > end:
                raise MoveError(f"Replication slot {self.name} is in use, and its session does not end.")
            time.sleep(0.1)

    def _wait_for_others(self) -> None:
        """Wait until all that is not told, for it was under way, can be read: a commit is logged before it is seen."""
        latest = self._snapshot("xmax")
        end = time.monotonic() + BEGIN_SECONDS
        while self._snapshot("xmin") < latest:
            if time.monotonic() > end:
                raise MoveError("A transaction at the source lasts too long: begin again later.")
            time.sleep(0.05)

    def _snapshot(self, bound: str) -> int:
        row = self._connection.execute(f"SELECT pg_snapshot_{bound}(pg_current_snapshot())::text").fetchone()
        assert row is not None  # noqa: S101  (a function)
        return int(row[0])
