"""What keeps a project from being written at its source, whoever tries: triggers that refuse, on every table.

They are made beforehand, table by table, and call a function that lets all pass. To pause the project is to give the
function another body, for which nobody has to wait. Whoever takes a table's lock as a writer from then on meets the new
body, also in a transaction that began before: as it gets the lock, a session learns what was committed. Whoever had the
lock before keeps it until its transaction ends, and is waited for. So no late commit slips through, and nobody is held
up. While no project moves, there is no trigger.

Once the project has left, nobody who serves projects writes its rows here, for as long as they are kept.
"""

import time

import psycopg
from psycopg import sql

from app.domain.projects.moving.queue import OF_CONTROL
from app.domain.projects.moving.tables import Connection, Table
from app.platform.connections import SERVICE
from app.platform.moves import MOVING

JOBS, REPLIES = "procrastinate_jobs", "kept_reply"
LOCK_MILLISECONDS = 150
"""Longest wait for one table's lock: all who write to it wait behind."""
VACUUM_MILLISECONDS = 1300
"""So long one has to wait for a table before the server's own vacuum makes room."""

_VACUUMED = """
SELECT relname FROM pg_locks JOIN pg_class ON pg_class.oid = relation
WHERE locktype = 'relation' AND mode = 'ShareUpdateExclusiveLock' AND granted AND pid <> pg_backend_pid()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND relnamespace = to_regnamespace(current_schema()) AND relname = %s
"""
_WRITERS = """
SELECT DISTINCT virtualtransaction FROM pg_locks JOIN pg_class ON pg_class.oid = relation
WHERE locktype = 'relation' AND mode IN (
        'RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'
    ) AND granted AND pid IS DISTINCT FROM pg_backend_pid()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND relnamespace = to_regnamespace(current_schema()) AND relname = ANY(%s)
"""
_BUSY = """
SELECT EXISTS (
    SELECT FROM pg_locks JOIN pg_class ON pg_class.oid = relation JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted AND pid <> pg_backend_pid()
        AND database = datid AND datname = current_database()
        AND relnamespace = to_regnamespace(current_schema()) AND relname = ANY(%s)
        AND xact_start < clock_timestamp() - make_interval(secs => %s)
)
"""
_STILL = "SELECT EXISTS (SELECT FROM pg_locks WHERE virtualtransaction = ANY(%s))"
_REFUSE = f"RAISE EXCEPTION 'the project moves' USING ERRCODE = '{MOVING}', DETAIL = TG_ARGV[0];"
_LET = "IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW;"
BODIES = {
    "open": _LET,
    # The owner deletes what is old in all projects at once: it passes these rows over.
    "paused": f"IF TG_OP = 'DELETE' AND current_user <> '{SERVICE}' THEN RETURN NULL; END IF; {_REFUSE}",
    # Replies to what was done to keys, and jobs about the project, are the control database's: they go on.
    "left": f"IF current_user <> '{SERVICE}' OR TG_TABLE_NAME = '{REPLIES}' THEN {_LET} END IF;"
    f" IF TG_TABLE_NAME = '{JOBS}' AND to_jsonb(NEW) ->> 'task_name' IN {OF_CONTROL} THEN RETURN NEW; END IF;"
    f" {_REFUSE}",
}


