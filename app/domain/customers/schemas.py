"""Customers and aggregates on the wire."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from app.domain.persons.ids import CustomerId
from app.schema.texts import Encoding, Identifier, Input, Properties


class FileFormat(Input):
    """How a file of customers is read."""

    id_column: str | None = Field(
        default=None,
        description="Column of the customer ids; `customer_id`, `id` or the first column if left out",
    )
    delimiter: str | None = Field(
        default=None, min_length=1, max_length=1, description="What separates cells; detected if left out"
    )
    encoding: Encoding | None = Field(
        default=None, description="Encoding, such as `utf-8`, `windows-1252`; detected if left out"
    )
    sheet: str | None = Field(
        default=None, max_length=255, description="Sheet of a spreadsheet, by name or 0-based index"
    )


class CustomerUpdate(Input):
    """What to change of a customer."""

    properties: Properties = Field(
        description="Properties to set; null removes one, and those not named stay",
        examples=[{"voucher": "SPRING-7F3K", "first_name": "Ada"}],
    )


@dataclass(frozen=True, slots=True)
class CustomerFilter:
    """Which customers are asked for; None: whatever it is."""

    id_prefix: str | None = None
    property: str | None = None
    value: str | None = None


@dataclass(frozen=True, slots=True)
class PropertyUpdate:
    """Properties to set of a customer."""

    customer_id: str
    properties: dict[str, object]
    at: datetime | None
    """As of when they are so; None: now."""


@dataclass(frozen=True, slots=True)
class TakenOver:
    """How many rows of each kind a customer took over from another, beside the history."""

    customers: int
    assignments: int
    redemptions: int


@dataclass(frozen=True, slots=True)
class CustomerRecord:
    """What is known of a customer."""

    id: str
    properties: dict[str, object]
    updated_at: datetime
    aliases: list[str]
    tracked_ids: list[tuple[str, str]]
    """Name and value of each."""


@dataclass(frozen=True, slots=True)
class AggregateRecord:
    """A value that is worked out from a customer's events."""

    name: str
    event_type: str
    property: str | None
    function: str
    where: dict[str, object]
    match: str


@dataclass(frozen=True, slots=True)
class EventRecord:
    """Something that a customer did, with its place among others of the same time."""

    id: str
    event_type: str
    properties: dict[str, object]
    timestamp: datetime
    received_at: datetime
    arrival: int


class EventOut(BaseModel):
    """Something that a customer did."""

    event_id: str = Field(description="As the shop names it", validation_alias="id")
    event_type: str = Field(description="What it is")
    properties: dict[str, object] = Field(description="What the shop tells of it")
    timestamp: datetime = Field(description="When it happened")
    received_at: datetime = Field(description="When it was told")


class TrackedIdOut(BaseModel):
    """An id by which trackers know a customer."""

    name: str = Field(description="`registered`, `cookie`, or what else the shop calls it")
    value: str = Field(description="The id")


class CustomerOut(BaseModel):
    """A customer."""

    id: str = Field(description="As the caller names it")
    properties: dict[str, object] = Field(description="What is known")
    updated_at: datetime = Field(description="When a property was last set")
    aliases: list[str] = Field(
        description="Other ids that lead to this customer, since they were merged into it"
    )
    tracked_ids: list[TrackedIdOut] = Field(
        description="Ids by which trackers know this customer: `registered`, and aliases such as a cookie"
    )

    @field_validator("tracked_ids", mode="before")
    @classmethod
    def _named(cls, pairs: object) -> object:
        return (
            [dict(zip(("name", "value"), pair, strict=True)) for pair in pairs]
            if isinstance(pairs, list)
            else pairs
        )


class CustomerMerge(Input):
    """Whom to merge into a customer."""

    from_: CustomerId = Field(
        alias="from", description="The customer who turns out to be this one; the id leads here from now on"
    )


class MergedOut(BaseModel):
    """What a merge moved; all of it is 0 where the two were one already."""

    customer_id: str = Field(description="The id under which all is kept")
    customers: int = Field(description="1 where properties were known of the other")
    events: int = Field(description="Events moved")
    assignments: int = Field(description="Assignments moved")
    redemptions: int = Field(description="Redemptions moved")


class ImportReject(BaseModel):
    """A line of a customers file that was not taken."""

    line: int = Field(description="Line of the file, from 1")
    reason: str = Field(description="Why")


class CustomersImported(BaseModel):
    """What an import of customers did."""

    rows: int = Field(description="Rows read, without the header; `imported` and `rejected` together")
    imported: int = Field(description="Rows whose properties were set")
    rejected: int = Field(description="Rows that were rejected")
    rejects: list[ImportReject] = Field(description="The first 1000 of them")


class AggregateIn(Input):
    """What to work out from a customer's events."""

    event_type: Identifier = Field(description="Events of this type")
    property: Identifier | None = Field(
        default=None, description="Property to evaluate; events without it do not count"
    )
    function: Literal["last", "first", "count"] = Field(description="Which of the events, or how many")
    where: Properties = Field(
        default_factory=dict,
        description="Only events that have these properties with these values; `cart.currency` is a path",
        examples=[{"cart.currency": "EUR"}],
    )
    match: Literal["equal", "contains"] = Field(
        default="equal",
        description="`equal`: these are the values whole · `contains`: lists and objects hold at least these",
    )

    @model_validator(mode="after")
    def _has_what_it_takes(self) -> Self:
        if self.property is None and self.function != "count":
            raise ValueError(f"'{self.function}' needs a property")
        return self


class AggregateOut(BaseModel):
    """An aggregate."""

    name: str = Field(description="Unique name; `aggregates['NAME']` in templates")
    event_type: str = Field(description="Events of this type")
    property: str | None = Field(description="Property to select")
    function: Literal["last", "first", "count"] = Field(description="Which of the events, or how many")
    where: dict[str, object] = Field(description="Only events that have these properties with these values")
    match: Literal["equal", "contains"] = Field(description="Whether values are compared whole")


class ErasureOut(BaseModel):
    """What was erased. Codes stay as they are, and so do all counts."""

    customers: int = Field(description="Customer records deleted")
    events: int = Field(description="Events deleted")
    assignments: int = Field(description="Assignments from which customer and message were removed")
    redemptions: int = Field(description="Redemptions from which customer and event were removed")
