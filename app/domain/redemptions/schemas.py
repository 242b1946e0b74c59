"""Events and redemptions: on the wire, and as services pass them."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, Field

from app.domain.persons.ids import CustomerId
from app.schema.texts import Identifier, Input
from app.schema.times import Time

MAX_MAPPINGS = 100


class Outcome(StrEnum):
    """What came of a code that is said to have been used."""

    REDEEMED = "redeemed"
    """Used by whom it was assigned to."""
    ALREADY_REDEEMED = "already_redeemed"
    """Used before, in the same event or in another one."""
    NOT_ASSIGNED = "not_assigned"
    """Used at a time when it was assigned to nobody."""
    OTHER_CUSTOMER = "other_customer"
    """Used by another customer than it was assigned to."""
    EXPIRED = "expired"
    """Used after it had expired."""
    VOID = "void"
    """Used although it was taken out."""
    UNKNOWN_CODE = "unknown_code"
    """No pool holds it."""
    NOT_A_STRING = "not_a_string"
    """The mapped property is a number, a list or something else that is no string."""
    TOO_MANY = "too_many"
    """The mapped property holds more than a hundred codes: this is the first that was not looked at."""
    CANCELLED = "cancelled"
    """Used, and the order was cancelled since; of a cancellation: it took that use back."""
    NOT_REDEEMED = "not_redeemed"
    """A cancellation by a customer who had not used the code, or of a code that is nobody's and so stays used."""


class Effect(StrEnum):
    """What an event says of the code in it."""

    REDEEM = "redeem"
    """It was used."""
    CANCEL = "cancel"
    """The order was cancelled or refunded: the use does not count, and without another the code is its customer's."""


class Normalise(StrEnum):
    """How a shop's spelling of a code is brought to that of the pools."""

    UPPER = "upper"
    LOWER = "lower"


USED_OUTCOMES = (Outcome.REDEEMED, Outcome.NOT_ASSIGNED, Outcome.OTHER_CUSTOMER)
"""The outcomes by which a voucher becomes redeemed: the shop took the code, even if it should not have."""
MATCHED_OUTCOMES = (Outcome.REDEEMED, Outcome.CANCELLED)
"""The outcomes of what is as it should be; all others are issues."""

DIRECT, KEYED = "direct", "\n"
"""Of a use that was told directly, with a key: its property, and what its key begins with in place of an event's id."""


class Use(NamedTuple):
    """Says that a code was used: by whom, when, and where it says so.

    A code that is None: there is nothing that can be a code. A time that is None: when it is stored.
    """

    event_id: str | None
    property: str | None
    code: str | None
    customer_id: str | None
    outcome: Outcome
    at: datetime | None
    effect: Effect = Effect.REDEEM
    arrival: int | None = None
    """When its event arrived, among others; None: now."""


@dataclass(frozen=True, slots=True)
class OutcomeAt:
    """What came of the code at one place of an event."""

    property: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class MappedEvent:
    """Which property of which event type holds a code, and what that says of it."""

    event_type: str
    property: str
    effect: str
    normalise: str | None


@dataclass(frozen=True, slots=True)
class RedemptionRecord:
    """What came of a code that is said to have been used."""

    id: uuid.UUID
    outcome: str
    code: str | None
    customer_id: str | None
    event_id: str | None
    property: str | None
    redeemed_at: datetime
    created_at: datetime


class MappingIn(Input):
    """Which property of which event type holds the code."""

    event_type: Identifier = Field(description="Type of the event", examples=["purchase"])
    property: Identifier = Field(
        description="Name of the property, or a path to it; `[*]` stands for each element of a list, of which 100 codes"
        " are looked at: the first one beyond is the issue `too_many`",
        examples=["voucher_code", "cart.0.code", "items[*].voucher_code"],
    )
    effect: Effect = Field(
        default=Effect.REDEEM,
        description="`redeem`: the code was used; `cancel`: the order was cancelled or refunded. It takes back the"
        " customer's latest use of the code; if no other use stands, the code is assigned again",
    )
    normalise: Normalise | None = Field(
        default=None,
        description="Change the code to upper or lower case before it is looked up; null: leave it as it is",
    )


class Mappings(Input):
    """The redemption mapping."""

    mappings: list[MappingIn] = Field(max_length=MAX_MAPPINGS, description="All that apply")


class ReplayOut(BaseModel):
    """What came of applying the mapping to the events that are there."""

    events: int = Field(description="Events of mapped types that were looked at")
    found: int = Field(description="Codes found in them that were not stored before")


class RedemptionIn(Input):
    """A use of a code, told directly."""

    customer_id: CustomerId | None = Field(default=None, description="Customer who used it")
    redeemed_at: Time | None = Field(default=None, description="When; now, if left out")


@dataclass(frozen=True, slots=True)
class RedemptionFilter:
    """Which uses are asked for; None: whatever it is, but without a customer and an outcome only issues."""

    outcome: Outcome | None = None
    customer_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class RedemptionOut(BaseModel):
    """What came of a code that is said to have been used."""

    id: uuid.UUID = Field(description="Id of the redemption")
    outcome: Outcome = Field(description="`redeemed`, `cancelled`, or the issue")
    code: str | None = Field(description="The code; null where the property held none")
    customer_id: str | None = Field(description="Customer who used it")
    event_id: str | None = Field(description="The event that says so; null for a direct redemption")
    property: str | None = Field(description="The property that held the code")
    redeemed_at: datetime = Field(description="When it was used, as the event says")
    created_at: datetime = Field(description="When the service received it")
