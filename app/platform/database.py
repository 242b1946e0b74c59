"""The one place where the service's own database is opened, and the only ones where a transaction is committed.

Every wait for it has an end on this side, whatever the network or the server does: a connect, a place in a pool, a
statement. A connection whose statement did not end in time is closed, never returned.
"""

import asyncio
import random
import select
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self, TypeAlias, TypedDict, TypeVar

import psycopg
from psycopg import errors as pg
from psycopg import pq, waiting
from psycopg.abc import PQGen
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow
from sqlalchemy import Engine, NullPool, Row, event, text
from sqlalchemy import create_engine as create_sync_engine
from sqlalchemy.engine.interfaces import AdaptedConnection
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from tenacity import RetryCallState, retry, retry_if_exception, stop_after_attempt

from app.platform.database_url import conninfo, hosts, parameters
from app.platform.settings import Settings

Result = TypeVar("Result")

# The just-in-time compiler costs the claim a factor of twenty. Plans are kept, and the first may be made while the
# tables are empty: it must suit full ones. (docs/performance.md) A server that runs a statement for nobody notices.
SESSION = {
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "timezone": "UTC",
    "client_connection_check_interval": "2s",
}
SERVER_OPTIONS = (
    " ".join(f"-c {name}={value}" for name, value in SESSION.items()) + " -c application_name=vouchers"
)

READS = "vouchers reads"
"""Application name of a session that only reads, perhaps for long: nobody waits for what it might write."""
ONLY_READS = text(f"SET LOCAL application_name = '{READS}'")
"""Begins a transaction that only reads."""

CONNECT_SECONDS = 2.0
"""Longest wait for one host to take a connection."""
CHECKOUT_SECONDS = 1.5
"""Longest wait of a request for a place in a pool. With connect or statement, it is answered in 5 s."""
JOB_SECONDS = 300.0
"""Longest statement of a job."""
WHOLE_POOL_SECONDS = 120.0
"""Longest statement of a request that changes all vouchers of a pool."""
LONG_SECONDS = 3600.0
"""Longest statement of an import, of a check and of other work over whole tables."""
LISTEN_SECONDS = 20.0
"""Longest silence of a connection that listens before it is asked whether it lives."""

