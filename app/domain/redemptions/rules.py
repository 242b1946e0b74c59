"""What an event says of a code, and what that is worth: functions of their arguments alone."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from app.domain.redemptions.schemas import USED_OUTCOMES, Outcome, Use
from app.platform.database import AnyRow
from app.schema.base import VoucherStatus
from app.schema.inventory import MAX_CODE_LENGTH
from app.schema.texts import clean_code


def value_at(properties: Mapping[str, Any], path: str) -> Any:
    """The value of a property, or at the end of a dotted path; None where there is none."""
    if path in properties:
        return properties[path]
    value: Any = properties
    for step in path.split("."):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def uses(
    event_id: str, customer_id: str, properties: Mapping[str, Any], at: datetime | None, paths: Iterable[str]
) -> Iterator[Use]:
    """What an event says was used. An absent, null or blank property says nothing."""
    for path in paths:
        value = value_at(properties, path)
        code, outcome = None, Outcome.NOT_A_STRING
        if isinstance(value, str):
            text = clean_code(value)  # as the import does
            code, outcome = (text if len(text) <= MAX_CODE_LENGTH else None), Outcome.UNKNOWN_CODE
            if not text:
                continue
        elif value is None:
            continue
        yield Use(event_id, path, code, customer_id, outcome, at)


def judge(rows: Sequence[AnyRow]) -> tuple[list[Outcome], datetime | None]:
    """The outcome of each claim on one code, and when the code was used, if it was.

    It does not matter in which order the claims came: `rows` are all of them, in the order of their times.
    The first use by whom the code was assigned to is the redemption. Any use takes the code: the shop did.

    Args:
        rows: `redeemed_at`, `customer_id`; `status` and `expires_at` of the voucher (None: there is none);
            `given` and `given_to`: whether the code was assigned at that time, and to which customer.
    """
    outcomes: list[Outcome] = []
    first_use = redeemed = None
    for row in rows:
        outcome = _outcome_if_only_claim(row)
        if outcome is Outcome.REDEEMED and redeemed is None:
            redeemed = row.redeemed_at
        elif outcome in USED_OUTCOMES and first_use is not None:
            outcome = Outcome.ALREADY_REDEEMED
        if outcome in USED_OUTCOMES:
            first_use = first_use or row.redeemed_at
        outcomes.append(outcome)
    return outcomes, redeemed or first_use


def _outcome_if_only_claim(row: AnyRow) -> Outcome:
    """The outcome of a claim if it were the only one on its code."""
    if row.status is None:
        return Outcome.UNKNOWN_CODE
    if row.status == VoucherStatus.VOID:
        return Outcome.VOID
    if row.expires_at is not None and row.redeemed_at >= row.expires_at:
        return Outcome.EXPIRED
    if not row.given:
        return Outcome.NOT_ASSIGNED
    if None not in {row.given_to, row.customer_id} and row.given_to != row.customer_id:
        return Outcome.OTHER_CUSTOMER
    return Outcome.REDEEMED
