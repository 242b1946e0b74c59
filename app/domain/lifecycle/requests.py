"""What is asked of a draw, and what it gave."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(slots=True)  # not frozen, as Given: that triples the cost of making one
class AssignmentRequest:
    """A voucher that somebody asks for."""

    id: uuid.UUID
    customer_id: str | None = None
    campaign_id: str | None = None
    message_id: str | None = None
    occurrence: int = 0
    test: bool = False
    lease_seconds: int | None = None


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
    released_at: datetime | None
    replayed: bool

    def matches(self, request: AssignmentRequest) -> bool:
        """Whether `request` asks for what this row was given for."""
        return (self.customer_id, self.campaign_id, self.message_id, self.occurrence, self.test) == (
            request.customer_id,
            request.campaign_id,
            request.message_id,
            request.occurrence,
            request.test,
        )


LEDGER_ROW = """
    id, code, customer_id, campaign_id, message_id, occurrence, test, assigned_at, lease_until, released_at
"""


def given(pool: str, row: Sequence[Any]) -> LedgerEntry:
    """A row of LEDGER_ROW and `replayed`."""
    (id_, code, customer, campaign, message, occurrence, test, assigned, lease, released, replayed) = row[:11]
    return LedgerEntry(
        id_, pool, code, customer, campaign, message, occurrence, test, assigned, lease, released, replayed
    )
