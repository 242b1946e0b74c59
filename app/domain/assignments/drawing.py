"""Draw vouchers from a pool."""

import random
import uuid
from collections import OrderedDict
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.assignments.errors import PoolBusyError, PoolExhaustedError, PoolHeldError
from app.domain.holds import service as holds
from app.domain.lifecycle import claim as lifecycle
from app.domain.lifecycle.requests import AssignmentRequest, LedgerEntry
from app.domain.pools import service as pools
from app.platform.database import (
    AnyRow,
    ConflictError,
    DriverPool,
    autocommit,
    retry_on_conflict,
    transaction,
)
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
    connection: AsyncConnection, pool: str, requests: Sequence[AssignmentRequest], allowance: int = 0
) -> dict[uuid.UUID, LedgerEntry]:
    """Give each request its voucher, or what it was given before. What got none is missing in the result.

    Wishes have ids of their own. A unique conflict with another transaction undoes all of it: run it again
    (`retry_on_conflict`), and the request is found given. From a pool with holds, only what is allowed is taken.
    """
    cursor = CURSORS.of(pool)
    ledger, draw_keys = await lifecycle.claim(connection, pool, requests, cursor, allowance)
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
    connection: AsyncConnection,
    pool: str,
    gifts: Sequence[tuple[AssignmentRequest, AnyRow]],
    allowance: int = 0,
) -> None:
    """Give each request the voucher that `lock` locked for it, with the allowance of then.

    Raises:
        ConflictError: a voucher had moved between being seen and being locked; run the transaction again.
    """
    if await lifecycle.write(connection, pool, gifts, allowance) != len(gifts):
        raise ConflictError


async def shortage_error(
    connection: AsyncConnection, pool: str, allowance: int = 0, ours: Sequence[str] = ()
) -> DomainError:
    """Why a request got no voucher: no such pool, none available, or all of them held or locked by others right now.

    `ours` are the codes that this transaction itself has locked.
    """
    left = await lifecycle.anything_left(connection, pool, ours)
    if left is None:
        return await pools.not_found(connection, pool)
    if not left.any_left:
        return PoolExhaustedError(pool)
    return PoolHeldError(pool) if left.held and allowance == 0 else PoolBusyError(pool)


async def claim_and_commit(
    engine: AsyncEngine, direct: DriverPool, pool: str, requests: Sequence[AssignmentRequest]
) -> tuple[dict[uuid.UUID, LedgerEntry], DomainError | None]:
    """Claim and commit: what each request was given, and why the rest got none.

    A pool without holds takes one statement.
    """
    given = await _claim_on_driver(direct, pool, requests)
    if len(given) == len(requests):
        return given, None
    async with autocommit(engine) as connection:
        reason: DomainError | None = await shortage_error(connection, pool)
    if isinstance(reason, PoolHeldError):
        more, reason = await _claim_with_holds(
            engine, pool, [request for request in requests if request.id not in given]
        )
        given |= more
    return given, reason


@retry_on_conflict
async def _claim_on_driver(
    direct: DriverPool, pool: str, requests: Sequence[AssignmentRequest]
) -> dict[uuid.UUID, LedgerEntry]:
    cursor = CURSORS.of(pool)
    async with direct.connection() as connection:
        ledger, draw_keys = await lifecycle.claim_direct(connection, pool, requests, cursor)
    CURSORS.passed(pool, cursor, draw_keys)
    return {given.id: given for given in ledger}


@retry_on_conflict
async def _claim_with_holds(
    engine: AsyncEngine, pool: str, requests: Sequence[AssignmentRequest]
) -> tuple[dict[uuid.UUID, LedgerEntry], DomainError | None]:
    async with transaction(engine) as connection:
        return await claim_with_holds(connection, pool, requests)


async def claim_with_holds(
    connection: AsyncConnection, pool: str, requests: Sequence[AssignmentRequest]
) -> tuple[dict[uuid.UUID, LedgerEntry], DomainError | None]:
    """`claim` from a pool of which some is held, campaign by campaign; why the rest got none.

    Such transactions go one after another, so that what one is allowed is exact.
    """
    all_given: dict[uuid.UUID, LedgerEntry] = {}
    reason: DomainError | None = None
    by_campaign: dict[str | None, list[AssignmentRequest]] = {}
    for request in requests:
        by_campaign.setdefault(request.campaign_id, []).append(request)
    for campaign_id, group in by_campaign.items():
        allowance = await holds.allowance(connection, pool, campaign_id)
        given = await claim(connection, pool, group, allowance)
        new = sum(not row.replayed for row in given.values())
        await holds.record_draws(connection, pool, campaign_id, new)
        if len(given) < len(group):
            reason = await shortage_error(connection, pool, max(allowance - new, 0))
        all_given |= given
    return all_given, reason
