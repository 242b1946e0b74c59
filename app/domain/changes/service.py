"""The rules of changes of many vouchers: asked for at once, done by a job in chunks."""

import hashlib
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.access.audit import service as audit
from app.domain.access.scopes import Caller
from app.domain.changes import queries
from app.domain.changes.errors import BulkChangeEndedError, BulkChangeNotFoundError
from app.domain.changes.schemas import BulkChangeCreate, BulkChangeForm, BulkFilter, ChangeRecord
from app.domain.imports.errors import ImportNotFoundError
from app.domain.lifecycle import many, moving, order
from app.domain.persons import service as persons
from app.domain.pools import service as pools
from app.platform.clock import clock
from app.platform.connections import LONG_SECONDS
from app.platform.database import patience, retry_on_conflict, transaction
from app.platform.errors import IdempotencyKeyReusedError
from app.platform.giving_way import Unhurried
from app.platform.jobs import enqueue
from app.platform.projects import project_of
from app.schema.base import VoucherStatus

CODES_AT_A_TIME = 100
"""Vouchers that are changed in one transaction: few, so that nobody waits long for one of them."""

ENDED = frozenset({"succeeded", "failed", "cancelled"})
_KEYED = uuid.UUID("5c0e3a51-9b0e-5c5b-8b60-3f3f0f6f7d10")

Key = tuple[datetime, uuid.UUID]
"""Where a page of the list ends."""
Request = BulkChangeCreate | BulkChangeForm


async def begin(
    connection: AsyncConnection,
    caller: Caller | None,
    wanted: Request,
    *,
    change_id: uuid.UUID | None = None,
    idempotency_key: str | None = None,
    digest: str = "",
    codes: AsyncIterator[list[str]] | None = None,
    by_job: bool = True,
) -> tuple[ChangeRecord, bool]:
    """Enqueue a change; return it, and whether the same id or key asked for it before.

    Args:
        connection: of the transaction; the job begins once it is committed.
        caller: who asks; None for the command line.
        wanted: what is to be done.
        change_id: its id; one of these is made once, whoever asks.
        idempotency_key: makes the same request of one caller the same change.
        digest: of the file that the codes stand in.
        codes: those of the file, some thousand at a time; None where the request itself says which vouchers.
        by_job: whether a job does it; otherwise the caller calls `run`.

    Raises:
        PoolNotFoundError, ImportNotFoundError: the filter names one that is not there.
        IdempotencyKeyReusedError: the key came before, with another request.
    """
    fingerprint = hashlib.sha256(wanted.model_dump_json().encode() + digest.encode()).digest()
    if change_id is None and idempotency_key is not None:
        change_id = uuid.uuid5(_KEYED, f"{caller and caller.key_id} {idempotency_key}")
    if change_id is None:
        change_id = uuid.uuid4()
    elif (before := await queries.by_id(connection, change_id)) is not None:
        return _same(before, fingerprint), True
    row = await _row(connection, caller, wanted, from_file=codes is not None)
    if not await queries.add(connection, {"id": change_id, "fingerprint": fingerprint, **row}):
        return _same(await get(connection, change_id), fingerprint), True
    await _keep_codes(connection, change_id, wanted.filter.codes, codes)
    if by_job:
        await enqueue_run(connection, change_id)
    await audit.record(
        connection, caller, "bulk_change.asked", pool=wanted.filter.pool, **_about(wanted, change_id)
    )
    return await get(connection, change_id), False


def applied_id(dry_run_id: uuid.UUID) -> uuid.UUID:
    """Return the id of the change that does what a dry run told: it is done once, whoever asks for it."""
    return uuid.uuid5(_KEYED, f"applied {dry_run_id}")


async def applied(connection: AsyncConnection, dry_run_id: uuid.UUID) -> ChangeRecord | None:
    """Return the change that does what a dry run told; None where nobody asked for it."""
    return await queries.by_id(connection, applied_id(dry_run_id))


def _same(before: ChangeRecord, fingerprint: bytes) -> ChangeRecord:
    """Return a change that the same key asked for before.

    Raises:
        IdempotencyKeyReusedError: it was another one.
    """
    if before.fingerprint != fingerprint:
        raise IdempotencyKeyReusedError(
            "The same idempotency key came before with another bulk change.", bulk_change_id=str(before.id)
        )
    return before


async def enqueue_run(connection: AsyncConnection, change_id: uuid.UUID) -> None:
    """Enqueue the job of a change in this transaction."""
    await enqueue(connection, "run_bulk_change", change_id=str(change_id))


