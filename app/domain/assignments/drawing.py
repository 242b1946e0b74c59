"""Draw vouchers from a pool."""

import random
import uuid
from collections import OrderedDict
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.assignments.errors import PoolBusyError, PoolExhaustedError, PoolHeldError
from app.domain.holds import service as holds
from app.domain.lifecycle import claim as lifecycle
from app.domain.lifecycle.wishes import Given, Wish
from app.domain.pools import service as pools
from app.platform.database import AnyRow, ConflictError, Direct, again_on_conflict, statement, transaction
from app.platform.errors import DomainError

_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


_MAX_CURSORS = 10_000


class Cursors:
    """Where this process's last draw from each pool ended: a hint that keeps the next one off what is taken.

    A pool not seen before starts at a random place, so that processes walk apart. Losing a cursor loses nothing.
    """

    def __init__(self) -> None:
        self._by_pool: OrderedDict[str, int] = OrderedDict()

    def of(self, pool: str) -> int:
        """The draw key after which the next draw begins."""
        if pool not in self._by_pool:
            self._by_pool[pool] = random.randint(_SMALLEST, _LARGEST)  # noqa: S311  (a place to start, no secret)
            if len(self._by_pool) > _MAX_CURSORS:
                self._by_pool.popitem(last=False)
        return self._by_pool[pool]

    def passed(self, pool: str, cursor: int, draw_keys: Sequence[int]) -> None:
        """Move past the keys that a draw from `cursor` on took."""
        wrapped = [key for key in draw_keys if key <= cursor]
        if draw_keys:
            self._by_pool[pool] = max(wrapped or draw_keys)


CURSORS = Cursors()


async def claim(
    connection: AsyncConnection, pool: str, wishes: Sequence[Wish], allowance: int = 0
) -> dict[uuid.UUID, Given]:
    """Give each wish its voucher, or what it was given before. What got none is missing in the result.

    Wishes have ids of their own. A unique conflict with another transaction undoes all of it: run it again
    (`again_on_conflict`), and the wish is found given. From a pool with holds, only what is allowed is taken.
    """
    cursor = CURSORS.of(pool)
    ledger, draw_keys = await lifecycle.claim(connection, pool, wishes, cursor, allowance)
    CURSORS.passed(pool, cursor, draw_keys)
    return {given.id: given for given in ledger}


async def lock(connection: AsyncConnection, pool: str, n: int, allowance: int = 0) -> Sequence[AnyRow]:
    """Lock up to `n` vouchers of a pool for this transaction and give them to nobody yet.

    From a pool with holds, only what is allowed is locked.
    """
    cursor = CURSORS.of(pool)
    rows = await lifecycle.lock(connection, pool, n, cursor, allowance)
    CURSORS.passed(pool, cursor, [row.draw_key for row in rows])
    return rows


async def write(
    connection: AsyncConnection, pool: str, gifts: Sequence[tuple[Wish, AnyRow]], allowance: int = 0
) -> None:
    """Give each wish the voucher that `lock` locked for it, with the allowance of then.

    Raises:
        ConflictError: a voucher had moved between being seen and being locked; run the transaction again.
    """
    if await lifecycle.write(connection, pool, gifts, allowance) != len(gifts):
        raise ConflictError


async def why_none(
    connection: AsyncConnection, pool: str, allowance: int = 0, ours: Sequence[str] = ()
) -> DomainError:
    """Why a wish got no voucher: no such pool, none available, or all of them held or locked by others right now.

    `ours` are the codes that this transaction itself has locked.
    """
    left = await lifecycle.anything_left(connection, pool, ours)
    if left is None:
        return await pools.not_found(connection, pool)
    if not left.any_left:
        return PoolExhaustedError(pool)
    return PoolHeldError(pool) if left.held and allowance == 0 else PoolBusyError(pool)


async def give(
    engine: AsyncEngine, direct: Direct, pool: str, wishes: Sequence[Wish]
) -> tuple[dict[uuid.UUID, Given], DomainError | None]:
    """Claim and commit: what each wish was given, and why the rest got none.

    A pool without holds takes one statement.
    """
    given = await _give(direct, pool, wishes)
    if len(given) == len(wishes):
        return given, None
    async with statement(engine) as connection:
        reason: DomainError | None = await why_none(connection, pool)
    if isinstance(reason, PoolHeldError):
        more, reason = await _give_held(engine, pool, [wish for wish in wishes if wish.id not in given])
        given |= more
    return given, reason


@again_on_conflict
async def _give(direct: Direct, pool: str, wishes: Sequence[Wish]) -> dict[uuid.UUID, Given]:
    cursor = CURSORS.of(pool)
    async with direct.connection() as connection:
        ledger, draw_keys = await lifecycle.claim_direct(connection, pool, wishes, cursor)
    CURSORS.passed(pool, cursor, draw_keys)
    return {given.id: given for given in ledger}


@again_on_conflict
async def _give_held(
    engine: AsyncEngine, pool: str, wishes: Sequence[Wish]
) -> tuple[dict[uuid.UUID, Given], DomainError | None]:
    async with transaction(engine) as connection:
        return await claim_held(connection, pool, wishes)


async def claim_held(
    connection: AsyncConnection, pool: str, wishes: Sequence[Wish]
) -> tuple[dict[uuid.UUID, Given], DomainError | None]:
    """`claim` from a pool of which some is held, campaign by campaign; why the rest got none.

    Such transactions go one after another, so that what one is allowed is exact.
    """
    all_given: dict[uuid.UUID, Given] = {}
    reason: DomainError | None = None
    by_campaign: dict[str | None, list[Wish]] = {}
    for wish in wishes:
        by_campaign.setdefault(wish.campaign_id, []).append(wish)
    for campaign_id, group in by_campaign.items():
        allowance = await holds.allowance(connection, pool, campaign_id)
        given = await claim(connection, pool, group, allowance)
        new = sum(not row.replayed for row in given.values())
        await holds.drew(connection, pool, campaign_id, new)
        if len(given) < len(group):
            reason = await why_none(connection, pool, max(allowance - new, 0))
        all_given |= given
    return all_given, reason
