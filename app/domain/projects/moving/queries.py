"""SQL of moves in the control database: where each one is, and who is at it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from app.domain.access.keys.service import KEYS
from app.domain.projects.moving.tables import Connection, Key
from app.platform import advisory

COPYING, FOLLOWING, PAUSED, SWITCHED, LEFT, UNDOING = (
    "copying",
    "following",
    "paused",
    "switched",
    "left",
    "undoing",
)

_MOVES = """
SELECT move.project_id, project.name, project.created_at, source_id, target_id, source.name AS source,
    target.name AS target, source.url AS source_url, target.url AS target_url, step, progress, keep,
    project.deleting_since IS NOT NULL AS deleting, extract(epoch FROM now() - step_at)::float8 AS seconds, error
FROM project_move AS move JOIN project ON project.id = move.project_id
JOIN database AS source ON source.id = source_id JOIN database AS target ON target.id = target_id
"""


@dataclass(frozen=True, slots=True)
class MoveRecord:
    """A move, and how far it is."""

    project_id: int
    name: str
    created_at: datetime
    source_id: int
    target_id: int
    source: str
    target: str
    source_url: bytes | None
    target_url: bytes | None
    step: str
    progress: dict[str, list[str] | None]
    """The key of the last row that was copied, by table; None: all of it."""
    keep: timedelta
    """How long the old rows are kept."""
    deleting: bool
    """Whether somebody asked to delete the project."""
    seconds: float
    """For how long it has been at this step, or did not go on."""
    error: str | None


@dataclass(frozen=True, slots=True)
class Residence:
    """A project, and the database that it lives in."""

    project_id: int
    database_id: int
    deleting: bool


def take(control: Connection, project: int) -> bool:
    """Take a project's lock for the session, with which it goes; tell whether it was free."""
    row = control.execute("SELECT pg_try_advisory_lock(%s, %s)", [advisory.MOVES, project]).fetchone()
    return row is not None and bool(row[0])


def leave(control: Connection, project: int) -> None:
    """Give the lock back."""
    control.execute("SELECT pg_advisory_unlock(%s, %s)", [advisory.MOVES, project])


def end_holder(control: Connection, project: int) -> None:
    """End the session that holds a project's lock: with it, whoever hangs can switch nothing any more."""
    control.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND classid = %s AND objid = %s AND objsubid = 2 AND pid <> pg_backend_pid()",
        [advisory.MOVES, project],
    )


def residence(control: Connection, name: str) -> Residence | None:
    """Return a project by its name."""
    with control.cursor(row_factory=class_row(Residence)) as cursor:
        return cursor.execute(
            "SELECT id AS project_id, database_id, deleting_since IS NOT NULL AS deleting FROM project WHERE name = %s",
            [name],
        ).fetchone()


def database_named(control: Connection, name: str) -> tuple[int, bool] | None:
    """Return a database's id, and whether it is drained."""
    row = control.execute(
        "SELECT id, draining_since IS NOT NULL FROM database WHERE name = %s", [name]
    ).fetchone()
    return None if row is None else (int(row[0]), bool(row[1]))


def find(control: Connection, project: int) -> MoveRecord | None:
    """Return the move of a project."""
    with control.cursor(row_factory=class_row(MoveRecord)) as cursor:
        return cursor.execute(f"{_MOVES} WHERE move.project_id = %s", [project]).fetchone()


def all_moves(control: Connection) -> list[MoveRecord]:
    """Return all moves."""
    with control.cursor(row_factory=class_row(MoveRecord)) as cursor:
        return cursor.execute(f"{_MOVES} ORDER BY move.project_id").fetchall()


def begin(control: Connection, project: int, source: int, target: int, keep: timedelta) -> None:
    """Store a move that begins."""
    control.execute(
        "INSERT INTO project_move (project_id, source_id, target_id, step, keep) VALUES (%s, %s, %s, %s, %s)",
        [project, source, target, COPYING, keep],
    )


def step(control: Connection, project: int, name: str, error: str | None = None) -> None:
    """Store how far a move is."""
    control.execute(
        "UPDATE project_move SET step = %s, step_at = now(), error = %s WHERE project_id = %s",
        [name, error, project],
    )


def is_paused(control: Connection, project: int) -> bool:
    """Return whether a project's move is paused."""
    row = control.execute(
        "SELECT FROM project_move WHERE project_id = %s AND step = %s", [project, PAUSED]
    ).fetchone()
    return row is not None


def copied(control: Connection, project: int, table: str, upto: Key | None) -> None:
    """Store up to which key a table was copied; None: all of it."""
    control.execute(
        "UPDATE project_move SET progress = progress || %s, step_at = now() WHERE project_id = %s",
        [Jsonb({table: None if upto is None else list(upto)}), project],
    )


def begin_anew(control: Connection, project: int) -> None:
    """Forget what was copied."""
    control.execute(
        "UPDATE project_move SET progress = '{}', step = %s, step_at = now() WHERE project_id = %s",
        [COPYING, project],
    )


def switch(control: Connection, project: int) -> bool:
    """Let a project whose move is paused live at the target from this commit on; False: it may not, any more.

    All processes are told that what they remember of its keys, and so of where it lives, is old.
    """
    with control.transaction():
        moved = control.execute(
            "UPDATE project SET database_id = target_id FROM project_move AS move"
            " WHERE project.id = %s AND move.project_id = project.id AND step = %s AND deleting_since IS NULL",
            [project, PAUSED],
        )
        if not moved.rowcount:
            return False
        step(control, project, SWITCHED)
        control.execute("SELECT pg_notify(%s, %s)", [KEYS, str(project)])
    return True


def forget(control: Connection, project: int) -> None:
    """Delete a move that has ended, or was undone."""
    control.execute("DELETE FROM project_move WHERE project_id = %s", [project])
