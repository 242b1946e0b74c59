"""SQL that reads the ledger. What writes it is the claim (lifecycle/claim.py) and the transitions."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, Text, literal_column, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.assignments.schemas import Filter
from app.domain.lifecycle.requests import LEDGER_ROW, STATUS, LedgerEntry, replayed
from app.platform.database import AnyRow
from app.schema.inventory import Pool, Voucher
from app.schema.ledger import Assignment

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


LEDGER_SELECTED: tuple[Any, ...] = (
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


LEDGER_COLUMNS = [column.name for column in LEDGER.selected_columns]


def ledger_matching(wanted: Filter, pool_id: int | None) -> Select[Any]:
    """The ledger rows that a filter lets pass."""
    query = LEDGER
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


async def ledger_page(
    connection: AsyncConnection,
    wanted: Filter,
    pool_id: int | None,
    key: tuple[int, datetime, uuid.UUID] | None,
    limit: int,
) -> Sequence[AnyRow]:
    """A page of the ledger, in the order of the index that serves the filter: by time, or pool and time."""
    order: list[Any] = [Assignment.pool_id, Assignment.assigned_at, Assignment.id]
    if wanted.customer_id is not None or wanted.campaign_id is not None:
        del order[0]
    query = ledger_matching(wanted, pool_id).add_columns(Assignment.pool_id).order_by(*order).limit(limit)
    if key is not None:
        query = query.where(tuple_(*order) > key[-len(order) :])
    return (await connection.execute(query)).all()
