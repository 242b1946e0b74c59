"""Tables of the inventory: pools, their vouchers, and the counts that follow from them."""

import uuid
from datetime import datetime
from typing import LiteralString

from sqlalchemy import CheckConstraint, Identity, Index, Integer, Text, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.named import OfProject
from app.schema.base import ALIKE, ALIKE_BACK, Base, PoolId, VoucherStatus, alike_indexes
from app.schema.projects import refers

STOCK_SLOTS = 8
"""Rows of `stock` per pool: as many writers change the counts of one pool without waiting for each other."""


MAX_CODE_LENGTH = 255
"""Most characters of a voucher's code."""


NOT_EXPIRED = "(voucher.expires_at IS NULL OR voucher.expires_at > now())"
"""SQL: whether a voucher may be handed out as far as time goes."""


STATES = (
    "voucher.status = 'available'",
    "voucher.status = 'assigned'",
    "(voucher.status <> 'available' AND voucher.status <> 'assigned')",
)
"""SQL: the states of a `voucher` that have an index each, by which the vouchers of a pool are found."""

ANY_STATE = f"({' OR '.join(STATES)})"
"""SQL: true of every `voucher`. What reads a whole pool says so, for then these indexes serve it."""

IMPORTED_AT = """coalesce(voucher.imported_at, (
    SELECT coalesce(started_at, created_at) FROM import
    WHERE import.project_id = voucher.project_id AND import.number = voucher.import_number
))"""
"""SQL: when a `voucher` came in."""


def of_import(id_: LiteralString, project: LiteralString = ":project") -> LiteralString:
    """Return SQL: whether a `voucher` came by the import with this id in a project, both SQL expressions."""
    number = f"SELECT number FROM import WHERE project_id = {project} AND id = {id_}"  # noqa: S608
    return f"(voucher.import_number = ({number}) OR voucher.import_id = {id_})"


VOUCHER_COLUMNS = """status = CASE
        WHEN voided_at IS NOT NULL THEN 'void'
        WHEN redeemed_at IS NOT NULL THEN 'redeemed'
        WHEN expired_at IS NOT NULL THEN 'expired'
        WHEN assigned_at IS NOT NULL THEN 'assigned'
        WHEN assignment_id IS NOT NULL THEN 'reserved'
        ELSE 'available'
    END
    AND num_nonnulls(redeemed_at, expired_at, voided_at) < 2
    AND ((assignment_id IS NULL) = (assigned_at IS NULL) OR status IN ('reserved', 'void'))
    AND (expired_at IS NULL OR (assignment_id IS NULL AND expires_at IS NOT NULL))"""
"""What each state of a voucher must and must not have: a status that is changed by itself is refused.

PostgreSQL reads this text anew for each statement that writes vouchers, so it is short: with a CASE that said of each
state what it must have, twice as long, each took 12 µs more.
"""


class Pool(OfProject, Base):
    """A named set of vouchers."""

    __tablename__ = "pool"

    id: Mapped[PoolId] = mapped_column(Identity(always=True), primary_key=True)
    name: Mapped[str]
    description: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    per_customer: Mapped[dict[str, object] | None]
    """How many codes a customer gets: `count`, `days`, `then`. It counts as one of the stock's holds: the claim takes
    nothing from a pool with holds without being told how much, and so need not know of it."""
    expires_after_days: Mapped[int | None] = mapped_column(Integer)
    """When a code ends for who gets it, counted from then; its own expiry holds where that is earlier. It counts as a
    hold too, so that the claim from pools without it need not know of it."""

    alike: Mapped[str] = mapped_column(ALIKE)
    alike_back: Mapped[str] = mapped_column(ALIKE_BACK)

    __table_args__ = (
        UniqueConstraint("project_id", "name", name="pool_name_key"),
        CheckConstraint(r"name ~ '^[^\s/]{1,100}$'", name="name"),
        *alike_indexes("pool"),
    )


