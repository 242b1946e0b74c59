"""What Exponea's clients send and read, on the wire. They say more than is read here: unknown members are let pass."""

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from app.domain.persons.ids import checked
from app.domain.persons.schemas import REGISTERED
from app.schema.texts import Identifier, Properties
from app.schema.times import Time

MAX_COMMANDS = 50
MAX_IDS = 20


def _said(value: object) -> object:
    """Return the ids that are said: clients send null or nothing for one that they do not know, and numbers."""
    if not isinstance(value, dict):
        return value
    if len(value) > MAX_IDS:
        raise ValueError(f"at most {MAX_IDS} ids can be given")
    said = {}
    for name, id_ in value.items():
        is_number = isinstance(id_, int) and not isinstance(id_, bool) and -(2**63) <= id_ < 2**63
        text = str(id_) if is_number else id_
        if text is not None and not (isinstance(text, str) and not text.strip()):
            said[name] = text
    return said


def _named(ids: dict[str, str]) -> dict[str, str]:
    """Read the registered id as ids of customers are read; an alias stays as it is, but may become one of them."""
    if not ids:
        raise ValueError("At least one id should be specified.")
    read = {name: checked(id_) for name, id_ in ids.items()}
    return ids | {REGISTERED: read[REGISTERED]} if REGISTERED in read else ids


_IdName = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]
CustomerIds = Annotated[
    dict[_IdName, Identifier],
    BeforeValidator(_said),
    AfterValidator(_named),
    WithJsonSchema(
        {
            "type": "object",
            "minProperties": 1,
            "maxProperties": MAX_IDS,
            "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
            "examples": [{"registered": "c-2", "cookie": "5f0c7c1e"}],
        }
    ),
]
_IDS = "`registered` is the `customer_id`; every other one is an alias"


class _Sent(BaseModel):
    model_config = ConfigDict(extra="ignore")


class TrackedCustomer(_Sent):
    """Properties of a customer, as a tracker sends them."""

    customer_ids: CustomerIds = Field(description=_IDS)
    properties: Properties | None = Field(
        default=None, description="Properties to set; one that is null is taken away"
    )
    update_timestamp: Time | None = Field(
        default=None, description="As of when they are so: what newer updates said stays; now, if left out"
    )


class TrackedEvent(_Sent):
    """Something that a customer did, as a tracker sends it."""

    customer_ids: CustomerIds = Field(description=_IDS)
    event_type: Identifier = Field(description="What was done", examples=["purchase"])
    properties: Properties | None = Field(
        default=None, description="Its properties, any JSON", examples=[{"voucher_code": "SAVE-10"}]
    )
    timestamp: Time | None = Field(
        default=None,
        description="When, in UNIX seconds; now, if left out: then the same is known again for a day",
    )


CommandId = Identifier | Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]


class TrackedCommand(_Sent):
    """A command of a batch."""

    name: Literal["customers", "customers/events", "system/time"] = Field(
        description="What it would be sent to alone"
    )
    command_id: CommandId | None = Field(
        default=None,
        description="Comes back with its result; the same one again for the same customer changes nothing",
    )
    data: TrackedCustomer | TrackedEvent | None = Field(default=None, description="What would be sent alone")


class TrackedBatch(_Sent):
    """Commands, each judged by itself."""

    commands: list[TrackedCommand] = Field(min_length=1, max_length=MAX_COMMANDS, description="Up to 50")


class TrackerDone(BaseModel):
    """It was done."""

    success: Literal[True] = Field(description="It was")


class TrackerTime(BaseModel):
    """The time of the service."""

    success: Literal[True] = Field(description="It was told")
    time: float = Field(description="UNIX seconds")


class TrackerFailure(BaseModel):
    """It was not done."""

    success: Literal[False] = Field(description="It was not")
    errors: list[str] = Field(description="Why")


class TrackerResult(BaseModel):
    """What became of a command."""

    success: bool = Field(description="Whether it was done")
    command_id: CommandId | None = Field(default=None, description="As sent; left out where none was")
    errors: list[str] | None = Field(default=None, description="Why not; left out where it was done")
    time: float | None = Field(default=None, description="Of `system/time`: UNIX seconds")


class TrackerResults(BaseModel):
    """What became of each command."""

    success: Literal[True] = Field(description="The commands were judged, each by itself")
    start_time: float = Field(description="When the service began, in UNIX seconds")
    end_time: float = Field(description="When it was done")
    results: list[TrackerResult] = Field(description="In the order of the commands")
