"""Tables that give what happens an order in which it can be read without a gap (app/domain/lifecycle/order.py)."""

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, Identity, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.named import OfProject
from app.schema.base import Base, PoolId, VoucherStatus


class Horizon(Base):
    """The latest time of which somebody asked whether all before it is committed: one row at most."""

    __tablename__ = "horizon"

    id: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    at: Mapped[datetime]

    __table_args__ = (CheckConstraint("id", name="one"),)


class PoolChange(OfProject, Base):
    """What happened to a pool besides its codes being handed out, of which the ledger itself tells.

    It names no person. Rows of a pool that was deleted stay, and nobody is told of them, but where `about` names it.
    """

    __tablename__ = "pool_change"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    changed_at: Mapped[datetime]
    pool_id: Mapped[PoolId]
    code: Mapped[str | None] = mapped_column(Text(collation="C"))
    assignment_id: Mapped[uuid.UUID | None]
    before: Mapped[VoucherStatus | None]
    after: Mapped[VoucherStatus | None]
    used_at: Mapped[datetime | None]
    """When the code was used, where `after` is redeemed."""
    about: Mapped[dict[str, object] | None]
    """Of what concerns no voucher: its `type`, and what is told of it."""

    __table_args__ = (Index("pool_change_changed_at_idx", "project_id", "changed_at", "id"),)
