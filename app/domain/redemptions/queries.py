"""SQL of events, the redemption mapping and redemptions."""

import dataclasses
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, insert, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.redemptions.rules import Said
from app.domain.redemptions.schemas import (
    Effect,
    MappedEvent,
    Outcome,
    OutcomeAt,
    RedemptionFilter,
    RedemptionRecord,
    Use,
)
from app.platform import keyset, records
from app.schema.projects import CURRENT, own_columns
from app.schema.redemptions import Redemption, RedemptionMapping


async def mapping(connection: AsyncConnection) -> list[MappedEvent]:
    """Return the redemption mapping."""
    query = select(*own_columns(RedemptionMapping))
    rows = await connection.execute(query.order_by(*query.selected_columns))
    return records.all_of(rows, MappedEvent)


async def set_mapping(connection: AsyncConnection, rows: Iterable[MappedEvent]) -> None:
    """Replace the redemption mapping."""
    await connection.execute(text(f"SELECT pg_advisory_xact_lock(hashtext('redemption_mapping'), {CURRENT})"))
    await connection.execute(delete(RedemptionMapping))
    values = [dataclasses.asdict(row) for row in rows]
    if values:
        await connection.execute(insert(RedemptionMapping), values)


ADD_USES = text("""
INSERT INTO redemption (event_id, property, code, customer_id, outcome, redeemed_at, effect, arrival)
SELECT event_id, property, code, customer_id, outcome, coalesce(at, clock_timestamp()), effect,
    coalesce(arrival, nextval('arrival'))
FROM unnest(
    CAST(:event_ids AS text[]), CAST(:properties AS text[]), CAST(:codes AS text[]), CAST(:customers AS text[]),
    CAST(:outcomes AS text[]), CAST(:ats AS timestamptz[]), CAST(:effects AS text[]), CAST(:arrivals AS bigint[])
) WITH ORDINALITY AS said (event_id, property, code, customer_id, outcome, at, effect, arrival, place)
ORDER BY place
ON CONFLICT (project_id, event_id, property) DO NOTHING
RETURNING id, code
""")


@dataclass(frozen=True, slots=True)
class Added:
    """A use that was stored just now."""

    id: uuid.UUID
    code: str | None


async def add_uses(connection: AsyncConnection, uses: Sequence[Use]) -> list[Added]:
    """Store what is said of codes; what was not there before."""
    parameters = {
        "event_ids": [use.event_id for use in uses],
        "properties": [use.property for use in uses],
        "codes": [use.code for use in uses],
        "customers": [use.customer_id for use in uses],
        "outcomes": [use.outcome for use in uses],
        "ats": [use.at for use in uses],
        "effects": [use.effect for use in uses],
        "arrivals": [use.arrival for use in uses],
    }
    return records.all_of(await connection.execute(ADD_USES, parameters), Added)


MAX_SAID = 200
"""Most things said of a code of which a cancellation was heard that are judged together."""

# What is judged: the new, and of what was said before only that which decides. Uses that came too late, however
# many, have no say, unless a cancellation takes back those before them. Each with its voucher and the ledger row that
# held at its time, the present one or one that was released since. Who was erased is compared by a mark
# (app/schema/customers.py). Ties go by arrival.
SAID = text("""
WITH said AS (
    SELECT * FROM redemption WHERE id = ANY (CAST(:new AS uuid[]))
    UNION
    SELECT * FROM redemption WHERE code = ANY (CAST(:codes AS text[]))
        AND outcome IN ('redeemed', 'not_assigned', 'other_customer')
    UNION
    SELECT of_code.* FROM (
        SELECT DISTINCT code FROM unnest(CAST(:codes AS text[])) AS asked (code)
        WHERE EXISTS (SELECT FROM redemption WHERE redemption.code = asked.code AND effect = 'cancel')
    ) AS cancelled CROSS JOIN LATERAL (
        SELECT * FROM redemption WHERE redemption.code = cancelled.code AND outcome NOT IN ('void', 'expired')
        LIMIT :most
    ) AS of_code
)
SELECT said.id, said.code, said.effect, said.outcome, said.redeemed_at AS at,
    coalesce(said.customer_mark, sha256(key || convert_to(said.customer_id, 'UTF8'))) AS customer,
    voucher.status, voucher.expires_at, voucher.voided_at, held.id IS NOT NULL AS given,
    coalesce(held.customer_mark, sha256(key || convert_to(held.customer_id, 'UTF8'))) AS given_to,
    voucher.assignment_id IS NOT NULL AS stands
FROM said CROSS JOIN (SELECT coalesce((SELECT key FROM erasure_key LIMIT 1), '') AS key) AS secret
LEFT JOIN voucher ON voucher.code = said.code
LEFT JOIN LATERAL (
    SELECT * FROM (
        SELECT id, customer_id, customer_mark, assigned_at FROM assignment
        WHERE id = voucher.assignment_id
            AND assigned_at <= said.redeemed_at + make_interval(secs => :tolerance)
        UNION ALL
        SELECT id, customer_id, customer_mark, assigned_at FROM assignment
        WHERE code = said.code AND assigned_at <= said.redeemed_at AND released_at > said.redeemed_at
    ) AS candidate ORDER BY assigned_at > said.redeemed_at LIMIT 1
) AS held ON true
ORDER BY said.code, said.redeemed_at, said.arrival NULLS FIRST, said.created_at, said.id
""")


