"""The rules of the forecast.

The last hour is counted in the ledger, by its index. Day and week are differences of the stock, of which an
hourly row is kept, so that a forecast never counts more than an hour of assignments.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.forecast import queries
from app.domain.pools import service as pools
from app.platform.database import AnyRow

HISTORY_DAYS = 90
"""How long the hourly rows are kept."""

HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(weeks=1)


async def forecast(connection: AsyncConnection, name: str) -> dict[str, Any]:
    """How fast a pool empties, and when it runs out.

    Raises:
        PoolNotFoundError: there is no such pool.
    """
    pool = await pools.get(connection, name)
    pool_id = await pools.id_of(connection, name)
    available = pool["counts"]["available"]
    now = datetime.now(UTC)
    last_hour = await queries.assigned_since(connection, pool_id, now - HOUR)
    week, day = await queries.drawn_since(connection, pool_id, [now - WEEK, now - DAY])
    return {
        "pool": name,
        "at": now,
        "available": available,
        "rates": [
            _rate("hour", max(now - HOUR, pool["created_at"]), last_hour, available, now),
            _rate("day", day.since, day.drawn, available, now),
            _rate("week", week.since, week.drawn, available, now),
        ],
    }


async def history(
    connection: AsyncConnection, name: str, before: datetime | None, limit: int
) -> Sequence[AnyRow]:
    """The hourly stock of a pool, newest first.

    Raises:
        PoolNotFoundError: there is no such pool.
    """
    return await queries.history(connection, await pools.id_of(connection, name), before, limit)


async def keep_history(connection: AsyncConnection) -> None:
    """Write the rows of this hour that are not there yet, and forget those that are too old."""
    await queries.snapshot(connection)
    await queries.forget(connection, HISTORY_DAYS)


def _rate(window: str, since: datetime, drawn: int, available: int, now: datetime) -> dict[str, Any]:
    assigned = max(drawn, 0)  # more may have come back than went out
    per_hour = assigned / max((now - since) / HOUR, 1.0)
    return {
        "window": window,
        "since": since,
        "assigned": assigned,
        "per_hour": round(per_hour, 2),
        "runs_out_at": _runs_out_at(available, per_hour, now),
    }


def _runs_out_at(available: int, per_hour: float, now: datetime) -> datetime | None:
    if available == 0:
        return now
    if per_hour == 0:
        return None
    try:
        return now + HOUR * (available / per_hour)
    except OverflowError:  # not before the year 9999
        return None
