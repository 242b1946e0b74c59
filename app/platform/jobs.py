"""The job queue: procrastinate, in the same database, so that a job and the rows it is about commit together."""

import structlog
from procrastinate import App, JobContext, PsycopgConnector
from procrastinate.tasks import ConfigureTaskOptions
from procrastinate.types import JSONValue
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.platform.settings import Settings

URGENT = "urgent"
"""Queue of what is due within seconds. It has places of its own, which no long import can take."""


SWEEPS = "sweeps"
"""Queue of what the clock starts: short, and never behind a long job."""
FETCHES = "fetches"
"""Queue of imports whose source is fetched: they wait for foreign hosts; uploads do not wait for them."""
LONG = "default"
"""Queue of everything else: imports of what was uploaded, replays, exports."""

log = structlog.get_logger()
jobs = App(connector=PsycopgConnector())


async def enqueue(
    connection: AsyncConnection,
    task: str,
    *,
    queue: str | None = None,
    lock: str | None = None,
    **arguments: JSONValue,
) -> None:
    """Enqueue a task in the transaction of `connection`: it runs once that has committed, and not if it is undone.

    Args:
        connection: of the transaction that causes the job.
        task: the name under which a room's `tasks` registers it; the caller need not import it.
        queue: where it waits, if not in the default queue.
        lock: of jobs with the same lock one runs at a time.
        arguments: what the task takes, as JSON.
    """
    raw = await connection.get_raw_connection()
    options: ConfigureTaskOptions = {"connection": raw.driver_connection}
    if queue is not None:
        options["queue"] = queue
    if lock is not None:
        options["lock"] = lock
    await jobs.configure_task(task, **options).defer_async(**arguments)


def engine_of(context: JobContext) -> AsyncEngine:
    """Return the engine that the tasks of a worker share."""
    engine: AsyncEngine = context.additional_context["engine"]
    return engine


def settings_of(context: JobContext) -> Settings:
    """Return the settings of the worker."""
    settings: Settings = context.additional_context["settings"]
    return settings
