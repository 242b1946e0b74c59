"""Imports on the wire: how far each is, and what became of its rows."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import (
    BaseModel,
    Field,
)

from app.schema.base import ImportStatus

Stage = Literal["waiting", "fetching", "reading", "merging", "ended"]


@dataclass(frozen=True, slots=True)
class LastImport:
    """The last import of a pool."""

    pool_id: int
    id: uuid.UUID
    status: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ImportRecord:
    """An import, and how far it is."""

    id: uuid.UUID
    pool: str
    status: ImportStatus
    dry_run: bool
    source: dict[str, object]
    schedule_id: uuid.UUID | None
    rows: int
    imported: int
    ignored: int
    in_other_pool: int
    invalid: int
    suspicious: int
    unread_times: bool
    """Whether rows were rejected because a time in them could not be taken."""
    tells_past: bool
    """Whether rows may tell that their code was given elsewhere."""
    scheduled: int
    columns_not_imported: list[str] | None
    choices: dict[str, list[dict[str, object]]] | None
    undone: int
    fetched: int | None
    stage: str
    progress: float
    sha256: str | None
    repeats: uuid.UUID | None
    error: str | None
    waits: str | None
    """Why it does not go on now, though it has not ended."""
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def rejected(self) -> int:
        """How many rows did not become vouchers."""
        return self.in_other_pool + self.invalid + self.suspicious

    @property
    def rejected_by(self) -> dict[str, int]:
        """How many of them for which reason."""
        return {name: getattr(self, name) for name in ("in_other_pool", "invalid", "suspicious")}

    @property
    def note(self) -> str | None:
        """What to know of an import that waits, or that succeeded."""
        if self.waits is not None:
            return self.waits
        if self.status is not ImportStatus.SUCCEEDED:
            return None
        if self.rows == 0:
            return "The source was read to its end, and has no row."
        return " ".join(self._next()) or None

    def _next(self) -> Iterator[str]:
        """Yield what to do next."""
        if self.unread_times:
            yield (
                "Some times could not be taken. Where they are not written as 2026-12-31, import again with their date"
                " format, such as DD.MM.YYYY (`date_format`)."
            )
        if self.suspicious:
            yield f"Set aside, as unlike the rest: {self.suspicious}. Accept them, or correct the file."
            if self.tells_past:
                yield "Codes that were given elsewhere cannot be accepted."


@dataclass(frozen=True, slots=True)
class RejectRecord:
    """A row that did not become a voucher."""

    line: int
    value: str
    reason: str
    other_pool: str | None


@dataclass(frozen=True, slots=True)
class IgnoredRecord:
    """A row whose code was in the pool already, or stands in the file before."""

    line: int
    code: str


class RejectedBy(BaseModel):
    """The rejected rows by reason."""

    in_other_pool: int = Field(description="Codes that another pool holds")
    invalid: int = Field(
        description="Rows that hold no valid code, or whose past cannot be: `rejects` have the reasons"
    )
    suspicious: int = Field(
        description="Values unlike the rest of the file (a footer, a sum, a heading, a placeholder): set aside"
    )


class ImportOut(BaseModel):
    """An import, and how far it is."""

    id: uuid.UUID = Field(description="Id")
    pool: str = Field(description="The pool that gets the codes")
    status: ImportStatus = Field(description="Status")
    dry_run: bool = Field(description="Whether it only reports")
    source: dict[str, object] = Field(description="Where the rows came from, without secrets")
    schedule_id: uuid.UUID | None = Field(description="The schedule that started it")
    rows: int = Field(description="Rows dealt with: imported + ignored + rejected")
    imported: int = Field(description="Rows that became vouchers")
    scheduled: int = Field(
        description="How many of those imported have yet to come into the pool, at their `valid_from`"
    )
    ignored: int = Field(description="Rows whose code is in this pool already, or twice in the file")
    rejected: int = Field(description="Rows that did not become vouchers; see `rejects`")
    rejected_by: RejectedBy = Field(description="Why")
    columns_not_imported: list[str] | None = Field(
        description="Columns of the file that were not imported, by name or index; null until it was opened"
    )
    undone: int = Field(description="Vouchers that an undo took back")
    stage: Stage = Field(description="Phase of the import; `ended` whatever its result")
    fetched: int | None = Field(description="Bytes of the source so far; all of them for an upload")
    progress: float = Field(description="From 0 to 1, once it is fetched")
    sha256: str | None = Field(description="SHA-256 of the bytes of the source")
    repeats: uuid.UUID | None = Field(description="An earlier import of the same bytes into the same pool")
    error: str | None = Field(description="Why it failed")
    note: str | None = Field(
        description="What one waits for that has not ended; of one that succeeded, that no row came, or what to do next"
    )
    choices: dict[str, list[dict[str, object]]] | None = Field(
        description="What may be answered (`column`, `has_header`, `sheet`) where it failed with a question"
    )
    created_at: datetime = Field(description="When it was asked for")
    started_at: datetime | None = Field(description="When it began")
    finished_at: datetime | None = Field(description="When it ended")


class IgnoredOut(BaseModel):
    """A row whose code was in the pool already, or stands in the file before."""

    line: int = Field(description="Line of the file, from 1, the header counted")
    code: str = Field(description="Its code")


class RejectOut(BaseModel):
    """A row that did not become a voucher."""

    line: int = Field(description="Line of the file, from 1, the header counted")
    value: str = Field(description="Value of the row, at most its first 1,000 characters")
    reason: Literal[
        "in_other_pool",
        "suspicious",
        "empty",
        "too_long",
        "control_character",
        "format_character",
        "more_than_15_digits",
        "formula_without_value",
        "not_a_text",
        "too_few_columns",
        "invalid_expires_at",
        "invalid_attribute",
        "invalid_valid_from",
        "invalid_customer_id",
        "invalid_campaign_id",
        "invalid_assigned_at",
        "invalid_redeemed_at",
        "given_to_another",
        "not_available",
    ] = Field(description="Why")
    other_pool: str | None = Field(description="The pool that holds the code")


class Undone(BaseModel):
    """What an undo did."""

    taken_back: int = Field(description="Vouchers that were available and were removed")
    kept: int = Field(description="Vouchers of the import that were in use or kept by holds, and stay")
    kept_for_holds: int = Field(description="Part of `kept` that stays because holds of campaigns need it")
    paused_schedule: uuid.UUID | None = Field(
        description="The schedule that would have brought them back: it is paused, and can be made active again"
    )
