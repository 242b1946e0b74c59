"""SQL of the inventory: lists of vouchers, and one voucher. What changes them is in `transitions.py`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.platform.database import AnyRow
from app.schema.base import VoucherStatus
from app.schema.changes import VoucherNote
from app.schema.inventory import Pool, Voucher
from app.schema.ledger import Assignment
from app.schema.redemptions import Redemption

COLUMNS: tuple[Any, ...] = (
    Voucher.code,
    Voucher.status,
    Voucher.draw_key,
    Voucher.assignment_id,
    Voucher.imported_at,
    Voucher.assigned_at,
    Voucher.redeemed_at,
    Voucher.expires_at,
    Voucher.expired_at,
    Voucher.voided_at,
    Assignment.customer_id,
    Pool.name.label("pool"),
)
VOUCHERS = (
    select(*COLUMNS)
    .join(Pool, Pool.id == Voucher.pool_id)
    .outerjoin(Assignment, Assignment.id == Voucher.assignment_id)
)
OF_LEDGER: tuple[Any, ...] = (
    Assignment.id,
    Assignment.customer_id,
    Assignment.campaign_id,
    Assignment.message_id,
    Assignment.assigned_at,
    Assignment.released_at,
)
OF_REDEMPTION: tuple[Any, ...] = (Redemption.customer_id, Redemption.redeemed_at)


async def list_page(
    connection: AsyncConnection,
    pool_id: int,
    status: VoucherStatus,
    key: tuple[int, str] | None,
    limit: int,
) -> Sequence[AnyRow]:
    """Vouchers of a pool in one state, in draw order."""
    query = (
        VOUCHERS.where(Voucher.pool_id == pool_id, Voucher.status == status)
        .order_by(Voucher.draw_key, Voucher.code)
        .limit(limit)
    )
    if key is not None:
        query = query.where(tuple_(Voucher.draw_key, Voucher.code) > key)
    return (await connection.execute(query)).all()


EXPORTED = (
    "code",
    "pool",
    "status",
    "imported_at",
    "assigned_at",
    "customer_id",
    "redeemed_at",
    "expires_at",
)


def of_pool(pool_id: int, status: VoucherStatus | None) -> Select[Any]:
    """Return the query of all vouchers of a pool, or of those in one state; its columns are EXPORTED."""
    query = VOUCHERS.where(Voucher.pool_id == pool_id)
    if status is not None:
        query = query.where(Voucher.status == status)
    columns = query.selected_columns
    return query.with_only_columns(*(columns[name] for name in EXPORTED), maintain_column_froms=True)


async def by_code(connection: AsyncConnection, code: str) -> AnyRow | None:
    """One voucher."""
    return (await connection.execute(VOUCHERS.where(Voucher.code == code))).one_or_none()


async def assignments_of(connection: AsyncConnection, code: str, current: Any) -> Sequence[AnyRow]:
    """Return the ledger rows of a code: the present one and those that were released."""
    query = select(*OF_LEDGER).where(
        or_(
            Assignment.id == current,
            (Assignment.code == code) & Assignment.released_at.is_not(None),
        )
    )
    return (await connection.execute(query)).all()


NOTES = select(*VoucherNote.__table__.columns).order_by(VoucherNote.id)


async def notes_of(connection: AsyncConnection, code: str, since: datetime) -> Sequence[AnyRow]:
    """Return what was noted of a code since it was imported, oldest first."""
    query = NOTES.where(VoucherNote.code == code, VoucherNote.at >= since)
    return (await connection.execute(query)).all()


async def redemption_of(connection: AsyncConnection, code: str) -> AnyRow | None:
    """Return the use by which a code became redeemed."""
    query = (
        select(*OF_REDEMPTION)
        .where(
            Redemption.code == code, Redemption.outcome.in_(("redeemed", "not_assigned", "other_customer"))
        )
        .order_by(Redemption.outcome != "redeemed", Redemption.redeemed_at)
        .limit(1)
    )
    return (await connection.execute(query)).one_or_none()
