"""Holds on the wire."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, Field

from app.platform.clock import clock
from app.schema.texts import NO_FLAG, CampaignId, Input, Update
from app.schema.times import Time

MAX_SIZE = 2**53


def _to_come(moment: datetime) -> datetime:
    if moment <= clock.now():
        raise ValueError("the time has passed")
    return moment


Count = Annotated[int, Field(ge=1, le=MAX_SIZE), NO_FLAG]
ToCome = Annotated[Time, AfterValidator(_to_come)]


class HoldCreate(Input):
    """Vouchers to set aside."""

    campaign_id: CampaignId = Field(description="The campaign that may draw them")
    count: Count = Field(description="Number of vouchers", examples=[10_000_000])
    expires_at: ToCome | None = Field(
        default=None, description="When the rest is given back; never, if left out"
    )


class HoldUpdate(Update):
    """What may be changed of a hold; what is left out stays."""

    NEVER_NULL: ClassVar = frozenset({"count"})

    count: Count | None = Field(
        default=None,
        description="Number of vouchers, with those that the campaign has drawn",
        examples=[12_000_000],
    )
    expires_at: ToCome | None = Field(default=None, description="When the rest is given back; null: never")


@dataclass(frozen=True, slots=True)
class HoldRecord:
    """Vouchers set aside for a campaign."""

    id: uuid.UUID
    pool: str
    campaign_id: str
    count: int
    drawn: int
    expires_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Holds:
    """Holds of a pool, and how many available vouchers nobody holds."""

    items: list[HoldRecord]
    free: int


class HoldOut(BaseModel):
    """Vouchers set aside for a campaign."""

    id: uuid.UUID = Field(description="Id of the hold")
    pool: str = Field(description="Name of the pool")
    campaign_id: str = Field(description="The campaign that may draw them")
    count: int = Field(description="Number of vouchers set aside")
    drawn: int = Field(description="How many of them the campaign has drawn")
    expires_at: datetime | None = Field(description="When the rest is given back")
    created_at: datetime = Field(description="When it was made")
