"""What may be said of an import: how its file is written, and how rows become vouchers."""

import re
from datetime import UTC
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson
from pydantic import (
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from app.domain.imports.reader.dates import DateFormat, ZoneName, moment
from app.domain.imports.source_schemas import Name, Source
from app.schema.texts import NO_FLAG, Encoding, Flag, Input
from app.schema.times import SECONDS_END, Time


class FormatIn(Input):
    """How the file is written; what is left out is found out."""

    encoding: Encoding | None = Field(default=None, description="Such as `utf-8`, `windows-1252`, `utf-16`")
    delimiter: Annotated[str, StringConstraints(pattern=r'^([^\r\n"\x00]|  )$')] | None = Field(
        default=None, description="One character, or two spaces for two or more of them"
    )
    quote: Literal['"', "'", "", "none"] | None = Field(
        default=None, description="Empty, or `none` (a form counts what is empty as left out): no quote"
    )
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
        default=None, description="Column of ISO 8601 times; a day alone means until its end in `timezone`"
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

    _last_day: str | None = None

    @model_validator(mode="wrap")
    @classmethod
    def _with_last_day(cls, given: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Remember a day alone that comes without a zone: who knows one may still read the day there."""
        options = handler(cls._end_of_a_day(given))
        expires = given.get("expires_at") if isinstance(given, dict) and not given.get("timezone") else None
        if isinstance(expires, str) and _DAY.fullmatch(expires):
            options._last_day = expires.strip()  # noqa: SLF001  (of this class)
        return options

    def expires_in(self, zone: str | None) -> str | None:
        """Return when all rows expire, as JSON has it: a day alone, where no zone was given with it, ends in `zone`."""
        if self._last_day is not None and zone is not None:
            return moment(self._last_day, ZoneInfo(zone)).isoformat()
        return None if self.expires_at is None else self.expires_at.isoformat()

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
        except (ValueError, TypeError, OSError, ZoneInfoNotFoundError):  # told of the field that is wrong
            return {**given, "expires_at": f"{expires.strip()}T00:00Z"} if _DAY.fullmatch(expires) else given
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
