"""The rules of handing out: what a draw takes, and what a wish is answered."""

import dataclasses
import random
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.assignments import queries
from app.assignments.schemas import Given, Wish
from app.database import AnyRow, ConflictError, Direct, again_on_conflict, statement, transaction
from app.errors import (
    AlreadyRedeemedError,
    AssignmentNotFoundError,
    AssignmentReleasedError,
    DomainError,
    IdempotencyKeyReusedError,
    PoolBusyError,
    PoolExhaustedError,
    PoolHeldError,
    PoolNotFoundError,
    VoucherVoidError,
)
from app.holds import service as holds
from app.models import VoucherStatus
from app.pools import service as pools
from app.vouchers import service as vouchers

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
    ledger, draw_keys = await queries.claim(connection, pool, wishes, cursor, allowance)
    CURSORS.passed(pool, cursor, draw_keys)
    return {given.id: given for given in ledger}


async def lock(connection: AsyncConnection, pool: str, n: int, allowance: int = 0) -> Sequence[AnyRow]:
    """Lock up to `n` vouchers of a pool for this transaction and give them to nobody yet.

    From a pool with holds, only what is allowed is locked.
    """
    cursor = CURSORS.of(pool)
    rows = await queries.lock(connection, pool, n, cursor, allowance)
    CURSORS.passed(pool, cursor, [row.draw_key for row in rows])
    return rows


async def write(
    connection: AsyncConnection, pool: str, gifts: Sequence[tuple[Wish, AnyRow]], allowance: int = 0
) -> None:
    """Give each wish the voucher that `lock` locked for it, with the allowance of then.

    Raises:
        ConflictError: a voucher had moved between being seen and being locked; run the transaction again.
    """
    if await queries.write(connection, pool, gifts, allowance) != len(gifts):
        raise ConflictError


async def known(connection: AsyncConnection, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Given]:
    """What was given before under these ids."""
    return {given.id: given for given in await queries.known(connection, ids)}


async def why_none(
    connection: AsyncConnection, pool: str, allowance: int = 0, ours: Sequence[str] = ()
) -> DomainError:
    """Why a wish got no voucher: no such pool, none available, or all of them held or locked by others right now.

    `ours` are the codes that this transaction itself has locked.
    """
    left = await queries.anything_left(connection, pool, ours)
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
        ledger, draw_keys = await queries.claim_direct(connection, pool, wishes, cursor)
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


def answer(wish: Wish, given: Given) -> Given:
    """The ledger row as the answer to a wish.

    Raises:
        IdempotencyKeyReusedError: the row was given for something else.
        AssignmentReleasedError: its code was taken back, and may be somebody else's by now.
    """
    if not given.answers(wish):
        raise IdempotencyKeyReusedError(
            "The same idempotency key came before with another customer, campaign, message or test.",
            assignment_id=given.id,
        )
    if given.released_at is not None:
        raise AssignmentReleasedError(
            "This request was answered before and its code released; ask with a new key or message.",
            assignment_id=given.id,
        )
    return given


def first_and_repeats(
    wishes: Sequence[Wish], given: Mapping[uuid.UUID, Given]
) -> list[Given | DomainError | None]:
    """What each wish is answered, in their order: of wishes with one id, all but the first are replays."""
    answers: list[Given | DomainError | None] = []
    seen: set[uuid.UUID] = set()
    for wish in wishes:
        row = given.get(wish.id)
        if row is not None and wish.id in seen:
            row = dataclasses.replace(row, replayed=True)
        seen.add(wish.id)
        try:
            answers.append(row and answer(wish, row))
        except DomainError as error:
            answers.append(error)
    return answers


@again_on_conflict
async def assign_many(
    engine: AsyncEngine, pool: str, wishes: Sequence[Wish], *, atomic: bool
) -> dict[str, Any]:
    """Hand out many vouchers in one transaction; what became of each wish, in their order.

    Raises:
        PoolExhaustedError, PoolBusyError: `atomic`, and there are not enough; none is given then.
        IdempotencyKeyReusedError, AssignmentReleasedError: an item came before, and not like this.
        PoolNotFoundError: there is no such pool.
    """
    async with transaction(engine) as connection:
        unique = list({wish.id: wish for wish in wishes}.values())
        given = await claim(connection, pool, unique)
        reason = await why_none(connection, pool) if len(given) < len(unique) else None
        if isinstance(reason, PoolHeldError):
            more, reason = await claim_held(
                connection, pool, [wish for wish in unique if wish.id not in given]
            )
            given |= more
        answers = first_and_repeats(wishes, given)
        if reason is not None and (atomic or isinstance(reason, PoolNotFoundError)):
            raise reason
        for answer_ in answers:
            if isinstance(answer_, DomainError):
                raise answer_
    return {
        "assigned": sum(isinstance(row, Given) and not row.replayed for row in answers),
        "items": [_item(index, row) for index, row in enumerate(answers)],
    }


def _item(index: int, row: Given | DomainError | None) -> dict[str, Any]:
    if not isinstance(row, Given):
        return {"index": index, "status": "exhausted", "code": None, "id": None}
    return {
        "index": index,
        "status": "replayed" if row.replayed else "assigned",
        "code": row.code,
        "id": row.id,
    }


async def get(connection: AsyncConnection, assignment_id: uuid.UUID) -> Given:
    """One ledger row.

    Raises:
        AssignmentNotFoundError: there is none with this id.
    """
    row = await queries.by_id(connection, assignment_id)
    if row is None:
        raise AssignmentNotFoundError(f"There is no assignment {assignment_id}.")
    return row


async def confirm(connection: AsyncConnection, assignment_id: uuid.UUID) -> Given:
    """Hand out what was reserved, for good. Once more, it changes nothing.

    Raises:
        AssignmentNotFoundError: there is none with this id.
        AssignmentReleasedError: it was released, or its lease has lapsed.
        VoucherVoidError: its code was taken out meanwhile.
    """
    confirmed = await vouchers.confirm(connection, assignment_id)
    row = await get(connection, assignment_id)
    if confirmed:
        return row
    if row.released_at is not None or row.lease_until is not None:
        raise AssignmentReleasedError(
            "The assignment was released, or not confirmed in time.", assignment_id=assignment_id
        )
    if await vouchers.status(connection, row.code) is VoucherStatus.VOID:
        raise VoucherVoidError
    return row


async def release(connection: AsyncConnection, assignment_id: uuid.UUID) -> Given:
    """Take an assignment back, so that its code is available again. Once more, it changes nothing.

    Raises:
        AssignmentNotFoundError: there is none with this id.
        AlreadyRedeemedError, VoucherVoidError: its code was used or taken out, which is final.
    """
    await vouchers.release(connection, assignment_id)
    row = await get(connection, assignment_id)
    if row.released_at is None:
        void = await vouchers.status(connection, row.code) is VoucherStatus.VOID
        raise VoucherVoidError if void else AlreadyRedeemedError
    return row
