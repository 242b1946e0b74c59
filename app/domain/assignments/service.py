"""The rules of handing out: what a draw takes, and what a request is answered."""

import dataclasses
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.access.audit import service as audit
from app.domain.access.scopes import Caller
from app.domain.assignments import identity, merged, queries
from app.domain.assignments.claiming import claim_many
from app.domain.assignments.drawing import Draw
from app.domain.assignments.errors import (
    AssignmentNotFoundError,
    AssignmentReleasedError,
    CustomerLimitError,
    PoolTooShortLivedError,
    VoucherNotAvailableError,
)
from app.domain.assignments.schemas import Filter
from app.domain.lifecycle import holding, order, transitions
from app.domain.lifecycle.claim import CustomerRule
from app.domain.lifecycle.requests import AssignmentRequest, LedgerEntry
from app.domain.persons import service as persons
from app.domain.pools import service as pools
from app.domain.pools.errors import PoolNotFoundError
from app.domain.vouchers import service as vouchers
from app.domain.vouchers.errors import (
    AlreadyRedeemedError,
    VoucherExpiredError,
    VoucherNotFoundError,
    VoucherVoidError,
)
from app.platform.clock import clock
from app.platform.database import ConflictError, retry_on_conflict, transaction
from app.platform.errors import ClientGoneError, DomainError, IdempotencyKeyReusedError
from app.platform.records import Query

EACH_BY_ITSELF = (CustomerLimitError, PoolTooShortLivedError)
"""Errors of one item of a batch, which do not concern the others."""

TAKEN_BACK = frozenset({"released", "lapsed"})
"""Statuses of an assignment whose code it no longer has."""


async def known(connection: AsyncConnection, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, LedgerEntry]:
    """Return what was given before under these ids."""
    return {given.id: given for given in await queries.known(connection, ids)}


async def standing(
    connection: AsyncConnection, pool: str, customers: Iterable[str], rule: CustomerRule, *, test: bool
) -> list[LedgerEntry]:
    """Return what a rule of the pool counts for these customers, the last one first."""
    return await queries.standing(connection, pool, ((customer, test) for customer in customers), rule)


def check_replay(request: AssignmentRequest, given: LedgerEntry) -> LedgerEntry:
    """Return the ledger row as the answer to a request.

    Raises:
        IdempotencyKeyReusedError: the row was given for something else.
        AssignmentReleasedError: its code was taken back, and may be somebody else's by now.
        VoucherVoidError: its code was taken out.
    """
    if given.matches(request):
        _check_stands(given)  # what was taken back may be somebody else's, with another expiry
        if given.held_for(request.valid_for_seconds):
            return given
    raise IdempotencyKeyReusedError(
        "The same idempotency key or message came before with another customer, campaign, message, test,"
        " lease or validity, or its customer was erased since.",
        assignment_id=given.id,
    )


def _check_stands(given: LedgerEntry) -> None:
    if given.status in TAKEN_BACK:
        raise AssignmentReleasedError(
            "This request was answered before and its code went back to the pool; ask with a new key or message.",
            assignment_id=given.id,
        )
    if given.status == "void":
        raise VoucherVoidError


def check_message(request: AssignmentRequest, given: LedgerEntry) -> LedgerEntry:
    """Return the ledger row as what a message shows: as `check_replay`, but whatever was reserved for it is its own.

    Raises:
        IdempotencyKeyReusedError, AssignmentReleasedError, VoucherVoidError: see `check_replay`.
    """
    return check_replay(dataclasses.replace(request, lease_seconds=given.lease_seconds), given)


async def latest(
    connection: AsyncConnection, places: Sequence[uuid.UUID], *, released: bool = False
) -> tuple[dict[uuid.UUID, LedgerEntry], dict[uuid.UUID, uuid.UUID]]:
    """Return what places of messages were given, passing over leases that have lapsed: these are drawn anew.

    Args:
        connection: of the transaction that makes the messages.
        places: ids of the places (`identity.of_message`).
        released: whether what was released is passed over as well.

    Returns:
        By place, the ledger row that stands; and of places that are drawn anew, the id of their present draw, which
        may or may not have a row yet.
    """
    found: dict[uuid.UUID, LedgerEntry] = {}
    anew: dict[uuid.UUID, uuid.UUID] = {}
    wanted = {place: place for place in places}
    while wanted:
        rows = await known(connection, list(wanted))
        following: dict[uuid.UUID, uuid.UUID] = {}
        for id_, row in rows.items():
            if _has_run_out(row) or (released and row.status == "released"):
                place = wanted[id_]
                anew[place] = identity.drawn_anew(id_)
                following[anew[place]] = place
            else:
                found[wanted[id_]] = row
        wanted = following
    return found, anew


