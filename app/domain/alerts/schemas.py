"""Alerts on the wire."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    StrictInt,
    StringConstraints,
    model_validator,
)

from app.schema.texts import NO_FLAG, Input, WebhookUrl

MAX_THRESHOLDS = 20
MAX_EMAILS = 20
MAX_COUNT = 2**63 - 1
EMAIL = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$"
"""One address, as HTML defines it for its input fields."""


def _unique(thresholds: list[int]) -> list[int]:
    for threshold in thresholds:
        if thresholds.count(threshold) > 1:
            raise ValueError(f"Each threshold stands once; {threshold} stands there more often.")
    return sorted(thresholds, reverse=True)


def _each_once(emails: list[str]) -> list[str]:
    for email in emails:
        if emails.count(email) > 1:
            raise ValueError(f"Each address stands once; {email} stands there more often.")
    return emails


Thresholds = Annotated[
    list[Annotated[StrictInt, Field(ge=0, le=MAX_COUNT)]],
    Field(min_length=1, max_length=MAX_THRESHOLDS),
    AfterValidator(_unique),
]
EmailAddress = Annotated[str, StringConstraints(max_length=254, pattern=EMAIL)]


class AlertsUpdate(Input):
    """When to tell of a pool, and whom."""

    thresholds: Thresholds = Field(
        description="Counts of what anybody may draw (available codes less held ones); 0 is told as `pool.exhausted`",
        examples=[[1000, 100, 0]],
    )
    webhook_url: WebhookUrl | None = Field(
        default=None, description="Receives a POST", examples=["https://example.com/hooks/vouchers"]
    )
    email: EmailAddress | None = Field(
        default=None, description="Receives an email", examples=["campaigns@example.com"]
    )
    emails: (
        Annotated[list[EmailAddress], Field(min_length=1, max_length=MAX_EMAILS), AfterValidator(_each_once)]
        | None
    ) = Field(
        default=None,
        description="Several addresses: each receives an email of its own. Instead of `email`",
        examples=[["campaigns@example.com", "shop@example.com"]],
    )
    expiring_within_days: Annotated[int, Field(ge=1, le=3650), NO_FLAG] | None = Field(
        default=None, description="Send a message also when available codes expire within so many days"
    )

    @model_validator(mode="after")
    def _reaches_somebody(self) -> "AlertsUpdate":
        if self.email is not None and self.emails is not None:
            raise ValueError("Give either email or emails.")
        if self.webhook_url is None and not self.addresses:
            raise ValueError("An alert needs a webhook_url, an email or both.")
        return self

    @property
    def addresses(self) -> list[str]:
        """Return all addresses that receive an email."""
        if self.emails is not None:
            return list(self.emails)
        return [] if self.email is None else [self.email]


@dataclass(frozen=True, slots=True)
class ThresholdRecord:
    """A threshold and where it stands."""

    threshold: int
    armed: bool
    fell_at: datetime | None
    available: int | None


@dataclass(frozen=True, slots=True)
class AlertState:
    """Where the alerts of a pool stand."""

    pool_id: int
    fallen: int | None
    """The lowest threshold that its count has fallen to; None: to none."""


@dataclass(frozen=True, slots=True)
class Alerts:
    """When a pool is told of, and to whom."""

    pool: str
    thresholds: list[int]
    states: list[ThresholdRecord]
    webhook_url: str | None
    webhook_secret: str | None
    """Only where it was made just now."""
    email: str | None
    emails: list[str]
    expiring_within_days: int | None
    webhook_disabled_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A new key of the webhooks' signatures."""

    webhook_secret: str
    previous_valid_until: datetime


class ThresholdOut(BaseModel):
    """A threshold and where it stands."""

    threshold: int = Field(description="Count of what anybody may draw: available codes less held ones")
    armed: bool = Field(
        description="Whether a message will be sent when the count falls to it; false while the count is at it or below"
    )
    fell_at: datetime | None = Field(description="When the count fell to it; null while it is armed")
    available: int | None = Field(description="How many codes anybody could draw at that time")


class AlertsOut(BaseModel):
    """When a pool is told of, and to whom."""

    pool: str = Field(description="Name of the pool")
    thresholds: list[int] = Field(
        description="Counts of what anybody may draw (available codes less held ones), greatest first"
    )
    states: list[ThresholdOut] = Field(description="Where each threshold stands")
    webhook_url: str | None = Field(description="Receives a POST")
    webhook_secret: str | None = Field(
        description="Key of the webhooks' signatures, shown in the reply that made it and never again"
    )
    email: str | None = Field(description="Receives an email; of several the first")
    emails: list[str] = Field(description="All addresses that receive an email")
    expiring_within_days: int | None = Field(
        description="A message is sent when available codes expire within so many days"
    )
    webhook_disabled_at: datetime | None = Field(
        description="When the webhook answered 410 Gone; nothing is sent to it until the alerts are set again"
    )


class SecretOut(BaseModel):
    """A new key of the webhooks' signatures."""

    webhook_secret: str = Field(description="The key, shown once")
    previous_valid_until: datetime = Field(description="Until then webhooks are signed with the old key too")