class Guard:
    """The guard of one project in one database, on a connection of the owner."""

    def __init__(
        self, connection: Connection, tables: list[Table], project: int, *, with_jobs: bool = False
    ) -> None:
        self._connection = connection
        self._conditions = {
            table.name: {
                "INSERT OR UPDATE": f"NEW.project_id = {project}",
                "DELETE": f"OLD.project_id = {project}",
            }
            for table in tables
        }
        if with_jobs:
            self._conditions[JOBS] = {"INSERT": f"NEW.args ->> 'project' = '{project}'"}
        self._project = project
        self._name = f"moving_{project}"

    def make(self, seconds: float, *, refuse: bool = False) -> None:
        """Make function and triggers where they are missing; they let all pass, or refuse all."""
        self._become("paused" if refuse else "open")
        there = {row[0] for row in self._triggers()}
        for table in self._conditions:
            if table not in there:
                self._patiently(table, self._create(table), seconds)

    def is_busy(self, seconds: float = 0.5) -> bool:
        """Tell whether a transaction that writes has lasted for so long."""
        row = self._connection.execute(_BUSY, [list(self._conditions), seconds]).fetchone()
        return row is not None and bool(row[0])

    def pause(self, seconds: float) -> bool:
        """Refuse all writes of the project from now on; return whether all who wrote before have ended in time."""
        self._become("paused")
        rows = self._connection.execute(_WRITERS, [list(self._conditions)]).fetchall()
        writers, end = [row[0] for row in rows], time.monotonic() + seconds
        while writers:
            row = self._connection.execute(_STILL, [writers]).fetchone()
            if row is not None and not row[0]:
                break
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True

    def lift(self) -> None:
        """Let the project be written again; waits for nobody."""
        self._again("open")

    def refuse(self) -> None:
        """Refuse all writes from now on, but for what is under way."""
        self._again("paused")

    def close(self) -> None:
        """Let nobody who serves projects write here any more."""
        self._become("left")

    def remove(self, seconds: float) -> None:
        """Take function and triggers away, table by table."""
        for (table,) in self._triggers():
            drops = [
                sql.SQL("DROP TRIGGER IF EXISTS {} ON {}").format(
                    sql.Identifier(f"{self._name}_{n}"), sql.Identifier(table)
                )
                for n in range(2)
            ]
            self._patiently(table, sql.SQL("; ").join(drops), seconds)
        self._connection.execute(sql.SQL("DROP FUNCTION IF EXISTS {}").format(sql.Identifier(self._name)))

    def _patience_for(self, table: str) -> int:
        """Return how long to wait for a table's lock: longer where the server's own vacuum is to make room."""
        busy = self._connection.execute(_VACUUMED, [table]).fetchone()
        return LOCK_MILLISECONDS if busy is None else VACUUM_MILLISECONDS

    def _again(self, body: str) -> None:
        """Give the function another body, if it is there."""
        row = self._connection.execute("SELECT to_regproc(%s) IS NOT NULL", [self._name]).fetchone()
        if row is not None and row[0]:
            self._become(body)

    def _become(self, body: str) -> None:
        self._connection.execute(
            sql.SQL("CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql AS {}").format(
                sql.Identifier(self._name), sql.Literal(f"BEGIN {BODIES[body]} END")
            )
        )

    def _triggers(self) -> list[tuple[str]]:
        rows = self._connection.execute(
            "SELECT DISTINCT relname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
            " WHERE tgfoid = to_regproc(%s) ORDER BY relname",
            [self._name],
        ).fetchall()
        return [(str(name),) for (name,) in rows]

    def _create(self, table: str) -> sql.Composed:
        return sql.SQL("; ").join(
            sql.SQL(
                "CREATE TRIGGER {} BEFORE {} ON {} FOR EACH ROW WHEN ({}) EXECUTE FUNCTION {}({})"
            ).format(
                sql.Identifier(f"{self._name}_{n}"),
                sql.SQL(event),
                sql.Identifier(table),
                sql.SQL(condition),
                sql.Identifier(self._name),
                sql.Literal(str(self._project)),
            )
            for n, (event, condition) in enumerate(self._conditions[table].items())
        )

    def _patiently(self, table: str, statements: sql.Composed, seconds: float) -> None:
        """Run statements on a table in one transaction, again and again until its lock is free for a moment."""
        end = time.monotonic() + seconds
        while True:
            try:
                with self._connection.transaction():
                    self._connection.execute(f"SET LOCAL lock_timeout = {self._patience_for(table)}")
                    self._connection.execute(statements)
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                if time.monotonic() > end:
                    raise
                time.sleep(LOCK_MILLISECONDS / 1000)
            else:
                return
