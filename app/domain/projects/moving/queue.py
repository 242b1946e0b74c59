"""Jobs of a project: parked while it is paused, carried over, and done at the target.

A parked job waits in a queue that no worker asks. What a worker is about to do, or was doing when the project was
paused, is done once more at the target: every task may be run twice.
"""

from collections.abc import Sequence

from app.domain.projects.moving.tables import Connection

PARKED = "moving "
_OF = "args ->> 'project' = %s"
_COLUMNS = "queue_name, task_name, priority, lock, queueing_lock, args, scheduled_at, attempts"


def park(connection: Connection, project: int) -> None:
    """Keep workers from the project's jobs that wait."""
    connection.execute(
        f"UPDATE procrastinate_jobs SET queue_name = '{PARKED}' || queue_name"
        f" WHERE status = 'todo' AND {_OF} AND NOT starts_with(queue_name, '{PARKED}')",
        [str(project)],
    )


def unpark(connection: Connection, project: int) -> None:
    """Let workers have them."""
    connection.execute(
        f"UPDATE procrastinate_jobs SET queue_name = substr(queue_name, {len(PARKED) + 1})"
        f" WHERE {_OF} AND starts_with(queue_name, '{PARKED}')",
        [str(project)],
    )


def waiting(connection: Connection, project: int) -> Sequence[tuple[object, ...]]:
    """Return the project's jobs that wait or are being done."""
    return connection.execute(
        f"SELECT replace(queue_name, '{PARKED}', ''), task_name, priority, lock, queueing_lock, args::text,"
        f" scheduled_at, attempts FROM procrastinate_jobs WHERE status IN ('todo', 'doing') AND {_OF} ORDER BY id",
        [str(project)],
    ).fetchall()


def put(connection: Connection, project: int, jobs: Sequence[tuple[object, ...]]) -> None:
    """Store jobs, parked, in place of those that were stored before."""
    with connection.transaction():
        delete(connection, project)
        connection.cursor().executemany(
            f"INSERT INTO procrastinate_jobs ({_COLUMNS})"
            f" VALUES ('{PARKED}' || %s, %s, %s, %s, %s, %s::jsonb, %s, %s) ON CONFLICT DO NOTHING",
            jobs,
        )


def delete(connection: Connection, project: int) -> int:
    """Delete the project's jobs that nobody is doing; return how many are being done."""
    connection.execute(f"DELETE FROM procrastinate_jobs WHERE status <> 'doing' AND {_OF}", [str(project)])
    row = connection.execute(f"SELECT count(*) FROM procrastinate_jobs WHERE {_OF}", [str(project)]).fetchone()
    return 0 if row is None else int(row[0])
