"""`/v1/events`."""

from collections.abc import Sequence
from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Response

from app.domain.access.scopes import Caller, Scope
from app.domain.customers.events import NewEvent
from app.domain.tracking.gathering import Gathering
from app.domain.tracking.schemas import EventBatch, EventsOut, Tracked, TrackedStatus
from app.platform.ids import ordered_ids
from app.schema.texts import Identifier
from app.web import idempotency
from app.web.dependencies import held_for_project
from app.web.guard import requires

router = APIRouter(prefix="/v1", tags=["redemptions"])
KeyOfEvents = Annotated[
    Identifier | None,
    Header(
        alias=idempotency.NAME,
        description="An event without `event_id` is known again by this key and its place: the same one is a"
        " `duplicate`; another one is a `conflict`, and nothing of it is stored",
    ),
]


@router.post("/events", response_model=EventsOut)
async def track_events(
    body: EventBatch,
    gathering: Annotated[Gathering, held_for_project(Gathering)],
    caller: Annotated[Caller, requires(Scope.EVENTS)],
    idempotency_key: KeyOfEvents = None,
) -> Response:
    """Store events, all or none, and redeem the codes in them as the redemption mapping says."""
    tracked = await gathering.track(new_events(body, caller, idempotency_key))
    return Response(reply(tracked), media_type="application/json")


def new_events(body: EventBatch, caller: Caller, key: str | None) -> list[NewEvent]:
    """Return the events of a request, each with an id: whatever is tried again finds what was stored."""
    made = [] if key else ordered_ids(len(body.events))
    return [
        NewEvent(
            event.event_id or (idempotency.derived(caller.key_id, key, index) if key else made[index]),
            event.customer_id,
            event.event_type,
            event.properties,
            event.timestamp,
            made=not event.event_id and not key,
        )
        for index, event in enumerate(body.events)
    ]


def reply(tracked: Sequence[Tracked]) -> bytes:
    """Return an `EventsOut` that says what became of events."""
    stored = {TrackedStatus.ACCEPTED, TrackedStatus.DUPLICATE}
    return orjson.dumps({"accepted": sum(each.status in stored for each in tracked), "items": tracked})
