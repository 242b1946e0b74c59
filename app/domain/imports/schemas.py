"""Imports on the wire."""

import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from app.domain.imports.reader.dates import DateFormat, ZoneName, moment
from app.schema.base import ImportStatus
from app.schema.texts import NO_FLAG, Encoding, Flag, Input
from app.schema.times import SECONDS_END, Time

Url = Annotated[str, StringConstraints(min_length=1, max_length=8000, pattern=r"^[^\x00-\x20]+$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]+$")]


class TextSource(Input):
    """Pasted text."""

    type: Literal["text"] = Field(description="The kind of source")
    text: str = Field(description="The rows")


class UrlSource(Input):
    """A file at a URL, fetched by HTTP or HTTPS."""

    type: Literal["url"] = Field(description="The kind of source")
    url: Annotated[Url, StringConstraints(pattern=r"^https?://[^\x00-\x20]+$")] = Field(
        description="URL of the file"
    )


class DatabaseSource(Input):
    """A query on a database."""

    type: Literal["database"] = Field(description="The kind of source")
    url: Url = Field(
        description="SQLAlchemy URL; its password is stored encrypted, or is `${env:VOUCHERS_SOURCE_…}`"
    )
    query: str = Field(min_length=1, max_length=100_000, description="A single SELECT")


class StorageSource(Input):
    """A file in a storage: `s3://`, `gs://`, `sftp://`, or `file:` in the folder that imports may read."""

    type: Literal["storage"] = Field(description="The kind of source")
    url: Url = Field(description="Where it is")
    options: dict[str, object] | None = Field(default=None, description="Credentials; stored encrypted")


class AnalysisSource(Input):
    """A selection over the service's own customers or events."""

    type: Literal["analysis"] = Field(description="The kind of source")
    of: Literal["customers", "events"] = Field(description="What is selected from")
    property: Name = Field(description="Property that holds the code")
    event_type: Name | None = Field(default=None, description="Only events of this type")
    where: dict[str, object] | None = Field(default=None, description="Only those with these properties")

    @model_validator(mode="after")
    def _type_of_events_only(self) -> "AnalysisSource":
        if self.event_type is not None and self.of == "customers":
            raise ValueError("`event_type` goes with events, not with customers")
        return self


RemoteSource = Annotated[
    UrlSource | DatabaseSource | StorageSource | AnalysisSource, Field(discriminator="type")
]
Source = Annotated[
    TextSource | UrlSource | DatabaseSource | StorageSource | AnalysisSource, Field(discriminator="type")
]


class FormatIn(Input):
    """How the file is written; what is left out is found out."""

    encoding: Encoding | None = Field(default=None, description="Such as `utf-8`, `windows-1252`, `utf-16`")
    delimiter: Annotated[str, StringConstraints(pattern=r'^([^\r\n"\x00]|  )$')] | None = Field(
        default=None, description="One character, or two spaces for two or more of them"
    )
    quote: Literal['"', "'", ""] | None = Field(default=None, description="Empty: none")
    has_header: Flag | None = Field(default=None, description="Whether the first row names the columns")
    skip_lines: Annotated[int, Field(ge=0, le=10_000), NO_FLAG] | None = Field(
        default=None, description="Lines before the table, such as comments and titles; detected if left out"
    )
    sheet: Name | Annotated[int, Field(ge=0, le=9999, strict=True)] | None = Field(
        default=None,
        description="Sheet of a spreadsheet, by name or 0-based index; else the only visible one that holds anything",
    )


MAX_ATTRIBUTES = 20


