"""Why there is no voucher to give."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.assignments.errors import (
    PoolBusyError,
    PoolExhaustedError,
    PoolHeldError,
    PoolTooShortLivedError,
)
from app.domain.assignments.lasting import Search
from app.domain.lifecycle import claim as lifecycle
from app.domain.pools import service as pools
from app.platform.errors import DomainError
from app.platform.metrics import SHORTAGES


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why there is no voucher."""

    error: DomainError
    ruled: bool = False
    """Whether the pool has a rule for customers: some may get one all the same, or one that they have."""
    any_merged: bool = False
    """Whether any customers were merged, so that a claim that takes each id for a person gets nothing."""


async def find_shortage(
    connection: AsyncConnection,
    pool: str,
    allowed: int | None = None,
    ours: Sequence[str] = (),
    search: Search | None = None,
) -> Shortage:
    """Return why a request got no voucher.

    There is no such pool, none is available, none holds long enough, or all are held or locked by others right now.
    Each look is counted, also of a draw that then waits and looks again, and of a preview.

    Args:
        connection: of any transaction.
        pool: name of the pool.
        allowed: how many the draw may still take where the pool has holds; None where it does not know.
        ours: codes that this transaction itself has locked.
        search: what a search for codes that hold long enough came to, if there was one.
    """
    left = await lifecycle.what_is_left(connection, pool, ours)
    if left is None:
        return Shortage(await pools.not_found(connection, pool))
    error: DomainError
    if not left.any_left:
        error = PoolExhaustedError(pool)
    elif search is not None and search.is_short and not search.others_have_some:
        error = PoolTooShortLivedError(pool) if search.looked_at_all else PoolBusyError(pool, searching=True)
    else:
        error = PoolHeldError(pool) if left.held and not allowed else PoolBusyError(pool)
    SHORTAGES.labels(error.name).inc()
    return Shortage(error, left.ruled, left.any_merged)


async def has_holds(connection: AsyncConnection, pool: str) -> bool:
    """Return whether some vouchers of a pool are held, or it has a rule."""
    left = await lifecycle.what_is_left(connection, pool, ())
    return left is not None and bool(left.held)