# A peer that is gone without a word is noticed by the system within seconds, also amid a long statement.
_TCP = {
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
_ACTIVE = pq.TransactionStatus.ACTIVE
_IDLE = pq.TransactionStatus.IDLE


class StatementTimeoutError(psycopg.OperationalError):
    """The database did not answer a statement in time; its connection was closed."""


class _Hang:
    """When the database of this process last left something without an answer, by the monotonic clock."""

    at = float("-inf")

    def note(self) -> None:
        self.at = time.monotonic()


_hang = _Hang()


def hung_since(moment: float) -> bool:
    """Tell whether the database left a request without an answer since a moment of the monotonic clock.

    Whoever waited since then for a turn need not wait for the same once more: it has been told.
    """
    return _hang.at >= moment


class LimitedConnection(psycopg.AsyncConnection[TupleRow]):
    """A connection whose every wait ends: after `limit` seconds it is closed, and the wait fails."""

    limit: float = 3.0

    async def wait(self, gen: PQGen[Result], interval: float = 0.1, timeout: float | None = None) -> Result:
        """Wait for the server as the driver does, and never longer than `limit`.

        A wait that is cancelled closes the connection too: to ask a server that hangs to cancel is one more wait.
        """
        end = self.limit if timeout is None else timeout
        try:
            return await waiting.wait_async(gen, self.pgconn.socket, interval=interval, timeout=end)
        except pg._WaitTimeout:  # noqa: SLF001  (what the driver's own `timeout` raises)
            if timeout is not None:
                raise
            self.drop()
            _hang.note()
            raise StatementTimeoutError(f"the database did not answer within {end:g} s") from None
        except (asyncio.CancelledError, KeyboardInterrupt):
            if self.pgconn.transaction_status == _ACTIVE:
                self.drop()
            raise

    def is_lost(self) -> bool:
        """Return whether the server has ended this idle connection, as far as is known here: it costs no round trip.

        A server that ends a connection says so, or the system does for it; to one that is idle it says nothing else
        of weight.
        """
        if self.closed:
            return True
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return bool(poll.poll(0))

    def drop(self) -> None:
        """Close the connection without a word to the server."""
        self._closed = True
        self.pgconn.finish()

    def notifies(
        self, *, timeout: float | None = None, stop_after: int | None = None
    ) -> AsyncGenerator[psycopg.Notify]:
        """Yield notifications as the driver does, and stop after a silence, so that the listener asks for a reply."""
        return super().notifies(timeout=LISTEN_SECONDS if timeout is None else timeout, stop_after=stop_after)


class JobConnection(LimitedConnection):
    """A connection of the job queue, whose statements are short but may wait for each other."""

    limit = 10.0


class LimitedSyncConnection(psycopg.Connection[TupleRow]):
    """A connection for threads, whose every wait ends."""

    limit: float = LONG_SECONDS

    def wait(self, gen: PQGen[Result], interval: float = 0.1, timeout: float | None = None) -> Result:
        """Wait for the server as the driver does, and never longer than `limit`."""
        end = self.limit if timeout is None else timeout
        try:
            return waiting.wait(gen, self.pgconn.socket, interval=interval, timeout=end)
        except pg._WaitTimeout:  # noqa: SLF001
            if timeout is not None:
                raise
            self._closed = True
            self.pgconn.finish()
            raise StatementTimeoutError(f"the database did not answer within {end:g} s") from None


def _arguments(settings: Settings, *, direct: bool = False, extra: str = "") -> dict[str, str | int]:
    """Return what every connection is opened with; through a pooler, nothing that belongs to a session."""
    given: dict[str, str | int] = {**_TCP, "connect_timeout": int(CONNECT_SECONDS)}
    if direct or settings.direct_database_url is None:
        return {**given, "options": f"{SERVER_OPTIONS} {extra}".strip()}
    return {**given, "application_name": "vouchers"}


def _prepare_threshold(settings: Settings, usual: int | None) -> int | None:
    """Return after how many uses a statement is prepared; not at all behind a pooler, unless told that it can."""
    wanted = settings.prepared_statements
    return usual if wanted or (wanted is None and settings.direct_database_url is None) else None


_answered: dict[str, int] = {}
"""Which of several hosts took the last connection, by URL: it is tried first."""


async def connect(
    settings: Settings,
    *,
    seconds: float | None = None,
    extra: str = "",
    autocommit: bool = False,
    prepare_threshold: int | None = 5,
) -> LimitedConnection:
    """Open a connection to the first host that takes one and may be written to.

    Args:
        settings: of this process.
        seconds: the longest statement; by default that of a request.
        extra: further options of the server.
        autocommit: whether each statement is a transaction of its own.
        prepare_threshold: after how many uses a statement is prepared; None: never.

    Raises:
        psycopg.OperationalError: none did in time.
    """
    url = settings.sqlalchemy_url
    known = hosts(parameters(url))
    first = _answered.get(url, 0)
    error: psycopg.OperationalError | None = None
    for n in (*range(first, len(known)), *range(first)):
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                connection = await LimitedConnection.connect(
                    make_conninfo("", **{**known[n], **_arguments(settings, extra=extra)}),
                    autocommit=autocommit,
                    prepare_threshold=prepare_threshold,
                )
        except TimeoutError:
            _hang.note()
            error = pg.ConnectionTimeout("the database took no connection in time")
        except psycopg.OperationalError as failed:
            error = failed
        else:
            connection.limit = seconds or settings.statement_seconds
            _answered[url] = n
            return connection
    raise error or psycopg.OperationalError("no host is given")


def connect_sync(
    settings: Settings, *, seconds: float = LONG_SECONDS, extra: str = "", autocommit: bool = False
) -> LimitedSyncConnection:
    """Open a connection for a thread, straight to the server: it may hold locks and tables of its session."""
    arguments = _arguments(settings, direct=True, extra=extra)
    given = make_conninfo("", **{**parameters(settings.direct_url), **arguments})
    connection = LimitedSyncConnection.connect(given, autocommit=autocommit)
    connection.limit = seconds
    return connection


def _server_limit(seconds: float) -> str:
    """Return the server's side of a limit: it ends a statement just before the client would drop the connection."""
    return f"-c statement_timeout={int(seconds * 950)}"


def create_engine(
    settings: Settings,
    connections: int | None = None,
    *,
    seconds: float | None = None,
    checkout: float = CHECKOUT_SECONDS,
) -> AsyncEngine:
    """Make an engine on the service's database, with its own pool of connections.

    Args:
        settings: of this process.
        connections: most connections; by default those of the setting.
        seconds: the longest statement; by default that of a request.
        checkout: longest wait for a connection.
    """
    limit = seconds or settings.statement_seconds
    threshold = _prepare_threshold(settings, 5)

    async def creator() -> LimitedConnection:
        return await connect(settings, seconds=limit, extra=_server_limit(limit), prepare_threshold=threshold)

    engine = create_async_engine(
        "postgresql+psycopg://",
        async_creator=creator,
        pool_size=connections or settings.database_connections,
        max_overflow=0,
        pool_timeout=checkout,
        hide_parameters=True,  # they hold codes, and errors are logged
        pool_recycle=3600,
    )
    event.listen(engine.sync_engine, "checkout", _refuse_lost)
    return engine


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
def sync_engine(settings: Settings) -> Iterator[Engine]:
    """Give an engine for a thread, straight to the server, and close it at the end."""
    engine = create_sync_engine(
        "postgresql+psycopg://",
        creator=lambda: connect_sync(settings),
        poolclass=NullPool,
        hide_parameters=True,
    )
    try:
        yield engine
    finally:
        engine.dispose()


class DriverPool:
    """Connections of the driver's own, on which each statement is a transaction: the hot path leaves SQLAlchemy out.

    A connection is opened by who needs one, so after an outage the first request that finds the database back is
    served; there is no pause that grows. Where one is found broken or lost, the idle ones are closed with it.
    """

    def __init__(self, open_one: Callable[[], Awaitable[LimitedConnection]], size: int) -> None:
        self._open_one = open_one
        self._idle: list[LimitedConnection] = []
        self._size = size
        self._places = asyncio.Semaphore(size)

    def figures(self) -> tuple[int, int, int]:
        """Return how many connections are in use, are idle, and may be at most."""
        used = self._size - self._places._value  # noqa: SLF001  (asyncio has no other way to ask)
        return used, len(self._idle), self._size

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[LimitedConnection]:
        """Give a connection.

        Raises:
            psycopg.OperationalError: there is none in time.
        """
        try:
            async with asyncio.timeout(CHECKOUT_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise psycopg.OperationalError("no connection became free in time") from None
        try:
            connection = await self._idle_or_new()
            try:
                yield connection
            finally:
                await self._take_back(connection)
        finally:
            self._places.release()

    async def _idle_or_new(self) -> LimitedConnection:
        if self._idle and self._idle[-1].is_lost():
            await self.close()
        return self._idle.pop() if self._idle else await self._open_one()

    async def _take_back(self, connection: LimitedConnection) -> None:
        if not connection.closed and connection.pgconn.transaction_status == _IDLE:
            self._idle.append(connection)
            return
        broken = connection.broken or connection.closed
        await connection.close()
        if broken:
            await self.close()

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


def create_driver_pool(settings: Settings) -> DriverPool:
    """Make a pool of direct connections. A statement on one is prepared at once."""
    threshold = _prepare_threshold(settings, 0)
    extra = _server_limit(settings.statement_seconds)

    async def open_one() -> LimitedConnection:
        return await connect(settings, extra=extra, autocommit=True, prepare_threshold=threshold)

    return DriverPool(open_one, settings.database_connections)


class JobPool(TypedDict):
    """What the job queue opens its pool with."""

    conninfo: str
    kwargs: dict[str, str | int]
    connection_class: type[JobConnection]
    min_size: int
    max_size: int
    timeout: float
    reconnect_timeout: float


def job_pool_arguments(settings: Settings) -> JobPool:
    """Return what the job queue opens its pool with: straight to the server, for it listens there."""
    return {
        "conninfo": conninfo(settings.direct_url),
        "kwargs": _arguments(settings, direct=True),
        "connection_class": JobConnection,
        "min_size": 1,
        "max_size": 8,  # one for each queue that is listened to, and as many for what they do
        "timeout": 5.0,
        "reconnect_timeout": 2.0,  # the driver's pool would pause for up to two minutes
    }


async def wait_for(
    settings: Settings,
    pause: float = 0.5,
    is_final: Callable[[psycopg.OperationalError], bool] = lambda _: False,
) -> None:
    """Wait until the database takes a connection, however long.

    Args:
        settings: of this process.
        pause: seconds between two tries.
        is_final: tells for which errors there is nothing to wait for; these are raised.
    """
    while True:
        try:
            await (await connect(settings)).close()
        except psycopg.OperationalError as error:
            if is_final(error):
                raise
            await asyncio.sleep(pause)
        else:
            return


def is_refused(error: psycopg.OperationalError) -> bool:
    """Tell whether a server refused user or password: that does not change by waiting."""
    return "authentication failed" in str(error) or "no password supplied" in str(error)


AnyRow: TypeAlias = Row[*tuple[Any, ...]]  # type: ignore[explicit-any]  # its columns are not known
"""A row of whatever columns."""


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Give a connection whose work is committed when the block ends, and undone when it raises."""
    async with engine.begin() as connection:
        yield connection


@asynccontextmanager
async def autocommit(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Give a connection on which each statement is a transaction of its own: one round trip instead of three."""
    async with engine.connect() as connection:
        yield await connection.execution_options(isolation_level="AUTOCOMMIT")


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
"""Decorates a whole transaction: runs it again where another was faster; then it finds what that one wrote."""


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
    """Let the statements of the block take longer than those of a request may."""
    driver = (await connection.get_raw_connection()).driver_connection
    usual = getattr(driver, "limit", None)
    if usual is None or usual >= seconds:
        yield
        return
    assert isinstance(driver, LimitedConnection)  # noqa: S101  (narrows the type)
    await connection.execute(text(f"SET LOCAL statement_timeout = {int(seconds * 950)}"))
    driver.limit = seconds
    try:
        yield
    finally:
        driver.limit = usual
