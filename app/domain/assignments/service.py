"""The rules of handing out: what a draw takes, and what a request is answered."""

import dataclasses
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.access.audit import service as audit
from app.domain.access.scopes import Caller
from app.domain.assignments import queries
from app.domain.assignments.drawing import claim, claim_with_holds, shortage_error
from app.domain.assignments.errors import (
    AssignmentNotFoundError,
    AssignmentReleasedError,
    PoolHeldError,
)
from app.domain.assignments.schemas import Filter
from app.domain.lifecycle.requests import AssignmentRequest, LedgerEntry
from app.domain.pools import service as pools
from app.domain.pools.errors import PoolNotFoundError
from app.domain.vouchers import service as vouchers
from app.domain.vouchers.errors import AlreadyRedeemedError, VoucherVoidError
from app.platform.database import AnyRow, retry_on_conflict, transaction
from app.platform.errors import DomainError, IdempotencyKeyReusedError
from app.schema.base import VoucherStatus


async def known(connection: AsyncConnection, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, LedgerEntry]:
    """What was given before under these ids."""
    return {given.id: given for given in await queries.known(connection, ids)}


def check_replay(request: AssignmentRequest, given: LedgerEntry) -> LedgerEntry:
    """The ledger row as the answer to a request.

    Raises:
        IdempotencyKeyReusedError: the row was given for something else.
        AssignmentReleasedError: its code was taken back, and may be somebody else's by now.
    """
    if not given.matches(request):
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


def results_in_order(
    requests: Sequence[AssignmentRequest], given: Mapping[uuid.UUID, LedgerEntry]
) -> list[LedgerEntry | DomainError | None]:
    """What each request is answered, in their order: of requests with one id, all but the first are replays."""
    results: list[LedgerEntry | DomainError | None] = []
    seen: set[uuid.UUID] = set()
    for request in requests:
        row = given.get(request.id)
        if row is not None and request.id in seen:
            row = dataclasses.replace(row, replayed=True)
        seen.add(request.id)
        try:
            results.append(row and check_replay(request, row))
        except DomainError as error:
            results.append(error)
    return results


@retry_on_conflict
async def assign_many(
    engine: AsyncEngine, pool: str, requests: Sequence[AssignmentRequest], *, atomic: bool
) -> dict[str, Any]:
    """Hand out many vouchers in one transaction; what became of each request, in their order.

    Raises:
        PoolExhaustedError, PoolBusyError: `atomic`, and there are not enough; none is given then.
        IdempotencyKeyReusedError, AssignmentReleasedError: an item came before, and not like this.
        PoolNotFoundError: there is no such pool.
    """
    async with transaction(engine) as connection:
        unique = list({request.id: request for request in requests}.values())
        given = await claim(connection, pool, unique)
        reason = await shortage_error(connection, pool) if len(given) < len(unique) else None
        if isinstance(reason, PoolHeldError):
            more, reason = await claim_with_holds(
                connection, pool, [request for request in unique if request.id not in given]
            )
            given |= more
        results = results_in_order(requests, given)
        if reason is not None and (atomic or isinstance(reason, PoolNotFoundError)):
            raise reason
        for result in results:
            if isinstance(result, DomainError):
                raise result
    return {
        "assigned": sum(isinstance(row, LedgerEntry) and not row.replayed for row in results),
        "items": [_item(index, row) for index, row in enumerate(results)],
    }


def _item(index: int, row: LedgerEntry | DomainError | None) -> dict[str, Any]:
    if not isinstance(row, LedgerEntry):
        return {"index": index, "status": "exhausted", "code": None, "id": None}
    return {
        "index": index,
        "status": "replayed" if row.replayed else "assigned",
        "code": row.code,
        "id": row.id,
    }


async def get(connection: AsyncConnection, assignment_id: uuid.UUID) -> LedgerEntry:
    """One ledger row.

    Raises:
        AssignmentNotFoundError: there is none with this id.
    """
    row = await queries.by_id(connection, assignment_id)
    if row is None:
        raise AssignmentNotFoundError(f"There is no assignment {assignment_id}.")
    return row


async def confirm(connection: AsyncConnection, assignment_id: uuid.UUID) -> LedgerEntry:
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


async def release(
    connection: AsyncConnection, caller: Caller | None, assignment_id: uuid.UUID
) -> LedgerEntry:
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
    await audit.record(
        connection, caller, "assignment.released", pool=row.pool, assignment_id=str(assignment_id)
    )
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


async def exported(connection: AsyncConnection, caller: Caller, wanted: Filter) -> Select[Any]:
    """The query of all assignments that a filter lets pass.

    Raises:
        PoolNotFoundError: the filter names a pool that is not there.
    """
    query = queries.ledger_matching(wanted, await _pool_id(connection, wanted))
    await audit.record(connection, caller, "assignments.exported", pool=wanted.pool)
    return query


async def _pool_id(connection: AsyncConnection, wanted: Filter) -> int | None:
    return None if wanted.pool is None else await pools.id_of(connection, wanted.pool)
