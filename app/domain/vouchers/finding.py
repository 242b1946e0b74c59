"""Find vouchers of a pool by what is known of them, a bounded number of rows at a time.

No index serves every filter, and each would cost the claim. So one index leads: that of a customer's or a campaign's
assignments, of the codes, of the pool's assignments by time, or of each state of the pool's vouchers. From there at
most so many rows are read for a page, and those that match are shown. A page may so be short, even empty, and go on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, DateTime, FromClause, func, literal_column, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from app.domain.vouchers.conditions import meeting
from app.domain.vouchers.schemas import Filter, VoucherRecord
from app.platform import keyset
from app.platform.records import AnyRow, OneQuery
from app.schema.base import VoucherStatus
from app.schema.inventory import IMPORTED_AT, Pool, Voucher
from app.schema.ledger import Assignment

LAST_CHARACTER = chr(0x10FFFF)

InDrawOrder = tuple[VoucherStatus, int, str]
InTimeOrder = tuple[VoucherStatus, datetime, UUID]
ByTime = tuple[datetime, UUID]
ByCode = tuple[str]
Key = InDrawOrder | InTimeOrder | ByTime | ByCode
"""Where a page ends, in the order of the index that leads."""

COLUMNS = (
    Voucher.code,
    Voucher.status,
    Voucher.draw_key,
    Voucher.assignment_id,
    literal_column(IMPORTED_AT, DateTime(timezone=True)).label("imported_at"),
    Voucher.assigned_at,
    Voucher.redeemed_at,
    Voucher.expires_at,
    Voucher.expired_at,
    Voucher.voided_at,
    Assignment.customer_id,
    Pool.name.label("pool"),
    Voucher.attributes,
)


@dataclass(frozen=True, slots=True)
class Found:
    """A page of vouchers, and where the next one begins; None where there is none."""

    rows: Sequence[VoucherRecord]
    go_on: Key | None


def in_state(state: VoucherStatus) -> ColumnElement[bool]:
    """Return the condition that a voucher is in a state: said in the statement itself, for the indexes ask for that."""
    return Voucher.status == literal_column(f"'{VoucherStatus(state)}'")


def matching(query: OneQuery, wanted: Filter) -> OneQuery:
    """Return a query of vouchers, joined to the assignments that stand, of those that a filter lets pass."""
    query = meeting(query, wanted, Voucher.code)
    if wanted.status is not None:
        query = query.where(in_state(wanted.status))
    if wanted.assigned_since is not None:
        query = query.where(Assignment.assigned_at >= wanted.assigned_since)
    if wanted.assigned_until is not None:
        query = query.where(Assignment.assigned_at < wanted.assigned_until)
    return query


def is_key_of(wanted: Filter, key: Key) -> bool:
    """Tell whether a page of this filter may end with such a key."""
    match key:
        case (VoucherStatus.ASSIGNED, int(), _):  # of a release that had them in draw order
            return False
        case (VoucherStatus() as status, _, _) if wanted.status not in {None, status}:
            return False
    return len(key) == _key_length(wanted)


def _key_length(wanted: Filter) -> int:
    if wanted.customer_id is not None or wanted.campaign_id is not None:
        return 2
    if wanted.code_prefix is not None:
        return 1
    return 2 if wanted.is_of_ledger else 3


async def page(
    connection: AsyncConnection, pool_id: int, wanted: Filter, key: Key | None, limit: int
) -> Found:
    """Return a page of the vouchers of a pool that a filter lets pass."""
    if wanted.customer_id is not None:
        whose = Assignment.customer_id == wanted.customer_id
    elif wanted.campaign_id is not None:
        whose = Assignment.campaign_id == wanted.campaign_id
    elif wanted.code_prefix is not None:
        return await _of_codes(connection, pool_id, wanted, wanted.code_prefix, key, limit)
    elif wanted.is_of_ledger:
        whose = Assignment.pool_id == pool_id
    else:
        return await _by_state(connection, pool_id, wanted, key, limit)
    return await _of_ledger(connection, pool_id, wanted, whose, key, limit)


async def _of_ledger(
    connection: AsyncConnection,
    pool_id: int,
    wanted: Filter,
    whose: ColumnElement[bool],
    key: Key | None,
    limit: int,
) -> Found:
    order = (Assignment.assigned_at, Assignment.id)
    lead = (
        select(*order, Assignment.code).where(whose).order_by(*order).limit(keyset.at_most(keyset.MOST_READ))
    )
    if wanted.assigned_since is not None:
        lead = lead.where(Assignment.assigned_at >= wanted.assigned_since)
    if wanted.assigned_until is not None:
        lead = lead.where(Assignment.assigned_at < wanted.assigned_until)
    if key is not None:
        lead = lead.where(tuple_(*order) > tuple_(*key))
    read = lead.subquery("read")
    query = (
        select(*COLUMNS, read.c.assigned_at, read.c.id)
        .select_from(read)
        .join(Voucher, (Voucher.code == read.c.code) & (Voucher.assignment_id == read.c.id))
        .join(Assignment, Assignment.id == read.c.id)
        .join(Pool, Pool.id == Voucher.pool_id)
        .where(Voucher.pool_id == pool_id)
        .order_by(read.c.assigned_at, read.c.id)
        .limit(limit + 1)
    )
    rows = (await connection.execute(matching(query, wanted))).all()
    if len(rows) > limit:
        return _found(rows[:limit], (rows[limit - 1][-2], rows[limit - 1][-1]))
    end = await _end(connection, (read.c.assigned_at, read.c.id), keyset.MOST_READ)
    return _found(rows, None if end is None else (end[0], end[1]))


def _vouchers_of(read: FromClause) -> OneQuery:  # type: ignore[explicit-any]  # a subquery has type parameters
    """Return the query of the vouchers whose codes were read, each with the assignment that stands."""
    return (
        select(*COLUMNS)
        .select_from(read)
        .join(Voucher, Voucher.code == read.c.code)
        .join(Pool, Pool.id == Voucher.pool_id)
        .outerjoin(Assignment, Assignment.id == Voucher.assignment_id)
    )


async def _of_codes(
    connection: AsyncConnection, pool_id: int, wanted: Filter, prefix: str, key: Key | None, limit: int
) -> Found:
    lead = select(Voucher.code).where(Voucher.code >= prefix, Voucher.code < prefix + LAST_CHARACTER)
    if key is not None:
        lead = lead.where(Voucher.code > key[0])
    read = lead.order_by(Voucher.code).limit(keyset.at_most(keyset.MOST_READ)).subquery("read")
    query = _vouchers_of(read).where(Voucher.pool_id == pool_id).order_by(read.c.code).limit(limit + 1)
    rows = (await connection.execute(matching(query, wanted))).all()
    if len(rows) > limit:
        return _found(rows[:limit], (rows[limit - 1].code,))
    end = await _end(connection, (read.c.code,), keyset.MOST_READ)
    return _found(rows, None if end is None else (end[0],))


async def _by_state(
    connection: AsyncConnection, pool_id: int, wanted: Filter, key: Key | None, limit: int
) -> Found:
    """Return a page state by state, each as its index goes; what is read of each state counts."""
    states = list(VoucherStatus) if wanted.status is None else [wanted.status]
    if key is not None:
        states = states[states.index(VoucherStatus(str(key[0]))) :]
    rows: list[AnyRow] = []
    left = keyset.MOST_READ
    for state in states:
        is_assigned = state is VoucherStatus.ASSIGNED
        lead, order = _in_time_order(pool_id) if is_assigned else _in_draw_order(pool_id, state)
        if key is not None and key[0] == state:
            lead = lead.where(tuple_(*order) > tuple_(*key[1:]))
        read = lead.order_by(*order).limit(keyset.at_most(left)).subquery("read")
        by = [read.c[column.key] for column in order]
        query = _vouchers_of(read).add_columns(*by).order_by(*by).limit(limit + 1 - len(rows))
        if is_assigned:
            query = query.where(in_state(state), Voucher.assignment_id == read.c.id)
        rows += (await connection.execute(matching(query, wanted))).all()
        if len(rows) > limit:
            last = rows[limit - 1]
            return _found(rows[:limit], (last.status, last[-2], last[-1]))
        end = await _end(connection, by, left)
        if end is not None:
            return _found(rows, (state, end[0], end[1]))
        left -= int((await connection.execute(select(func.count()).select_from(read))).scalar_one())
    return _found(rows, None)


Lead = tuple[OneQuery, tuple[InstrumentedAttribute[Any], ...]]  # type: ignore[explicit-any]  # of any type
"""What leads to vouchers, and by which of its columns it is in order."""


def _in_draw_order(pool_id: int, state: VoucherStatus) -> Lead:
    order = (Voucher.draw_key, Voucher.code)
    return select(*order).where(Voucher.pool_id == pool_id, in_state(state)), order


def _in_time_order(pool_id: int) -> Lead:
    """Return what leads to the vouchers that are assigned: each is known to the ledger, and no other index has them."""
    order = (Assignment.assigned_at, Assignment.id)
    return select(*order, Assignment.code).where(Assignment.pool_id == pool_id), order


async def _end(
    connection: AsyncConnection, order: Sequence[ColumnElement[object]], most: int
) -> AnyRow | None:
    """Return the last row that was read, where as many were read as may be; None where there are no more."""
    query = select(*order).order_by(*order).offset(most - 1).limit(1)
    return (await connection.execute(query)).one_or_none()


def _found(rows: Sequence[AnyRow], go_on: Key | None) -> Found:
    return Found([VoucherRecord(*row[: len(COLUMNS)]) for row in rows], go_on)
