"""What is asked of a draw, and what it gave."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import orjson

from app.platform.clock import clock
from app.schema.ledger import IS_TEST, OCCURRENCE

MADE_WITHIN = timedelta(minutes=1)
"""A message is made in less: so long before it was given its code was looked for."""

AssignmentStatus = Literal["reserved", "assigned", "redeemed", "void", "released", "lapsed"]


@dataclass(slots=True)  # not frozen, as LedgerEntry: that triples the cost of making one
class AssignmentRequest:
    """A voucher that somebody asks for."""

    id: uuid.UUID
    customer_id: str | None = None
    campaign_id: str | None = None
    message_id: str | None = None
    occurrence: int = 0
    test: bool = False
    lease_seconds: int | None = None
    valid_for_seconds: int = 0
    """How long the code must hold at the least."""


def to_json(requests: Iterable[AssignmentRequest]) -> str:
    """Return requests as `REQUESTS` (statements.py) reads them: what most leave out is left out, for it costs."""
    return orjson.dumps([_said(request) for request in requests]).decode()


def stored(request: AssignmentRequest) -> dict[str, object]:
    """Return a request as its row of the ledger has it: what most leave out is null there."""
    return {
        "id": request.id,
        "customer_id": request.customer_id,
        "campaign_id": request.campaign_id,
        "message_id": request.message_id,
        "occurrence": request.occurrence or None,
        "test": request.test or None,
        "lease_seconds": request.lease_seconds,
    }


def _said(request: AssignmentRequest) -> dict[str, object]:
    return {name: value for name, value in stored(request).items() if value is not None}


@dataclass(slots=True)
class LedgerEntry:
    """A ledger row: what a request got, now or when it was asked for the first time."""

    id: uuid.UUID
    pool: str
    code: str
    customer_id: str | None
    campaign_id: str | None
    message_id: str | None
    occurrence: int
    test: bool
    assigned_at: datetime
    lease_until: datetime | None
    lease_seconds: int | None
    released_at: datetime | None
    expires_at: datetime | None
    status: AssignmentStatus
    replayed: bool
    attributes: dict[str, str] | None = None
    """What comes with the code."""
    of_person: bool = False
    """Whether it answers a request for a customer by another id of the same person."""
    expiry_moved: bool = False
    """Whether the code was given another expiry since, so that nobody knows the one that it had."""

    def matches(self, request: AssignmentRequest) -> bool:
        """Return whether `request` asks for what this row was given for, but for how long it was to hold."""
        return (
            self.customer_id == request.customer_id
            and self.campaign_id == request.campaign_id
            and self.message_id == request.message_id
            and self.occurrence == request.occurrence
            and self.test == request.test
            and self.lease_seconds == request.lease_seconds
        )

    def held_for(self, seconds: int) -> bool:
        """Return whether the code held for so many seconds when it was given, as far as that can be told."""
        return (
            seconds == 0
            or self.expires_at is None
            or self.expiry_moved
            or self.expires_at >= self.assigned_at + timedelta(seconds=seconds) - MADE_WITHIN
        )

    def lasts(self, seconds: int) -> bool:
        """Return whether the code still holds for so many seconds."""
        return (
            seconds == 0
            or self.expires_at is None
            or self.expires_at >= clock.now() + timedelta(seconds=seconds)
        )


STATUS = """CASE
    WHEN assignment.released_at IS NOT NULL THEN CASE WHEN assignment.lapsed THEN 'lapsed' ELSE 'released' END
    WHEN assignment.lease_until <= now() THEN 'lapsed'
    ELSE coalesce(voucher.status::text, 'assigned')
END"""
"""SQL: where an assignment stands, of `assignment` and the `voucher` of its code."""

LEDGER_ROW = f"""
    assignment.id, assignment.code, assignment.customer_id, assignment.campaign_id, assignment.message_id,
    {OCCURRENCE}, {IS_TEST}, assignment.assigned_at, assignment.lease_until,
    assignment.lease_seconds, assignment.released_at, voucher.expires_at, {STATUS} AS status,
    voucher.attributes
"""


def replayed(pool: str, row: Sequence[Any]) -> LedgerEntry:  # type: ignore[explicit-any]  # rows of two drivers, by place
    """Return a row of LEDGER_ROW as what a request got before."""
    (id_, code, customer, campaign, message, occurrence, test, assigned, lease, seconds, released) = row[:11]
    return LedgerEntry(
        id_,
        pool,
        code,
        customer,
        campaign,
        message,
        occurrence,
        test,
        assigned,
        lease,
        seconds,
        released,
        row[11],
        row[12],
        replayed=True,
        attributes=row[13],
    )
