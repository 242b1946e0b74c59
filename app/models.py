"""The tables, their constraints and indexes.

`voucher` is the inventory, `assignment` the ledger, `stock` the counts that follow from the inventory. The hot tables
bear no foreign keys (docs/decisions/0003): each would cost a look-up per row, and `vouchers check` proves the same.
"""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Enum,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

STOCK_SLOTS = 8
"""Rows of `stock` per pool: as many writers change the counts of one pool without waiting for each other."""

MAX_CODE_LENGTH = 255
"""Most characters of a voucher's code."""


class VoucherStatus(StrEnum):
    """The states of a voucher."""

    AVAILABLE = "available"
    RESERVED = "reserved"
    ASSIGNED = "assigned"
    REDEEMED = "redeemed"
    EXPIRED = "expired"
    VOID = "void"


class ImportStatus(StrEnum):
    """The states of an import."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


def _values(states: type[StrEnum]) -> list[str]:
    return [state.value for state in states]


class Base(DeclarativeBase):
    """The common ground of all tables: how constraints are named and Python types become columns."""

    metadata = MetaData(
        naming_convention={
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
            "pk": "%(table_name)s_pkey",
        },
    )
    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy reads it as it stands)
        str: Text,
        int: BigInteger,
        bytes: LargeBinary,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text),
        list[int]: ARRAY(BigInteger),
        VoucherStatus: Enum(VoucherStatus, name="voucher_status", values_callable=_values),
        ImportStatus: Enum(ImportStatus, name="import_status", values_callable=_values),
    }


VOUCHER_COLUMNS = """CASE status
    WHEN 'available' THEN num_nonnulls(assignment_id, assigned_at, redeemed_at, expired_at, voided_at) = 0
    WHEN 'reserved' THEN assignment_id IS NOT NULL
        AND num_nonnulls(assigned_at, redeemed_at, expired_at, voided_at) = 0
    WHEN 'assigned' THEN num_nulls(assignment_id, assigned_at) = 0
        AND num_nonnulls(redeemed_at, expired_at, voided_at) = 0
    WHEN 'redeemed' THEN redeemed_at IS NOT NULL AND num_nonnulls(assignment_id, assigned_at) <> 1
        AND num_nonnulls(expired_at, voided_at) = 0
    WHEN 'expired' THEN num_nulls(expires_at, expired_at) = 0
        AND num_nonnulls(assignment_id, assigned_at, redeemed_at, voided_at) = 0
    WHEN 'void' THEN voided_at IS NOT NULL AND num_nonnulls(redeemed_at, expired_at) = 0
