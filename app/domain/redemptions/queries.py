"""SQL of events, the redemption mapping and redemptions."""

import dataclasses
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import and_, case, delete, func, insert, null, or_, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.lifecycle.notes import VOIDED_AT
from app.domain.redemptions.rules import Said, Verdicts
from app.domain.redemptions.schemas import (
    DIRECT,
    KEYED,
    MATCHED_OUTCOMES,
    Effect,
    MappedEvent,
    Outcome,
    OutcomeAt,
    RedemptionFilter,
    RedemptionRecord,
    Use,
)
from app.platform import keyset, records
from app.platform.ids import ordered_ids
from app.schema.projects import own_columns
from app.schema.redemptions import Redemption, RedemptionMapping


async def mapping(connection: AsyncConnection) -> list[MappedEvent]:
    """Return the redemption mapping."""
    query = select(*own_columns(RedemptionMapping))
    rows = await connection.execute(query.order_by(*query.selected_columns))
    return records.all_of(rows, MappedEvent)


async def set_mapping(connection: AsyncConnection, rows: Iterable[MappedEvent]) -> None:
    """Replace the redemption mapping."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('redemption_mapping'), :project)"))
    await connection.execute(delete(RedemptionMapping))
    values = [dataclasses.asdict(row) for row in rows]
    if values:
        await connection.execute(insert(RedemptionMapping), values)


def _person(id_: str, mark: str) -> str:
    """Return SQL that tells persons apart: by their ids, or where anybody among them was erased all by their marks."""
    of_mark = f"encode(coalesce({mark}, sha256(key || convert_to({id_}, 'UTF8'))), 'hex')"
    return f"CASE WHEN erased THEN {of_mark} ELSE {id_} END"


MAX_SAID = 200
"""Most things said of a code of which a cancellation was heard that are judged together."""

# What is judged: the new, and of what was said before only that which decides. Uses that came too late, however
# many, have no say, unless a cancellation takes back those before them. Each with its voucher and the ledger row that
# held at its time, the present one or one that was released since. Ties go by arrival, and the new has arrived last.
# What is stored of the same place of an event is not new. What could be drawn has not expired yet, whatever the shop's
# clock says: its use takes it. OFFSET 0 keeps each look-up a look-up, as in the claim.
SAID = text(f"""
WITH told AS MATERIALIZED (
    SELECT * FROM unnest(
        CAST(:event_ids AS text[]), CAST(:properties AS text[]), CAST(:codes AS text[]), CAST(:customers AS text[]),
        CAST(:effects AS text[]), CAST(:ats AS timestamptz[]), CAST(:arrivals AS bigint[])
    ) WITH ORDINALITY AS sent (event_id, property, code, customer_id, effect, at, arrival, place)
    WHERE NOT EXISTS (
        SELECT FROM redemption WHERE project_id = :project
            AND redemption.event_id = sent.event_id AND redemption.property = sent.property OFFSET 0
    )
), heard AS MATERIALIZED (
    SELECT code, cancels FROM (
        SELECT code, bool_or(effect = 'cancel') AS cancels FROM told GROUP BY code
        UNION ALL
        SELECT unnest(CAST(:also AS text[])), false
    ) AS asked
    WHERE EXISTS (
        SELECT FROM redemption WHERE project_id = :project AND redemption.code = asked.code OFFSET 0
    )
), stored AS (
    SELECT unnest(CAST(:ids AS uuid[])) AS id
    UNION
    SELECT redeemed.id FROM heard CROSS JOIN LATERAL (
        SELECT id FROM redemption
        WHERE project_id = :project AND redemption.code = heard.code AND outcome = 'redeemed' OFFSET 0
    ) AS redeemed
    UNION
    SELECT taken.id FROM heard CROSS JOIN LATERAL (
        SELECT id FROM redemption WHERE project_id = :project AND redemption.code = heard.code
            AND outcome IN ('not_assigned', 'other_customer') OFFSET 0
    ) AS taken
    UNION
    SELECT of_code.id FROM heard CROSS JOIN LATERAL (
        SELECT id FROM redemption WHERE project_id = :project AND redemption.code = heard.code
            AND outcome NOT IN ('void', 'expired')
        LIMIT :most
    ) AS of_code
    WHERE cancels
        OR EXISTS (
            SELECT FROM redemption
            WHERE project_id = :project AND redemption.code = heard.code AND effect = 'cancel' OFFSET 0
        )
), said AS (
    SELECT place, NULL::uuid AS id, code, effect, NULL AS outcome, customer_id, NULL::bytea AS customer_mark,
        coalesce(at, clock_timestamp()) AS at, coalesce(arrival, 9223372036854775807) AS arrival,
        NULL::timestamptz AS created_at
    FROM told
    UNION ALL
    SELECT NULL, redemption.id, code, effect, outcome, customer_id, customer_mark, redeemed_at, arrival, created_at
    FROM stored CROSS JOIN LATERAL (
        SELECT * FROM redemption WHERE project_id = :project AND redemption.id = stored.id OFFSET 0
    ) AS redemption
), judged AS MATERIALIZED (
    SELECT said.*, voucher.status, voucher.redeemed_at, voucher.voided_at,
        CASE WHEN voucher.status <> 'available' OR voucher.expires_at <= now() THEN voucher.expires_at END
            AS expires_at,
        coalesce(former.id, present.id) IS NOT NULL AS given,
        CASE WHEN former.id IS NULL THEN present.customer_id ELSE former.customer_id END AS given_to,
        CASE WHEN former.id IS NULL THEN present.customer_mark ELSE former.customer_mark END AS given_mark,
        voucher.assignment_id IS NOT NULL AS stands
    FROM said
    LEFT JOIN LATERAL (
        SELECT status, redeemed_at, expires_at, assignment_id,
            CASE WHEN status = 'redeemed' THEN {VOIDED_AT} ELSE voided_at END AS voided_at
        FROM voucher
        WHERE project_id = :project AND voucher.code = said.code OFFSET 0
    ) AS voucher ON true
    LEFT JOIN LATERAL (
        SELECT id, customer_id, customer_mark, assigned_at FROM assignment
        WHERE project_id = :project AND assignment.id = voucher.assignment_id
            AND assigned_at <= said.at + make_interval(secs => :tolerance)
        OFFSET 0
    ) AS present ON true
    LEFT JOIN LATERAL (
        SELECT id, customer_id, customer_mark FROM assignment
        WHERE project_id = :project AND (present.assigned_at <= said.at) IS NOT TRUE
            AND code = said.code AND assigned_at <= said.at AND released_at > said.at
        LIMIT 1
    ) AS former ON true
)
SELECT place, id, code, effect, outcome, at, {_person("customer_id", "customer_mark")},
    status, redeemed_at, expires_at, voided_at, given, {_person("given_to", "given_mark")}, stands
