"""Import schedules on the wire."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, StrictBool, StringConstraints

from app.domain.imports.options import Options
from app.domain.imports.schedules.clock import zone
from app.domain.imports.source_schemas import RemoteSource
from app.domain.pools.schemas import PoolName
from app.schema.base import ImportStatus


def _zone(name: str) -> str:
    zone(name)
    return name


Cron = Annotated[str, StringConstraints(strip_whitespace=True, min_length=9, max_length=200)]
Timezone = Annotated[str, StringConstraints(max_length=64), AfterValidator(_zone)]


class ScheduleCreate(Options):
    """An import to repeat."""

    pool: PoolName = Field(description="The pool that gets the codes")
    source: RemoteSource = Field(description="Where the rows come from")
    cron: Cron = Field(description="Minute, hour, day, month, day of the week", examples=["0 6 * * *"])
    timezone: Timezone = Field(
        default="UTC",
        description="IANA name: of the clock, and of days in its files",
        examples=["Europe/Prague"],
    )
    active: StrictBool = Field(default=True, description="Whether it is active")


class ScheduleUpdate(Options):
    """What may be changed of a schedule; null where an option is found out again, such as `sheet`."""

    source: RemoteSource | None = Field(default=None, description="Where the rows come from")
    options: Options | None = Field(
        default=None,
        description="How its files are read; replaces the options of before. An option beside it changes by itself",
    )
    cron: Cron | None = Field(default=None, description="Minute, hour, day, month, day of the week")
    timezone: Timezone | None = Field(
        default=None,
        description="IANA name: of the clock, and of days in its files unless `options` name another one",
    )
    active: StrictBool | None = Field(default=None, description="Whether it is active")


@dataclass(frozen=True, slots=True)
class LastImportRecord:
    """The last run of a schedule."""

    id: uuid.UUID
    status: ImportStatus
    error: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ScheduleRecord:
    """A schedule, with its last run."""

    id: uuid.UUID
    pool: str
    source: dict[str, object]
    options: dict[str, object]
    cron: str
    timezone: str
    active: bool
    next_run: datetime | None
    error: str | None
    created_at: datetime
    sealed_as: str
    """Changes with the source, secrets included."""
    last_import: LastImportRecord | None


class LastImport(BaseModel):
    """The last run of a schedule; all of them are at `/v1/imports?schedule_id=`."""

    id: uuid.UUID = Field(description="The import")
    status: ImportStatus = Field(description="Status")
    error: str | None = Field(description="Why it failed")
    created_at: datetime = Field(description="When it began")


class ScheduleOut(BaseModel):
    """A schedule."""

    id: uuid.UUID = Field(description="Id")
    pool: str = Field(description="The pool that gets the codes")
    source: dict[str, object] = Field(description="Where the rows come from, without secrets")
    options: dict[str, object] = Field(description="How its files are read")
    cron: str = Field(description="Minute, hour, day, month, day of the week")
    timezone: str = Field(description="IANA name")
    active: bool = Field(description="Whether it is active")
    next_run: datetime | None = Field(description="When it runs next")
    error: str | None = Field(
        description="Why the last run failed, or could not begin; null once one succeeds"
    )
    last_import: LastImport | None = Field(description="The last run that began")
    created_at: datetime = Field(description="When it was made")