def _has_run_out(row: LedgerEntry) -> bool:
    """Return whether a row was a lease that cannot be confirmed any more, because its time or the code's is over."""
    expired = row.expires_at is not None and row.expires_at <= clock.now()
    return row.status == "lapsed" or (row.status == "reserved" and expired)


def results_in_order(
    requests: Sequence[AssignmentRequest], given: Mapping[uuid.UUID, LedgerEntry | DomainError]
) -> list[LedgerEntry | DomainError | None]:
    """Return what each request is answered, in their order: of requests with one id, all but the first are replays."""
    results: list[LedgerEntry | DomainError | None] = []
    seen: set[uuid.UUID] = set()
    for request in requests:
        row = given.get(request.id)
        if isinstance(row, DomainError) or row is None:
            results.append(row)
            continue
        if row.id in seen:
            row = dataclasses.replace(row, replayed=True)
        seen.add(row.id)
        try:
            results.append(_check_given(request, row))
        except DomainError as error:
            results.append(error)
    return results


def _check_given(request: AssignmentRequest, row: LedgerEntry) -> LedgerEntry:
    """Return the answer to a request: its own row, or one of the same customer that the pool's rule gives again.

    One that was found by another id of its customer is its own too.

    Raises:
        PoolTooShortLivedError: what the customer has does not last as long as is asked for.
        IdempotencyKeyReusedError, AssignmentReleasedError, VoucherVoidError: see `check_replay`.
    """
    if row.of_person:
        return check_replay(dataclasses.replace(request, customer_id=row.customer_id), row)
    if row.id == request.id:
        return check_replay(request, row)
    _check_stands(row)
    if not row.lasts(request.valid_for_seconds):
        raise PoolTooShortLivedError(row.pool)
    return row


@retry_on_conflict
async def assign_many(
    engine: AsyncEngine,
    pool: str,
    requests: Sequence[AssignmentRequest],
    still_there: Callable[[], Awaitable[bool]],
    *,
    atomic: bool,
) -> dict[str, object]:
    """Hand out many vouchers in one transaction; what became of each request, in their order.

    Args:
        engine: of the service's database.
        pool: name of the pool.
        requests: what is asked for.
        still_there: whether somebody waits for the answer; asked where a request could not find its voucher again.
        atomic: all or none is handed out.

    Raises:
        ClientGoneError: nobody waits, nor could find all of it again; none is given then.
        PoolExhaustedError, PoolBusyError: `atomic`, and there are not enough; none is given then.
        IdempotencyKeyReusedError, AssignmentReleasedError, VoucherVoidError: an item came before, and what it was
            given then does not answer it.
        PoolNotFoundError: there is no such pool.
    """
    async with transaction(engine) as connection:
        unique = list({request.id: request for request in requests}.values())
        given, reason = await claim_many(connection, pool, unique)
        results = results_in_order(requests, given)
        if reason is not None and (atomic or isinstance(reason, PoolNotFoundError)):
            raise reason
        for result in results:
            if isinstance(result, DomainError) and (atomic or not isinstance(result, EACH_BY_ITSELF)):
                raise result
        if not all(identity.repeats(request.id) for request in requests) and not await still_there():
            raise ClientGoneError
    return {
        "assigned": sum(isinstance(row, LedgerEntry) and not row.replayed for row in results),
        "items": [_item(index, row) for index, row in enumerate(results)],
    }


@retry_on_conflict
async def assign_this(
    engine: AsyncEngine, caller: Caller | None, pool: str, request: AssignmentRequest, code: str
) -> LedgerEntry:
    """Hand out this code and no other, in a transaction of its own; a repeat is answered as any other.

    Raises:
        VoucherNotFoundError, VoucherNotAvailableError: the pool does not have it, or not to give.
        PoolNotFoundError, PoolHeldError, PoolTooShortLivedError, CustomerLimitError: see `Draw.give`.
        IdempotencyKeyReusedError, AssignmentReleasedError, VoucherVoidError: the request came before, and what it was
            given then does not answer it.
    """
    async with transaction(engine) as connection:
        (request,) = await merged.of_persons(connection, pool, [request])
        before = (await known(connection, [request.id])).get(request.id)
        if before is not None:
            if before.code != code:
                raise IdempotencyKeyReusedError(
                    "The same idempotency key or message came before and got another code.",
                    assignment_id=before.id,
                )
            return check_replay(request, before)
        draw = Draw(connection, pool, request.campaign_id, request.valid_for_seconds)
        try:
            await draw.give(request, code)
        except VoucherNotFoundError:
            raise VoucherNotFoundError(pool=pool) from None  # another one may
        except (CustomerLimitError, VoucherNotAvailableError):
            if await queries.which(connection, [request.id]):  # the same request was faster: find its answer
                raise ConflictError from None
            raise
        await audit.record(connection, caller, "assignment.chosen", pool=pool, assignment_id=str(request.id))
        return dataclasses.replace(await get(connection, request.id), replayed=False)


