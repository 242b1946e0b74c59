"""Webhooks on the wire, in both directions."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, Field

from app.platform.hooks import Tries
from app.schema.names import nfc
from app.schema.texts import Identifier, Input, Update, WebhookUrl

EventType = Literal[
    "voucher.assigned",
    "voucher.redeemed",
    "voucher.released",
    "voucher.voided",
    "voucher.redemption_cancelled",
    "voucher.reinstated",
    "voucher.expiry_changed",
    "import.finished",
    "pool.low",
]
MAX_POOLS = 1000


def _each_once(values: list[str]) -> list[str]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"each stands once; {value} stands there more often")
    return values


Events = Annotated[list[EventType], Field(min_length=1), AfterValidator(_each_once)]
Pools = Annotated[
    list[Annotated[Identifier, AfterValidator(nfc)]],
    Field(min_length=1, max_length=MAX_POOLS),
    AfterValidator(_each_once),
]


class WebhookCreate(Input):
    """Whom to tell of what."""

    url: WebhookUrl = Field(
        description="Receives each message as a POST", examples=["https://example.com/hooks/vouchers"]
    )
    events: Events = Field(
        description="What is told. `pool.low` needs thresholds in the alerts of the pool",
        examples=[["voucher.assigned", "voucher.released"]],
    )
    pools: Pools | None = Field(
        default=None, description="Only of these pools; left out: of all, also of later ones"
    )


class WebhookUpdate(Update):
    """What may be changed of a webhook; what is left out stays."""

    NEVER_NULL: ClassVar = frozenset({"url", "events"})

    url: WebhookUrl | None = Field(
        default=None,
        description="Receives each message as a POST, from the next one on",
        examples=["https://example.com/hooks/vouchers"],
    )
    events: Events | None = Field(
        default=None, description="What is told", examples=[["voucher.assigned", "voucher.voided"]]
    )
    pools: Pools | None = Field(
        default=None, description="Only of these pools; null: of all, also of later ones"
    )


@dataclass(frozen=True, slots=True)
class WebhookDetails:
    """Whom is told of what, and how that goes."""

    id: uuid.UUID
    url: str
    events: list[str]
    pools: list[str] | None
    created_at: datetime
    told_until: datetime
    failures: int
    failing_since: datetime | None
    next_try_at: datetime | None
    disabled_at: datetime | None
    disabled_because: str | None


@dataclass(frozen=True, slots=True)
class NewWebhook(WebhookDetails):
    """A new webhook with the key of its signatures."""

    secret: str


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A new key of the signatures."""

    secret: str
    previous_valid_until: datetime


@dataclass(frozen=True, slots=True)
class WebhookDeliveryRecord(Tries):
    """One message, and how it went."""

    id: uuid.UUID
    webhook_id: uuid.UUID
    test: bool
    events: int
    first_at: datetime | None
    last_at: datetime | None


class WebhookOut(BaseModel):
    """Whom is told of what, and how that goes."""

    id: uuid.UUID = Field(description="Id of the webhook")
    url: str = Field(description="Receives each message as a POST")
    events: list[EventType] = Field(description="What is told")
    pools: list[str] | None = Field(description="Only of these pools; null: of all")
    created_at: datetime = Field(description="When it was made: what happened before is not told")
    told_until: datetime = Field(description="All before this time is told")
    failures: int = Field(description="Tries that failed since the last one that did not")
    failing_since: datetime | None = Field(description="When the first of them was; null: there is none")
    next_try_at: datetime | None = Field(description="When the next try is, after one that failed")
    disabled_at: datetime | None = Field(description="Since when nothing is sent; null: it is not disabled")
    disabled_because: str | None = Field(description="Why it is disabled")


class WebhookMade(WebhookOut):
    """A new webhook with the key of its signatures."""

    secret: str = Field(description="Key of the signatures, shown once")


class WebhookSecretOut(BaseModel):
    """A new key of the signatures."""

    secret: str = Field(description="The key, shown once")
    previous_valid_until: datetime = Field(description="Until then messages are signed with the old key too")


class WebhookDeliveryOut(BaseModel):
    """One message, and how it went. What it said is not kept: it stands in the ledger."""

    id: uuid.UUID = Field(description="Also its `webhook-id`, the same at each try")
    test: bool = Field(description="Whether it was a test")
    events: int = Field(description="How many events it tells")
    first_at: datetime | None = Field(description="When the first of them happened")
    last_at: datetime | None = Field(description="When the last of them happened")
    status: Literal["pending", "delivered", "failed"] = Field(description="`pending`: it is tried again")
    attempts: int = Field(description="Tries so far")
    response_status: int | None = Field(description="HTTP status of the last answer")
    error: str | None = Field(description="Why the last try failed")
    created_at: datetime = Field(description="When it was put on its way")
    attempted_at: datetime | None = Field(description="When the last try was")
    delivered_at: datetime | None = Field(description="When it arrived")


class WebhookEvent(BaseModel):
    """One thing that happened."""

    id: str = Field(description="Known again by this, should it come twice")
    type: EventType = Field(description="What happened")
    timestamp: datetime = Field(description="When")
    data: dict[str, object] = Field(
        description="`voucher.…`: `pool`, `code`, `assignment_id`, `customer_id`, `campaign_id`, `message_id`,"
        " `test`, `expires_at`; `voucher.redeemed` also `redeemed_at`; `voucher.released` also `lapsed`;"
        " `voucher.reinstated` also `status`"
        " · `import.finished`: `pool`, `import_id`, `status`"
        " · `pool.low`: `pool`, `threshold`, `available`"
    )


class WebhookEvents(BaseModel):
    """What happened, in order."""

    events: list[WebhookEvent] = Field(description="Up to 1,000, oldest first")


class WebhookMessage(BaseModel):
    """What the service sends, signed as Standard Webhooks says."""

    type: Literal["events", "test"] = Field(description="`test`: somebody asked for a test; without events")
    timestamp: datetime = Field(description="When it was put on its way")
    data: WebhookEvents = Field(description="What it tells")
