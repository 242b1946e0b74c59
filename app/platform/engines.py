"""Engines on the service's own database, each with its pool of connections."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypedDict

from psycopg.conninfo import make_conninfo
from psycopg.types.numeric import Int4
from sqlalchemy import Engine, NullPool, event
from sqlalchemy import create_engine as create_sync_engine
from sqlalchemy.engine.interfaces import AdaptedConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.platform.connections import (
    CHECKOUT_SECONDS,
    LONG_SECONDS,
    LimitedConnection,
    Opened,
    arguments,
    connect,
    connect_sync,
    in_order,
    prepare_threshold,
    server_limit,
)
from app.platform.hanging import Hang, hang_of
from app.platform.named import name_project
from app.platform.projects import OPTION, enter
from app.platform.settings import Settings

_HANG = "hang"
JOB_SECONDS = 300.0
"""Longest statement of a job."""


def create_engine(
    settings: Settings,
    connections: int | None = None,
    *,
    seconds: float | None = None,
    checkout: float = CHECKOUT_SECONDS,
    opened: Opened | None = None,
    tells_time: bool = True,
) -> AsyncEngine:
    """Make an engine on the service's database, with its own pool of connections.

    Args:
        settings: of this process.
        connections: most connections; by default those of the setting.
        seconds: the longest statement; by default that of a request.
        checkout: longest wait for a connection.
        opened: looks at each connection that is opened, before it is used.
        tells_time: whether the server's clock is the one that the service follows.
    """
    limit = seconds or settings.statement_seconds
    threshold = prepare_threshold(settings, 5)

    async def creator() -> LimitedConnection:
        extra = f"-c {server_limit(limit)}"
        return await connect(
            settings,
            seconds=limit,
            extra=extra,
            prepare_threshold=threshold,
            opened=opened,
            tells_time=tells_time,
        )

    engine = create_async_engine(
        "postgresql+psycopg://",
        async_creator=creator,
        pool_size=connections or settings.database_connections,
        max_overflow=0,
        pool_timeout=checkout,
        hide_parameters=True,  # they hold codes, and errors are logged
        pool_recycle=3600,
        execution_options={_HANG: hang_of(settings.sqlalchemy_url)},
        use_native_hstore=False,  # else each engine looks for that type first
    )
    event.listen(engine.sync_engine, "checkout", _refuse_lost)
    event.listen(engine.sync_engine, "begin", enter)
    event.listen(engine.sync_engine, "before_execute", name_project, retval=True)
    return engine


def hung_since(engine: AsyncEngine, moment: float) -> bool:
    """Tell whether the engine's database left a request without an answer since a moment of the monotonic clock.

    Whoever waited since then for a turn need not wait for the same once more: it has been told.
    """
    hang: Hang = engine.sync_engine.get_execution_options()[_HANG]
    return hang.at >= moment


def _refuse_lost(adapted: AdaptedConnection, *_: object) -> None:
    """Let the pool open connections anew where the server has ended one, so that no request fails with each."""
    driver = adapted.driver_connection
    if isinstance(driver, LimitedConnection) and driver.is_lost():
        raise InvalidatePoolError


def create_job_engine(settings: Settings) -> AsyncEngine:
    """Make an engine for jobs: statements may take longer, and wait longer for a connection."""
    return create_engine(settings, seconds=JOB_SECONDS, checkout=30.0)


def create_long_engine(settings: Settings) -> AsyncEngine:
    """Make an engine for commands that read whole tables."""
    return create_engine(settings, seconds=LONG_SECONDS, checkout=30.0)


@contextmanager
def sync_engine(settings: Settings, project: int | None = None) -> Iterator[Engine]:
    """Give an engine for a thread, straight to the server, and close it at the end; see `connect_sync`."""
    engine = create_sync_engine(
        "postgresql+psycopg://",
        creator=lambda: connect_sync(settings, project=project),
        poolclass=NullPool,
        hide_parameters=True,
        execution_options={} if project is None else {OPTION: Int4(project)},
    )
    event.listen(engine, "before_execute", name_project, retval=True)
    try:
        yield engine
    finally:
        engine.dispose()


class JobConnection(LimitedConnection):
    """A connection of the job queue, whose statements are short but may wait for each other.

    A server that leaves one of them waiting hangs: jobs amid their long statements on it need not wait any longer.
    """

    limit = 10.0
    speaks_for_all = True


class JobPool(TypedDict):
    """What the job queue opens its pool with."""

    conninfo: Callable[[], Awaitable[str]]
    kwargs: dict[str, str | int]
    connection_class: type[JobConnection]
    min_size: int
    max_size: int
    timeout: float
    reconnect_timeout: float


def job_pool_arguments(settings: Settings) -> JobPool:
    """Return what the job queue opens its pool with: straight to the server, for it listens there."""

    async def conninfo() -> str:
        return make_conninfo("", **in_order(settings.direct_url))

    return {
        "conninfo": conninfo,
        "kwargs": arguments(settings, direct=True),
        "connection_class": JobConnection,
        "min_size": 1,
        "max_size": 4,  # for what the queues do; those that they listen on are opened beside the pool
        "timeout": 5.0,
        "reconnect_timeout": 2.0,  # the driver's pool would pause for up to two minutes
    }
