"""Transactions on the service's own database: the only places where one is committed."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import LiteralString, TypeVar

from psycopg import Connection
from psycopg import errors as pg
from psycopg.rows import TupleRow
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tenacity import RetryCallState, retry, retry_if_exception, stop_after_attempt

from app.platform import clock
from app.platform.connections import LimitedConnection, server_limit
from app.platform.projects import in_share, is_bound

Result = TypeVar("Result")

READS = "vouchers reads"
"""Application name of a session that only reads, or stamps nothing (`lifecycle.order`), perhaps for long."""
ONLY_READS = text(f"SET LOCAL application_name = '{READS}'")
"""Begins a transaction that only reads."""
READS_ALL: LiteralString = """
SELECT set_config('enable_seqscan', 'on', true), set_config('plan_cache_mode', 'force_custom_plan', true)
"""
"""Begins a transaction that reads whole tables. Sessions are to find rows by an index, whichever plan they keep; by one
each page of a table would be read again for every row on it."""

WHOLE_POOL_SECONDS = 120.0
"""Longest statement of a request that changes all vouchers of a pool."""


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Give a connection whose work is committed when the block ends, and undone when it raises.

    It sees the rows of the engine's project (`projects.of_project`).
    """
    async with in_share(engine), engine.begin() as connection:
        yield connection


@asynccontextmanager
async def autocommit(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Give a connection on which each statement is a transaction of its own: one round trip instead of three.

    The engine is not one of a project: what is set for a project ends with its transaction.
    """
    assert not is_bound(engine)  # noqa: S101  (a fault of ours)
    async with engine.connect() as connection:
        yield await connection.execution_options(isolation_level="AUTOCOMMIT")


async def follow_time(engine: AsyncEngine) -> None:
    """Ask the database for the time again and again, until this is cancelled; it tells its connections at first."""
    while True:
        await asyncio.sleep(clock.STALE_SECONDS)
        if clock.clock.is_stale():
            with suppress(SQLAlchemyError, OSError):  # away: the clock counts on
                asked = time.monotonic()
                async with autocommit(engine) as connection:
                    told = (await connection.execute(text(clock.clock.query))).scalar_one()
                clock.clock.learn(told, asked)


class ConflictError(Exception):
    """Another transaction was faster, as a statement found out by itself."""

    pause = 0.0
    """Seconds to wait before the transaction is run again, at the least."""


def is_conflict(error: BaseException) -> bool:
    """Return whether a transaction failed because another one was faster, so that it may be run again."""
    if isinstance(error, ConflictError):
        return True
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    if isinstance(error, pg.NotNullViolation):
        return error.diag.table_name == "stock"  # a hold was made while the claim was under way
    return isinstance(error, pg.UniqueViolation | pg.DeadlockDetected | pg.SerializationFailure)


def _pause(state: RetryCallState) -> float:
    error = None if state.outcome is None else state.outcome.exception()
    least = error.pause if isinstance(error, ConflictError) else 0.0
    return least + random.uniform(0, 0.02)  # noqa: S311  (no secret)


retry_on_conflict = retry(
    retry=retry_if_exception(is_conflict),
    stop=stop_after_attempt(8),
    wait=_pause,
    reraise=True,
)


@retry_on_conflict
async def run_act(  # type: ignore[explicit-any]  # acts take what they like
    engine: AsyncEngine, act: Callable[..., Awaitable[Result]], *arguments: object
) -> Result:
    """Run an act in a transaction of its own, committed when this returns; again where another one was faster.

    Args:
        engine: on the service's database.
        act: takes a connection and the arguments, and does not commit.
        arguments: what the act takes.
    """
    async with transaction(engine) as connection:
        return await act(connection, *arguments)


@asynccontextmanager
async def patience(connection: AsyncConnection, seconds: float = WHOLE_POOL_SECONDS) -> AsyncIterator[None]:
    """Let the statements of the block take longer than those of a request may.

    Those after it may not: one that the server went on with would be taken for a server that hangs.
    """
    driver = (await connection.get_raw_connection()).driver_connection
    usual = getattr(driver, "limit", None)
    if usual is None or usual >= seconds:
        yield
        return
    assert isinstance(driver, LimitedConnection)  # noqa: S101  (narrows the type)
    await connection.execute(text(f"SET LOCAL {server_limit(seconds)}"))
    driver.limit = seconds
    try:
        yield
        await connection.execute(text(f"SET LOCAL {server_limit(usual)}"))
    finally:
        driver.limit = usual


@contextmanager
def waited_for_by_nobody(connection: Connection[TupleRow]) -> Iterator[None]:
    """Let nobody wait for the statements of the block, which stamp nothing and ask for no person (`lifecycle.order`).

    Args:
        connection: of a thread (`connect_sync`), on which each statement is a transaction of its own.
    """
    connection.execute("SELECT set_config('application_name', %s, false)", [READS])
    try:
        yield
    finally:
        connection.execute("RESET application_name")
