"""`/v1/events`."""

from typing import Annotated

from fastapi import APIRouter

from app.domain.access.scopes import Caller, Scope
from app.domain.customers.events import NewEvent
from app.domain.tracking import service
from app.domain.tracking.schemas import EventBatch, EventsOut, TrackedStatus
from app.web import idempotency
from app.web.dependencies import Engine
from app.web.guard import requires

router = APIRouter(prefix="/v1", tags=["redemptions"])


@router.post("/events", response_model=EventsOut)
async def track_events(
    body: EventBatch,
    engine: Engine,
    caller: Annotated[Caller, requires(Scope.EVENTS)],
    idempotency_key: idempotency.Key = None,
) -> dict[str, object]:
    """Store events, all or none, and redeem the codes in them as the redemption mapping says.

    With an `Idempotency-Key`, an event without `event_id` is known again by its place.
    """
    events = [
        NewEvent(
            event.event_id
            or (idempotency_key and idempotency.derived(caller.key_id, idempotency_key, index)),
            event.customer_id,
            event.event_type,
            event.properties,
            event.timestamp,
        )
        for index, event in enumerate(body.events)
    ]
    tracked = await service.track_all(engine, events)
    stored = {TrackedStatus.ACCEPTED, TrackedStatus.DUPLICATE}
    return {"accepted": sum(each.status in stored for each in tracked), "items": tracked}
