"""SQL that reads the ledger. What writes it is the claim (lifecycle/claim.py) and the transitions."""

import dataclasses
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Boolean, Text, func, literal_column, select, text, tuple_, union_all
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from app.domain.assignments.schemas import Filter, LedgerRow
from app.domain.lifecycle.claim import CustomerRule
from app.domain.lifecycle.requests import LEDGER_ROW, STATUS, LedgerEntry, replayed
from app.domain.vouchers.conditions import meeting
from app.platform import keyset, records
from app.platform.records import OneQuery, Query
from app.schema.base import VoucherStatus
from app.schema.inventory import NOT_EXPIRED, Pool, Voucher
from app.schema.ledger import IS_TEST, AnsweredAgain, Assignment
from app.schema.order import PoolChange

# Notes are looked up one by one: planned while there are few, a join would read all of them for ever after.
KNOWN = text(f"""
SELECT {LEDGER_ROW}, pool.name, EXISTS (
    SELECT FROM voucher_note AS note WHERE note.project_id = :project AND note.code = assignment.code
        AND note.event = 'expiry_set' AND note.assignment_id = assignment.id OFFSET 0
) AS expiry_moved
FROM assignment JOIN pool ON pool.project_id = :project AND pool.id = assignment.pool_id
LEFT JOIN voucher ON voucher.project_id = :project AND voucher.code = assignment.code
WHERE assignment.project_id = :project AND assignment.id = ANY (CAST(:ids AS uuid[]))
""")  # noqa: S608  (made of constants)


async def known(connection: AsyncConnection, ids: Sequence[uuid.UUID]) -> list[LedgerEntry]:
    """Return the ledger rows that have these ids."""
    rows = (await connection.execute(KNOWN, {"ids": ids})).all()
    return [dataclasses.replace(replayed(row.name, row), expiry_moved=row.expiry_moved) for row in rows]


