"""The ends of a move: what the target needs besides the rows, what the source keeps, and how all is taken back."""

import time
from collections.abc import Callable
from contextlib import suppress

import psycopg
from psycopg import sql

from app.domain.projects.moving import queries, queue, tables
from app.domain.projects.moving.ends import Source, Target, writer
from app.domain.projects.moving.guard import REPLIES
from app.domain.projects.moving.queries import FOLLOWING, LEFT, MoveRecord
from app.domain.projects.moving.tables import Connection
from app.platform.databases import MAIN

AHEAD = 100_000
"""By so much the target's numbers begin behind those that came: others count on meanwhile."""
DOING_SECONDS = 10.0
"""Longest wait for the source's workers to find out that a job is not theirs any more."""
TRIGGER_SECONDS = 20.0
"""Longest wait for each table's lock; what is left is taken away another time."""
OWN_NUMBERS = ("pool_id_seq",)
"""Sequences of which each database has a range of its own: what they number must not collide between projects."""

_NUMBERS = """
SELECT sequencename, last_value FROM pg_sequences
WHERE schemaname = current_schema() AND NOT starts_with(sequencename, 'procrastinate')
    AND sequencename NOT IN ('project_id_seq', 'database_id_seq') AND sequencename <> ALL (%s)
    AND last_value IS NOT NULL
"""
_HORIZON = """
INSERT INTO horizon (at) VALUES (%s) ON CONFLICT (id) DO UPDATE SET at = greatest(horizon.at, excluded.at)
"""
_MOMENT = "SELECT greatest(clock_timestamp(), (SELECT at FROM horizon))"


def prepare(source: Source, target: Target, project: int) -> None:
    """Let what happens at the target bear later numbers and times than what came, and give it the jobs, parked."""
    for name, last in source.connection.execute(_NUMBERS, [list(OWN_NUMBERS)]).fetchall():
        target.connection.execute(
            sql.SQL("SELECT setval({}::regclass, %s) FROM {} WHERE last_value < %s").format(
                sql.Literal(f'"{name}"'), sql.Identifier(name)
            ),
            [last + AHEAD, last + 1],
        )
    moment = source.connection.execute(_MOMENT).fetchone()
    assert moment is not None  # noqa: S101  (a function)
    target.connection.execute(_HORIZON, [moment[0]])
    target.guard.lift()
    queue.put(target.connection, project, queue.waiting(source.connection, project))


def lift(control: Connection, project: int, source: Source, target: Target | None) -> None:
    """Let the source serve the project as before. Where it cannot be reached, whoever comes next does.

    Nothing is done unless the move is paused still, nor where the control database cannot say so: if the answer to the
    switch was lost, the project may live at the target, and two databases would take its writes.
    """
    if not queries.is_paused(control, project):
        return
    source.guard.lift()
    queue.unpark(source.connection, project)
    queries.step(control, project, FOLLOWING)
    if target is not None:
        with suppress(
            psycopg.OperationalError
        ):  # what it would keep away does not come: nobody is sent there
            target.guard.refuse()


def arrive(control: Connection, move: MoveRecord, target: Target) -> None:
    """Let the target do all of the project's work, once it lives there; can be done again."""
    project = move.project_id
    move = queries.find(control, project) or move  # it may have another name by now
    if move.target_id != MAIN:
        target.connection.execute(
            "UPDATE project SET name = 'project-' || id WHERE name = %s AND id <> %s", [move.name, project]
        )
        target.connection.execute(
            "INSERT INTO project (id, name, created_at) OVERRIDING SYSTEM VALUE VALUES (%s, %s, %s)"
            " ON CONFLICT (id) DO UPDATE SET name = excluded.name",
            [project, move.name, move.created_at],
        )
    queue.unpark(target.connection, project)


def finish(control: Connection, move: MoveRecord, source: Source, target: Target) -> None:
    """Do what is left once the project has arrived; can be done again."""
    project = move.project_id
    source.guard.close()
    source.slot.drop()
    if move.source_id != MAIN:
        source.connection.execute("DELETE FROM project WHERE id = %s", [project])
    end = time.monotonic() + DOING_SECONDS
    while queue.delete(source.connection, project) and time.monotonic() < end:
        time.sleep(0.2)
    target.guard.remove(TRIGGER_SECONDS)
    queries.step(control, project, LEFT)


def clear(
    control: Connection, move: MoveRecord, source: Source, is_over: Callable[[], bool] = lambda: False
) -> None:
    """Delete the old rows at the source, in small batches, and end the move; `is_over` leaves it to another time."""
    kept = REPLIES if move.source_id == MAIN else None  # an hourly job forgets them
    doomed = [table for table in source.tables if table.name != kept]
    if not tables.empty(source.connection, doomed, move.project_id, is_over):
        return
    queue.delete(source.connection, move.project_id)
    source.guard.remove(TRIGGER_SECONDS)
    queries.forget(control, move.project_id)


def undo_source(source: Source, project: int) -> None:
    """Leave nothing of the move at the source, which serves the project."""
    source.guard.lift()
    queue.unpark(source.connection, project)
    source.slot.drop()
    source.guard.remove(TRIGGER_SECONDS)


def undo_target(target: Target, project: int) -> None:
    """Leave nothing of the project at the target."""
    target.guard.refuse()
    queue.delete(target.connection, project)
    with writer(target, project) as connection:
        tables.empty(connection, target.tables, project)
    target.guard.remove(TRIGGER_SECONDS)
