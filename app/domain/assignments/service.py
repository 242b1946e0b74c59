"""The rules of handing out: what a draw takes, and what a wish is answered."""

import dataclasses
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.assignments import queries
from app.domain.assignments.drawing import claim, claim_held, why_none
from app.domain.assignments.errors import (
    AssignmentNotFoundError,
    AssignmentReleasedError,
    IdempotencyKeyReusedError,
    PoolHeldError,
)
from app.domain.assignments.schemas import Filter
from app.domain.lifecycle.wishes import Given, Wish
from app.domain.pools import service as pools
from app.domain.pools.errors import PoolNotFoundError
from app.domain.vouchers import service as vouchers
from app.domain.vouchers.errors import AlreadyRedeemedError, VoucherVoidError
from app.platform.database import AnyRow, again_on_conflict, transaction
from app.platform.errors import DomainError
from app.schema.base import VoucherStatus


async def known(connection: AsyncConnection, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Given]:
    """What was given before under these ids."""
    return {given.id: given for given in await queries.known(connection, ids)}


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


Key = tuple[int, datetime, uuid.UUID]
"""Where a page of the ledger ends: pool, time, id."""


LEDGER_COLUMNS = queries.LEDGER_COLUMNS


async def list_page(
    connection: AsyncConnection, wanted: Filter, key: Key | None, limit: int
) -> Sequence[AnyRow]:
    """A page of assignments, released ones included.

    Raises:
        PoolNotFoundError: the filter names a pool that is not there.
    """
    return await queries.ledger_page(connection, wanted, await _pool_id(connection, wanted), key, limit)


async def matching(connection: AsyncConnection, wanted: Filter) -> Select[Any]:
    """The query of all assignments that a filter lets pass.

    Raises:
        PoolNotFoundError: the filter names a pool that is not there.
    """
    return queries.ledger_matching(wanted, await _pool_id(connection, wanted))


async def _pool_id(connection: AsyncConnection, wanted: Filter) -> int | None:
    return None if wanted.pool is None else await pools.id_of(connection, wanted.pool)
