"""SQL of the inventory: lists of vouchers, and one voucher. What changes them is in `transitions.py`."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select, text, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.lifecycle import coming, transitions
from app.domain.vouchers.finding import COLUMNS, matching
from app.domain.vouchers.schemas import Filter, Happening, VoucherRecord
from app.platform import records
from app.platform.records import Query
from app.schema.changes import VoucherNote
from app.schema.inventory import STATES, Pool, Voucher
from app.schema.ledger import Assignment
from app.schema.redemptions import Redemption

VOUCHERS = (
    select(*COLUMNS)
    .join(Pool, Pool.id == Voucher.pool_id)
    .outerjoin(Assignment, Assignment.id == Voucher.assignment_id)
)
OF_LEDGER = (
    Assignment.id,
    Assignment.customer_id,
    Assignment.campaign_id,
    Assignment.message_id,
    Assignment.assigned_at,
    Assignment.released_at,
)
OF_REDEMPTION = (Redemption.customer_id, Redemption.redeemed_at, Redemption.effect)
DUE_IN = text(f"{transitions.LAPSED_IN} UNION {transitions.EXPIRED_IN} UNION {coming.COME_IN}")
"""The projects in which the sweeps have something to do."""


@dataclass(frozen=True, slots=True)
class Handout:
    """A row of the ledger."""

    id: uuid.UUID
    customer_id: str | None
    campaign_id: str | None
    message_id: str | None
    assigned_at: datetime
    released_at: datetime | None


@dataclass(frozen=True, slots=True)
class NoteRecord:
    """What was noted of a code when it was changed."""

    event: Happening
    at: datetime
    assignment_id: uuid.UUID | None
    reason: str | None
    change_id: uuid.UUID | None
    expires_at: datetime | None
    from_pool: str | None


@dataclass(frozen=True, slots=True)
class UseRecord:
    """The use of a code, or the cancellation of one."""

    customer_id: str | None
    redeemed_at: datetime
    effect: str


EXPORTED = (
    "code",
    "pool",
    "status",
    "imported_at",
    "assigned_at",
    "customer_id",
    "redeemed_at",
    "expires_at",
    "attributes",
)


def of_pool(pool_id: int, wanted: Filter) -> Query:
    """Return the query of all vouchers of a pool that a filter lets pass; its columns are EXPORTED."""
    query = matching(VOUCHERS.where(Voucher.pool_id == pool_id), wanted)
    columns = query.selected_columns
    exported = query.with_only_columns(*(columns[name] for name in EXPORTED), maintain_column_froms=True)
    if wanted.status is not None:
        return exported
    return union_all(*(exported.where(text(state)) for state in STATES))


async def by_code(connection: AsyncConnection, code: str) -> VoucherRecord | None:
    """Return one voucher."""
    return records.any_of(await connection.execute(VOUCHERS.where(Voucher.code == code)), VoucherRecord)


async def assignments_of(connection: AsyncConnection, code: str, current: uuid.UUID | None) -> list[Handout]:
    """Return the ledger rows of a code: the present one and those that were released."""
    query = select(*OF_LEDGER).where(
        or_(
            Assignment.id == current,
            (Assignment.code == code) & Assignment.released_at.is_not(None),
        )
    )
    return records.all_of(await connection.execute(query), Handout)


NOTES = select(
    VoucherNote.event,
    VoucherNote.at,
    VoucherNote.assignment_id,
    VoucherNote.reason,
    VoucherNote.change_id,
    VoucherNote.expires_at,
    VoucherNote.from_pool,
).order_by(VoucherNote.id)


async def notes_of(connection: AsyncConnection, code: str, since: datetime) -> list[NoteRecord]:
    """Return what was noted of a code since it was imported, oldest first."""
    query = NOTES.where(VoucherNote.code == code, VoucherNote.at >= since)
    return records.all_of(await connection.execute(query), NoteRecord)


async def redemption_of(connection: AsyncConnection, code: str) -> UseRecord | None:
    """Return the use by which a code became redeemed."""
    query = (
        select(*OF_REDEMPTION)
        .where(
            Redemption.code == code, Redemption.outcome.in_(("redeemed", "not_assigned", "other_customer"))
        )
        .order_by(Redemption.outcome != "redeemed", Redemption.redeemed_at)
        .limit(1)
    )
    return records.any_of(await connection.execute(query), UseRecord)


MAX_CANCELLED = 200
"""Most cancelled uses, and cancellations, that the history of a code tells."""


async def cancelled_of(connection: AsyncConnection, code: str) -> list[UseRecord]:
    """Return the uses of a code that were taken back, and the cancellations that did it."""
    query = select(*OF_REDEMPTION).where(Redemption.code == code, Redemption.outcome == "cancelled")
    query = query.order_by(Redemption.redeemed_at).limit(MAX_CANCELLED)
    return records.all_of(await connection.execute(query), UseRecord)
