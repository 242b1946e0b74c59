"""What is asked of a voucher and of whom it was given to, in the list of vouchers and in that of the ledger."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Boolean, func, literal_column, text
from sqlalchemy.orm import InstrumentedAttribute

from app.platform.records import OneQuery
from app.schema.inventory import Voucher, of_import
from app.schema.ledger import IS_TEST, Assignment


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What is asked for; None: whatever it is."""

    customer_id: str | None = None
    campaign_id: str | None = None
    message_id: str | None = None
    test: bool | None = None
    import_id: uuid.UUID | None = None
    code_prefix: str | None = None
    code_contains: str | None = None
    expires_before: datetime | None = None
    expires_after: datetime | None = None


def meeting(query: OneQuery, wanted: Conditions, code: InstrumentedAttribute[str]) -> OneQuery:
    """Return a query of vouchers and assignments, joined to each other, of those that meet the conditions.

    Args:
        query: of all.
        wanted: the conditions.
        code: of the leading table; the other one may have none.
    """
    equal = {
        Assignment.customer_id: wanted.customer_id,
        Assignment.campaign_id: wanted.campaign_id,
        Assignment.message_id: wanted.message_id,
    }
    for column, value in equal.items():
        if value is not None:
            query = query.where(column == value)
    if wanted.test is not None:
        query = query.where(Assignment.id.is_not(None), literal_column(IS_TEST, Boolean) == wanted.test)
    if wanted.import_id is not None:
        query = query.where(text(of_import(":import_id")).bindparams(import_id=wanted.import_id))
    if wanted.expires_after is not None:
        query = query.where(Voucher.expires_at >= wanted.expires_after)
    if wanted.expires_before is not None:
        query = query.where(Voucher.expires_at < wanted.expires_before)
    if wanted.code_prefix is not None:
        query = query.where(func.starts_with(code, wanted.code_prefix))
    if wanted.code_contains is not None:
        query = query.where(func.strpos(code, wanted.code_contains) > 0)
    return query
