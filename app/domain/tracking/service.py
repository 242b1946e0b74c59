"""Store what is tracked, and redeem the codes in it."""

import dataclasses
import uuid
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.customers.events import NewEvent, add_events
from app.domain.redemptions.service import (
    lock_codes,
    mapped_properties,
    outcomes_of_events,
    store_and_judge,
    uses_in,
)
from app.domain.tracking.schemas import Tracked
from app.platform.database import retry_on_conflict, transaction


async def track(connection: AsyncConnection, events: Sequence[NewEvent]) -> list[Tracked]:
    """Store events and redeem the codes in them; what came of each, in their order.

    An event whose id is there already changes nothing, and is answered with what came of the first. Two
    transactions that track at once may meet in a deadlock: run yours again then (`retry_on_conflict`).
    """
    ids = [event.event_id or str(uuid.uuid4()) for event in events]
    sent: dict[str, NewEvent] = {}
    for id_, event in zip(ids, events, strict=True):
        sent.setdefault(id_, event)
    by_type = await mapped_properties(connection)
    uses = [use for id_, event in sent.items() for use in uses_in(id_, event, by_type)]
    await lock_codes(connection, uses)
    times = {row.id: row.timestamp for row in await add_events(connection, sent)}
    await store_and_judge(
        connection,
        [dataclasses.replace(use, at=times[use.event_id]) for use in uses if use.event_id in times],
    )
    outcomes = (
        await outcomes_of_events(connection, ids)
        if by_type.keys() & {event.event_type for event in events}
        else {}
    )
    return [Tracked(id_, outcomes.get(id_)) for id_ in ids]


@retry_on_conflict
async def track_all(engine: AsyncEngine, events: Sequence[NewEvent]) -> list[Tracked]:
    """`track` in a transaction of its own."""
    async with transaction(engine) as connection:
        return await track(connection, events)
