"""The rules of the forecast.

One thing is counted over all windows: codes that were given for good (assigned, or reserved and confirmed) and did
not come back; what became of them since, used or void, changes nothing. The last hour is counted in the ledger, by its
index and up to MOST rows. Day and week are differences of the stock, which is looked at each hour.
What a pool has left is what anybody may draw: what is available, less what campaigns hold.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.forecast import queries
from app.domain.forecast.schemas import Forecast, HourRecord, RateRecord, Window
from app.domain.pools import service as pools
from app.domain.pools.schemas import PoolRecord
from app.platform.clock import clock

HISTORY_DAYS = 90
"""How long the hourly rows are kept."""

FIRST = (0, 0)
"""Project and pool before all others."""
AT_A_TIME = 5000
"""Pools whose stock is noted in one transaction."""

MOST = 20_000
"""Most rows of the ledger that one forecast reads: some 10 ms."""

HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(weeks=1)


async def forecast(connection: AsyncConnection, name: str) -> Forecast:
    """Return how fast a pool empties, and when it runs out.

    Raises:
        PoolNotFoundError: there is no such pool.
    """
    pool = await pools.get(connection, name)
    available = pool.counts.available - pool.counts.held
    now = clock.now()
    hour = await queries.given_lately(connection, pool.id, max(now - HOUR, pool.created_at), MOST)
    week, day = await queries.given_since(connection, pool.id, [now - WEEK, now - DAY])
    rates = [
        _rate("hour", hour, pool.created_at, available, now),
        _rate("day", day, pool.created_at, available, now),
        _rate("week", week, pool.created_at, available, now),
    ]
    return Forecast(name, now, available, rates)


async def run_out(connection: AsyncConnection, listed: Sequence[PoolRecord]) -> dict[int, datetime]:
    """Return when pools that are not empty run out at the rate of the last day, by their ids; some never do."""
    now = clock.now()
    given = await queries.given_of_each(connection, [pool.id for pool in listed], now - DAY)
    ends: dict[int, datetime] = {}
    for pool in listed:
        available = pool.counts.available - pool.counts.held
        if available > 0 and pool.id in given:
            rate = _rate("day", given[pool.id], pool.created_at, available, now)
            if rate.runs_out_at is not None:
                ends[pool.id] = rate.runs_out_at
    return ends


async def history(
    connection: AsyncConnection, name: str, before: datetime | None, limit: int
) -> list[HourRecord]:
    """Return the hourly stock of a pool, newest first.

    Raises:
        PoolNotFoundError: there is no such pool.
    """
    return await queries.history(connection, await pools.id_of(connection, name), before, limit)


async def keep_history(connection: AsyncConnection, after: tuple[int, int] = FIRST) -> queries.Kept | None:
    """Note this hour's stock of some pools, where that is not done yet, and forget what is too old.

    Args:
        connection: which sees a project, or all of them.
        after: project and pool behind which it begins.

    Returns:
        How many had to be noted, and which was the last; None where there is no pool behind that.
    """
    return await queries.keep(connection, after, AT_A_TIME, HISTORY_DAYS)


def _rate(
    window: Window, given: queries.Given, made_at: datetime, available: int, now: datetime
) -> RateRecord:
    assigned = max(given.n, 0)  # more may have come back than went out
    hours = (now - given.since) / HOUR
    if given.since <= made_at:
        hours = max(hours, 1.0)  # a pool younger than an hour counts as an hour old
    per_hour = assigned / max(hours, 1 / 3600)
    runs_out_at = _runs_out_at(available, per_hour, now)
    return RateRecord(window, given.since, assigned, round(per_hour, 2), runs_out_at)


def _runs_out_at(available: int, per_hour: float, now: datetime) -> datetime | None:
    if available <= 0:
        return now
    if per_hour == 0:
        return None
    try:
        return now + HOUR * (available / per_hour)
    except OverflowError:  # not before the year 9999
        return None
