"""Customers and aggregates on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app.texts import Identifier

MAX_PROPERTIES_BYTES = 256 * 1024


def storable(value: dict[str, Any]) -> dict[str, Any]:
    """A JSON object that the database can keep and give back as it was.

    Raises:
        ValueError: it cannot, and why.
    """
    try:
        text = orjson.dumps(value)
    except TypeError as error:  # numbers of more than 64 bits, half surrogate pairs, 255 levels
        raise ValueError(f"This cannot be kept: {error}.") from None
    if _has_nul(value):
        raise ValueError("This cannot be kept: a text holds the character NUL.")
    if len(text) > MAX_PROPERTIES_BYTES:
        raise ValueError(f"This is too large: {len(text)} bytes, at most {MAX_PROPERTIES_BYTES} are kept.")
    return value


def _has_nul(value: Any) -> bool:
    match value:
        case str():
            return "\0" in value
        case dict():
            return any("\0" in key or _has_nul(item) for key, item in value.items())
        case list():
            return any(map(_has_nul, value))
    return False


Properties = Annotated[dict[str, Any], AfterValidator(storable)]
"""A JSON object of any keys. They are data and nothing else, `__class__` included."""


class CustomerUpdate(BaseModel):
    """What to change of a customer."""

    model_config = ConfigDict(extra="forbid")

    properties: Properties = Field(
        description="Set one by one; null takes a property away, what is not named stays",
        examples=[{"voucher": "SPRING-7F3K", "first_name": "Ada"}],
    )


class CustomerOut(BaseModel):
    """A customer."""

    id: str = Field(description="As the caller names it")
    properties: dict[str, Any] = Field(description="What is known")
    updated_at: datetime = Field(description="When a property was last set")


class ImportReject(BaseModel):
    """A line of a customers file that was not taken."""

    line: int = Field(description="Line of the file, from 1")
    reason: str = Field(description="Why")


class CustomersImported(BaseModel):
    """What an import of customers did."""

    rows: int = Field(description="Rows read, without the header; `imported` and `rejected` together")
    imported: int = Field(description="Rows whose properties were set")
    rejected: int = Field(description="Rows that were not taken")
    rejects: list[ImportReject] = Field(description="The first 1000 of them")


class AggregateIn(BaseModel):
    """What to work out from a customer's events."""

    model_config = ConfigDict(extra="forbid")

    event_type: Identifier = Field(description="Events of this type")
    property: Identifier | None = Field(
        default=None, description="The property that is taken; events without it do not count"
    )
    function: Literal["last", "first", "count"] = Field(description="Which of the events, or how many")
    where: Properties = Field(
        default_factory=dict, description="Only events that have these properties with these values"
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
    property: str | None = Field(description="The property that is taken")
    function: Literal["last", "first", "count"] = Field(description="Which of the events, or how many")
    where: dict[str, Any] = Field(description="Only events that have these properties with these values")
