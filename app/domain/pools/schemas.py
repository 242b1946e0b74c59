"""Pools on the wire."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.schema.names import MAX_NAME, nfc, plain
from app.schema.texts import Identifier, Input, Update

Sort = Literal["name", "name_desc", "newest", "oldest"]
"""Orders of a list of pools; each has its index."""


PoolName = Annotated[
    str,
    AfterValidator(plain("pool")),
    Field(
        description="1 to 100 characters, no white space, no `/`, not `.` or `..`; kept in NFC",
        examples=["spring_sale"],
        json_schema_extra={"minLength": 1, "maxLength": MAX_NAME, "pattern": r"^(?!\.{1,2}$)[^\s/]+$"},
    ),
]


@dataclass(frozen=True, slots=True)
class StateCounts:
    """How many vouchers of a pool are in each state."""

    available: int
    reserved: int
    assigned: int
    redeemed: int
    expired: int
    void: int


@dataclass(frozen=True, slots=True)
class PoolCounts(StateCounts):
    """How many vouchers of a pool are in each state, and how many of the available ones are held."""

    total: int
    held: int


@dataclass(frozen=True, slots=True)
class PoolRef:
    """A pool that was looked up: who has one need not look again."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class PoolHead(PoolRef):
    """A pool without its counts."""

    description: str | None
    created_at: datetime
    per_customer: dict[str, int | str | None] | None
    expires_after_days: int | None


@dataclass(frozen=True, slots=True)
class PoolRecord(PoolHead):
    """A pool with its counts."""

    counts: PoolCounts


@dataclass(frozen=True, slots=True)
class Drawable:
    """What a campaign may draw from a pool, and how many vouchers it has in all."""

    available: int
    total: int


class Counts(BaseModel):
    """The stock of a pool: how many of its vouchers are in each state."""

    available: int = Field(description="Vouchers that can be drawn")
    reserved: int = Field(description="Vouchers that are reserved and not yet confirmed")
    assigned: int = Field(description="Vouchers that are handed out and not yet used")
    redeemed: int = Field(description="Vouchers that are used")
    expired: int = Field(description="Vouchers past their `expires_at`")
    void: int = Field(description="Vouchers that are void: taken out for good")
    total: int = Field(description="All of the pool's vouchers")
    held: int = Field(description="The part of `available` that only the holding campaigns may draw")


class PoolCreate(Input):
    """A pool to make."""

    name: PoolName
    description: str | None = Field(default=None, max_length=1000, description="For people")
    like: Annotated[Identifier, AfterValidator(nfc)] | None = Field(
        default=None,
        description="Take the settings of this pool: description, rules, alerts with the key of their webhook; not its"
        " codes, holds and schedules",
        examples=["spring_sale"],
    )


class PerCustomer(Input):
    """How many codes of a pool a customer gets, whatever message, campaign or request asks.

    What was released, has lapsed or expired, or was made void does not count, and proofs count apart. Requests without
    a customer are not bound by it.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"count": 1, "days": 30, "then": "same"}]})

    count: Annotated[int, Field(strict=True, ge=1, le=1000)] = Field(
        default=1, description="Number of vouchers"
    )
    days: Annotated[int, Field(strict=True, ge=1, le=3660)] | None = Field(
        default=None, description="Of how many days back codes count; null: of all time"
    )
    then: Literal["same", "refuse"] = Field(
        default="same",
        description="What a customer gets who has them: the last one again, or 409 `customer-limit`",
    )


class PoolUpdate(Update):
    """What may be changed of a pool; its name stays, because templates and idempotency rest on it."""

    description: str | None = Field(default=None, max_length=1000, description="For people")
    per_customer: PerCustomer | None = Field(
        default=None, description="How many codes a customer gets; null: as many as are asked for"
    )
    expires_after_days: Annotated[int, Field(strict=True, ge=1, le=3660)] | None = Field(
        default=None,
        description="A code ends so many days of 24 hours after it is handed out or reserved, unless it ends earlier by"
        " itself; null: by itself. Of what is handed out from now on; what goes back has its own expiry again",
        examples=[14],
    )


class PerCustomerOut(BaseModel):
    """How many codes of a pool a customer gets."""

    count: int = Field(description="Number of vouchers")
    days: int | None = Field(description="Of how many days back codes count; null: of all time")
    then: Literal["same", "refuse"] = Field(description="What a customer gets who has them")


class PoolOut(BaseModel):
    """A pool."""

    name: str = Field(description="Unique name")
    description: str | None = Field(description="For people")
    created_at: datetime = Field(description="When it was made")
    per_customer: PerCustomerOut | None = Field(
        description="How many codes a customer gets; null: any number"
    )
    expires_after_days: int | None = Field(
        description="How many days after it was handed out a code ends, if it does not end earlier by itself; null: by"
        " itself"
    )
    counts: Counts = Field(description="Its stock")
