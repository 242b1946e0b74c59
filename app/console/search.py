"""What is looked for on the pages of pools: a whole code, or vouchers of one pool and to whom they were given."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from app.console.pages import model
from app.domain.assignments.schemas import Filter as LedgerFilter
from app.domain.lifecycle.requests import AssignmentStatus
from app.domain.persons.ids import CustomerId
from app.domain.vouchers.schemas import Filter
from app.schema.base import VoucherStatus
from app.schema.texts import CampaignId, Code, Input

LAST_DAY = date(9998, 12, 31)
IN_LEDGER: dict[VoucherStatus, AssignmentStatus] = {
    VoucherStatus.RESERVED: "reserved",
    VoucherStatus.ASSIGNED: "assigned",
    VoucherStatus.REDEEMED: "redeemed",
    VoucherStatus.VOID: "void",
}
"""The states of codes that somebody has or had, as the ledger names them."""


class CodeSearch(Input):
    """A code that is looked for in whatever pool."""

    code: Code


class PoolSearch(Input):
    """What vouchers of a pool are looked for; days are those of UTC, the last one included."""

    status: VoucherStatus | None = None
    code: Code | None = None
    customer_id: CustomerId | None = None
    campaign: CampaignId | None = None
    """Not `campaign_id`: the page has another form with a field of this name."""
    import_id: UUID | None = None
    assigned_since: date | None = None
    assigned_until: date | None = None

    def of_vouchers(self) -> Filter:
        """Return the filter of the pool's vouchers; a code is looked for without it."""
        return Filter(
            status=self.status,
            customer_id=self.customer_id,
            campaign_id=self.campaign,
            import_id=self.import_id,
            assigned_since=_begin(self.assigned_since),
            assigned_until=_end(self.assigned_until),
        )

    def of_ledger(self, pool: str) -> LedgerFilter | None:
        """Return the same of the pool's assignments; None for a code, and for a state that the ledger does not know."""
        if self.code is not None or (self.status is not None and self.status not in IN_LEDGER):
            return None
        return LedgerFilter(
            pool=pool,
            status=None if self.status is None else IN_LEDGER[self.status],
            customer_id=self.customer_id,
            campaign_id=self.campaign,
            import_id=self.import_id,
            since=_begin(self.assigned_since),
            until=_end(self.assigned_until),
        )


def asked(params: Mapping[str, str]) -> dict[str, str]:
    """Return what was typed of a search, without what was left empty and without a state that there is not."""
    typed = {name: params.get(name, "").strip() for name in PoolSearch.model_fields}
    if typed["status"] not in set(VoucherStatus):
        del typed["status"]
    return {name: text for name, text in typed.items() if text}


def read(typed: Mapping[str, str]) -> PoolSearch:
    """Return what was asked as a search.

    Raises:
        InvalidRequestError: it is none; it says which field.
    """
    return model(PoolSearch, typed)


def _begin(day: date | None) -> datetime | None:
    return None if day is None else datetime.combine(day, time.min, UTC)


def _end(day: date | None) -> datetime | None:
    return None if day is None else _begin(min(day, LAST_DAY) + timedelta(days=1))
