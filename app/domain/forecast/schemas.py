"""Forecast and stock history on the wire."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.domain.pools.schemas import StateCounts

Window = Literal["hour", "day", "week"]


@dataclass(frozen=True, slots=True)
class RateRecord:
    """How fast codes went over a window."""

    window: Window
    since: datetime
    assigned: int
    per_hour: float
    runs_out_at: datetime | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a pool runs out."""

    pool: str
    at: datetime
    available: int
    rates: list[RateRecord]


@dataclass(frozen=True, slots=True)
class HourRecord(StateCounts):
    """The stock of a pool in one hour."""

    hour: datetime
    taken_at: datetime


class Rate(BaseModel):
    """How fast codes went over a stretch of time, and how long the pool lasts if they go on so."""

    window: Window = Field(description="The last hour, day or week")
    since: datetime = Field(
        description="From when on was counted: the beginning of the window, the last known moment before it, or"
        " a later one where very many went"
    )
    assigned: int = Field(
        description="Codes given for good since then and not taken back; those used or made void since count too"
    )
    per_hour: float = Field(
        description="`assigned` per hour; a pool younger than an hour counts as an hour old"
    )
    runs_out_at: datetime | None = Field(
        description="When the pool is exhausted at this rate; null where it is not"
    )


class ForecastOut(BaseModel):
    """When a pool runs out."""

    pool: str = Field(description="Name of the pool")
    at: datetime = Field(description="When the forecast was computed")
    available: int = Field(description="Codes that anybody may draw now: available and not held")
    rates: list[Rate] = Field(description="Over the last hour, day and week")


class HistoryRow(BaseModel):
    """The stock of a pool in one hour."""

    hour: datetime = Field(description="The hour")
    taken_at: datetime = Field(
        description="When within it the stock was read: at its beginning, or late after a stop"
    )
    available: int = Field(description="Vouchers that could be drawn")
    reserved: int = Field(description="Vouchers that are reserved and not yet confirmed")
    assigned: int = Field(description="Vouchers that are handed out and not yet used")
    redeemed: int = Field(description="Vouchers that are used")
    expired: int = Field(description="Vouchers past their `expires_at`")
    void: int = Field(description="Vouchers that are void: taken out for good")
