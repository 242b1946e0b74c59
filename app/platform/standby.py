"""Reads that may be a little old go to a standby of the database, while one is there and follows closely.

How old at the most is what it shows: workers give a sign of life every two seconds, which is a row, and the last one
that has arrived at the standby tells. Of a standby that has lost its primary, PostgreSQL itself would say that it has
replayed all that it got.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import psycopg
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.platform.clock import clock
from app.platform.database_url import conninfo, parameters
from app.platform.engines import create_engine
from app.platform.errors import OverloadedError
from app.platform.projects import in_share, of_project, share_of
from app.platform.settings import Settings

Found = TypeVar("Found")

GONE_SECONDS = 5.0
"""How long a standby that did not answer is left alone; then one request tries it."""
CATCH_UP_SECONDS = 2.0
"""How long an export waits until the standby has all that was committed before it."""
LOOK_SECONDS = 0.05

_FAULTS = (SQLAlchemyError, psycopg.Error, OSError)
_LATEST = text("SELECT max(last_heartbeat) FROM procrastinate_workers")
_FOLLOWS = text("SELECT pg_is_in_recovery()")
_WRITTEN = text("SELECT CAST(pg_current_wal_lsn() AS text)")
_HAS = text(
    "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END"
    " >= CAST(:written AS pg_lsn)"
)


class PromotedError(Exception):
    """A standby has become the primary."""


class Standby:
    """The connections to a standby, and whether it is worth asking."""

    def __init__(self, settings: Settings, url: SecretStr) -> None:
        """Choose it; the first read connects.

        Args:
            settings: of this process.
            url: of the standby, or of all hosts of the database: one that takes writes is passed over.
        """
        given = conninfo(url.get_secret_value(), "standby")
        self._only_standby = parameters(given)["target_session_attrs"] == "standby"
        place = {"database_url": given, "direct_database_url": None}
        self.engine = create_engine(settings.model_copy(update=place), tells_time=False)
        self.most_seconds = settings.read_age_seconds
        self.share = settings.database_connections
        self._gone_at: float | None = None

    def admits(self) -> bool:
        """Tell whether to ask it; of those who would, one at a time finds out whether it is back."""
        now = time.monotonic()
        if self._gone_at is not None:
            if now < self._gone_at + GONE_SECONDS:
                return False
            self._gone_at = now
        return True

    async def enter(self, engine: AsyncEngine, stack: AsyncExitStack) -> AsyncConnection:
        """Begin to read; however that ends, the end raises nothing: there is nothing to commit.

        Raises:
            PromotedError: the server has become the primary since; its connection is given up.
        """
        await stack.enter_async_context(in_share(engine))
        connection = await engine.connect()
        stack.push_async_callback(_leave, connection)
        if self._only_standby and not (await connection.execute(_FOLLOWS)).scalar_one():
            await connection.invalidate()
            raise PromotedError
        return connection

    def note(self, *, gone: bool) -> None:
        """Remember whether it answered."""
        self._gone_at = time.monotonic() if gone else None


@dataclass(frozen=True, slots=True)
class Seen:
    """A transaction on the standby, and how many seconds old at the most what it shows is."""

    connection: AsyncConnection
    age: float


class Reads:
    """Where the reads of one project go that may be a little old."""

    def __init__(self, standby: Standby | None, project: int) -> None:
        """Let the project read from a standby, if there is one."""
        self._standby = standby
        self._engine = (
            None if standby is None else of_project(standby.engine, project, share_of(standby.share))
        )
        self._most_seconds = 0.0 if standby is None else standby.most_seconds

    @asynccontextmanager
    async def seen(self) -> AsyncIterator[Seen | None]:
        """Give a transaction on the standby; None where there is none, or it is too far behind: ask the primary."""
        async with AsyncExitStack() as stack:
            yield await self._ask(stack, self._look)

    async def written(self, connection: AsyncConnection) -> str | None:
        """Return the place in the log up to which all is committed by now; None where there is no standby.

        Args:
            connection: to the primary.
        """
        if self._standby is None:
            return None
        written: str = (await connection.execute(_WRITTEN)).scalar_one()
        return written

    @asynccontextmanager
    async def caught_up(self, written: str) -> AsyncIterator[AsyncConnection | None]:
        """Give a transaction on the standby once that has all up to a place in the log; else None: ask the primary.

        Of several standbys it is asked of the very one that is then read.
        """
        async with AsyncExitStack() as stack:
            yield await self._ask(stack, partial(_once_it_has, written))

    async def _ask(
        self, stack: AsyncExitStack, look: Callable[[AsyncConnection], Awaitable[Found | None]]
    ) -> Found | None:
        """Begin to read on the standby, and return what `look` finds there; with None, nothing is held there."""
        standby, engine = self._standby, self._engine
        if standby is None or engine is None or not standby.admits():
            return None
        async with AsyncExitStack() as begun:
            try:
                found = await look(await standby.enter(engine, begun))
            except (
                PromotedError,
                OverloadedError,
            ):  # its own requests have the project's share: it is not gone
                return None
            except _FAULTS:
                standby.note(gone=True)
                return None
            standby.note(gone=False)
            if found is not None:
                await stack.enter_async_context(begun.pop_all())
            return found

    async def _look(self, connection: AsyncConnection) -> Seen | None:
        latest = (await connection.execute(_LATEST)).scalar_one()
        age = math.inf if latest is None else max(0.0, (clock.now() - latest).total_seconds())
        return Seen(connection, age) if age <= self._most_seconds else None


async def _once_it_has(written: str, connection: AsyncConnection) -> AsyncConnection | None:
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while not (await connection.execute(_HAS, {"written": written})).scalar_one():
        if time.monotonic() > deadline:
            return None
        await asyncio.sleep(LOOK_SECONDS)
    return connection


async def _leave(connection: AsyncConnection) -> None:
    with suppress(*_FAULTS):
        await connection.close()