async def _row(
    connection: AsyncConnection, caller: Caller | None, wanted: Request, *, from_file: bool
) -> dict[str, object]:
    """Return what is kept of a request."""
    return {
        "action": wanted.action,
        "filter": _filter_kept(wanted, from_file=from_file),
        "pool_id": await _pool_id(connection, wanted.filter),
        "customer_ids": wanted.filter.customer_ids,
        "expires_at": wanted.expires_at,
        "to_pool_id": None if wanted.to is None else await pools.id_of(connection, wanted.to),
        "to_pool": wanted.to,
        "most": wanted.count,
        "reason": wanted.reason,
        "dry_run": wanted.dry_run,
        "key_id": caller and caller.key_id,
        "key_name": caller and caller.name,
    }


async def _pool_id(connection: AsyncConnection, chosen: BulkFilter) -> int | None:
    """Return the pool that a filter is about; None where it may be about any."""
    pool_id = None if chosen.pool is None else await pools.id_of(connection, chosen.pool)
    if chosen.import_id is None:
        return pool_id
    found, its_pool = await queries.pool_of_import(connection, chosen.import_id)
    if not found:
        raise ImportNotFoundError(f"There is no import {chosen.import_id}.")
    return its_pool if pool_id is None else pool_id


def _filter_kept(wanted: Request, *, from_file: bool) -> dict[str, object]:
    """Return a filter without the codes and customers that it names, and with how many they are."""
    chosen = wanted.filter
    kept: dict[str, object] = chosen.model_dump(mode="json", exclude_none=True)
    if chosen.codes is not None:
        kept["codes"] = len(chosen.codes)
    if chosen.customer_ids is not None:
        kept["customer_ids"] = len(chosen.customer_ids)
    return {**kept, "codes": None} if from_file else kept


def _about(wanted: Request, change_id: uuid.UUID) -> dict[str, object]:
    return {
        "bulk_change_id": str(change_id),
        "change": wanted.action,
        "filter": _filter_kept(wanted, from_file=False),
        "expires_at": wanted.expires_at and wanted.expires_at.isoformat(),
        "reason": wanted.reason,
        "dry_run": wanted.dry_run,
        **({} if wanted.to is None else {"to": wanted.to, "count": wanted.count}),
    }


async def _keep_codes(
    connection: AsyncConnection,
    change_id: uuid.UUID,
    named: Iterable[str] | None,
    codes: AsyncIterator[list[str]] | None,
) -> None:
    if named is not None:
        await queries.add_codes(connection, change_id, 0, list(named))
    if codes is None:
        return
    await order.stand_aside(connection)
    kept = 0
    async for some in codes:
        await queries.add_codes(connection, change_id, kept, some)
        kept += len(some)
    change = await get(connection, change_id)
    await queries.put(connection, change_id, filter={**change.filter, "codes": kept})


async def get(connection: AsyncConnection, change_id: uuid.UUID) -> ChangeRecord:
    """Return a change, and how far it is.

    Raises:
        BulkChangeNotFoundError: there is none with this id.
    """
    row = await queries.by_id(connection, change_id)
    if row is None:
        raise BulkChangeNotFoundError(f"There is no bulk change {change_id}.")
    return row


async def list_page(connection: AsyncConnection, key: Key | None, limit: int) -> list[ChangeRecord]:
    """Return changes, newest first."""
    return await queries.list_page(connection, key, limit)


async def cancel(connection: AsyncConnection, caller: Caller | None, change_id: uuid.UUID) -> ChangeRecord:
    """Cancel a change that is queued or under way; what it has changed so far stays.

    Raises:
        BulkChangeNotFoundError: there is none with this id.
        BulkChangeEndedError: it has ended.
    """
    row = await queries.lock(connection, change_id)
    if row is None:
        raise BulkChangeNotFoundError(f"There is no bulk change {change_id}.")
    if row.status in ENDED:
        raise BulkChangeEndedError(f"The bulk change has ended: it is {row.status}.")
    await order.stand_aside(connection)
    async with patience(connection):
        await queries.end(connection, change_id, "cancelled", None)
    await audit.record(connection, caller, "bulk_change.cancelled", bulk_change_id=str(change_id))
    return await get(connection, change_id)


async def run(engine: AsyncEngine, change_id: uuid.UUID) -> None:
    """Do a change, from where an earlier run of it ended."""
    if await _list(engine, change_id):
        unhurried = Unhurried(engine)
        while await unhurried.step(_chunk, engine, change_id):
            pass


