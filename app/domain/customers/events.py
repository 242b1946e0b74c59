"""Events of customers: SQL, and how services pass them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from pydantic import AwareDatetime, Field
from sqlalchemy import select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.platform.database import AnyRow
from app.schema.customers import Event

# PostgreSQL and Python agree on these years only; nothing was tracked outside of them.
Time = Annotated[
    AwareDatetime, Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(9999, 1, 1, tzinfo=UTC))
]


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to store."""

    event_id: str | None
    customer_id: str
    event_type: str
    properties: dict[str, Any]
    timestamp: datetime | None = None


# In the order of their ids, so that two batches with the same events never wait for each other. The clock is
# read here and not at the begin of the transaction: of two events without a time, the first is the one that
# locked the code first.
ADD_EVENTS = text("""
INSERT INTO event (id, customer_id, event_type, properties, timestamp)
SELECT id, customer_id, event_type, CAST(properties AS jsonb), coalesce(at, clock_timestamp())
FROM unnest(
    CAST(:ids AS text[]), CAST(:customers AS text[]), CAST(:types AS text[]),
    CAST(:properties AS text[]), CAST(:timestamps AS timestamptz[])
) WITH ORDINALITY AS sent (id, customer_id, event_type, properties, at, place)
ORDER BY id, place
ON CONFLICT DO NOTHING
RETURNING id, customer_id, event_type, properties, timestamp
""")


async def add_events(connection: AsyncConnection, events: Mapping[str, NewEvent]) -> Sequence[AnyRow]:
    """Store events by their ids; those that were not there before."""
    values = events.values()
    parameters = {
        "ids": list(events),
        "customers": [event.customer_id for event in values],
        "types": [event.event_type for event in values],
        "properties": [orjson.dumps(event.properties).decode() for event in values],
        "timestamps": [event.timestamp for event in values],
    }
    return (await connection.execute(ADD_EVENTS, parameters)).all()


async def list_events(
    connection: AsyncConnection, event_type: str, key: tuple[datetime, str] | None, limit: int
) -> Sequence[AnyRow]:
    """Events of a type, oldest first."""
    query = (
        select(Event.id, Event.customer_id, Event.event_type, Event.properties, Event.timestamp)
        .where(Event.event_type == event_type)
        .order_by(Event.timestamp, Event.id)
        .limit(limit)
    )
    if key is not None:
        query = query.where(tuple_(Event.timestamp, Event.id) > key)
    return (await connection.execute(query)).all()