def _item(index: int, row: LedgerEntry | DomainError | None) -> dict[str, object]:
    # No record: a thousand of them take two to three times as long to make and to write.
    if not isinstance(row, LedgerEntry):
        status = "customer_limit" if isinstance(row, CustomerLimitError) else "exhausted"
        nothing = dict.fromkeys(("code", "id", "lease_until", "expires_at", "attributes"))
        return {"index": index, "status": status, **nothing}
    return {
        "index": index,
        "status": "replayed" if row.replayed else row.status,
        "code": row.code,
        "id": row.id,
        "lease_until": row.lease_until,
        "expires_at": row.expires_at,
        "attributes": row.attributes,
    }


async def get(connection: AsyncConnection, assignment_id: uuid.UUID) -> LedgerEntry:
    """Return one ledger row.

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
        VoucherExpiredError: its code has expired meanwhile.
    """
    confirmed = await vouchers.confirm(connection, assignment_id)
    row = await get(connection, assignment_id)
    if confirmed:
        return row
    if row.status in TAKEN_BACK:
        raise AssignmentReleasedError(
            "The assignment was released, or not confirmed in time.", assignment_id=assignment_id
        )
    if row.status == "void":
        raise VoucherVoidError
    if row.status == "reserved":
        raise VoucherExpiredError
    return row


async def release(
    connection: AsyncConnection,
    caller: Caller | None,
    assignment_id: uuid.UUID,
    reason: str | None = None,
) -> LedgerEntry:
    """Take an assignment back, so that its code is available again. Once more, it changes nothing.

    Raises:
        AssignmentNotFoundError: there is none with this id.
        AlreadyRedeemedError, VoucherVoidError: its code was used or taken out, which is final.
    """
    moved = await vouchers.release(connection, assignment_id, reason)
    row = await get(connection, assignment_id)
    if row.released_at is None:
        raise VoucherVoidError if row.status == "void" else AlreadyRedeemedError
    if moved:
        why = {} if reason is None else {"reason": reason}
        await audit.record(
            connection, caller, "assignment.released", pool=row.pool, assignment_id=str(assignment_id), **why
        )
    return row


async def release_unseen(connection: AsyncConnection, assignment_ids: Sequence[uuid.UUID]) -> None:
    """Take back assignments of which nobody has heard, each a moment old; the ledger keeps them as released.

    What its pool gives the same customer again stays: another request may have been answered with it by now.
    """
    unseen = await queries.given_once(connection, assignment_ids)
    await holding.lock_pools_of(connection, unseen)
    await transitions.release_many(connection, unseen)


Key = queries.Key
"""Where a page of the ledger ends: pool, time, id."""


LEDGER_COLUMNS = queries.LEDGER_COLUMNS


async def list_page(
    connection: AsyncConnection, wanted: Filter, key: Key | None, limit: int
) -> queries.LedgerPage:
    """Return a page of assignments, released ones included; it may end early, and then says where to go on.

    Raises:
        PoolNotFoundError: the filter names a pool that is not there.
    """
    wanted = await _of_person(connection, wanted)
    return await queries.ledger_page(connection, wanted, await _pool_id(connection, wanted), key, limit)


async def _of_person(connection: AsyncConnection, wanted: Filter) -> Filter:
    if wanted.customer_id is None:
        return wanted
    return dataclasses.replace(wanted, customer_id=await persons.current(connection, wanted.customer_id))


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export holds, and up to when."""

    query: Query
    complete_until: datetime
    """All before it is in this export or an earlier one; the next one goes on from here."""


async def exported(
    connection: AsyncConnection, engine: AsyncEngine, caller: Caller, wanted: Filter, *, changes: bool
) -> Exported:
    """Return the query of all assignments that a filter lets pass, cut to the time up to which all is committed.

    Args:
        connection: of the transaction.
        engine: for finding out that time.
        caller: who asks.
        wanted: the filter.
        changes: whether what was given before `since`, and changed since, is to be there too.

    Raises:
        PoolNotFoundError: the filter names a pool that is not there.
    """
    wanted = await _of_person(connection, wanted)
    until = await order.settled(engine)
    if wanted.until is not None:
        until = min(until, wanted.until)
    if wanted.since is not None:
        until = max(until, wanted.since)
    cut = dataclasses.replace(wanted, until=until)
    pool_id = await _pool_id(connection, wanted)
    # Without a beginning there is nothing before it.
    both = changes and wanted.since is not None
    query = queries.ledger_exported(cut, pool_id) if both else queries.ledger_matching(cut, pool_id)
    await audit.record(connection, caller, "assignments.exported", pool=wanted.pool)
    return Exported(query, until)


async def _pool_id(connection: AsyncConnection, wanted: Filter) -> int | None:
    return None if wanted.pool is None else await pools.id_of(connection, wanted.pool)