@retry_on_conflict
async def _list(engine: AsyncEngine, change_id: uuid.UUID) -> bool:
    """List, once, the vouchers that the change is about; return whether there is anything to do."""
    async with transaction(engine) as connection:
        row = await queries.lock(connection, change_id)
        if row is None or row.status in ENDED:
            return False
        if row.total is None:
            wanted = await _of_persons(connection, _wanted(row))
            if wanted.customer_ids is None:  # a merge waits for who asks for persons
                await order.stand_aside(connection)
            async with patience(connection, LONG_SECONDS):
                total = await queries.list_codes(
                    connection, wanted, codes_given="codes" in row.filter, most=row.most
                )
            await queries.put(connection, change_id, status="running", total=total, started_at=clock.now())
        return True


@retry_on_conflict
async def _chunk(engine: AsyncEngine, change_id: uuid.UUID) -> bool:
    """Change the next vouchers, or end the change; return whether to go on."""
    async with transaction(engine) as connection:
        row = await queries.lock(connection, change_id)
        if row is None or row.status in ENDED:
            return False
        codes = await queries.codes_from(connection, change_id, row.position, CODES_AT_A_TIME)
        if not codes:
            await _finish(connection, row)
            return False
        wanted = await _of_persons(connection, _wanted(row))
        outcome = await many.change(connection, wanted, codes, dry_run=row.dry_run)
        await queries.put(
            connection,
            change_id,
            position=row.position + len(codes),
            changed=row.changed + outcome.changed,
            skipped=dict(Counter(row.skipped) + Counter(outcome.skipped)),
        )
        return True


async def _finish(connection: AsyncConnection, row: ChangeRecord) -> None:
    await order.stand_aside(connection)
    async with patience(connection, LONG_SECONDS):
        if row.dry_run and row.to_pool_id is not None:
            row = await _without_kept(connection, row)
        await queries.end(connection, row.id, "succeeded", None)
    of = project_of(connection)
    caller = None if row.key_id is None else Caller(row.key_id, row.key_name or "", frozenset(), of, "")
    await audit.record(
        connection,
        caller,
        "bulk_change.finished",
        pool=row.filter.get("pool"),
        bulk_change_id=str(row.id),
        change=row.action,
        reason=row.reason,
        dry_run=row.dry_run,
        changed=row.changed,
        skipped_by=row.skipped,
    )


async def _without_kept(connection: AsyncConnection, row: ChangeRecord) -> ChangeRecord:
    """Take off what a dry run of a move has counted what holds keep: its chunks, which move nothing, cannot tell."""
    kept = min(row.changed, await moving.kept(connection, await queries.would_move(connection, _wanted(row))))
    if not kept:
        return row
    row = replace(row, changed=row.changed - kept, skipped={**row.skipped, "held": kept})
    await queries.put(connection, row.id, changed=row.changed, skipped=row.skipped)
    return row


async def give_up(engine: AsyncEngine, change_id: uuid.UUID) -> None:
    """End a change that cannot be done: what it has changed so far stays."""
    async with transaction(engine) as connection:
        row = await queries.lock(connection, change_id)
        if row is not None and row.status not in ENDED:
            said = (
                "A fault of the service ended it; what was changed before stays. Ask for it again to go on."
            )
            await order.stand_aside(connection)
            async with patience(connection, LONG_SECONDS):
                await queries.end(connection, change_id, "failed", said)


async def _of_persons(connection: AsyncConnection, wanted: many.Wanted) -> many.Wanted:
    """Name the customers by the ids under which all of theirs is kept until the transaction ends.

    Raises:
        MergingError: one of them is being merged.
    """
    if wanted.customer_ids is None:
        return wanted
    found = await persons.resolve(connection, wanted.customer_ids)
    current = (found[id_].id if id_ in found else id_ for id_ in wanted.customer_ids)
    return replace(wanted, customer_ids=list(dict.fromkeys(current)))


def _wanted(row: ChangeRecord) -> many.Wanted:
    chosen = row.filter
    return many.Wanted(
        change_id=row.id,
        action=row.action,
        expires_at=row.expires_at,
        reason=row.reason,
        pool_id=row.pool_id,
        import_id=uuid.UUID(chosen["import_id"]) if "import_id" in chosen else None,
        campaign_id=chosen.get("campaign_id"),
        status=VoucherStatus(chosen["status"]) if "status" in chosen else None,
        to_pool_id=row.to_pool_id,
        test=chosen.get("test"),
        customer_ids=row.customer_ids,
    )