class Stock(OfProject, Base):
    """The counts of a pool by state, spread over slots; their sum is the truth."""

    __tablename__ = "stock"

    pool_id: Mapped[PoolId] = mapped_column(primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True)
    available: Mapped[int] = mapped_column(server_default="0")
    reserved: Mapped[int] = mapped_column(server_default="0")
    assigned: Mapped[int] = mapped_column(server_default="0")
    redeemed: Mapped[int] = mapped_column(server_default="0")
    expired: Mapped[int] = mapped_column(server_default="0")
    void: Mapped[int] = mapped_column(server_default="0")
    given_besides: Mapped[int] = mapped_column(server_default="0")
    """Added to `assigned` and `redeemed`, it gives how many vouchers were given for good and did not come back: those
    that were given and made void since count one more, those that were used without ever being given one less."""
    holds: Mapped[int] = mapped_column(server_default="0")
    """How many holds of the pool still keep something, and one more for each rule that the pool has; the same in each
    slot, read with the counts."""

    # Half-filled pages keep the updates of these few, hot rows on their own page (HOT).
    __table_args__ = (
        refers("stock", "pool_id", to="pool.id"),
        {"postgresql_with": {"fillfactor": "50"}},
    )


class ComingVoucher(OfProject, Base):
    """A code that comes into its pool at a time; until then it is in none."""

    __tablename__ = "coming_voucher"

    code: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    pool_id: Mapped[PoolId]
    draw_key: Mapped[int]
    import_id: Mapped[uuid.UUID]
    line: Mapped[int]
    """Where it stands in its file, to be told where it cannot come."""
    valid_from: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    attributes: Mapped[dict[str, object] | None]

    __table_args__ = (
        refers("coming_voucher", "pool_id", to="pool.id"),
        Index("coming_voucher_valid_from_idx", "valid_from"),
        Index("coming_voucher_import_idx", "project_id", "import_id"),
        Index("coming_voucher_pool_idx", "project_id", "pool_id"),
    )


class Voucher(OfProject, Base):
    """One code, and where it stands."""

    __tablename__ = "voucher"

    code: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    pool_id: Mapped[PoolId]
    draw_key: Mapped[int]
    status: Mapped[VoucherStatus] = mapped_column(server_default="available")
    import_id: Mapped[uuid.UUID | None]
    """Of codes that came before imports had numbers; null for all others. `of_import` knows both."""
    import_number: Mapped[int | None] = mapped_column(Integer)
    """Which import brought it: a fourth of the bytes of its id."""
    imported_at: Mapped[datetime | None] = mapped_column(server_default=func.now())
    """Null where an import brought it as it ran: then when that began (IMPORTED_AT), which costs a row nothing."""
    expires_at: Mapped[datetime | None]
    own_expires_at: Mapped[datetime | None]
    """The code's own expiry ('infinity': none), where its pool's rule ends it sooner for who has it; a release restores
    it. Null for all others, which costs a row nothing."""
    assignment_id: Mapped[uuid.UUID | None]
    assigned_at: Mapped[datetime | None]
    redeemed_at: Mapped[datetime | None]
    expired_at: Mapped[datetime | None]
    voided_at: Mapped[datetime | None]
    attributes: Mapped[dict[str, object] | None]
    """What comes with the code, by name: a PIN, a value, a link. Null where nothing does, which costs a row nothing."""

    __table_args__ = (
        # Draws walk the first, exports all three (STATES). Where all are of one state no entry tells it, and those that
        # are assigned are listed in the ledger's order: here all of a pool are equal, and take few bytes. A pool is of
        # one project, which need not lead.
        Index("voucher_draw_idx", "pool_id", "draw_key", postgresql_where=text("status = 'available'")),
        Index("voucher_assigned_idx", "pool_id", postgresql_where=text("status = 'assigned'")),
        Index(
            "voucher_ended_idx",
            "pool_id",
            "status",
            "draw_key",
            postgresql_where=text("status <> 'available' AND status <> 'assigned'"),
        ),
        # The sweep of expired codes reads its beginning; codes without an expiry are not in it.
        Index(
            "voucher_expiry_idx",
            "expires_at",
            postgresql_where=text("status = 'available' AND expires_at IS NOT NULL"),
        ),
        CheckConstraint(VOUCHER_COLUMNS, name="status"),
        # Whether codes of a pool expire soon; codes without an expiry are not in it.
        Index(
            "voucher_expiring_idx",
            "project_id",
            "pool_id",
            "expires_at",
            postgresql_where=text("status = 'available' AND expires_at IS NOT NULL"),
        ),
        # Read anew for each statement that writes, as VOUCHER_COLUMNS is; its length is seen to where a code comes in.
        CheckConstraint("code <> ''", name="code"),
    )
