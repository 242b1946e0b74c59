"""Messages on the wire."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypedDict

from pydantic import BaseModel, Field

from app.platform.hooks import Tries

Event = Literal["pool.low", "pool.exhausted", "pool.expiring_soon", "schedule.failed", "pool.test"]
Channel = Literal["webhook", "email"]
DeliveryStatus = Literal["pending", "delivered", "failed"]


class MessagePayload(TypedDict):
    """What a message says, as its receiver gets it."""

    type: str
    timestamp: str
    data: dict[str, object]


@dataclass(frozen=True, slots=True)
class Recipients:
    """Whom a pool's messages go to; None: not by this channel."""

    pool_id: int
    webhook_url: str | None
    email: str | None
    further_emails: list[str]

    @property
    def emails(self) -> list[str]:
        """Return all addresses."""
        return [] if self.email is None else [self.email, *self.further_emails]


@dataclass(frozen=True, slots=True)
class DeliveryRecord(Tries):
    """One message of an alert by one channel."""

    id: uuid.UUID
    event: str
    channel: str
    destination: str
    payload: MessagePayload


class DeliveryOut(BaseModel):
    """One message of an alert by one channel."""

    id: uuid.UUID = Field(description="Id of the delivery; also its `webhook-id`, the same at each try")
    event: Event = Field(description="Event that it reports")
    channel: Channel = Field(description="Channel by which it is sent")
    destination: str = Field(description="Destination of the last try")
    payload: dict[str, object] = Field(description="Content of the message")
    status: DeliveryStatus = Field(description="`pending` while there are tries left")
    attempts: int = Field(description="Tries so far")
    response_status: int | None = Field(description="HTTP status of the last try's answer")
    error: str | None = Field(description="Why the last try failed")
    created_at: datetime = Field(description="When it was created")
    attempted_at: datetime | None = Field(description="When the last try was")
    delivered_at: datetime | None = Field(description="When it arrived")


class AlertMessage(BaseModel):
    """What an alert sends."""

    type: Event = Field(description="What it tells")
    timestamp: datetime = Field(description="When it happened")
    data: dict[str, object] = Field(
        description="`pool`, and what is told of it, as `threshold` and `available`: how many codes anybody may draw"
    )


class Deliveries(BaseModel):
    """Messages that were put on their way."""

    items: list[DeliveryOut] = Field(description="One for each channel")
