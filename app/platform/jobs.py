"""The job queue: procrastinate, in the same database, so that a job and the rows it is about commit together."""

from typing import Any

import structlog
from procrastinate import App, JobContext, PsycopgConnector
from procrastinate.tasks import Task
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.platform.settings import Settings

URGENT = "urgent"
"""Queue of what is due within seconds. It has places of its own, which no long import can take."""


log = structlog.get_logger()
jobs = App(connector=PsycopgConnector())


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