END"""
"""What each state of a voucher must and must not have: a status that is changed by itself is refused."""


class Pool(Base):
    """A named set of vouchers."""

    __tablename__ = "pool"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (CheckConstraint(r"name ~ '^[^\s/]{1,100}$'", name="name"),)


class Stock(Base):
    """The counts of a pool by state, spread over slots; their sum is the truth."""

    __tablename__ = "stock"

    pool_id: Mapped[int] = mapped_column(ForeignKey("pool.id", ondelete="CASCADE"), primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True)
    available: Mapped[int] = mapped_column(server_default="0")
    reserved: Mapped[int] = mapped_column(server_default="0")
    assigned: Mapped[int] = mapped_column(server_default="0")
    redeemed: Mapped[int] = mapped_column(server_default="0")
    expired: Mapped[int] = mapped_column(server_default="0")
    void: Mapped[int] = mapped_column(server_default="0")
    holds: Mapped[int] = mapped_column(server_default="0")
    """How many holds of the pool still keep something, the same in each slot; read with the counts."""

    # Half-filled pages keep the updates of these few, hot rows on their own page (HOT).
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)


class Voucher(Base):
    """One code, and where it stands."""

    __tablename__ = "voucher"

    code: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    pool_id: Mapped[int]
    draw_key: Mapped[int]
    status: Mapped[VoucherStatus] = mapped_column(server_default="available")
    import_id: Mapped[uuid.UUID | None]
    imported_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    assignment_id: Mapped[uuid.UUID | None]
    assigned_at: Mapped[datetime | None]
    redeemed_at: Mapped[datetime | None]
    expired_at: Mapped[datetime | None]
    voided_at: Mapped[datetime | None]

    __table_args__ = (
        # Draws walk its 'available' part, lists and exports all of it.
        Index("voucher_draw_idx", "pool_id", "status", "draw_key"),
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
            "pool_id",
            "expires_at",
            postgresql_where=text("status = 'available' AND expires_at IS NOT NULL"),
        ),
        CheckConstraint(f"char_length(code) BETWEEN 1 AND {MAX_CODE_LENGTH}", name="code"),
    )


class Assignment(Base):
    """The ledger: which code went to whom, when, for which campaign and message.

    `id` is the idempotency of the request (`app/assignments/identity.py`).
    """

    __tablename__ = "assignment"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    pool_id: Mapped[int]
    code: Mapped[str] = mapped_column(Text(collation="C"))
    customer_id: Mapped[str | None]
    campaign_id: Mapped[str | None]
    message_id: Mapped[str | None]
    occurrence: Mapped[int] = mapped_column(server_default="0")
    test: Mapped[bool] = mapped_column(server_default=text("false"))
    assigned_at: Mapped[datetime] = mapped_column(server_default=func.now())
    lease_until: Mapped[datetime | None]
    """Set while the voucher is only reserved."""
    released_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "assignment_customer_idx",
            "customer_id",
            "assigned_at",
            postgresql_where=text("customer_id IS NOT NULL"),
        ),
        Index(
            "assignment_campaign_idx",
            "campaign_id",
            "assigned_at",
            postgresql_where=text("campaign_id IS NOT NULL"),
        ),
        Index("assignment_pool_idx", "pool_id", "assigned_at"),
        # The sweep of lapsed leases reads its beginning.
        Index("assignment_lease_idx", "lease_until", postgresql_where=text("lease_until IS NOT NULL")),
        # The present assignment of a code is in `voucher.assignment_id`; this finds the ones before.
        Index("assignment_released_idx", "code", postgresql_where=text("released_at IS NOT NULL")),
    )


class Hold(Base):
    """Vouchers of a pool set aside for a campaign: a number, not particular ones."""

    __tablename__ = "hold"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    pool_id: Mapped[int] = mapped_column(ForeignKey("pool.id", ondelete="CASCADE"))
    campaign_id: Mapped[str]
    size: Mapped[int]
    drawn: Mapped[int] = mapped_column(server_default="0")
    """How many of them the campaign has drawn."""
    expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        UniqueConstraint("pool_id", "campaign_id"),
        CheckConstraint("size > 0 AND drawn BETWEEN 0 AND size", name="drawn"),
    )


class Import(Base):
    """One loading of codes into a pool, its options and its figures."""

    __tablename__ = "import"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    pool_id: Mapped[int | None] = mapped_column(ForeignKey("pool.id", ondelete="SET NULL"), index=True)
    pool: Mapped[str]
    status: Mapped[ImportStatus] = mapped_column(server_default="queued")
    dry_run: Mapped[bool] = mapped_column(server_default=text("false"))
    source: Mapped[dict[str, Any]]
    """Where the rows came from, as it may be shown: without secrets."""
    sealed: Mapped[bytes | None]
    """The source whole, encrypted; null where the bytes came with the request."""
    options: Mapped[dict[str, Any]]
    schedule_id: Mapped[uuid.UUID | None] = mapped_column(index=True)
    size: Mapped[int | None]
    """Bytes of the source, known once all of them are in `import_chunk`."""
    sha256: Mapped[str | None]
    repeats: Mapped[uuid.UUID | None]
    """An earlier import of the same bytes into the same pool."""
    seed: Mapped[int]
    """Seed of the draw keys: a repeated run gives each code the same one."""
    merged_to: Mapped[list[int] | None]
    """Draw key up to which the codes of each share are in the pool: where a run that was killed goes on."""
    total: Mapped[int | None]
    """Rows of the source, known once the whole of it is staged."""
    imported: Mapped[int] = mapped_column(server_default="0")
    ignored: Mapped[int] = mapped_column(server_default="0")
    in_other_pool: Mapped[int] = mapped_column(server_default="0")
    invalid: Mapped[int] = mapped_column(server_default="0")
    undone: Mapped[int] = mapped_column(server_default="0")
    """Vouchers that an undo took back."""
    progress: Mapped[float] = mapped_column(server_default="0")
    error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (Index("import_repeat_idx", "pool_id", "sha256"),)


class ImportChunk(Base):
    """A piece of an import's raw bytes: what was acknowledged with 202 is safe here until it is merged."""

    __tablename__ = "import_chunk"

    import_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("import.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes]


class ImportSchedule(Base):
    """An import that is repeated by the clock."""

    __tablename__ = "import_schedule"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    pool: Mapped[str]
    source: Mapped[dict[str, Any]]
    sealed: Mapped[bytes]
    options: Mapped[dict[str, Any]]
    cron: Mapped[str]
    timezone: Mapped[str]
    active: Mapped[bool] = mapped_column(server_default=text("true"))
    next_run: Mapped[datetime | None] = mapped_column(index=True)
    """Null while it is not active."""
    error: Mapped[str | None]
    """Why the last run could not begin."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ImportReject(Base):
    """A row of an import that did not become a voucher, and why."""

    __tablename__ = "import_reject"

    import_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("import.id", ondelete="CASCADE"), primary_key=True
    )
    line: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[str]
    reason: Mapped[str]
    other_pool: Mapped[str | None]


class Customer(Base):
    """What is known of a customer."""

    __tablename__ = "customer"

    id: Mapped[str] = mapped_column(primary_key=True)
    properties: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Aggregate(Base):
    """A value that is worked out from a customer's events whenever a template asks for it."""

    __tablename__ = "aggregate"

    name: Mapped[str] = mapped_column(primary_key=True)
    event_type: Mapped[str]
    property: Mapped[str | None]
    function: Mapped[str]
    where: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """Properties that an event must have, with these values."""

    __table_args__ = (CheckConstraint("function IN ('last', 'first', 'count')", name="function"),)


class MessageDefault(Base):
    """The `default` that a message showed instead of a voucher, so that it shows it again when it is sent again.

    `id` is made as an assignment's is.
    """

    __tablename__ = "message_default"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    code: Mapped[str]
    shown_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Event(Base):
    """Something that a customer did, as the shop tracked it."""

    __tablename__ = "event"

    id: Mapped[str] = mapped_column(primary_key=True)
    customer_id: Mapped[str]
    event_type: Mapped[str]
    properties: Mapped[dict[str, Any]]
    timestamp: Mapped[datetime]
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        Index("event_customer_idx", "customer_id", "event_type", "timestamp"),
        Index("event_type_idx", "event_type", "timestamp"),
    )


