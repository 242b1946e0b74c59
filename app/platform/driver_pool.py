"""The driver's own connections, for the hot path, which leaves SQLAlchemy out."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

import psycopg
from psycopg import pq
from psycopg.rows import TupleRow
from psycopg.types.numeric import Int4

from app.platform.connections import (
    CHECKOUT_SECONDS,
    LimitedConnection,
    Opened,
    connect,
    prepare_threshold,
    server_limit,
)
from app.platform.one_message import fetch_in
from app.platform.projects import SET, share_of
from app.platform.seats import Seats
from app.platform.settings import Settings

_IDLE = pq.TransactionStatus.IDLE


class DriverPool:
    """Connections of the driver's own, on which each statement is a transaction: the hot path leaves SQLAlchemy out.

    A connection is opened by who needs one, so after an outage the first request that finds the database back is
    served; there is no pause that grows. Where one is found broken or lost, the idle ones are closed with it.
    """

    def __init__(
        self, open_one: Callable[[], Awaitable[LimitedConnection]], size: int, *, own_sessions: bool = True
    ) -> None:
        self._open_one = open_one
        self._own_sessions = own_sessions
        self._idle: list[LimitedConnection] = []
        self._size = size
        self._places = asyncio.Semaphore(size)
        self.begun = 0
        """How often a connection was given."""

    def figures(self) -> tuple[int, int, int]:
        """Return how many connections are in use, are idle, and may be at most."""
        used = self._size - self._places._value  # noqa: SLF001  (asyncio has no other way to ask)
        return used, len(self._idle), self._size

    def of(self, project_id: int) -> "ProjectConnections":
        """Return the connections as one project uses them."""
        return ProjectConnections(self, project_id, share_of(self._size))

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[LimitedConnection]:
        """Give a connection, for what belongs to no project.

        Raises:
            psycopg.OperationalError: there is none in time.
        """
        connection = await self._take()
        try:
            yield connection
        finally:
            await self._give_back(connection)

    async def _take(self) -> LimitedConnection:
        if self._places.locked():
            await self._wait()
        else:
            await self._places.acquire()  # at once, where a bound would cost more than the place
        self.begun += 1
        try:
            return await self._idle_or_new()
        except BaseException:
            self._places.release()
            raise

    async def _give_back(self, connection: LimitedConnection) -> None:
        try:
            if not connection.closed and connection.pgconn.transaction_status == _IDLE:
                self._idle.append(connection)
                return
            broken = connection.broken or connection.closed
            await connection.close()
            if broken:
                await self.close()
        finally:
            self._places.release()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(CHECKOUT_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise psycopg.OperationalError("no connection became free in time") from None

    async def fetch(
        self,
        project_id: int,
        statement: bytes,
        parameters: Sequence[object],
        first: bytes | None = None,
    ) -> list[TupleRow]:
        """Run a statement in a project, as a transaction of its own, and return its rows.

        A session keeps the project that was set, for each statement says its own: the lane of a project that goes on
        with its connection has nothing to send. Where a pooler lends us sessions, or nothing may be prepared on them,
        it is set for a transaction.

        Args:
            project_id: the project's.
            statement: with PostgreSQL's own `$1`, which is the project.
            parameters: the others, in their order.
            first: a statement that comes before it in the transaction, and takes the project as `$1`.
        """
        parameters = (Int4(project_id), *parameters)
        connection = await self._take()
        try:
            if self._own_sessions:
                return await fetch_in(connection, project_id, statement, parameters, first)
            async with connection.transaction():
                await connection.execute(SET, {"project": str(project_id)})
                rows = psycopg.AsyncRawCursor(connection)
                if first is not None:
                    await rows.execute(first, parameters[:1])
                await rows.execute(statement, parameters)
                return await rows.fetchall()
        finally:
            await self._give_back(connection)

    async def _idle_or_new(self) -> LimitedConnection:
        if self._idle and self._idle[-1].is_lost():
            await self.close()
        return self._idle.pop() if self._idle else await self._open_one()

    async def close(self) -> None:
        """Close the idle connections; more can be opened."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()

    async def __aenter__(self) -> Self:
        """Give the pool."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()


@dataclass(frozen=True, slots=True)
class ProjectConnections:
    """The driver's connections, as one project uses them."""

    pool: DriverPool
    project_id: int
    share: Seats

    async def fetch(
        self, statement: bytes, parameters: Sequence[object], first: bytes | None = None
    ) -> list[TupleRow]:
        """Run a statement that sees the rows of the project, and no others; see `DriverPool.fetch`.

        Raises:
            OverloadedError: its requests had the project's share of connections for too long.
        """
        async with self.share.one():
            return await self.pool.fetch(self.project_id, statement, parameters, first)


def create_driver_pool(settings: Settings, opened: Opened | None = None) -> DriverPool:
    """Make a pool of direct connections. A statement on one is prepared at once.

    Args:
        settings: of this process.
        opened: looks at each connection that is opened, before it is used.
    """
    threshold = prepare_threshold(settings, 0)
    extra = f"-c {server_limit(settings.statement_seconds)}"

    async def open_one() -> LimitedConnection:
        return await connect(
            settings,
            extra=extra,
            autocommit=True,
            prepare_threshold=threshold,
            opened=opened,
            tells_time=opened is None,
        )

    own = settings.direct_database_url is None and threshold is not None
    return DriverPool(open_one, settings.database_connections, own_sessions=own)
