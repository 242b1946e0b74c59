"""Tracked events: on the wire, and as services pass them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, Field

from app.domain.persons.ids import CustomerId
from app.domain.redemptions.schemas import Outcome, OutcomeAt
from app.schema.texts import Identifier, Input, Properties
from app.schema.times import Time

MAX_EVENTS = 1000


class TrackedStatus(StrEnum):
    """What became of an event."""

    ACCEPTED = "accepted"
    """It is stored."""
    DUPLICATE = "duplicate"
    """It was stored before, and changes nothing."""
    CONFLICT = "conflict"
    """Its id was stored before with another content; nothing of it is stored."""
    ERASED = "erased"
    """It was stored before, and its customer was erased since; nothing of it is stored."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """An event, and what came of the code in it."""

    event_id: str
    status: TrackedStatus
    redemption: Outcome | None
    redemptions: Sequence[OutcomeAt] = ()


class EventIn(Input):
    """Something that a customer did."""

    event_id: Identifier | None = Field(default=None, description="The same id again changes nothing")
    customer_id: CustomerId = Field(description="Who did it")
    event_type: Identifier = Field(description="What was done", examples=["purchase"])
    properties: Properties = Field(
        default_factory=dict, description="Its properties, any JSON", examples=[{"voucher_code": "SAVE-10"}]
    )
    timestamp: Time | None = Field(default=None, description="When it was done; now, if left out")


class EventBatch(Input):
    """Events to store."""

    events: list[EventIn] = Field(min_length=1, max_length=MAX_EVENTS, description="Up to 1,000")


class RedemptionAt(BaseModel):
    """What came of one code in an event."""

    property: str = Field(
        description="Where it stands in the event", examples=["voucher_code", "items[0].voucher_code"]
    )
    outcome: Outcome = Field(description="What came of it")


class TrackedOut(BaseModel):
    """What became of an event."""

    event_id: str = Field(description="Its id, made up where none was sent")
    status: TrackedStatus = Field(description="What became of it")
    redemption: Outcome | None = Field(
        description="What came of the code in it, of several of one that was used; null: no mapped property"
    )
    redemptions: list[RedemptionAt] = Field(description="What came of each code in it, by itself")


class EventsOut(BaseModel):
    """What became of the events."""

    accepted: int = Field(
        description="How many are stored, repeats included; not conflicts, nor what was erased"
    )
    items: list[TrackedOut] = Field(description="In the order of the request")