class RedemptionMapping(Base):
    """Which property of which event type holds the code."""

    __tablename__ = "redemption_mapping"

    event_type: Mapped[str] = mapped_column(primary_key=True)
    property: Mapped[str] = mapped_column(primary_key=True)


class Redemption(Base):
    """What came of a code that an event (or a direct call) says was used: a use of it, or an issue."""

    __tablename__ = "redemption"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    event_id: Mapped[str | None]
    property: Mapped[str | None]
    """The mapped property that held the code; None for a direct redemption."""
    code: Mapped[str | None] = mapped_column(Text(collation="C"))
    """None where the property held nothing that can be a code."""
    customer_id: Mapped[str | None]
    outcome: Mapped[str]
    redeemed_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        Index("redemption_code_idx", "code"),
        Index("redemption_event_idx", "event_id", "property", unique=True),
        Index("redemption_customer_idx", "customer_id", postgresql_where=text("customer_id IS NOT NULL")),
        Index(
            "redemption_issue_idx",
            "outcome",
            "created_at",
            "id",
            postgresql_where=text("outcome <> 'redeemed'"),
        ),
        # However many events race, a code is redeemed once.
        Index("redemption_once_idx", "code", unique=True, postgresql_where=text("outcome = 'redeemed'")),
    )


class ApiKey(Base):
    """A key to the service: its scopes, and the digest of its secret."""

    __tablename__ = "api_key"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    name: Mapped[str]
    prefix: Mapped[bytes] = mapped_column(index=True)
    """First bytes of the digest, to find the row by; the whole digest is compared in constant time."""
    digest: Mapped[bytes] = mapped_column(unique=True)
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    revoked_at: Mapped[datetime | None]