async def which(connection: AsyncConnection, ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of these ids under which something was given."""
    if not ids:
        return set()
    query = select(Assignment.id).where(Assignment.id == func.any(list(ids)))
    return set((await connection.execute(query)).scalars())


async def by_id(connection: AsyncConnection, assignment_id: uuid.UUID) -> LedgerEntry | None:
    """Return one ledger row, or None."""
    return next(iter(await known(connection, [assignment_id])), None)


# What another request of the customer is answered with as well, where the pool's rule says so, is not given once.
GIVEN_ONCE = text("""
SELECT assignment.id
FROM assignment JOIN pool ON pool.project_id = :project AND pool.id = assignment.pool_id
WHERE assignment.project_id = :project AND assignment.id = ANY (CAST(:ids AS uuid[]))
    AND (assignment.customer_id IS NULL OR per_customer ->> 'then' IS DISTINCT FROM 'same')
""")


async def given_once(connection: AsyncConnection, ids: Sequence[uuid.UUID]) -> Sequence[uuid.UUID]:
    """Return those of these assignments which no other request is answered with."""
    return (await connection.execute(GIVEN_ONCE, {"ids": list(ids)})).scalars().all()


# What a rule of the pool counts, the last one first: of each no more than it allows, for an id that many share may have
# been given any number before. What has expired unused is no good to show again.
STANDING = text(f"""
SELECT standing.*
FROM unnest(CAST(:customers AS text[]), CAST(:tests AS boolean[])) AS who (customer_id, test), LATERAL (
    SELECT {LEDGER_ROW}, pool.name
    FROM assignment JOIN pool ON pool.project_id = :project AND pool.id = assignment.pool_id
    JOIN voucher ON voucher.project_id = :project AND voucher.assignment_id = assignment.id
        AND voucher.code = assignment.code
    WHERE assignment.project_id = :project AND assignment.customer_id = who.customer_id AND {IS_TEST} = who.test
        AND pool.name = :pool
        AND assignment.released_at IS NULL
        AND (assignment.lease_until IS NULL OR assignment.lease_until > now())
        AND (CAST(:days AS bigint) IS NULL
            OR assignment.assigned_at > now() - make_interval(days => CAST(:days AS integer)))
        AND voucher.status <> 'void'
        AND (voucher.status = 'redeemed' OR {NOT_EXPIRED})
    ORDER BY assignment.assigned_at DESC LIMIT CAST(:most AS bigint)
) AS standing
ORDER BY standing.assigned_at DESC, standing.id
""")  # noqa: S608  (made of constants)


async def standing(
    connection: AsyncConnection, pool: str, who: Iterable[tuple[str, bool]], rule: CustomerRule
) -> list[LedgerEntry]:
    """Return what a pool's rule counts of these customers, and of their tests: the last one first."""
    asked = sorted(who)
    parameters = {
        "pool": pool,
        "customers": [customer_id for customer_id, _ in asked],
        "tests": [test for _, test in asked],
        "days": rule.days,
        "most": rule.count,
    }
    return [replayed(row.name, row) for row in await connection.execute(STANDING, parameters)]


async def answered_again(
    connection: AsyncConnection, ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, LedgerEntry]:
    """Return what a rule answered again to the requests with these ids; it may have ended since."""
    query = select(AnsweredAgain.id, AnsweredAgain.assignment_id).where(
        AnsweredAgain.id == func.any(list(ids))
    )
    found = {row.id: row.assignment_id for row in await connection.execute(query)}
    rows = {row.id: row for row in await known(connection, list(found.values()))} if found else {}
    return {id_: rows[assignment_id] for id_, assignment_id in found.items() if assignment_id in rows}


async def note_answers(connection: AsyncConnection, answers: Mapping[uuid.UUID, uuid.UUID]) -> None:
    """Note which assignments a rule answered again, by request."""
    rows = [{"id": id_, "assignment_id": assignment_id} for id_, assignment_id in answers.items()]
    await connection.execute(upsert(AnsweredAgain).on_conflict_do_nothing(), rows)


async def status_of(connection: AsyncConnection, pool_id: int, code: str) -> VoucherStatus | None:
    """Return the state of a code of a pool; None where the pool has no such code."""
    query = select(Voucher.status).where(Voucher.code == code, Voucher.pool_id == pool_id)
    return (await connection.execute(query)).scalar_one_or_none()


LEDGER_SELECTED = (
    Assignment.id,
    Pool.name.label("pool"),
    Assignment.code,
    Assignment.customer_id,
    Assignment.campaign_id,
    Assignment.message_id,
    literal_column(IS_TEST, Boolean).label("test"),
    Assignment.assigned_at,
    literal_column(STATUS, Text).label("status"),
    Assignment.lease_until,
    Assignment.released_at,
    Voucher.expires_at,
    Voucher.attributes,
)


LEDGER = (
    select(*LEDGER_SELECTED)
    .join(Pool, Pool.id == Assignment.pool_id)
    .outerjoin(Voucher, Voucher.code == Assignment.code)
)


READ = (Assignment.id, Assignment.pool_id, Assignment.assigned_at)
LEDGER_COLUMNS = [column.name for column in LEDGER.selected_columns]


def _leading(query: OneQuery, wanted: Filter, pool_id: int | None) -> OneQuery:
    """Return a query of what the index that serves the filter finds."""
    if wanted.customer_id is not None:
        query = query.where(Assignment.customer_id == wanted.customer_id)
    elif wanted.campaign_id is not None:
        query = query.where(Assignment.campaign_id == wanted.campaign_id)
    elif pool_id is not None:
        query = query.where(Assignment.pool_id == pool_id)
    if wanted.since is not None:
        query = query.where(Assignment.assigned_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(Assignment.assigned_at < wanted.until)
    return query


def ledger_matching(wanted: Filter, pool_id: int | None, query: OneQuery = LEDGER) -> OneQuery:
    """Return the query of the ledger rows that a filter lets pass."""
    query = meeting(_leading(query, wanted, pool_id), wanted, Assignment.code)
    if pool_id is not None:
        query = query.where(Assignment.pool_id == pool_id)
    if wanted.status is not None:
        query = query.where(literal_column(STATUS, Text) == wanted.status)
    return query


def ledger_exported(wanted: Filter, pool_id: int | None) -> Query:
    """Return the query of the ledger rows that a filter lets pass, and of earlier ones that changed in its time."""
    given = ledger_matching(wanted, pool_id)
    changed = select(PoolChange.assignment_id).where(PoolChange.changed_at < wanted.until)
    if wanted.since is not None:
        changed = changed.where(PoolChange.changed_at >= wanted.since)
    before = ledger_matching(dataclasses.replace(wanted, since=None, until=wanted.since), pool_id)
    return union_all(given, before.where(Assignment.id.in_(changed)))


Key = tuple[int, datetime, uuid.UUID]
"""Where a page of the ledger ends: pool, time, id."""


@dataclass(frozen=True, slots=True)
class LedgerPage:
    """Rows of the ledger, one more than asked for where there are more."""

    rows: Sequence[LedgerRow]
    go_on: Key | None = None
    """Where to go on, if the page ended because it had read enough."""


async def ledger_page(
    connection: AsyncConnection, wanted: Filter, pool_id: int | None, key: Key | None, limit: int
) -> LedgerPage:
    """Return a page of the ledger, in the order of the index that serves the filter: by time, or pool and time.

    What no index serves is found by reading what one does, a bounded number of rows; so such a page may end before it
    is full.
    """
    order: list[
        InstrumentedAttribute[int] | InstrumentedAttribute[datetime] | InstrumentedAttribute[uuid.UUID]
    ] = [Assignment.pool_id, Assignment.assigned_at, Assignment.id]
    if wanted.customer_id is not None or wanted.campaign_id is not None:
        del order[0]
    after = [] if key is None else [tuple_(*order) > key[-len(order) :]]
    if wanted.is_indexed:
        page = ledger_matching(wanted, pool_id).add_columns(Assignment.pool_id)
        query = page.where(*after).order_by(*order).limit(limit)
        return LedgerPage(records.all_of(await connection.execute(query), LedgerRow))
    read = (
        _leading(select(*READ), wanted, pool_id)
        .where(*after)
        .order_by(*order)
        .limit(keyset.at_most(keyset.MOST_READ))
        .subquery("read")
    )
    by = [read.c[column.key] for column in order]
    query = (
        ledger_matching(
            wanted, pool_id, LEDGER.add_columns(Assignment.pool_id).join(read, read.c.id == Assignment.id)
        )
        .order_by(*by)
        .limit(limit)
    )
    rows = records.all_of(await connection.execute(query), LedgerRow)
    if len(rows) >= limit:
        return LedgerPage(rows)
    last = select(read).order_by(*by).offset(keyset.MOST_READ - 1).limit(1)
    end = (await connection.execute(last)).one_or_none()
    return LedgerPage(rows, None if end is None else (end.pool_id, end.assigned_at, end.id))
