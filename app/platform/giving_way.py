"""Long jobs give way to requests: processes mark a database where they have many, and a job looks before each step.

The mark is an advisory lock: it is seen from every machine at once, a look costs a tenth of a millisecond, and it goes
with the session of whoever dies. Under it a job does a part of what it would do at once, then rests `REST` times as
long as that took, with no transaction open. So it always ends, if later.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import ParamSpec, TypeVar

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow
from sqlalchemy import Connection as SyncConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from app.platform import advisory
from app.platform.connections import LimitedConnection, connect
from app.platform.database import transaction
from app.platform.metrics import RESTED
from app.platform.settings import Settings

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

MANY = 20.0
"""Transactions a second from which on a process has many requests."""
LOOK_SECONDS = 0.25
"""Between two looks whether it has."""
KEPT_SECONDS = 1.0
"""How long the mark outlives them."""

PART = 20
"""A step under the mark is so small a part of the usual one."""
REST = 2.0
"""A rest against the step before it; as many times more as jobs of the process give way."""
LONGEST_REST = 1.0
"""Seconds after which a job looks again, however long its step took."""

APART_SECONDS = 0.01
"""Between a look that finds the mark and the one that makes sure: the first may have met another job's look."""

MARK = f"{advisory.REQUESTS}, 0"
"""The advisory lock."""
_IS_FREE = f"SELECT pg_try_advisory_xact_lock({MARK})"


_LOOKS = "looks"


def looking(engine: AsyncEngine) -> AsyncEngine:
    """Return the engine for who looks how a job gets on, however often: the job does not give way to him."""
    return engine.execution_options(**{_LOOKS: True})


def is_load(connection: SyncConnection) -> bool:
    """Return whether a job gives way to the transaction that begins on this connection."""
    return _LOOKS not in connection.get_execution_options()


async def mark_requests(settings: Settings, begun: Callable[[], int], *, tells_time: bool = True) -> None:
    """Hold the mark of a database while this process has many requests there, until this is cancelled.

    Args:
        settings: with which the database is used.
        begun: tells how many transactions requests have begun there so far, but for those that look at jobs.
        tells_time: whether its clock is the one that the service follows.
    """
    holder: LimitedConnection | None = None
    before, until = begun(), 0.0
    try:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now, before, new = monotonic(), begun(), begun() - before
            if new >= MANY * LOOK_SECONDS:
                until = now + KEPT_SECONDS
            if holder is not None and (now >= until or holder.is_lost()):
                holder.drop()
                holder = None
            if holder is None and now < until:
                with suppress(psycopg.Error, OSError):  # it is away: no job gets on there either
                    holder = await connect(
                        settings, direct=True, autocommit=True, opened=_hold, tells_time=tells_time
                    )
    finally:
        if holder is not None:
            holder.drop()


async def _hold(connection: LimitedConnection) -> None:
    await connection.execute(f"SELECT pg_advisory_lock_shared({MARK})")


_giving_way: set["UnhurriedSync | Unhurried"] = set()
"""Jobs of this process that give way right now."""


class UnhurriedSync:
    """The steps of a long job. Its threads share it: under the mark they have their turns.

    Args:
        connection: looks for the mark; it is in no transaction.
    """

    def __init__(self, connection: Connection[TupleRow]) -> None:
        self._connection = connection
        self._turn = threading.Lock()

    @contextmanager
    def step(self, usual: int = 1, least: int = 1) -> Iterator[int]:
        """Do a step in the block, which leaves no transaction open; give how much it may do.

        Args:
            usual: how much a step does where nobody has many requests.
            least: so much is always done at once, for a step by itself costs something too.
        """
        if not self._is_marked():
            yield usual
            return
        with self._turn:
            _giving_way.add(self)
            try:
                began = monotonic()
                yield max(min(usual, least), usual // PART)
                sleep(_rest_after(monotonic() - began))
            finally:
                _giving_way.discard(self)

    def _is_marked(self) -> bool:
        if self._is_free():
            return False
        sleep(APART_SECONDS)
        return not self._is_free()

    def _is_free(self) -> bool:
        row = self._connection.execute(_IS_FREE).fetchone()
        return row is not None and bool(row[0])


class Unhurried:
    """The steps of a job of the event loop, which are small anyway: it rests after each under the mark.

    Args:
        engine: of the database that the job is at work in.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._looked = float("-inf")
        self._is_marked = False

    async def step(
        self,
        act: Callable[Arguments, Awaitable[Result]],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Result:
        """Do an act, which leaves no transaction open, and rest; return what it gave."""
        if not await self._look():
            return await act(*arguments, **named)
        _giving_way.add(self)
        try:
            began = monotonic()
            result = await act(*arguments, **named)
            await asyncio.sleep(_rest_after(monotonic() - began))
        finally:
            _giving_way.discard(self)
        return result

    async def _look(self) -> bool:
        """Look for the mark, unless that was done a moment ago."""
        if monotonic() - self._looked >= LOOK_SECONDS:
            self._is_marked = not await self._is_free()
            if self._is_marked:
                await asyncio.sleep(APART_SECONDS)
                self._is_marked = not await self._is_free()
            self._looked = monotonic()
        return self._is_marked

    async def _is_free(self) -> bool:
        async with transaction(self._engine) as connection:
            return bool((await connection.exec_driver_sql(_IS_FREE)).scalar_one())


def _rest_after(seconds: float) -> float:
    """Return how long a job rests that was at work for so long, and count it."""
    rest = min(LONGEST_REST, REST * len(_giving_way) * seconds)
    RESTED.inc(rest)
    return rest
