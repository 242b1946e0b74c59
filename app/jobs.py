"""The job queue: procrastinate, in the same database, so that a job and the rows it is about commit together."""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

import structlog
from procrastinate import App, JobContext, PsycopgConnector
from procrastinate.tasks import Task
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.database import conninfo, create_engine
from app.settings import Settings

TASKS = [
    "app.jobs",
    "app.alerts.tasks",
    "app.deliveries.tasks",
    "app.forecast.tasks",
    "app.holds.tasks",
    "app.imports.tasks",
    "app.redemptions.tasks",
    "app.schedules.tasks",
    "app.vouchers.tasks",
]
"""Modules that define tasks; each domain that has some adds its `tasks.py`."""

URGENT = "urgent"
"""Queue of what is due within seconds. It has places of its own, which no long import can take."""

URGENT_CONCURRENCY = 16
"""Urgent jobs that one worker runs at the same time: they wait for the network most of their time."""

HEARTBEAT_SECONDS = 2
STALLED_SECONDS = 10
"""A worker silent for so long is taken for dead, and its jobs are run again."""

log = structlog.get_logger()
jobs = App(connector=PsycopgConnector(), import_paths=TASKS)


async def enqueue(connection: AsyncConnection, task: Task[Any, Any, Any], **arguments: Any) -> None:
    """Have `task` run once the transaction of `connection` has committed, and not at all if it is undone."""
    raw = await connection.get_raw_connection()
    await task.configure(connection=raw.driver_connection).defer_async(**arguments)


def engine_of(context: JobContext) -> AsyncEngine:
    """The engine that the tasks of a worker share."""
    engine: AsyncEngine = context.additional_context["engine"]
    return engine


def settings_of(context: JobContext) -> Settings:
    """The settings of the worker."""
    settings: Settings = context.additional_context["settings"]
    return settings


@jobs.periodic(cron="* * * * * */5", periodic_id="stalled")
@jobs.task(queueing_lock="retry_stalled_jobs", pass_context=True)
async def retry_stalled_jobs(context: JobContext, timestamp: int) -> None:
    """Run again what a worker that died had begun; every task may be run twice."""
    del timestamp
    manager = context.app.job_manager
    for job in await manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_SECONDS):
        log.warning("job of a dead worker", job=job.id, task=job.task_name)
        await manager.retry_job(job)


async def work(settings: Settings) -> None:
    """Run jobs until the process is told to stop (SIGTERM or SIGINT)."""
    engine = create_engine(settings)
    connector = PsycopgConnector(conninfo=conninfo(settings.sqlalchemy_url), min_size=1, max_size=6)
    try:
        with jobs.replace_connector(connector) as app:
            async with app.open_async():
                run = partial(
                    app.run_worker_async,
                    fetch_job_polling_interval=1,
                    update_heartbeat_interval=HEARTBEAT_SECONDS,
                    stalled_worker_timeout=STALLED_SECONDS,
                    shutdown_graceful_timeout=10,
                    delete_jobs="successful",
                    additional_context={"engine": engine, "settings": settings},
                )
                await _until_one_ends(
                    run(concurrency=settings.job_concurrency),
                    run(queues=[URGENT], concurrency=URGENT_CONCURRENCY, install_signal_handlers=False),
                )
    finally:
        await engine.dispose()


async def _until_one_ends(*workers: Coroutine[Any, Any, None]) -> None:
    """Run workers; when one was told to stop, or failed, or this is cancelled, let all of them finish."""
    tasks = [asyncio.create_task(worker) for worker in workers]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
