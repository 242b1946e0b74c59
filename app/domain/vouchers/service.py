"""The rules of the inventory."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.access.audit import service as audit
from app.domain.access.scopes import Caller
from app.domain.lifecycle import coming, notes, transitions
from app.domain.lifecycle.notes import Note
from app.domain.persons import service as persons
from app.domain.pools import service as pools
from app.domain.vouchers import finding, queries, schemas
from app.domain.vouchers.errors import AlreadyRedeemedError, VoucherNotFoundError
from app.domain.vouchers.schemas import Happening, HistoryRecord, VoucherRecord
from app.platform.database import run_act
from app.platform.errors import InvalidRequestError
from app.platform.giving_way import Unhurried
from app.platform.records import Query
from app.platform.sweeping import by_halves, is_of_the_row, turn_is_over
from app.schema.base import VoucherStatus

VOUCHERS_AT_A_TIME = 1000
"""Vouchers that are swept in one transaction."""

Key = finding.Key
"""Where a page of a pool's vouchers ends."""
Filter = schemas.Filter
Due = TypeVar("Due")
"""What a sweep finds its rows by."""


async def find(
    connection: AsyncConnection, pool: str, wanted: Filter, key: Key | None, limit: int
) -> finding.Found:
    """Return a page of a pool's vouchers: state by state, or as the index goes that serves the filter.

    A page may be short, even empty, and go on.

    Raises:
        PoolNotFoundError: there is no such pool.
        InvalidRequestError: the key is of another filter.
    """
    pool_id = await pools.id_of(connection, pool)
    if key is not None and not finding.is_key_of(wanted, key):
        raise InvalidRequestError(
            "The cursor is one of another filter.", [{"loc": ["query", "cursor"], "msg": "of another filter"}]
        )
    return await finding.page(connection, pool_id, await _of_person(connection, wanted), key, limit)


async def _of_person(connection: AsyncConnection, wanted: Filter) -> Filter:
    if wanted.customer_id is None:
        return wanted
    return replace(wanted, customer_id=await persons.current(connection, wanted.customer_id))


EXPORTED = queries.EXPORTED


async def exported(connection: AsyncConnection, caller: Caller, pool: str, wanted: Filter) -> Query:
    """Return the query of all vouchers of a pool that a filter lets pass, for an export.

    Raises:
        PoolNotFoundError: there is no such pool.
    """
    pool_id = await pools.id_of(connection, pool)
    query = queries.of_pool(pool_id, await _of_person(connection, wanted))
    await audit.record(connection, caller, "vouchers.exported", pool=pool, status=wanted.status)
    return query


async def get(connection: AsyncConnection, code: str) -> VoucherRecord:
    """Return a voucher and its history.

    Raises:
        VoucherNotFoundError: no pool holds the code.
    """
    voucher = await queries.by_code(connection, code)
    if voucher is None:
        raise VoucherNotFoundError(await coming.of_code(connection, code))
    history = [HistoryRecord("imported", voucher.imported_at)]
    for row in await queries.assignments_of(connection, code, voucher.assignment_id):
        about = (row.customer_id, row.campaign_id, row.message_id, row.id)
        history.append(HistoryRecord("assigned", row.assigned_at, *about))
        if row.released_at is not None:
            history.append(HistoryRecord("released", row.released_at, *about))
    noted = await queries.notes_of(connection, code, voucher.imported_at)
    redemption = await queries.redemption_of(connection, code)
    if redemption is not None:
        history.append(HistoryRecord("redeemed", redemption.redeemed_at, redemption.customer_id))
    for use in await queries.cancelled_of(connection, code):
        event: Happening = "cancelled" if use.effect == "cancel" else "redeemed"
        history.append(HistoryRecord(event, use.redeemed_at, use.customer_id))
    if voucher.expired_at is not None:
        history.append(HistoryRecord("expired", voucher.expired_at))
    if voucher.voided_at is not None:
        history.append(HistoryRecord("voided", voucher.voided_at))
    _add_notes(history, noted)
    history.sort(key=lambda entry: entry.at)
    return replace(voucher, history=tuple(history))


async def status(connection: AsyncConnection, code: str) -> VoucherStatus | None:
    """Return the state of a voucher; None where no pool holds the code."""
    voucher = await queries.by_code(connection, code)
    return None if voucher is None else voucher.status