async def said_of(
    connection: AsyncConnection, codes: Iterable[str], new: Iterable[uuid.UUID], tolerance: float
) -> list[tuple[str, Said]]:
    """Return the uses of these codes that decide, each with its code and with what it is judged by.

    They come code by code, in the order of time.
    """
    parameters = {"codes": list(codes), "new": list(new), "tolerance": tolerance, "most": MAX_SAID + 1}
    return [
        (
            row.code,
            Said(
                row.id,
                Effect(row.effect),
                row.customer and bytes(row.customer),
                row.at,
                Outcome(row.outcome),
                row.status,
                row.expires_at,
                row.voided_at,
                row.given,
                row.given_to and bytes(row.given_to),
                row.stands,
            ),
        )
        for row in await connection.execute(SAID, parameters)
    ]


SET_OUTCOMES = text("""
UPDATE redemption SET outcome = judged.outcome
FROM unnest(CAST(:ids AS uuid[]), CAST(:outcomes AS text[])) AS judged (id, outcome)
WHERE redemption.id = judged.id
""")


async def set_outcomes(connection: AsyncConnection, outcomes: Mapping[uuid.UUID, Outcome]) -> None:
    """Write what came of uses."""
    # A code has one redemption at any time: the one that is none any more goes first.
    for redeemed in (False, True):
        part = {id_: value for id_, value in outcomes.items() if (value is Outcome.REDEEMED) is redeemed}
        if part:
            await connection.execute(SET_OUTCOMES, {"ids": list(part), "outcomes": list(part.values())})


OUTCOME = (Redemption.event_id, Redemption.property, Redemption.outcome)


DOUBTFUL = text("""
SELECT DISTINCT code FROM redemption
WHERE customer_id = ANY (CAST(:customers AS text[])) AND code IS NOT NULL
    AND (effect = 'cancel' OR outcome = 'other_customer')
ORDER BY code
""")


async def doubtful_codes(connection: AsyncConnection, customers: Sequence[str]) -> list[str]:
    """Return the codes of which these customers said what depends on who they are."""
    return list((await connection.execute(DOUBTFUL, {"customers": list(customers)})).scalars())


async def outcomes_of(connection: AsyncConnection, event_ids: Sequence[str]) -> list[tuple[str, OutcomeAt]]:
    """Return what came of the codes in these events, each with its event."""
    query = select(*OUTCOME).where(Redemption.event_id.in_(event_ids))
    rows = await connection.execute(query.order_by(Redemption.arrival, Redemption.id))
    return [(row.event_id, OutcomeAt(row.property, Outcome(row.outcome))) for row in rows]


PROJECTS = "SELECT id AS project_id, 0 AS key FROM project WHERE (id, 0) > {after}"
KNOWN_BY_NOW = """EXISTS (
    SELECT FROM redemption JOIN voucher USING (project_id, code)
    WHERE redemption.project_id = slice.project_id AND outcome = 'unknown_code'
)"""
"""SQL: whether a project has codes that were unknown when used and are in a pool by now."""

UNKNOWN = text("""
SELECT code, array_agg(id) AS ids FROM (
    SELECT DISTINCT ON (code) code FROM redemption
    WHERE outcome = 'unknown_code' AND code > :after ORDER BY code LIMIT :most
) AS page JOIN redemption USING (code) JOIN voucher USING (code)
WHERE outcome = 'unknown_code' GROUP BY code
""")
PAGE_END = text("""
SELECT max(code) FROM (
    SELECT DISTINCT code FROM redemption WHERE outcome = 'unknown_code' AND code > :after ORDER BY code LIMIT :most
) AS page
""")


