"""The job queue: procrastinate, in the same database, so that a job and the rows it is about commit together.

A job that is queued in a project bears its number among its arguments, and is run in that project; its task need not
know of it. What the clock starts is of no project: it looks which have something due (`sweeping.each_due`).
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import LiteralString, cast

import structlog
from procrastinate import App, JobContext, PsycopgConnector, periodic, utils
from procrastinate.tasks import ConfigureTaskOptions
from procrastinate.types import JSONValue
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.platform.clock import clock
from app.platform.logs import project_id
from app.platform.metrics import Reading
from app.platform.projects import DEFAULT, of_project, project_of
from app.platform.settings import Settings

URGENT = "urgent"
"""Queue of what is due within seconds. It has places of its own, which no long import can take."""


SWEEPS = "sweeps"
"""Queue of what the clock starts: short, and never behind a long job."""
FETCHES = "fetches"
"""Queue of imports whose source is fetched: they wait for foreign hosts; uploads do not wait for them."""
LONG = "default"
"""Queue of everything else: imports of uploads, replays, bulk changes, a project's move or deletion, `forget_old`."""
PROJECT = "project"
"""Argument of each job that was queued in a project."""
BY_THE_CLOCK = "timestamp"
"""Argument of each job that the clock queues, in no project."""

# The queue tells its database times of the machine's clock: when a periodic task is due, and when to try again.
periodic.time = SimpleNamespace(time=clock.timestamp)  # type: ignore[attr-defined,assignment]
utils.utcnow = clock.now

log = structlog.get_logger()
jobs = App(connector=PsycopgConnector())


async def enqueue(
    connection: AsyncConnection,
    task: str,
    *,
    queue: str | None = None,
    lock: str | None = None,
    later: timedelta | None = None,
    **arguments: JSONValue,
) -> None:
    """Enqueue a task in the transaction of `connection`: it runs once that has committed, and not if it is undone.

    It runs in the project of the connection.

    Args:
        connection: of the transaction that causes the job.
        task: the name under which a room's `tasks` registers it; the caller need not import it.
        queue: where it waits, if not in the default queue.
        lock: of jobs of the project with the same lock one runs at a time.
        later: how long it waits before it is due.
        arguments: what the task takes, as JSON.

    Raises:
        ProjectUnsetError: the connection is of no project.
    """
    project = project_of(connection)
    raw = await connection.get_raw_connection()
    options: ConfigureTaskOptions = {"connection": raw.driver_connection}
    if queue is not None:
        options["queue"] = queue
    if lock is not None:
        options["lock"] = f"{lock}/{project}"
    if later is not None:
        options["schedule_in"] = {"seconds": int(later.total_seconds())}
    await jobs.configure_task(task, **options).defer_async(**arguments, **{PROJECT: project})


LEFT_SECONDS = 60
"""What is of this age, has not ended and has no job was left behind: a command line does its own, and may be killed."""


def left_behind(table: LiteralString, argument: LiteralString) -> LiteralString:
    """Return SQL: whether what a row of a table stands for may have been left behind.

    Args:
        table: has `id`, `status` (`queued` and `running` are those that have not ended) and `created_at`.
        argument: under which its jobs bear the id.
    """
    return f"""(
        {table}.status IN ('queued', 'running')
        AND {table}.created_at < now() - make_interval(secs => {LEFT_SECONDS})
        AND NOT EXISTS (
            SELECT FROM procrastinate_jobs AS job
            WHERE job.status IN ('todo', 'doing') AND job.args ->> '{argument}' = {table}.id::text
        )
    )"""


_WAITING = text("""
SELECT waiting.queue_name AS queue, waiting.n,
    EXTRACT(epoch FROM now() - (SELECT min(at) FROM procrastinate_events WHERE job_id = waiting.first))::float AS age
FROM (
    SELECT queue_name, count(*) AS n, min(id) AS first FROM procrastinate_jobs
    WHERE status = 'todo' AND (scheduled_at IS NULL OR scheduled_at <= now()) GROUP BY queue_name
) AS waiting
""")
_FAILED = text("SELECT count(*) FROM procrastinate_jobs WHERE status = 'failed'")
_ALIVE = text("""
SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat > now() - make_interval(secs => :seconds)
""")
ALIVE_SECONDS = 15
"""A worker silent for so long is taken for gone."""


async def workers_alive(connection: AsyncConnection) -> int:
    """Return how many runners of jobs are alive: one a queue for each worker."""
    return int((await connection.execute(_ALIVE, {"seconds": ALIVE_SECONDS})).scalar_one())


async def state(connection: AsyncConnection) -> list[Reading]:
    """Return how many jobs wait, for how long, how many failed, and how many workers are alive."""
    queues = (URGENT, SWEEPS, FETCHES, LONG)
    rows = {row.queue: row for row in (await connection.execute(_WAITING)).all()}
    alive = await workers_alive(connection)
    failed = (await connection.execute(_FAILED)).scalar_one()
    waiting = {queue: rows[queue].n if queue in rows else 0 for queue in queues}
    oldest = {queue: (rows[queue].age or 0.0) if queue in rows else 0.0 for queue in queues}
    return [
        Reading("vouchers_jobs_waiting", "Jobs that are due and have not begun", waiting),
        Reading("vouchers_job_oldest_seconds", "How long ago the oldest of these was queued", oldest),
        Reading("vouchers_jobs_failed", "Jobs that were given up and are kept for a look", failed),
        Reading("vouchers_workers", "Runners of jobs that are alive: one a queue for each worker", alive),
    ]


async def in_its_project(
    run: Callable[[], Awaitable[object]], context: JobContext, _worker: object
) -> object:
    """Run a job in the project that it was queued in; what the release before has queued is of `default`.

    The worker calls this around each job.
    """
    arguments = context.job.task_kwargs
    project = cast("int", arguments.pop(PROJECT, DEFAULT))
    if BY_THE_CLOCK in arguments:
        return await run()
    context.additional_context[PROJECT] = project
    token = project_id.set(project)
    try:
        return await run()
    finally:
        project_id.reset(token)


def engine_of(context: JobContext) -> AsyncEngine:
    """Return the engine of the job's project; of what the clock starts it is one of none, for `each_due`."""
    engine: AsyncEngine = context.additional_context["engine"]
    if PROJECT in context.additional_context:
        return of_project(engine, project_of_job(context))
    return engine


def project_of_job(context: JobContext) -> int:
    """Return the project that a job was queued in."""
    return cast("int", context.additional_context[PROJECT])


def settings_of(context: JobContext) -> Settings:
    """Return the settings of the worker."""
    settings: Settings = context.additional_context["settings"]
    return settings
