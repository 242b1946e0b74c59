"""What is asked of the ledger."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Filter:
    """Which assignments are asked for; None: whatever it is."""

    pool: str | None
    customer_id: str | None
    campaign_id: str | None
    since: datetime | None
    until: datetime | None