async def known_by_now(
    connection: AsyncConnection, after: str, most: int
) -> tuple[dict[str, Sequence[uuid.UUID]], str | None]:
    """Return codes beyond `after` that were unknown when used and are in a pool by now, and where the page ends.

    Each code has the ids of its uses.
    """
    page = {"after": after, "most": most}
    end = (await connection.execute(PAGE_END, page)).scalar_one()
    return {row.code: row.ids for row in await connection.execute(UNKNOWN, page)}, end


FORGET_UNMAPPED = text("""
DELETE FROM redemption USING event
WHERE redemption.event_id = event.id AND outcome IN ('unknown_code', 'not_a_string') AND NOT EXISTS (
    SELECT FROM redemption_mapping AS mapping
    WHERE mapping.event_type = event.event_type
        AND regexp_replace(redemption.property, '\\[\\d+\\]', '[*]', 'g') = mapping.property
)
""")


async def forget_unmapped(connection: AsyncConnection) -> None:
    """Forget what was found in properties that are not mapped any more, and could not be matched."""
    await connection.execute(FORGET_UNMAPPED)


Key = tuple[str, datetime, uuid.UUID]
"""Where a page of uses ends: outcome, time, id."""
REDEMPTIONS = select(
    Redemption.id,
    Redemption.outcome,
    Redemption.code,
    Redemption.customer_id,
    Redemption.event_id,
    Redemption.property,
    Redemption.redeemed_at,
    Redemption.created_at,
)


async def list_redemptions(
    connection: AsyncConnection, wanted: RedemptionFilter, key: Key | None, limit: int
) -> tuple[list[RedemptionRecord], Key | None]:
    """Return uses and what came of each, outcome by outcome, oldest first, and where to go on if enough was read.

    Without an outcome and a customer it is only the issues.
    """
    order = (Redemption.outcome, Redemption.created_at, Redemption.id)
    lead = select(*order).order_by(*order).limit(keyset.at_most(keyset.MOST_READ))
    if wanted.customer_id is not None:
        of_customer = select(Redemption.id).where(Redemption.customer_id == wanted.customer_id).offset(0)
        lead = lead.where(Redemption.id.in_(of_customer))
    if wanted.outcome is not None:
        lead = lead.where(Redemption.outcome == wanted.outcome)
    elif wanted.customer_id is None:
        lead = lead.where(Redemption.outcome != Outcome.REDEEMED)
    if key is not None:
        lead = lead.where(tuple_(*order) > key)
    read = lead.subquery("read")
    by = [read.c[column.key] for column in order]
    query = REDEMPTIONS.join(read, read.c.id == Redemption.id).order_by(*by).limit(limit)
    if wanted.since is not None:
        query = query.where(Redemption.redeemed_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(Redemption.redeemed_at < wanted.until)
    rows = records.all_of(await connection.execute(query), RedemptionRecord)
    if len(rows) >= limit:
        return rows, None
    end = (
        await connection.execute(select(*by).order_by(*by).offset(keyset.MOST_READ - 1).limit(1))
    ).one_or_none()
    return rows, None if end is None else (end[0], end[1], end[2])


async def by_id(connection: AsyncConnection, redemption_id: uuid.UUID) -> RedemptionRecord:
    """Return one redemption."""
    query = REDEMPTIONS.where(Redemption.id == redemption_id)
    return records.one_of(await connection.execute(query), RedemptionRecord)


async def by_event(connection: AsyncConnection, event_id: str, property_: str) -> RedemptionRecord:
    """Return what was stored of an event's property."""
    query = REDEMPTIONS.where(Redemption.event_id == event_id, Redemption.property == property_)
    return records.one_of(await connection.execute(query), RedemptionRecord)


async def issue_counts(connection: AsyncConnection) -> dict[str, int]:
    """Return how many uses could not be matched, by reason."""
    query = (
        select(Redemption.outcome, func.count().label("n"))
        .where(Redemption.outcome != Outcome.REDEEMED)
        .group_by(Redemption.outcome)
    )
    return {row.outcome: row.n for row in await connection.execute(query)}