class Alert(Base):
    """Whom to tell when a pool runs low, and how."""

    __tablename__ = "alert"

    pool_id: Mapped[int] = mapped_column(ForeignKey("pool.id", ondelete="CASCADE"), primary_key=True)
    webhook_url: Mapped[str | None]
    webhook_secret: Mapped[str | None]
    """In clear, because each webhook is signed with it."""
    previous_secret: Mapped[str | None]
    previous_secret_until: Mapped[datetime | None]
    """Until then webhooks bear the signature of the previous secret too."""
    email: Mapped[str | None]
    expiring_within_days: Mapped[int | None]
    expiring_told_at: Mapped[datetime | None]
    """Set from the telling until no code expires so soon any more."""


class AlertThreshold(Base):
    """A count of available vouchers to be told of; also the outbox: fallen and not told is to be sent.

    Armed (`fell_at` is null) → fallen → told → armed, once the count is above the threshold again.
    """

    __tablename__ = "alert_threshold"

    pool_id: Mapped[int] = mapped_column(ForeignKey("alert.pool_id", ondelete="CASCADE"), primary_key=True)
    threshold: Mapped[int] = mapped_column(primary_key=True)
    fell_at: Mapped[datetime | None]
    """Written by the very transaction that took the count down to the threshold."""
    available: Mapped[int | None]
    """How many were left then."""
    told_at: Mapped[datetime | None]


class Delivery(Base):
    """One message of an alert by one channel; `id` is its `webhook-id`, the same at each try."""

    __tablename__ = "delivery"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    pool_id: Mapped[int] = mapped_column(ForeignKey("pool.id", ondelete="CASCADE"))
    event: Mapped[str]
    channel: Mapped[str]
    destination: Mapped[str]
    payload: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default="0")
    response_status: Mapped[int | None]
    error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    attempted_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]

    __table_args__ = (Index("delivery_pool_idx", "pool_id", "created_at", "id"),)


class StockHistory(Base):
    """The stock of a pool as it was early in an hour."""

    __tablename__ = "stock_history"

    pool_id: Mapped[int] = mapped_column(ForeignKey("pool.id", ondelete="CASCADE"), primary_key=True)
    hour: Mapped[datetime] = mapped_column(primary_key=True)
    taken_at: Mapped[datetime]
    available: Mapped[int]
    reserved: Mapped[int]
    assigned: Mapped[int]
    redeemed: Mapped[int]
    expired: Mapped[int]
    void: Mapped[int]


class AuditEntry(Base):
    """Something that a key did. Rows are only ever added."""

    __tablename__ = "audit_entry"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    key_id: Mapped[uuid.UUID | None]
    """No foreign key: the entry outlives the key. None for the command line."""
    key_name: Mapped[str]
    action: Mapped[str]
    pool: Mapped[str | None]
    """Its name: the entry outlives the pool."""
    details: Mapped[dict[str, Any]]

    __table_args__ = (
        Index("audit_entry_pool_idx", "pool", "id", postgresql_where=text("pool IS NOT NULL")),
        Index("audit_entry_action_idx", "action", "id"),
    )
