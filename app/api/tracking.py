"""`/v1/events`."""

from fastapi import APIRouter

from app.domain.access.scopes import Scope
from app.domain.customers.events import NewEvent
from app.domain.tracking import service
from app.domain.tracking.schemas import EventBatch, EventsOut, TrackedStatus
from app.web.dependencies import Engine
from app.web.guard import requires

router = APIRouter(prefix="/v1", tags=["redemptions"])


@router.post("/events", response_model=EventsOut, dependencies=[requires(Scope.EVENTS)])
async def track_events(body: EventBatch, engine: Engine) -> dict[str, object]:
    """Store events, all or none, and redeem the codes in them as the redemption mapping says."""
    events = [
        NewEvent(event.event_id, event.customer_id, event.event_type, event.properties, event.timestamp)
        for event in body.events
    ]
    tracked = await service.track_all(engine, events)
    stored = {TrackedStatus.ACCEPTED, TrackedStatus.DUPLICATE}
    return {"accepted": sum(each.status in stored for each in tracked), "items": tracked}
