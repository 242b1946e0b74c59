"""The engine, and the only places where a transaction is committed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import psycopg
from psycopg import errors as pg
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import Row, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random

from app.platform.settings import Settings

# The just-in-time compiler costs the claim a factor of twenty. Plans are kept, and the first may be made while the
# tables are empty: it must suit full ones. (docs/performance.md)
SERVER_OPTIONS = (
    "-c jit=off -c plan_cache_mode=force_generic_plan -c enable_seqscan=off"
    " -c timezone=UTC -c application_name=vouchers"
)


def create_engine(settings: Settings, connections: int | None = None) -> AsyncEngine:
    """Make an engine on the service's database, with its own pool of connections."""
    return create_async_engine(
        settings.sqlalchemy_url,
        pool_size=connections or settings.database_connections,
        max_overflow=0,
        hide_parameters=True,  # they hold codes, and errors are logged
        pool_recycle=3600,
        connect_args={"options": SERVER_OPTIONS, "connect_timeout": 5},
    )


def conninfo(url: str) -> str:
    """A SQLAlchemy URL as libpq takes it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


DriverPool: TypeAlias = AsyncConnectionPool[psycopg.AsyncConnection[tuple[Any, ...]]]
"""Connections of the driver's own, on which each statement is a transaction: the hot path leaves SQLAlchemy out."""


def create_driver_pool(settings: Settings) -> DriverPool:
    """A pool of direct connections, to be opened. A statement on one is prepared at once."""
    return AsyncConnectionPool(
        conninfo(settings.sqlalchemy_url),
        min_size=1,
        max_size=settings.database_connections,
        timeout=5,
        kwargs={"autocommit": True, "options": SERVER_OPTIONS, "prepare_threshold": 0, "connect_timeout": 5},
        open=False,
    )


AnyRow: TypeAlias = Row[*tuple[Any, ...]]
"""A row of whatever columns."""


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection whose work is committed when the block ends, and undone when it raises."""
    async with engine.begin() as connection:
        yield connection


@asynccontextmanager
async def autocommit(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection on which each statement is a transaction of its own: one round trip instead of three."""
    async with engine.connect() as connection:
        yield await connection.execution_options(isolation_level="AUTOCOMMIT")


class ConflictError(Exception):
    """Another transaction was faster, as a statement found out by itself."""


def _is_conflict(error: BaseException) -> bool:
    if isinstance(error, ConflictError):
        return True
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    if isinstance(error, pg.NotNullViolation):
        return error.diag.table_name == "stock"  # a hold was made while the claim was under way
    return isinstance(error, pg.UniqueViolation | pg.DeadlockDetected | pg.SerializationFailure)


retry_on_conflict = retry(
    retry=retry_if_exception(_is_conflict),
    stop=stop_after_attempt(8),
    wait=wait_random(0, 0.02),
    reraise=True,
)
"""Decorates a whole transaction: runs it again where another was faster; then it finds what that one wrote."""
