"""Events of customers: SQL, and how services pass them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import orjson
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.platform import keyset, records
from app.schema.customers import Event


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to store."""

    event_id: str
    customer_id: str
    event_type: str
    properties: dict[str, object]
    timestamp: datetime | None = None
    made: bool = False
    """Whether its id was made here: what is stored of it, an earlier try of the same has stored."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event that is stored."""

    id: str
    customer_id: str
    event_type: str
    properties: dict[str, object]
    timestamp: datetime
    arrival: int | None


# In the order of their ids, so that two batches with the same events never wait for each other. The clock is
# read here and not at the begin of the transaction: of two events without a time, the first is the one that
# locked the code first. Their order of arrival is that of the request: the sequence gives each statement a block of
# 16,384 numbers (migration 0153), more than there are events in one.
INSERT: LiteralString = """
INSERT INTO event (project_id, id, customer_id, event_type, properties, timestamp, arrival)
SELECT :project, id, {customer}, event_type, CAST(properties AS jsonb), coalesce(at, now), first + place
FROM (SELECT clock_timestamp() AS now, nextval('arrival') AS first) AS arrived, unnest(
    CAST(:ids AS text[]), CAST(:customers AS text[]), CAST(:types AS text[]),
    CAST(:properties AS text[]), CAST(:timestamps AS timestamptz[])
) WITH ORDINALITY AS sent (id, customer_id, event_type, properties, at, place)
WHERE {condition}
ORDER BY id, place
"""
"""Of events that are sent, as far as a condition holds: `parameters_of`."""
ERASED: LiteralString = """EXISTS (
    SELECT FROM (
        SELECT sha256(coalesce((SELECT key FROM erasure_key LIMIT 1), '') || convert_to({id}, 'UTF8')) AS mark OFFSET 0
    ) AS own, LATERAL (
        SELECT FROM erased_event
        WHERE erased_event.project_id = :project AND erased_event.mark = own.mark AND {condition} OFFSET 0
    ) AS known
)"""
"""Of an event: whether it was erased with its customer, and the mark of that fulfils a condition.

The mark is made first: row-level security lets no index be asked for what a function may tell of. OFFSET 0 keeps the
look-up a look-up, as in the claim.
"""
WERE_ERASED = text(f"""
SELECT id FROM unnest(CAST(:ids AS text[])) AS asked (id) WHERE {ERASED.format(id="asked.id", condition="true")}
""")  # noqa: S608  (made of constants)


async def erased(connection: AsyncConnection, ids: Sequence[str]) -> set[str]:
    """Return those of these events, messages and nodes that were erased with their customers."""
    return set((await connection.execute(WERE_ERASED, {"ids": list(ids)})).scalars())


ADD_EVENTS = text(f"""
{INSERT.format(customer="customer_id", condition=f"NOT {ERASED.format(id='sent.id', condition='true')}")}
ON CONFLICT DO NOTHING
RETURNING id, timestamp
""")


async def add_events(connection: AsyncConnection, events: Mapping[str, NewEvent]) -> dict[str, datetime]:
    """Store events by their ids; return the times of those that were not there before."""
    rows = await connection.execute(ADD_EVENTS, parameters_of(events))
    return dict(rows.all())


RECENT = text(f"""
SELECT id FROM unnest(CAST(:ids AS text[])) AS asked (id)
WHERE EXISTS (
    SELECT FROM event
    WHERE event.project_id = :project AND event.id = asked.id AND received_at > now() - make_interval(secs => :seconds)
    OFFSET 0
) OR {ERASED.format(id="asked.id", condition="erased_at > now() - make_interval(secs => :seconds)")}
""")  # noqa: S608  (made of constants)


async def recent(connection: AsyncConnection, ids: Sequence[str], seconds: float) -> set[str]:
    """Return those of these events that were stored, or erased, within the last seconds."""
    rows = await connection.execute(RECENT, {"ids": list(ids), "seconds": seconds})
    return set(rows.scalars())


# The same event again is the same in all that it says. A time that it does not say may be any.
CONFLICTING = text("""
SELECT sent.id, event.id IS NULL AS erased
FROM unnest(
    CAST(:ids AS text[]), CAST(:customers AS text[]), CAST(:types AS text[]),
    CAST(:properties AS text[]), CAST(:timestamps AS timestamptz[])
) AS sent (id, customer_id, event_type, properties, at)
LEFT JOIN event ON event.project_id = :project AND event.id = sent.id
WHERE event.id IS NULL OR (event.customer_id, event.event_type, event.properties)
        IS DISTINCT FROM (sent.customer_id, sent.event_type, CAST(sent.properties AS jsonb))
    OR event.timestamp <> coalesce(sent.at, event.timestamp)
""")


async def conflicting(connection: AsyncConnection, events: Mapping[str, NewEvent]) -> dict[str, bool]:
    """Return those of these events, which were not stored now, that are not stored as they are said to be.

    By id: whether it was erased with its customer; else it is stored with another content.
    """
    rows = await connection.execute(CONFLICTING, parameters_of(events))
    return {row.id: row.erased for row in rows}


KEEP = text("""
SELECT id, customer_id FROM event
WHERE project_id = :project AND id = ANY (CAST(:ids AS text[])) ORDER BY id FOR KEY SHARE
""")


async def keep(connection: AsyncConnection, ids: Collection[str]) -> dict[str, str]:
    """Return whose those of these events are that are there; nobody deletes one until the transaction ends."""
    rows = await connection.execute(KEEP, {"ids": list(ids)})
    return {row.id: row.customer_id for row in rows}


def parameters_of(events: Mapping[str, NewEvent]) -> dict[str, object]:
    """Return events by their ids as a statement takes them."""
    values = events.values()
    return {
        "ids": list(events),
        "customers": [event.customer_id for event in values],
        "types": [event.event_type for event in values],
        "properties": [orjson.dumps(event.properties).decode() for event in values],
        "timestamps": [event.timestamp for event in values],
    }


async def list_events(
    connection: AsyncConnection, event_type: str, key: tuple[datetime, str] | None, limit: int
) -> list[StoredEvent]:
    """Return events of a type, oldest first."""
    query = select(
        Event.id, Event.customer_id, Event.event_type, Event.properties, Event.timestamp, Event.arrival
    ).where(Event.event_type == event_type)
    query = keyset.page(query, (Event.timestamp, Event.id), key, limit)
    return records.all_of(await connection.execute(query), StoredEvent)
