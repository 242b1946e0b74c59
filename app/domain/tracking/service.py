"""Store what is tracked, and redeem the codes in it."""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.customers.events import NewEvent, add_events, conflicting
from app.domain.lifecycle import uses as uses_lock
from app.domain.persons import service as persons
from app.domain.redemptions.schemas import OutcomeAt
from app.domain.redemptions.service import (
    chief,
    lock_codes,
    mapped_properties,
    outcomes_of_events,
    store_and_judge,
    uses_in,
)
from app.domain.tracking.schemas import Tracked, TrackedStatus
from app.platform.database import retry_on_conflict, transaction


async def track(connection: AsyncConnection, events: Sequence[NewEvent]) -> list[Tracked]:
    """Store events and redeem the codes in them; what came of each, in their order.

    An event whose id is there already changes nothing: with the same content it is a duplicate, and answered with what
    came of the first; with another content it is a conflict, and nothing of it is stored, nor is one whose customer was
    erased since. Two transactions that
    track at once may meet in a deadlock: run yours again then (`retry_on_conflict`).
    """
    found = await persons.resolve(connection, (event.customer_id for event in events))
    if found:
        events = [
            dataclasses.replace(event, customer_id=found[event.customer_id].id)
            if event.customer_id in found
            else event
            for event in events
        ]
    return await store(connection, events)


async def store(connection: AsyncConnection, events: Sequence[NewEvent]) -> list[Tracked]:
    """Store events as `track` does, of customers whose ids are those under which all is kept."""
    sent: dict[str, NewEvent] = {}
    for event in events:
        sent.setdefault(event.event_id, event)
    await uses_lock.beside_others(connection)
    by_type = await mapped_properties(connection)
    uses = [(id_, use) for id_, event in sent.items() for use in uses_in(id_, event, by_type)]
    await lock_codes(connection, (use.code for _, use in uses))
    times = await add_events(connection, sent)
    known = {id_: event for id_, event in sent.items() if id_ not in times}
    unlike = await conflicting(connection, known) if known else {}
    new = [(id_, use._replace(at=times[id_])) for id_, use in uses if id_ in times]
    judged = await store_and_judge(connection, [use for _, use in new])
    outcomes: dict[str, list[OutcomeAt]] = defaultdict(list)
    stored_before = {id_ for id_, event in known.items() if event.event_type in by_type}
    for place, (id_, use) in enumerate(new):
        if place in judged:
            outcomes[id_].append(OutcomeAt(str(use.property), judged[place]))
        else:
            stored_before.add(id_)
    if stored_before:
        outcomes |= await outcomes_of_events(connection, sorted(stored_before))
    tracked = []
    seen: set[str] = set()
    for event in events:
        id_ = event.event_id
        if unlike.get(id_):
            tracked.append(Tracked(id_, TrackedStatus.ERASED, None))
        elif id_ in unlike or not _same(event, sent[id_]):
            tracked.append(Tracked(id_, TrackedStatus.CONFLICT, None))
        else:
            first = event.made or (id_ in times and id_ not in seen)
            status = TrackedStatus.ACCEPTED if first else TrackedStatus.DUPLICATE
            of_codes = outcomes.get(id_, [])
            tracked.append(Tracked(id_, status, chief(of_codes), of_codes))
        seen.add(id_)
    return tracked


def _same(event: NewEvent, first: NewEvent) -> bool:
    """Tell whether an event of a request says what the first one with its id says."""
    return event is first or (
        dataclasses.replace(event, timestamp=None) == dataclasses.replace(first, timestamp=None)
        and event.timestamp in {None, first.timestamp}
    )


@retry_on_conflict
async def track_all(engine: AsyncEngine, events: Sequence[NewEvent]) -> list[Tracked]:
    """Track events in a transaction of their own."""
    async with transaction(engine) as connection:
        return await track(connection, events)
