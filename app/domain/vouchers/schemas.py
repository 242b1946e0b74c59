"""Vouchers on the wire."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.domain.vouchers.conditions import Conditions
from app.schema.base import VoucherStatus

Happening = Literal[
    "imported",
    "assigned",
    "released",
    "redeemed",
    "cancelled",
    "expired",
    "voided",
    "reinstated",
    "expiry_set",
    "moved",
]


@dataclass(frozen=True, slots=True)
class HistoryRecord:
    """Something that happened to a voucher."""

    event: Happening
    at: datetime
    customer_id: str | None = None
    campaign_id: str | None = None
    message_id: str | None = None
    assignment_id: uuid.UUID | None = None
    reason: str | None = None
    bulk_change_id: uuid.UUID | None = None
    expires_at: datetime | None = None
    from_pool: str | None = None


@dataclass(frozen=True, slots=True)
class VoucherRecord:
    """A voucher, and the history where it was asked for."""

    code: str
    status: VoucherStatus
    draw_key: int
    assignment_id: uuid.UUID | None
    imported_at: datetime
    assigned_at: datetime | None
    redeemed_at: datetime | None
    expires_at: datetime | None
    expired_at: datetime | None
    voided_at: datetime | None
    customer_id: str | None
    pool: str
    attributes: dict[str, str] | None
    history: tuple[HistoryRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter(Conditions):
    """Which vouchers of a pool are asked for; None: whatever it is. Who has one is the assignment that stands."""

    status: VoucherStatus | None = None
    assigned_since: datetime | None = None
    assigned_until: datetime | None = None

    @property
    def is_of_ledger(self) -> bool:
        """Tell whether only vouchers that were given can match."""
        return any(
            value is not None
            for value in (self.test, self.message_id, self.assigned_since, self.assigned_until)
        )


class VoucherOut(BaseModel):
    """A voucher and where it stands."""

    code: str = Field(description="The code; masked for a key that may only read")
    pool: str = Field(description="The pool that holds it")
    status: VoucherStatus = Field(description="Its state")
    imported_at: datetime = Field(
        description="When it was imported: of what an import brings, when that began"
    )
    assigned_at: datetime | None = Field(description="When it was handed out")
    customer_id: str | None = Field(description="Customer who has it")
    redeemed_at: datetime | None = Field(description="When it was used")
    expires_at: datetime | None = Field(description="From when on it is not handed out any more")
    attributes: dict[str, str] | None = Field(
        description="What comes with the code, as a PIN; masked for a key that may only read",
        examples=[{"pin": "0815"}],
    )


class HistoryEntry(BaseModel):
    """Something that happened to a voucher."""

    event: Happening = Field(
        description="What happened; `reinstated`: a void was taken back; `cancelled`: a use was taken back, because its"
        " order was cancelled"
    )
    at: datetime = Field(description="When")
    customer_id: str | None = Field(description="Customer")
    campaign_id: str | None = Field(description="Campaign")
    message_id: str | None = Field(description="Message")
    assignment_id: uuid.UUID | None = Field(description="The ledger row")
    reason: str | None = Field(description="Why, where somebody said so")
    bulk_change_id: uuid.UUID | None = Field(description="The change of many vouchers that did it")
    expires_at: datetime | None = Field(description="Of `expiry_set`: what it was set to; null: never")
    from_pool: str | None = Field(description="Of `moved`: the pool that had it before")


class VoucherWithHistory(VoucherOut):
    """A voucher and all that happened to it, oldest first."""

    history: list[HistoryEntry] = Field(description="Oldest first")