def _listed(value: object) -> object:
    """Return what a field of a form lists: JSON, or names with commas between."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            listed: object = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise ValueError(f"is no JSON list: {error}") from error
        return listed
    return [part.strip() for part in value.split(",")]


AfterLists = BeforeValidator(_listed)
AttributeColumns = Annotated[
    list[Name | Annotated[int, Field(ge=0, strict=True)]], Field(max_length=MAX_ATTRIBUTES)
]


ColumnName = Name | Annotated[int, Field(ge=0, strict=True)]


_DAY = re.compile(r"\s*\d{4}-\d\d-\d\d\s*")
_TIMES = [
    {"type": "string", "format": "date-time", "examples": ["2026-03-01T12:00:00Z"]},
    {"type": "string", "format": "date", "description": "Until the end of that day in `timezone`"},
    {"type": "number", "minimum": 0, "exclusiveMaximum": SECONDS_END, "description": "UNIX seconds"},
]


class Options(FormatIn):
    """How a file becomes vouchers."""

    column: Name | Annotated[int, Field(ge=0, strict=True)] | None = Field(
        default=None,
        description="Column of the codes: name or 0-based index; may be left out where the file shows which it is",
    )
    expires_at_column: Name | Annotated[int, Field(ge=0, strict=True)] | None = Field(
        default=None, description="Column of ISO 8601 times; a day alone means until its end, UTC"
    )
    expires_at: Annotated[Time, WithJsonSchema({"anyOf": _TIMES})] | None = Field(
        default=None,
        description="For rows that bring no time of their own; a day alone means until its end in `timezone`",
    )
    timezone: ZoneName | None = Field(
        default=None,
        description="Of times that name none, as `Europe/Prague`; else UTC. A day alone ends there",
    )
    date_format: DateFormat | None = Field(
        default=None,
        description="How the column writes times, where not in ISO 8601: `DD.MM.YYYY`, `MM/DD/YYYY HH:mm`",
    )
    attribute_columns: Annotated[AttributeColumns | None, AfterLists] = Field(
        default=None,
        description="Columns that come with the code (a PIN, a value, a link), by name or 0-based index; shown as"
        " `attributes` under the names of the header. In a form: a JSON list, or names with commas between",
        examples=[["pin", "value"]],
    )
    valid_from_column: ColumnName | None = Field(
        default=None,
        description="From when a code may be drawn, written as in `expires_at_column`; a day alone means its begin."
        " Until then the code is in no pool and no count; it comes within seconds of its time. Empty: at once",
    )
    customer_id_column: ColumnName | None = Field(
        default=None,
        description="Of codes that were given elsewhere: to whom. A row with a customer or a time was given, and is in"
        " the ledger from then on; other rows are codes as ever. Empty, or `NULL`: to nobody",
    )
    assigned_at_column: ColumnName | None = Field(
        default=None, description="When; a day alone means its begin. Else the time of its use, or now"
    )
    campaign_id_column: ColumnName | None = Field(
        default=None, description="For which campaign; says nothing of a code that was not given"
    )
    redeemed_at_column: ColumnName | None = Field(
        default=None, description="When it was used: such a code is redeemed, given or not"
    )
    accept_suspicious: Flag = Field(
        default=False,
        description="Import also values that are unlike the rest of the file (a footer, a sum, a placeholder)",
    )

    @model_validator(mode="before")
    @classmethod
    def _end_of_a_day(cls, given: object) -> object:
        """Read a day alone, or a time without a zone where one is given, as those of a column are."""
        expires = given.get("expires_at") if isinstance(given, dict) else None
        zone = given.get("timezone") if isinstance(given, dict) else None
        if (
            not isinstance(given, dict)
            or not isinstance(expires, str)
            or not (_DAY.fullmatch(expires) or zone)
        ):
            return given
        try:
            until = moment(expires.strip(), ZoneInfo(zone) if zone else UTC)
        except (ValueError, TypeError, OSError, ZoneInfoNotFoundError):
            return given  # told of the field that is wrong
        return {**given, "expires_at": until.isoformat()}


class ImportOptions(Options):
    """What may be said of an import."""

    dry_run: Flag = Field(default=False, description="Report as an import would, but store no voucher")


class ImportCreate(ImportOptions):
    """An import from a source."""

    source: Source = Field(description="Where the rows come from")


class PreviewCreate(FormatIn):
    """A preview of a source."""

    source: Source = Field(description="Where the rows come from")


Stage = Literal["waiting", "fetching", "reading", "merging", "ended"]


class Column(BaseModel):
    """A column of a file."""

    index: int = Field(description="From 0")
    name: str | None = Field(description="Its name in the header")
    suggested: bool = Field(description="Whether it is the likeliest one to hold the codes")


class PreviewWarning(BaseModel):
    """What to know of a file before it is imported."""

    reason: Literal[
        "column",
        "has_header",
        "sheet",
        "not_a_list",
        "suspicious",
        "columns_not_imported",
        "skipped",
        "empty",
    ] = Field(description="`column`, `has_header` and `not_a_list` have to be answered before an import")
    text: str = Field(description="What it is, and what to give")


class Preview(BaseModel):
    """How a file is read, and its first rows."""

    encoding: str | None = Field(description="Encoding; null for a spreadsheet")
    delimiter: str | None = Field(description="Delimiter; null for a single column")
    quote: str | None = Field(description="Quote character")
    has_header: bool = Field(description="Whether the first row names the columns")
    header: list[str] | None = Field(description="The names of the columns")
    rows: list[list[str]] = Field(description="The first five rows below the header")
    columns: list[Column] = Field(
        description="The columns; none is suggested where the file does not show which one holds the codes"
    )
    columns_not_imported: list[str] | None = Field(
        description="Columns beside the suggested one; null where none is suggested"
    )
    skipped: list[str] = Field(description="Comment, title and blank lines before the table")
    warnings: list[PreviewWarning] = Field(description="What has to be decided, and what looks wrong")


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
        """What to know of an import that succeeded."""
        if self.status is not ImportStatus.SUCCEEDED:
            return None
        if self.rows == 0:
            return "The source was read to its end, and has no row."
        if self.suspicious:
            return f"{self.suspicious} values are unlike the rest and were set aside: accept them, or correct the file."
        return None


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
        description="What to know of one that succeeded: that no row came, or what to do next"
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
