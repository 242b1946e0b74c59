"""Jobs of a project: parked while it is paused, carried over, and done at the target.

A parked job waits in a queue that no worker asks. What a worker is about to do, or was doing when the project was
paused, is done once more at the target: every task may be run twice.
"""

from collections.abc import Sequence

from app.domain.access.audit.service import CARRY
from app.domain.projects.moving.tables import Connection
from app.domain.projects.service import DELETION, TELL

OF_CONTROL = (CARRY, DELETION, TELL)
"""Tasks that stay in the control database, though they are about a project that lives elsewhere."""
PARKED = "moving "
_OF = f"args ->> 'project' = %s AND task_name NOT IN {OF_CONTROL}"
_COLUMNS = "queue_name, task_name, priority, lock, queueing_lock, args, scheduled_at, attempts"
_PARK = f"""
UPDATE procrastinate_jobs SET queue_name = '{PARKED}' || queue_name
WHERE status = 'todo' AND {_OF} AND NOT starts_with(queue_name, '{PARKED}')
"""  # noqa: S608  (made of constants, as all of these)
_UNPARK = f"""
UPDATE procrastinate_jobs SET queue_name = substr(queue_name, {len(PARKED) + 1})
WHERE {_OF} AND starts_with(queue_name, '{PARKED}')
"""  # noqa: S608
_WAITING = f"""
SELECT replace(queue_name, '{PARKED}', ''), task_name, priority, lock, queueing_lock, args::text, scheduled_at, attempts
FROM procrastinate_jobs WHERE status IN ('todo', 'doing') AND {_OF} ORDER BY id
"""  # noqa: S608
_PUT = f"""
INSERT INTO procrastinate_jobs ({_COLUMNS}) VALUES ('{PARKED}' || %s, %s, %s, %s, %s, %s::jsonb, %s, %s)
ON CONFLICT DO NOTHING
"""  # noqa: S608
_DELETE = f"DELETE FROM procrastinate_jobs WHERE status <> 'doing' AND {_OF}"  # noqa: S608
_COUNT = f"SELECT count(*) FROM procrastinate_jobs WHERE {_OF}"  # noqa: S608


def park(connection: Connection, project: int) -> None:
    """Keep workers from the project's jobs that wait."""
    connection.execute(_PARK, [str(project)])


def unpark(connection: Connection, project: int) -> None:
    """Let workers have them."""
    connection.execute(_UNPARK, [str(project)])


def waiting(connection: Connection, project: int) -> Sequence[tuple[object, ...]]:
    """Return the project's jobs that wait or are being done."""
    return connection.execute(_WAITING, [str(project)]).fetchall()


def put(connection: Connection, project: int, jobs: Sequence[tuple[object, ...]]) -> None:
    """Store jobs, parked, in place of those that were stored before."""
    with connection.transaction():
        delete(connection, project)
        connection.cursor().executemany(_PUT, jobs)


def delete(connection: Connection, project: int) -> int:
    """Delete the project's jobs that nobody is doing; return how many are being done."""
    connection.execute(_DELETE, [str(project)])
    row = connection.execute(_COUNT, [str(project)]).fetchone()
    return 0 if row is None else int(row[0])
