"""Store what is tracked, and redeem the codes in it."""

import dataclasses
import uuid
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.customers.events import NewEvent, add_events
from app.domain.redemptions.service import _claims, _hear, _lock, _mapped, _outcomes
from app.domain.tracking.schemas import Tracked
from app.platform.database import again_on_conflict, transaction


async def track(connection: AsyncConnection, events: Sequence[NewEvent]) -> list[Tracked]:
    """Store events and redeem the codes in them; what came of each, in their order.

    An event whose id is there already changes nothing, and is answered with what came of the first. Two
    transactions that track at once may meet in a deadlock: run yours again then (`again_on_conflict`).
    """
    ids = [event.event_id or str(uuid.uuid4()) for event in events]
    sent: dict[str, NewEvent] = {}
    for id_, event in zip(ids, events, strict=True):
        sent.setdefault(id_, event)
    by_type = await _mapped(connection)
    claims = [claim for id_, event in sent.items() for claim in _claims(id_, event, by_type)]
    await _lock(connection, claims)
    times = {row.id: row.timestamp for row in await add_events(connection, sent)}
    await _hear(
        connection,
        [dataclasses.replace(claim, at=times[claim.event_id]) for claim in claims if claim.event_id in times],
    )
    outcomes = (
        await _outcomes(connection, ids) if by_type.keys() & {event.event_type for event in events} else {}
    )
    return [Tracked(id_, outcomes.get(id_)) for id_ in ids]


@again_on_conflict
async def track_all(engine: AsyncEngine, events: Sequence[NewEvent]) -> list[Tracked]:
    """`track` in a transaction of its own."""
    async with transaction(engine) as connection:
        return await track(connection, events)
