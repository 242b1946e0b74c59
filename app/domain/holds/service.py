"""The rules of holds.

A hold counts, it does not mark: others may draw from the pool as long as what is available covers all holds.
Draws of the campaign use up its hold first, and then draw like the others.
"""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.access.audit import service as audit
from app.domain.access.scopes import Caller
from app.domain.holds import queries
from app.domain.holds.errors import HoldExistsError, HoldNotFoundError, HoldTooLargeError
from app.domain.holds.schemas import HoldRecord, Holds, HoldUpdate
from app.domain.lifecycle import stock
from app.domain.lifecycle.claim import NONE_ALLOWED, Allowance, CustomerRule
from app.domain.lifecycle.thresholds import note_fallen
from app.domain.pools import service as pools
from app.platform.database import retry_on_conflict, transaction
from app.platform.errors import InvalidRequestError
from app.platform.sweeping import by_halves, turn_is_over
from app.platform.versions import Expected, check, version


async def allowance(connection: AsyncConnection, pool: str, campaign_id: str | None) -> Allowance:
    """Return what a campaign may draw from a pool with holds or a rule; nobody else draws until it is committed."""
    row = await queries.lock_to_draw(connection, pool)
    if row is None:
        return NONE_ALLOWED
    allowed = await _allowance(connection, row.id, campaign_id)
    return allowed if row.per_customer is None else replace(allowed, rule=CustomerRule(**row.per_customer))


async def campaigns(connection: AsyncConnection, pool: str) -> set[str]:
    """Return the campaigns that have holds on a pool."""
    return await queries.campaigns(connection, pool)


async def allowance_now(connection: AsyncConnection, pool: str, campaign_id: str | None) -> Allowance:
    """Return what a campaign could draw from a pool with holds right now; nothing is locked for it."""
    return await _allowance(connection, await pools.id_of(connection, pool), campaign_id)


async def _allowance(connection: AsyncConnection, pool_id: int | None, campaign_id: str | None) -> Allowance:
    if pool_id is None:
        return NONE_ALLOWED
    row = await queries.free(connection, pool_id, campaign_id)
    return Allowance(row.own + max(row.free, 0), row.own, row.hold_id)


async def record_draws(connection: AsyncConnection, allowed: Allowance, n: int) -> None:
    """Count `n` draws from the campaign's hold, in the transaction that asked for the allowance."""
    if n == 0 or allowed.hold_id is None:
        return
    used_up = await queries.record_draws(connection, allowed.hold_id, n)
    if used_up is not None:
        await stock.refresh(connection, used_up)


async def create(
    connection: AsyncConnection,
    caller: Caller | None,
    pool: str,
    campaign_id: str,
    size: int,
    expires_at: datetime | None,
) -> HoldRecord:
    """Set vouchers aside for a campaign.

    Raises:
        PoolNotFoundError: there is no such pool.
        HoldTooLargeError: too few are available and not held.
        HoldExistsError: the campaign has a hold on the pool.
    """
    pool_id = await _lock(connection, pool)
    await queries.remove_expired(connection, pool_id)
    hold_id = await queries.add(connection, pool_id, campaign_id, size, expires_at)
    if hold_id is None:
        raise HoldExistsError(
            f"Campaign {campaign_id!r} has a hold on pool {pool!r}: change it, or delete it to make another."
        )
    await _take(connection, pool, pool_id, size)
    await audit.record(
        connection,
        caller,
        "hold.created",
        pool=pool,
        campaign_id=campaign_id,
        count=size,
        expires_at=expires_at and expires_at.isoformat(),
    )
    return await _of(connection, pool, pool_id, hold_id)


async def _take(connection: AsyncConnection, pool: str, pool_id: int, more: int) -> None:
    """See to it that so many more than before can be held; from here on no claim is under way that knows less.

    Raises:
        HoldTooLargeError: too few are available and not held.
    """
    await stock.refresh(connection, pool_id)
    free = (await queries.free(connection, pool_id)).free
    if more > 0 > free:
        raise HoldTooLargeError(pool, free=max(more + free, 0), missing=min(-free, more))


