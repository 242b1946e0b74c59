"""Tables of changes of many vouchers at once, and of what is noted about single ones."""

import uuid
from datetime import datetime

from sqlalchemy import Identity, Index, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.named import OfProject
from app.schema.base import Base, PoolId
from app.schema.projects import refers


class BulkChange(OfProject, Base):
    """A change of many vouchers, and how far it is."""

    __tablename__ = "bulk_change"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    """Random, or derived from the key under which it was asked for."""
    fingerprint: Mapped[bytes]
    """Digest of the request, to tell a repeat from another request with the same key."""
    action: Mapped[str]
    filter: Mapped[dict[str, object]]
    """As it was given, but of customers and of codes only how many."""
    pool_id: Mapped[PoolId | None]
    customer_ids: Mapped[list[str] | None]
    """Null once it has ended, and without who is erased: such a person is named nowhere."""
    expires_at: Mapped[datetime | None]
    to_pool_id: Mapped[PoolId | None]
    """Where a move leads."""
    to_pool: Mapped[str | None]
    most: Mapped[int | None]
    """How many are moved at the most."""
    reason: Mapped[str | None]
    dry_run: Mapped[bool]
    key_id: Mapped[uuid.UUID | None]
    key_name: Mapped[str | None]
    """Who asked for it; both null for the command line."""
    status: Mapped[str] = mapped_column(server_default="queued")
    total: Mapped[int | None]
    """How many vouchers the filter met; null until they are listed."""
    position: Mapped[int] = mapped_column(server_default="0")
    """How many of them are dealt with: where a run that was killed goes on."""
    changed: Mapped[int] = mapped_column(server_default="0")
    skipped: Mapped[dict[str, object]] = mapped_column(server_default=text("'{}'"))
    error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (Index("bulk_change_created_at_idx", "project_id", "created_at"),)


class BulkChangeCode(OfProject, Base):
    """A voucher that a change is about, as long as it is under way.

    Codes that were given stand at negative places; the job lists what the filter meets at places from 1 on.
    """

    __tablename__ = "bulk_change_code"

    change_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(Text(collation="C"))

    __table_args__ = (refers("bulk_change_code", "change_id", to="bulk_change.id"),)


class VoucherNote(OfProject, Base):
    """What somebody did to a voucher and the voucher's own row does not tell, or not why."""

    __tablename__ = "voucher_note"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    code: Mapped[str] = mapped_column(Text(collation="C"))
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    event: Mapped[str]
    reason: Mapped[str | None]
    change_id: Mapped[uuid.UUID | None]
    assignment_id: Mapped[uuid.UUID | None]
    expires_at: Mapped[datetime | None]
    from_pool: Mapped[str | None]
    """Of a code that was moved: the name of the pool that had it before."""

    __table_args__ = (Index("voucher_note_code_idx", "project_id", "code"),)
