"""Connections to the service's own database, opened here alone: each wait on one has an end.

Whatever the network or the server does: a connect ends, and so does a statement. A connection whose statement did not
end in time is closed, never returned.
"""

import asyncio
import select
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Self, TypeVar

import psycopg
from psycopg import errors as pg
from psycopg import pq, waiting
from psycopg.abc import Params, PQGen, QueryNoTemplate
from psycopg.conninfo import make_conninfo
from psycopg.pq.abc import PGconn
from psycopg.rows import AsyncRowFactory, Row, RowFactory, TupleRow, tuple_row
from psycopg.types.numeric import Int4

from app.platform.arrays import TextsDumper
from app.platform.clock import clock
from app.platform.database_url import hosts, joined, parameters, resolve
from app.platform.hanging import Hang, hang_of, open_connections, server_at, server_of, suspects
from app.platform.moves import refusals
from app.platform.racing import first_of
from app.platform.settings import Settings

Result = TypeVar("Result")

# The just-in-time compiler costs the claim a factor of twenty. Plans are kept, and the first may be made while the
# tables are empty: it must suit full ones. (docs/performance.md) A server that runs a statement for nobody notices, and
# one that waits for a process whose machine is gone: else that keeps its locks and rows for two hours.
SESSION = {
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "timezone": "UTC",
    "client_connection_check_interval": "2s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
SERVER_OPTIONS = (
    " ".join(f"-c {name}={value}" for name, value in SESSION.items()) + " -c application_name=vouchers"
)

SERVICE = "vouchers_service"
"""Role of the sessions that serve projects: it sees and writes the rows of one at a time (app/platform/projects.py)."""
OF_PROJECT = "vouchers/"
"""Begins the application name of a session while it is at work in a project, whose number follows: who waits for what
is under way in one, waits for no other's."""
PARAMETER = "project"
"""The parameter by which a statement names its project (app/platform/named.py)."""
_AS_SERVICE = f"-c role={SERVICE}"
_AS_OWNER = "-c role=none"

CONNECT_SECONDS = 2.0
"""Longest wait for a host to take a connection, however many there are."""
HEAD_START_SECONDS = 0.4
"""A host that is silent for so long is not waited for before the next is tried beside it."""
CHECKOUT_SECONDS = 1.5
"""Longest wait of a request for a place in a pool. With connect or statement, it is answered in 5 s."""
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


class StatementTimeoutError(psycopg.OperationalError):
    """The database did not answer a statement in time; its connection was closed."""


class NotWritableError(psycopg.OperationalError):
    """The server takes no writes, or no more; its connection was closed, and the next may lead to one that does."""


class BehindError(psycopg.OperationalError):
    """The database is not migrated to this release; its connection was closed."""


class LimitedConnection(psycopg.AsyncConnection[TupleRow]):
    """A connection whose every wait ends: after `limit` seconds it is closed, and the wait fails."""

    limit: float = 3.0
    project: int | None = None
    """The project that its session is set to, where that outlives a transaction."""
    hang = Hang()
    """Of its database."""
    prepared: dict[tuple[bytes, Sequence[int]], bytes]
    """Statements that are prepared besides the driver's, with the types of their parameters, and under which names."""
    speaks_for_all: bool = False
    """Whether a server that does not answer this one in time is taken to answer nobody in this process."""

    def __init__(self, pgconn: PGconn, row_factory: AsyncRowFactory[TupleRow] = tuple_row) -> None:
        """Note it among those that are open."""
        super().__init__(pgconn, row_factory)
        self.adapters.register_dumper(list, TextsDumper)
        self.prepared = {}
        open_connections.add(self)

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
            server = server_of(self.pgconn)
            self.drop()
            self.hang.note()
            suspects.add(server)
            if self.speaks_for_all:
                open_connections.sever(server)
            raise StatementTimeoutError(f"the database did not answer within {end:g} s") from None
        except pg.ReadOnlySqlTransaction:
            self.drop()
            raise NotWritableError("the database takes no writes") from None
        except psycopg.OperationalError as error:
            refusals.note(error)
            raise
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


class LimitedSyncConnection(psycopg.Connection[TupleRow]):
    """A connection for threads, whose every wait ends."""

    limit: float = LONG_SECONDS
    project: Int4 | None = None
    """The project that it serves."""

    def __init__(self, pgconn: PGconn, row_factory: RowFactory[TupleRow] = tuple_row) -> None:
        """Note it among those that are open."""
        super().__init__(pgconn, row_factory)
        self.cursor_factory = _NamingCursor
        open_connections.add(self)

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
        except pg.ReadOnlySqlTransaction:
            self._closed = True
            self.pgconn.finish()
            raise NotWritableError("the database takes no writes") from None


class _NamingCursor(psycopg.Cursor[Row]):
    """Gives each statement that takes parameters by name the project of its connection (app/platform/named.py)."""

    def execute(  # type: ignore[override]  # nobody here gives it templates
        self,
        query: QueryNoTemplate,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> Self:
        if isinstance(params, Mapping) and isinstance(self.connection, LimitedSyncConnection):
            params = {**params, PARAMETER: self.connection.project}
        return super().execute(query, params, prepare=prepare, binary=binary)


def arguments(settings: Settings, *, direct: bool = False, extra: str = "") -> dict[str, str | int]:
    """Return what every connection is opened with; through a pooler, nothing that belongs to a session."""
    given: dict[str, str | int] = {**_TCP, "connect_timeout": int(CONNECT_SECONDS)}
    if direct or settings.direct_database_url is None:
        return {**given, "options": f"{SERVER_OPTIONS} {extra}".strip()}
    return {**given, "application_name": "vouchers"}


def prepare_threshold(settings: Settings, usual: int | None) -> int | None:
    """Return after how many uses a statement is prepared; not at all behind a pooler, unless told that it can."""
    wanted = settings.prepared_statements
    return usual if wanted or (wanted is None and settings.direct_database_url is None) else None


def server_limit(seconds: float) -> str:
    """Return the server's side of a limit: it ends a statement just before the client would drop the connection."""
    return f"statement_timeout={int(seconds * 950)}"


Opened = Callable[[LimitedConnection], Awaitable[None]]
"""Looks at a connection that was opened, before it is used."""
_answered: dict[str, dict[str, str]] = {}
"""Where the last connection was opened to, by URL: of several hosts this one is asked first, unless it hung since."""


def in_order(url: str) -> dict[str, str]:
    """Return the parameters of a URL for who asks its hosts one after another, in the order of `_sorted`."""
    return joined(_sorted(url, hosts(parameters(url))))


def _sorted(url: str, places: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the places of a URL as they are asked: first the one that answered last, last those that hung since."""
    last = _answered.get(url, {})
    return sorted(
        places,
        key=lambda place: (
            suspects.since(server_at(place)),
            server_at(place) != server_at(last),
            place != last,  # of the addresses of a host
        ),
    )


async def connect(
    settings: Settings,
    *,
    seconds: float | None = None,
    extra: str = "",
    autocommit: bool = False,
    prepare_threshold: int | None = 5,
    as_owner: bool = False,
    opened: Opened | None = None,
    direct: bool = False,
    tells_time: bool = True,
) -> LimitedConnection:
    """Open a connection to the first host that takes one and may be written to; it serves projects.

    Args:
        settings: of this process.
        seconds: the longest statement; by default that of a request.
        extra: further options of the server.
        autocommit: whether each statement is a transaction of its own.
        prepare_threshold: after how many uses a statement is prepared; None: never.
        as_owner: whether it is the database's owner's, who sees all.
        opened: looks at it first; where that fails, it is closed.
        direct: whether it leads to PostgreSQL itself, past a pooler.
        tells_time: whether the server's clock is the one that the service follows.

    Raises:
        psycopg.OperationalError: none did in time.
    """
    url = settings.direct_url if direct else settings.sqlalchemy_url
    about = arguments(settings, direct=direct, extra=f"{_AS_OWNER if as_owner else _AS_SERVICE} {extra}")
    looks = [*([_ask_time] if tells_time and clock.is_stale() else []), *([opened] if opened else [])]

    async def open_at(place: dict[str, str]) -> tuple[dict[str, str], LimitedConnection]:
        given = make_conninfo("", **{**place, **about})
        connection = await LimitedConnection.connect(
            given, autocommit=autocommit, prepare_threshold=prepare_threshold
        )
        await _look(connection, looks)
        return place, connection

    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            places = await resolve(hosts(parameters(url)))
            last = _answered.get(url)
            place, connection = await first_of(
                [partial(open_at, place) for place in _sorted(url, places)],
                head_start=HEAD_START_SECONDS,
                discard=_discard,
            )
    except TimeoutError:
        hang_of(url).note()
        raise pg.ConnectionTimeout("the database took no connection in time") from None
    connection.limit = seconds or settings.statement_seconds
    connection.hang = hang_of(url)
    _answered[url] = place
    if last is not None and server_at(last) != server_at(place) and server_at(last) in suspects:
        # Another one has its place; who still reads there would read what was.
        open_connections.sever(server_at(last))
    return connection


async def _look(connection: LimitedConnection, looks: Sequence[Opened]) -> None:
    """Look at a connection that was opened; where that fails, it is closed."""
    try:
        for look in looks:
            await look(connection)
    except BaseException:
        connection.drop()
        raise


async def _discard(late: tuple[dict[str, str], LimitedConnection]) -> None:
    await late[1].close()


async def _ask_time(connection: LimitedConnection) -> None:
    asked = time.monotonic()
    row = await (await connection.execute(clock.query, prepare=False)).fetchone()
    if row is not None:
        clock.learn(row[0], asked)
    if not connection.autocommit:
        await connection.rollback()


def connect_sync(
    settings: Settings,
    *,
    project: int | None = None,
    seconds: float = LONG_SECONDS,
    extra: str = "",
    autocommit: bool = False,
) -> LimitedSyncConnection:
    """Open a connection for a thread, straight to the server: it may hold locks and tables of its session.

    It serves one project, as long as it is open; without one it is the database's owner's, who sees all.
    """
    inside = f"-c app.project={project} -c application_name={OF_PROJECT}{project}"
    whose = _AS_OWNER if project is None else f"{_AS_SERVICE} {inside}"
    about = arguments(settings, direct=True, extra=f"{whose} {extra}")
    given = make_conninfo("", **{**in_order(settings.direct_url), **about})
    connection = LimitedSyncConnection.connect(given, autocommit=autocommit)
    connection.limit = seconds
    connection.project = None if project is None else Int4(project)
    if clock.is_stale():
        asked = time.monotonic()
        row = connection.execute(clock.query, prepare=False).fetchone()
        if row is not None:
            clock.learn(row[0], asked)
        if not autocommit:
            connection.rollback()
    return connection


async def wait_for(
    settings: Settings,
    pause: float = 0.5,
    is_final: Callable[[psycopg.OperationalError], bool] = lambda _: False,
    opened: Opened | None = None,
) -> None:
    """Wait until the database takes a connection, however long.

    Args:
        settings: of this process.
        pause: seconds between two tries.
        is_final: tells for which errors there is nothing to wait for; these are raised.
        opened: looks at the connection too.
    """
    while True:
        try:
            await (await connect(settings, as_owner=True, opened=opened)).close()
        except psycopg.OperationalError as error:
            if is_final(error):
                raise
            await asyncio.sleep(pause)
        else:
            return


def is_refused(error: psycopg.OperationalError) -> bool:
    """Tell whether a server refused user or password: that does not change by waiting."""
    return "authentication failed" in str(error) or "no password supplied" in str(error)