async def _of(connection: AsyncConnection, pool: str, pool_id: int, hold_id: uuid.UUID) -> HoldRecord:
    hold = await queries.by_id(connection, pool_id, hold_id)
    if hold is None:
        raise HoldNotFoundError(f"Pool {pool!r} has no hold {hold_id}.")
    return hold


async def get(connection: AsyncConnection, pool: str, hold_id: uuid.UUID) -> HoldRecord:
    """Return a hold.

    Raises:
        PoolNotFoundError, HoldNotFoundError: there is no such pool, or the pool has no such hold.
    """
    return await _of(connection, pool, await pools.id_of(connection, pool), hold_id)


def version_of(hold: HoldRecord) -> str:
    """Return the version of a hold: of what was set, not of what was drawn."""
    return version(hold.id, hold.count, hold.expires_at)


async def change(
    connection: AsyncConnection,
    caller: Caller | None,
    pool: str,
    hold_id: uuid.UUID,
    wanted: HoldUpdate,
    expected: Expected | None = None,
) -> HoldRecord:
    """Change how many vouchers a hold sets aside, or until when; meanwhile nobody else draws them.

    Raises:
        PoolNotFoundError, HoldNotFoundError: there is no such pool, or the pool has no such hold.
        InvalidRequestError: the campaign has drawn more.
        HoldTooLargeError: it is to be larger, and too few are available and not held.
        PreconditionFailedError: it is not as expected.
    """
    pool_id = await _lock(connection, pool)
    before = await _of(connection, pool, pool_id, hold_id)
    check(expected, version_of(before))
    count = before.count if wanted.count is None else wanted.count
    if count < before.drawn:
        message = f"the campaign has drawn {before.drawn} of them"
        raise InvalidRequestError(f"count: {message}", [{"loc": ["body", "count"], "msg": message}])
    expires_at = wanted.expires_at if "expires_at" in wanted.model_fields_set else before.expires_at
    await note_fallen(connection, [pool_id])
    await queries.change(connection, hold_id, count, expires_at)
    await _take(connection, pool, pool_id, count - before.count)
    await audit.record(
        connection,
        caller,
        "hold.changed",
        pool=pool,
        hold_id=str(hold_id),
        **wanted.model_dump(mode="json", include=wanted.model_fields_set),
    )
    return await _of(connection, pool, pool_id, hold_id)


async def of_pool(connection: AsyncConnection, pool: str, after: str | None, limit: int) -> Holds:
    """Return holds of a pool by campaign, of campaigns behind `after`, and what is left for all others."""
    pool_id = await pools.id_of(connection, pool)
    free = await queries.free(connection, pool_id)
    return Holds(await queries.of_pool(connection, pool_id, after or "", limit), max(free.free, 0))


async def delete(
    connection: AsyncConnection,
    caller: Caller | None,
    pool: str,
    hold_id: uuid.UUID,
    expected: Expected | None = None,
) -> None:
    """Give back what a hold still keeps.

    Raises:
        PoolNotFoundError, HoldNotFoundError: there is no such pool, or the pool has no such hold.
        PreconditionFailedError: it is not as expected.
    """
    pool_id = await _lock(connection, pool)
    check(expected, version_of(await _of(connection, pool, pool_id, hold_id)))
    await note_fallen(connection, [pool_id])
    await queries.remove(connection, hold_id)
    await stock.refresh(connection, pool_id)
    await audit.record(connection, caller, "hold.deleted", pool=pool, hold_id=str(hold_id))


async def sweep(engine: AsyncEngine) -> None:
    """Delete the holds whose time is over. They hold nothing any more, but a pool without any is faster."""
    async with transaction(engine) as connection:
        names = await queries.pools_with_expired(connection)
    for pool in names:
        await by_halves("holds", [pool], partial(_sweep, engine))
        if turn_is_over():
            break


@retry_on_conflict
async def _sweep(engine: AsyncEngine, names: Sequence[str]) -> int:
    (pool,) = names
    async with transaction(engine) as connection:
        pool_id = await queries.lock(connection, pool)
        if pool_id is not None:
            await queries.remove_expired(connection, pool_id)
            await stock.refresh(connection, pool_id)
    return 1


async def _lock(connection: AsyncConnection, pool: str) -> int:
    pool_id = await queries.lock(connection, pool)
    if pool_id is None:
        raise await pools.not_found(connection, pool)
    return pool_id
