"""Tables of the ledger: what was given to whom, and what is set aside."""

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, Index, Integer, Text, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.named import OfProject
from app.schema.base import Base, PoolId
from app.schema.projects import refers

OCCURRENCE = "coalesce(assignment.occurrence, 0)"
"""SQL: which of its pool's codes in its message an `assignment` is."""
IS_TEST = "coalesce(assignment.test, false)"
"""SQL: whether an `assignment` was a test send."""


class Assignment(OfProject, Base):
    """The ledger: which code went to whom, when, for which campaign and message.

    `id` is the idempotency of the request (`app/domain/assignments/identity.py`).
    """

    __tablename__ = "assignment"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    pool_id: Mapped[PoolId]
    code: Mapped[str] = mapped_column(Text(collation="C"))
    customer_id: Mapped[str | None]
    customer_mark: Mapped[bytes | None]
    """Stands for a customer who was erased."""
    campaign_id: Mapped[str | None]
    message_id: Mapped[str | None]
    occurrence: Mapped[int | None] = mapped_column(Integer)
    """Null: 0, as of most, for null costs a row nothing (OCCURRENCE)."""
    test: Mapped[bool | None]
    """Null: false, as of most (IS_TEST)."""
    assigned_at: Mapped[datetime] = mapped_column(server_default=func.now())
    lease_until: Mapped[datetime | None]
    """Set while the voucher is only reserved."""
    lease_seconds: Mapped[int | None]
    """The lease that was asked for; it stays when the lease is confirmed, so that a repeat can be compared."""
    released_at: Mapped[datetime | None]
    lapsed: Mapped[bool | None]
    """True where `released_at` is when a lease lapsed. Null otherwise, which costs a row nothing."""
    hold_id: Mapped[uuid.UUID | None]
    """The hold that the voucher was drawn from, to which it returns; null where it was drawn from what is free."""
    given_elsewhere: Mapped[bool | None]
    """True where an import brought it as given before: no draw, and told as a change. Null otherwise, as `lapsed`."""

    __table_args__ = (
        Index(
            "assignment_customer_idx",
            "project_id",
            "customer_id",
            "assigned_at",
            postgresql_where=text("customer_id IS NOT NULL"),
        ),
        Index(
            "assignment_campaign_idx",
            "project_id",
            "campaign_id",
            "assigned_at",
            postgresql_where=text("campaign_id IS NOT NULL"),
        ),
        # A pool is of one project; and so the primary key alone is found by the project and an id.
        Index("assignment_pool_idx", "pool_id", "assigned_at"),
        # The sweep of lapsed leases reads its beginning.
        Index("assignment_lease_idx", "lease_until", postgresql_where=text("lease_until IS NOT NULL")),
        # The present assignment of a code is in `voucher.assignment_id`; this finds the ones before.
        Index(
            "assignment_released_idx", "project_id", "code", postgresql_where=text("released_at IS NOT NULL")
        ),
    )


class Hold(OfProject, Base):
    """Vouchers of a pool set aside for a campaign: a number, not particular ones."""

    __tablename__ = "hold"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    pool_id: Mapped[PoolId]
    campaign_id: Mapped[str]
    size: Mapped[int]
    drawn: Mapped[int] = mapped_column(server_default="0")
    """How many of them the campaign has drawn and not given back."""
    drawn_before: Mapped[int] = mapped_column(server_default="0")
    """How many of `drawn` the ledger does not know, because it did not note holds then."""
    expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        refers("hold", "pool_id", to="pool.id"),
        UniqueConstraint("project_id", "pool_id", "campaign_id", name="hold_pool_id_campaign_id_key"),
        CheckConstraint("size > 0 AND drawn BETWEEN 0 AND size", name="drawn"),
        # In which projects some have expired.
        Index("hold_expires_at_idx", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
    )


class MessageDefault(OfProject, Base):
    """The `default` that a message showed instead of a voucher, so that it shows it again when it is sent again.

    `id` is made as an assignment's is.
    """

    __tablename__ = "message_default"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    code: Mapped[str]
    shown_at: Mapped[datetime] = mapped_column(server_default=func.now())


class AnsweredAgain(OfProject, Base):
    """A request that was answered with what its customer was given before, as the pool's rule says.

    A repeat of it is answered with the same, also where that has ended since. `id` is made as an assignment's is.
    """

    __tablename__ = "answered_again"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    assignment_id: Mapped[uuid.UUID]
    answered_at: Mapped[datetime] = mapped_column(server_default=func.now())


class MessageSeen(OfProject, Base):
    """What a message saw besides vouchers (counts, the pools that it passed over), or what a node stored.

    A retry renders from it. `id` is made as an assignment's is; an erasure deletes the rows of its customer.
    """

    __tablename__ = "message_seen"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    customer_id: Mapped[str | None]
    seen: Mapped[dict[str, object]]
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        Index(
            "message_seen_customer_idx",
            "project_id",
            "customer_id",
            postgresql_where=text("customer_id IS NOT NULL"),
        ),
    )
