"""SQL that reads the ledger. What writes it is the claim (lifecycle/claim.py) and the transitions."""

import dataclasses
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Text, literal_column, select, text, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from app.domain.assignments.schemas import Filter
from app.domain.lifecycle.requests import LEDGER_ROW, STATUS, LedgerEntry, replayed
from app.platform.database import AnyRow
from app.platform.records import OneQuery, Query
from app.schema.inventory import Pool, Voucher
from app.schema.ledger import Assignment
from app.schema.order import PoolChange

KNOWN = text(f"""
SELECT {LEDGER_ROW}, pool.name
FROM assignment JOIN pool ON pool.id = assignment.pool_id LEFT JOIN voucher ON voucher.code = assignment.code
WHERE assignment.id = ANY (CAST(:ids AS uuid[]))
""")  # noqa: S608  (made of constants)


async def known(connection: AsyncConnection, ids: Sequence[uuid.UUID]) -> list[LedgerEntry]:
    """Return the ledger rows that have these ids."""
    rows = (await connection.execute(KNOWN, {"ids": ids})).all()
    return [replayed(row.name, row) for row in rows]


async def by_id(connection: AsyncConnection, assignment_id: uuid.UUID) -> LedgerEntry | None:
    """Return one ledger row, or None."""
    return next(iter(await known(connection, [assignment_id])), None)


LEDGER_SELECTED = (
    Assignment.id,
    Pool.name.label("pool"),
    Assignment.code,
    Assignment.customer_id,
    Assignment.campaign_id,
    Assignment.message_id,
    Assignment.test,
    Assignment.assigned_at,
    literal_column(STATUS, Text).label("status"),
    Assignment.lease_until,
    Assignment.released_at,
    Voucher.expires_at,
)


LEDGER = (
    select(*LEDGER_SELECTED)
    .join(Pool, Pool.id == Assignment.pool_id)
    .outerjoin(Voucher, Voucher.code == Assignment.code)
)


READ = (Assignment.id, Assignment.pool_id, Assignment.assigned_at)
LEDGER_COLUMNS = [column.name for column in LEDGER.selected_columns]


def ledger_matching(wanted: Filter, pool_id: int | None, query: OneQuery = LEDGER) -> OneQuery:
    """Return the query of the ledger rows that a filter lets pass."""
    if pool_id is not None:
        query = query.where(Assignment.pool_id == pool_id)
    if wanted.customer_id is not None:
        query = query.where(Assignment.customer_id == wanted.customer_id)
    if wanted.campaign_id is not None:
        query = query.where(Assignment.campaign_id == wanted.campaign_id)
    if wanted.since is not None:
        query = query.where(Assignment.assigned_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(Assignment.assigned_at < wanted.until)
    return query


def ledger_exported(wanted: Filter, pool_id: int | None) -> Query:
    """Return the query of the ledger rows that a filter lets pass, and of earlier ones that changed in its time."""
    given = ledger_matching(wanted, pool_id)
    changed = select(PoolChange.assignment_id).where(PoolChange.changed_at < wanted.until)
    if wanted.since is not None:
        changed = changed.where(PoolChange.changed_at >= wanted.since)
    before = ledger_matching(dataclasses.replace(wanted, since=None, until=wanted.since), pool_id)
    return union_all(given, before.where(Assignment.id.in_(changed)))


MOST_READ = 10_000
"""Most rows of the ledger that are read for a page where no index serves all of the filter."""

Key = tuple[int, datetime, uuid.UUID]
"""Where a page of the ledger ends: pool, time, id."""


@dataclass(frozen=True, slots=True)
class LedgerPage:
    """Rows of the ledger, one more than asked for where there are more."""

    rows: Sequence[AnyRow]
    go_on: Key | None = None
    """Where to go on, if the page ended because it had read enough."""


async def ledger_page(
    connection: AsyncConnection, wanted: Filter, pool_id: int | None, key: Key | None, limit: int
) -> LedgerPage:
    """Return a page of the ledger, in the order of the index that serves the filter: by time, or pool and time.

    What a campaign or a customer got is found by an index, and of that the rows of one pool by reading; so such a page
    may end before it is full.
    """
    order: list[
        InstrumentedAttribute[int] | InstrumentedAttribute[datetime] | InstrumentedAttribute[uuid.UUID]
    ] = [Assignment.pool_id, Assignment.assigned_at, Assignment.id]
    whose = wanted.customer_id is not None or wanted.campaign_id is not None
    if whose:
        del order[0]
    after = [] if key is None else [tuple_(*order) > key[-len(order) :]]
    if not whose or pool_id is None:
        page = ledger_matching(wanted, pool_id).add_columns(Assignment.pool_id)
        return LedgerPage((await connection.execute(page.where(*after).order_by(*order).limit(limit))).all())
    read = (
        ledger_matching(wanted, None, select(*READ))
        .where(*after)
        .order_by(*order)
        .limit(MOST_READ)
        .cte("read")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    ids = select(read.c.id).where(read.c.pool_id == pool_id).order_by(read.c.assigned_at, read.c.id)
    query = LEDGER.add_columns(Assignment.pool_id).where(Assignment.id.in_(ids.limit(limit))).order_by(*order)
    rows = (await connection.execute(query)).all()
    if len(rows) >= limit:
        return LedgerPage(rows)
    last = select(read).order_by(read.c.assigned_at, read.c.id).offset(MOST_READ - 1).limit(1)
    end = (await connection.execute(last)).one_or_none()
    return LedgerPage(rows, None if end is None else (end.pool_id, end.assigned_at, end.id))
