"""SQL of events, the redemption mapping and redemptions."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.redemptions.schemas import Outcome, Use
from app.platform.database import AnyRow
from app.schema.redemptions import Redemption, RedemptionMapping


async def mapping(connection: AsyncConnection) -> Sequence[AnyRow]:
    """The redemption mapping."""
    query = select(RedemptionMapping.__table__)
    return (await connection.execute(query.order_by(*query.selected_columns))).all()


async def set_mapping(connection: AsyncConnection, rows: Iterable[tuple[str, str]]) -> None:
    """Replace the redemption mapping."""
    await connection.execute(text("LOCK TABLE redemption_mapping IN SHARE ROW EXCLUSIVE MODE"))
    await connection.execute(delete(RedemptionMapping))
    values = [{"event_type": event_type, "property": property_} for event_type, property_ in rows]
    if values:
        await connection.execute(insert(RedemptionMapping), values)


ADD_USES = text("""
INSERT INTO redemption (event_id, property, code, customer_id, outcome, redeemed_at)
SELECT event_id, property, code, customer_id, outcome, coalesce(at, clock_timestamp())
FROM unnest(
    CAST(:event_ids AS text[]), CAST(:properties AS text[]), CAST(:codes AS text[]),
    CAST(:customers AS text[]), CAST(:outcomes AS text[]), CAST(:ats AS timestamptz[])
) AS claim (event_id, property, code, customer_id, outcome, at)
ORDER BY event_id, property
ON CONFLICT (event_id, property) DO NOTHING
RETURNING id, code
""")


async def add_uses(connection: AsyncConnection, uses: Sequence[Use]) -> Sequence[AnyRow]:
    """Store what events say was used; those that were not there before."""
    parameters = {
        "event_ids": [use.event_id for use in uses],
        "properties": [use.property for use in uses],
        "codes": [use.code for use in uses],
        "customers": [use.customer_id for use in uses],
        "outcomes": [use.outcome for use in uses],
        "ats": [use.at for use in uses],
    }
    return (await connection.execute(ADD_USES, parameters)).all()


# Each claim with its voucher and the ledger row that held at its time, the present one or one released since.
# Of claims at the same time, the one that was the redemption stays it.
USES_OF = text("""
SELECT redemption.id, redemption.code, redemption.customer_id, redemption.redeemed_at, redemption.outcome,
    voucher.status, voucher.expires_at, held.id IS NOT NULL AS given, held.customer_id AS given_to
FROM redemption
LEFT JOIN voucher ON voucher.code = redemption.code
LEFT JOIN LATERAL (
    SELECT id, customer_id FROM assignment
    WHERE id = voucher.assignment_id AND assigned_at <= redemption.redeemed_at
    UNION ALL
    SELECT id, customer_id FROM assignment
    WHERE code = redemption.code AND assigned_at <= redemption.redeemed_at
        AND released_at > redemption.redeemed_at
    LIMIT 1
) AS held ON true
WHERE redemption.code = ANY (CAST(:codes AS text[]))
ORDER BY redemption.code, redemption.redeemed_at,
    redemption.outcome <> 'redeemed', redemption.created_at, redemption.id
""")


async def uses_of(connection: AsyncConnection, codes: Iterable[str]) -> Sequence[AnyRow]:
    """All claims on these codes, code by code in the order of their times, with what they are judged by."""
    return (await connection.execute(USES_OF, {"codes": list(codes)})).all()


SET_OUTCOMES = text("""
UPDATE redemption SET outcome = judged.outcome
FROM unnest(CAST(:ids AS uuid[]), CAST(:outcomes AS text[])) AS judged (id, outcome)
WHERE redemption.id = judged.id
""")


async def set_outcomes(connection: AsyncConnection, outcomes: Mapping[uuid.UUID, Outcome]) -> None:
    """Write what claims came to."""
    # A code has one redemption at any time: the one that is none any more goes first.
    for redeemed in (False, True):
        part = {id_: value for id_, value in outcomes.items() if (value is Outcome.REDEEMED) is redeemed}
        if part:
            await connection.execute(SET_OUTCOMES, {"ids": list(part), "outcomes": list(part.values())})


OUTCOME: tuple[Any, ...] = (Redemption.event_id, Redemption.outcome)


async def outcomes_of(connection: AsyncConnection, event_ids: Sequence[str]) -> Sequence[AnyRow]:
    """What came of the codes in these events."""
    query = select(*OUTCOME).where(Redemption.event_id.in_(event_ids))
    return (await connection.execute(query)).all()


KNOWN_NOW = text("""
SELECT DISTINCT code FROM redemption JOIN voucher USING (code) WHERE outcome = 'unknown_code' LIMIT :most
""")


async def known_now(connection: AsyncConnection, most: int) -> Sequence[str]:
    """Codes that were unknown when they were used, and have been imported since."""
    return (await connection.execute(KNOWN_NOW, {"most": most})).scalars().all()


FORGET_UNMAPPED = text("""
DELETE FROM redemption USING event
WHERE redemption.event_id = event.id AND outcome IN ('unknown_code', 'not_a_string') AND NOT EXISTS (
    SELECT FROM redemption_mapping AS mapping
    WHERE mapping.event_type = event.event_type AND mapping.property = redemption.property
)
""")


async def forget_unmapped(connection: AsyncConnection) -> None:
    """Forget what was found in properties that are not mapped any more, and could not be matched."""
    await connection.execute(FORGET_UNMAPPED)


REDEMPTIONS = select(*Redemption.__table__.columns)


async def list_issues(
    connection: AsyncConnection,
    issue: Outcome | None,
    key: tuple[str, datetime, uuid.UUID] | None,
    limit: int,
) -> Sequence[AnyRow]:
    """What could not be matched, issue by issue, oldest first."""
    order = (Redemption.outcome, Redemption.created_at, Redemption.id)
    query = REDEMPTIONS.where(Redemption.outcome != Outcome.REDEEMED).order_by(*order).limit(limit)
    if issue is not None:
        query = query.where(Redemption.outcome == issue)
    if key is not None:
        query = query.where(tuple_(*order) > key)
    return (await connection.execute(query)).all()


async def by_id(connection: AsyncConnection, redemption_id: uuid.UUID) -> AnyRow:
    """One redemption."""
    return (await connection.execute(REDEMPTIONS.where(Redemption.id == redemption_id))).one()


async def issue_counts(connection: AsyncConnection) -> Sequence[AnyRow]:
    """Return how many uses could not be matched, by reason."""
    query = (
        select(Redemption.outcome, func.count().label("n"))
        .where(Redemption.outcome != Outcome.REDEEMED)
        .group_by(Redemption.outcome)
    )
    return (await connection.execute(query)).all()
