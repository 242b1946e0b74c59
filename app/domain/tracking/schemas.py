"""Tracked events: on the wire, and as services pass them."""

from dataclasses import dataclass

from pydantic import BaseModel, Field

from app.domain.customers.events import Time
from app.domain.redemptions.schemas import Outcome
from app.schema.texts import Identifier, Input, Properties

MAX_EVENTS = 1000


@dataclass(frozen=True, slots=True)
class Tracked:
    """A stored event, and what came of the code in it."""

    event_id: str
    redemption: Outcome | None


class EventIn(Input):
    """Something that a customer did."""

    event_id: Identifier | None = Field(default=None, description="The same id again changes nothing")
    customer_id: Identifier = Field(description="Who did it")
    event_type: Identifier = Field(description="What was done", examples=["purchase"])
    properties: Properties = Field(
        default_factory=dict, description="Its properties, any JSON", examples=[{"voucher_code": "SAVE-10"}]
    )
    timestamp: Time | None = Field(default=None, description="When it was done; now, if left out")


class EventBatch(Input):
    """Events to store."""

    events: list[EventIn] = Field(min_length=1, max_length=MAX_EVENTS, description="Up to 1,000")


class TrackedOut(BaseModel):
    """A stored event."""

    event_id: str = Field(description="Its id, made up where none was sent")
    redemption: Outcome | None = Field(description="What came of the code in it; null: no mapped property")


class EventsOut(BaseModel):
    """What became of the events."""

    accepted: int = Field(description="How many are stored, repeats included")
    items: list[TrackedOut] = Field(description="In the order of the request")
