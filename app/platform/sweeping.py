"""Sweeps: what the clock starts, over all projects in which something is due.

One look as the owner tells which these are; then each has its turn, in a transaction that sees it alone. A project that
fails, hangs or has much to do keeps no other from its turn: turns have an end, some are taken side by side, and one
that hung is left out for a while.

A sweep that meets a row which it cannot judge goes on with the rest, tells it in the log, and counts it.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TypeVar, cast

import structlog
from sqlalchemy import TextClause, text
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.platform.database import transaction
from app.platform.databases import MAIN
from app.platform.logs import project_id
from app.platform.metrics import UNJUDGED
from app.platform.projects import everywhere, of_project

log = structlog.get_logger()

Key = TypeVar("Key")

SIDE_BY_SIDE = 4
"""Projects that one run of a sweep works on at the same time."""
TURN_SECONDS = 5.0
"""How long a project with more to do goes on; its next turn follows with the next run."""
MOST_SECONDS = 30.0
"""After so long a turn is broken off: it hangs."""
PAUSE_SECONDS = 60.0
"""How long a project that hung is left out of a sweep."""

HERE = text("SELECT id FROM project WHERE database_id = :main AND id = ANY(:due)")
"""In a further database each project that lives there says that it is where it is."""

Lookup = Callable[[AsyncConnection], Awaitable[Collection[int]]]
Turn = Callable[[AsyncEngine], Awaitable[None]]

_ends: ContextVar[float] = ContextVar("ends", default=float("inf"))
_taken: dict[tuple[str, int], float] = {}
"""By sweep and project: until when nobody else of this process takes it; of those under way, and that hung, alone."""


def turn_is_over() -> bool:
    """Return whether a sweep has had its time in this project: others wait, and its next turn comes soon."""
    return time.monotonic() > _ends.get()


def found_by(query: TextClause) -> Lookup:
    """Return a look-up by one statement that yields the numbers of projects."""

    async def look(connection: AsyncConnection) -> Collection[int]:
        return (await connection.execute(query)).scalars().all()

    return look


class Rounds:
    """A look-up that reads so many rows at a time, and goes on from there the next time, round after round.

    For what no index tells: a look costs no more than that, however many rows there are.
    """

    def __init__(self, rows: str, due: str, key: str = "integer", most: int = 2000) -> None:
        """Make it.

        Args:
            rows: SQL `SELECT project_id, … AS key … FROM … WHERE (project_id, …) > {after}`.
            due: SQL that tells of `slice`, one of these rows, whether something is due.
            key: type of the key.
            most: rows that are looked at each time.
        """
        after = f"(CAST(:project AS integer), CAST(CAST(:key AS text) AS {key}))"
        self._first = "00000000-0000-0000-0000-000000000000" if key == "uuid" else "0"
        self._query = text(f"""
            WITH slice AS MATERIALIZED ({rows.format(after=after)} ORDER BY project_id, key LIMIT :most)
            SELECT (SELECT count(*) FROM slice) AS n, last.project_id, last.key::text AS key,
                ARRAY(SELECT DISTINCT project_id FROM slice WHERE {due}) AS due
            FROM (SELECT project_id, key FROM slice ORDER BY project_id DESC, key DESC LIMIT 1) AS last
        """)  # noqa: S608  (made of constants)
        self._most = most
        self._at = (0, self._first)

    async def __call__(self, connection: AsyncConnection) -> Collection[int]:
        """Look at the next rows; return the projects in which something is due."""
        project, key = self._at
        row = (
            await connection.execute(self._query, {"project": project, "key": key, "most": self._most})
        ).one_or_none()
        self._at = (0, self._first) if row is None or row.n < self._most else (row.project_id, row.key)
        return () if row is None else cast("list[int]", row.due)


def either(*lookups: Lookup) -> Lookup:
    """Return a look-up of what any of these finds."""

    async def look(connection: AsyncConnection) -> Collection[int]:
        return {project for lookup in lookups for project in await lookup(connection)}

    return look


async def each_due(
    engine: AsyncEngine,
    sweep: str,
    lookup: Lookup,
    turn: Turn,
    *,
    side_by_side: int = SIDE_BY_SIDE,
    seconds: float = MOST_SECONDS,
) -> None:
    """Run a sweep in each project in which something is due.

    Args:
        engine: of the worker.
        sweep: its name, for the log.
        lookup: tells as the owner, in one look over all projects, in which something is due.
        turn: sweeps a project, on its engine; ends soon after `turn_is_over`.
        side_by_side: so many projects have their turns at the same time.
        seconds: the longest turn.
    """
    async with transaction(everywhere(engine)) as connection:
        due = await _here(connection, await lookup(connection))
    if not due:
        return
    random.shuffle(due)  # where time is short, another one is last each time
    waiting = iter(due)

    async def take_turns() -> None:
        for project in waiting:
            await _take(engine, sweep, project, turn, seconds)

    await asyncio.gather(*(take_turns() for _ in range(min(side_by_side, len(due)))))


async def _here(connection: AsyncConnection, due: Collection[int]) -> list[int]:
    """Return those of the projects that live in this database: rows of others are on their way, or left for a time."""
    if not due:
        return []
    return list((await connection.execute(HERE, {"main": MAIN, "due": list(due)})).scalars())


async def _take(engine: AsyncEngine, sweep: str, project: int, turn: Turn, seconds: float) -> None:
    """Give a project its turn, unless another run of this process is at it, or it hung lately."""
    key, now = (sweep, project), time.monotonic()
    if _taken.get(key, now) > now:
        return
    _taken[key] = float("inf")
    token, ends = project_id.set(project), _ends.set(now + TURN_SECONDS)
    pause = 0.0
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            await turn(of_project(engine, project))
    except Exception as error:  # noqa: BLE001  (the others go on)
        pause = PAUSE_SECONDS if limit.expired() else 0.0
        log.error(  # noqa: TRY400  (no code in logs)
            "a sweep failed in a project", sweep=sweep, error=type(error).__name__, hung=limit.expired()
        )
    finally:
        if pause:
            _forget_past()
            _taken[key] = time.monotonic() + pause
        else:
            del _taken[key]
        _ends.reset(ends)
        project_id.reset(token)


def _forget_past() -> None:
    now = time.monotonic()
    for key in [key for key, until in _taken.items() if until <= now]:
        del _taken[key]


def is_of_the_row(error: Exception) -> bool:
    """Return whether an error is about what was worked on; one of the connection, a time or a deadlock is not."""
    return not isinstance(error, OperationalError | InterfaceError | PoolTimeoutError)


def tell(sweep: str, error: Exception) -> None:
    """Log and count a row that was left alone; the log names no code and no person."""
    UNJUDGED.inc()
    log.error("a row cannot be judged", sweep=sweep, error=type(error).__name__)


@asynccontextmanager
async def past_a_bad_row(connection: AsyncConnection, sweep: str) -> AsyncIterator[None]:
    """Undo what the block did, and go on, where something is odd about the row that it works on."""
    try:
        async with connection.begin_nested():
            yield
    except Exception as error:
        if not is_of_the_row(error):
            raise
        tell(sweep, error)


async def by_halves(
    sweep: str, keys: Sequence[Key], act: Callable[[Sequence[Key]], Awaitable[int]]
) -> tuple[int, list[Key]]:
    """Work through rows of which some are bad: those that fail together are tried by halves.

    Args:
        sweep: its name, for the log.
        keys: of the rows.
        act: works on some of them, in a transaction of its own; returns how many it changed.

    Returns:
        How many were changed, and the keys that could not be.
    """
    try:
        return await act(keys), []
    except Exception as error:
        if not is_of_the_row(error):
            raise
        if len(keys) == 1:
            tell(sweep, error)
            return 0, list(keys)
    middle = len(keys) // 2
    first, bad = await by_halves(sweep, keys[:middle], act)
    second, more = await by_halves(sweep, keys[middle:], act)
    return first + second, bad + more