FROM judged CROSS JOIN (
    SELECT coalesce((SELECT key FROM erasure_key LIMIT 1), '') AS key,
        bool_or(customer_mark IS NOT NULL OR given_mark IS NOT NULL) AS erased
    FROM judged
) AS any_person
ORDER BY code, at, arrival NULLS FIRST, place, created_at, id
""")  # noqa: S608  (made of constants)


async def said_of(
    connection: AsyncConnection,
    uses: Sequence[Use],
    also: Sequence[str],
    ids: Sequence[uuid.UUID],
    tolerance: float,
) -> list[Said]:
    """Return what decides on codes, each with what it is judged by, code by code and in the order of time.

    Args:
        connection: of a transaction that has locked the vouchers of these codes.
        uses: what is new; what is stored by now of the same place of an event is left out.
        also: codes of which nothing is new.
        ids: what is stored and has not been judged.
        tolerance: seconds that the shop's clock may be off.
    """
    parameters = {
        **_parameters(uses),
        "ats": [use.at and use.at.isoformat() for use in uses],
        "also": list(also),
        "ids": list(ids),
        "tolerance": tolerance,
        "most": MAX_SAID + 1,
    }
    rows = await connection.execute(SAID, parameters)
    return [
        Said(
            place,
            id_,
            code,
            Effect(effect),
            uses[place - 1].outcome if outcome is None else Outcome(outcome),
            *judged_by,
        )
        for place, id_, code, effect, outcome, *judged_by in rows
    ]


def _parameters(uses: Sequence[Use]) -> dict[str, object]:
    return {
        "event_ids": [use.event_id for use in uses],
        "properties": [use.property for use in uses],
        "codes": [use.code for use in uses],
        "customers": [use.customer_id for use in uses],
        "effects": [use.effect for use in uses],
        "arrivals": [use.arrival for use in uses],
    }


ADD_USES = text("""
INSERT INTO redemption (
    project_id, id, event_id, property, code, customer_id, effect, redeemed_at, arrival, outcome
)
SELECT :project, id, event_id, property, code, customer_id, effect, at, coalesce(arrival, nextval('arrival')), outcome
FROM unnest(
    CAST(:ids AS uuid[]), CAST(:event_ids AS text[]), CAST(:properties AS text[]), CAST(:codes AS text[]),
    CAST(:customers AS text[]), CAST(:effects AS text[]), CAST(:ats AS timestamptz[]), CAST(:arrivals AS bigint[]),
    CAST(:outcomes AS text[])
) WITH ORDINALITY AS judged (id, event_id, property, code, customer_id, effect, at, arrival, outcome, place)
ORDER BY place
""")
SET_OUTCOMES = text("""
UPDATE redemption SET outcome = judged.outcome
FROM unnest(CAST(:ids AS uuid[]), CAST(:outcomes AS text[])) AS judged (id, outcome)
WHERE redemption.project_id = :project AND redemption.id = judged.id
""")


async def store(connection: AsyncConnection, uses: Sequence[Use], verdicts: Verdicts) -> list[str]:
    """Store what was judged: of these uses those that are new, and what others come to; return the ids of the new.

    Where another transaction has stored one of them meanwhile, it is a conflict: run yours again.
    """
    # A code has one redemption at any time: the one that is none any more goes first.
    lost = {id_: outcome for id_, outcome in verdicts.changed.items() if outcome != Outcome.REDEEMED}
    await _set_outcomes(connection, lost)
    ids = ordered_ids(len(verdicts.new))
    if ids:
        judged = {
            "ids": ids,
            "ats": [each.at.isoformat() for each in verdicts.new],
            "outcomes": [each.outcome for each in verdicts.new],
        }
        new = [uses[each.place - 1] for each in verdicts.new]
        await connection.execute(ADD_USES, _parameters(new) | judged)
    await _set_outcomes(connection, {id_: each for id_, each in verdicts.changed.items() if id_ not in lost})
    return ids


async def _set_outcomes(connection: AsyncConnection, outcomes: Mapping[uuid.UUID, Outcome]) -> None:
    if outcomes:
        parameters = {"ids": list(outcomes), "outcomes": list(outcomes.values())}
        await connection.execute(SET_OUTCOMES, parameters)


OUTCOME = (Redemption.event_id, Redemption.property, Redemption.outcome)


# Of a code that was used again and again by the same, the first decide.
DOUBTFUL = text("""
SELECT code, array_agg(id) FILTER (WHERE outcome = 'already_redeemed' AND turn <= :most) AS late FROM (
    SELECT id, code, outcome,
        row_number() OVER (PARTITION BY code, outcome ORDER BY redeemed_at, arrival NULLS FIRST, created_at, id) AS turn
    FROM redemption
    WHERE project_id = :project AND customer_id = ANY (CAST(:customers AS text[])) AND code IS NOT NULL
        AND (effect = 'cancel' OR outcome IN ('other_customer', 'already_redeemed'))
) AS said GROUP BY code ORDER BY code
""")


async def doubtful_codes(
    connection: AsyncConnection, customers: Sequence[str]
) -> dict[str, Sequence[uuid.UUID]]:
    """Return the codes of which these customers said what depends on who they are.

    Each has the ids of their uses that came too late: one of them may be by whom the code was given to.
    """
    rows = await connection.execute(DOUBTFUL, {"customers": list(customers), "most": MAX_SAID})
    return {row.code: row.late or () for row in rows}


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

KNOWN = text("""
SELECT code, array_agg(redemption.id) AS ids FROM redemption JOIN voucher USING (code)
WHERE redemption.project_id = :project AND voucher.project_id = :project AND outcome = 'unknown_code' AND code > :after
GROUP BY code ORDER BY code LIMIT :most
""")


async def known_by_now(connection: AsyncConnection, after: str, most: int) -> dict[str, Sequence[uuid.UUID]]:
    """Return codes beyond `after` that were unknown when used and are in a pool by now, in their order.

    Each code has the ids of its uses. Codes that no pool ever gets cost a look-up each, and no turn of their own.
    """
    rows = await connection.execute(KNOWN, {"after": after, "most": most})
    return {row.code: row.ids for row in rows}


Place = tuple[datetime, uuid.UUID]
"""Where some uses of one outcome end: time, id."""
FIRST: Place = (datetime.fromtimestamp(0, UTC), uuid.UUID(int=0))
"""Before all of them."""

# Of an event that was deleted or erased nothing tells the type: the property counts as mapped where any type's is. What
# was told directly has no event, and no property or DIRECT. A use of a code that a pool has by now is judged first.
FORGET_UNMAPPED = text("""
WITH part AS MATERIALIZED (
    SELECT id, created_at, (
        SELECT event_type FROM event WHERE event.project_id = :project AND event.id = redemption.event_id OFFSET 0
    ) AS event_type
    FROM redemption
    WHERE project_id = :project AND outcome = :outcome
        AND (created_at, id) > (CAST(:created_at AS timestamptz), CAST(:id AS uuid))
    ORDER BY created_at, id LIMIT :most
), gone AS (
    DELETE FROM redemption USING part
    WHERE redemption.project_id = :project AND redemption.id = part.id AND redemption.outcome = :outcome
        AND (part.event_type IS NOT NULL OR redemption.property <> :direct)
        AND NOT EXISTS (
            SELECT FROM redemption_mapping AS mapping
            WHERE mapping.project_id = :project
                AND mapping.event_type = coalesce(part.event_type, mapping.event_type)
                AND regexp_replace(redemption.property, '\\[\\d+\\]', '[*]', 'g') = mapping.property
        ) AND NOT EXISTS (
            SELECT FROM voucher WHERE voucher.project_id = :project AND voucher.code = redemption.code OFFSET 0
        )
)
SELECT created_at, id FROM part ORDER BY created_at, id OFFSET :most - 1 LIMIT 1
""")


async def forget_unmapped(
    connection: AsyncConnection, outcome: Outcome, after: Place, most: int
) -> Place | None:
    """Forget what was found in properties that are not mapped any more, and could not be matched.

    Args:
        connection: of a transaction beside which the mapping does not change.
        outcome: what came of it.
        after: where the uses end that were looked at before.
        most: how many are looked at.

    Return where these end; None where there are no more.
    """
    created_at, id_ = after
    page = {"outcome": outcome, "created_at": created_at, "id": id_, "most": most, "direct": DIRECT}
    row = (await connection.execute(FORGET_UNMAPPED, page)).one_or_none()
    return None if row is None else (row.created_at, row.id)


Told = tuple[str | None, str | None, str | None, str]
"""What a place of an event says: event, property, code, effect."""

FORGET = text("""
DELETE FROM redemption
WHERE project_id = :project AND id = ANY (CAST(:ids AS uuid[])) AND outcome = ANY (CAST(:outcomes AS text[]))
""")


async def told_by(
    connection: AsyncConnection, event_ids: Sequence[str], outcomes: Sequence[Outcome]
) -> dict[uuid.UUID, Told]:
    """Return what is stored of these events and came to one of these outcomes, by its id."""
    query = select(
        Redemption.id, Redemption.event_id, Redemption.property, Redemption.code, Redemption.effect
    ).where(Redemption.event_id.in_(event_ids), Redemption.outcome.in_(outcomes))
    rows = await connection.execute(query)
    return {row.id: (row.event_id, row.property, row.code, row.effect) for row in rows}


async def forget(connection: AsyncConnection, ids: Iterable[uuid.UUID], outcomes: Sequence[Outcome]) -> None:
    """Forget those of these uses that still come to one of these outcomes."""
    await connection.execute(FORGET, {"ids": list(ids), "outcomes": list(outcomes)})


Key = tuple[str, datetime, uuid.UUID]
"""Where a page of uses ends: outcome, time, id."""
# Of a direct use with a key, what is kept in place of an event's id tells that key. An erasure takes it away.
_IS_KEYED = and_(
    Redemption.property == DIRECT,
    or_(Redemption.event_id.is_(None), Redemption.event_id.startswith(KEYED)),
)
REDEMPTIONS = select(
    Redemption.id,
    Redemption.outcome,
    Redemption.code,
    Redemption.customer_id,
    case((_IS_KEYED, null()), else_=Redemption.event_id).label("event_id"),
    case((_IS_KEYED, null()), else_=Redemption.property).label("property"),
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
        lead = lead.where(Redemption.outcome.not_in(MATCHED_OUTCOMES))
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
        .where(Redemption.outcome.not_in(MATCHED_OUTCOMES))
        .group_by(Redemption.outcome)
    )
    return {row.outcome: row.n for row in await connection.execute(query)}