async def void(
    connection: AsyncConnection, caller: Caller | None, code: str, reason: str | None = None
) -> VoucherRecord:
    """Take a voucher out for good; the voucher. One that is void already stays so.

    Raises:
        VoucherNotFoundError: no pool holds the code.
        AlreadyRedeemedError: it was used.
    """
    moved = await transitions.void(connection, [code])
    await notes.add(connection, Note("voided", reason), [(row.code, row.assignment_id) for row in moved])
    voucher = await get(connection, code)
    if voucher.status is not VoucherStatus.VOID:
        raise AlreadyRedeemedError
    if moved:
        await audit.record(connection, caller, "voucher.voided", pool=voucher.pool, **_why(reason))
    return voucher


async def confirm(connection: AsyncConnection, assignment_id: uuid.UUID) -> bool:
    """Make a reserved voucher assigned; False where it was not reserved, or its lease or the voucher has run out."""
    return bool(await transitions.confirm(connection, [assignment_id]))


async def release(connection: AsyncConnection, assignment_id: uuid.UUID, reason: str | None = None) -> bool:
    """Make a handed out voucher available again; return False where it is not handed out under this assignment."""
    moved = await transitions.release(connection, assignment_id)
    if moved and reason is not None:
        await notes.add(connection, Note("released", reason), [(moved[0].code, assignment_id)])
    return bool(moved)


def _why(reason: str | None) -> dict[str, str]:
    return {} if reason is None else {"reason": reason}


async def sweep(engine: AsyncEngine) -> tuple[int, int]:
    """Take back what was reserved and not confirmed in time, and take out what has expired; return how many of each.

    What others hold locked is left to the next sweep. What cannot be judged is left alone, told and counted.
    """
    return await _sweep(engine, LEASES), await _sweep(engine, EXPIRIES)


async def bring_in(engine: AsyncEngine) -> int:
    """Bring the codes whose time has come into their pools; return how many were due."""
    came, unhurried = 0, Unhurried(engine)
    while (due := await unhurried.step(run_act, engine, coming.come, VOUCHERS_AT_A_TIME)) > 0:
        came += due
        if turn_is_over():
            break
    return came


@dataclass(frozen=True, slots=True)
class Sweep(Generic[Due]):
    """What one sweep does: many at once as the rule, or these where one among them is bad."""

    name: str
    some: Callable[[AsyncConnection, int], Awaitable[transitions.Moved]]
    due: Callable[[AsyncConnection, Sequence[Due], int], Awaitable[Sequence[Due]]]
    these: Callable[[AsyncConnection, Sequence[Due]], Awaitable[transitions.Moved]]


LEASES = Sweep("leases", transitions.lapse, transitions.due_leases, transitions.lapse_these)
EXPIRIES = Sweep("expiry", transitions.expire, transitions.due_expiries, transitions.expire_these)


async def _sweep(engine: AsyncEngine, what: Sweep[Due]) -> int:
    async def move(connection: AsyncConnection) -> int:
        return len(await what.some(connection, VOUCHERS_AT_A_TIME))

    swept, unhurried = 0, Unhurried(engine)
    try:
        while (moved := await unhurried.step(run_act, engine, move)) > 0:
            swept += moved
            if turn_is_over():
                break
    except Exception as error:
        if not is_of_the_row(error):
            raise
        swept += await _sweep_past_bad_rows(engine, what)
    return swept


async def _sweep_past_bad_rows(engine: AsyncEngine, what: Sweep[Due]) -> int:
    async def move(keys: Sequence[Due]) -> int:
        return len(await run_act(engine, what.these, keys))

    swept = 0
    bad: list[Due] = []
    while keys := await run_act(engine, what.due, bad, VOUCHERS_AT_A_TIME):
        moved, more = await by_halves(what.name, keys, move)
        if (not moved and not more) or turn_is_over():
            break
        swept, bad = swept + moved, bad + more
    return swept


def _add_notes(history: list[HistoryRecord], noted: Sequence[queries.NoteRecord]) -> None:
    """Add what was noted: to what the voucher and its ledger tell already the reason, and all else by itself.

    A note is of the time of the transaction that wrote it, as is what that transaction did.
    """
    for note in noted:
        place = next((place for place, entry in enumerate(history) if _is_told(entry, note)), None)
        if place is None:
            told = HistoryRecord(note.event, note.at, expires_at=note.expires_at, from_pool=note.from_pool)
            place = len(history)
            history.append(told)
        history[place] = replace(history[place], reason=note.reason, bulk_change_id=note.change_id)


def _is_told(entry: HistoryRecord, note: queries.NoteRecord) -> bool:
    return (
        entry.event == note.event
        and (entry.at == note.at or (entry.assignment_id is not None and note.event == "released"))
        and entry.assignment_id in {None, note.assignment_id}
    )
