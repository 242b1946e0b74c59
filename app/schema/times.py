"""Times that callers send."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, WithJsonSchema

EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
"""PostgreSQL and Python agree on the years between, in every time zone; nothing of ours lies outside."""

SECONDS_END = 100_000_000_000
"""A number from here on is milliseconds: as seconds it would lie beyond the year 5138."""

_DATE = re.compile(r"\s*\d{4}-")


def bounded(value: datetime) -> datetime:
    """Return a time that lies between 1970 and 9999 in UTC.

    Raises:
        ValueError: it lies outside.
    """
    if not EARLIEST <= value < LATEST:
        raise ValueError("a time lies between 1970 and 9999")
    return value


def _written(value: object) -> object:
    """Take a date and time, or UNIX seconds; refuse what would have to be guessed, as milliseconds."""
    if isinstance(value, datetime) or (isinstance(value, str) and _DATE.match(value)):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < SECONDS_END:
        return datetime.fromtimestamp(value, UTC)
    raise ValueError("a time is written as RFC 3339 has it, 2026-03-01T12:00:00Z, or in UNIX seconds")


_TEXT = {"type": "string", "format": "date-time", "examples": ["2026-03-01T12:00:00Z"]}
_NUMBER = {
    "type": "number",
    "minimum": 0,
    "exclusiveMaximum": SECONDS_END,
    "description": "UNIX seconds, as some shops write them",
}

Time = Annotated[
    AwareDatetime,
    BeforeValidator(_written),
    AfterValidator(bounded),
    WithJsonSchema({"anyOf": [_TEXT, _NUMBER]}),
]
"""A time from outside, with its time zone, between 1970 and 9999; in JSON it may be UNIX seconds."""


_PLUS = re.compile(r".*T\S+ \d\d:?\d\d", re.IGNORECASE | re.DOTALL)


def _asked(value: object) -> object:
    """Take a date and time as a query has it, where a `+` that is not encoded is read as a space."""
    text = str(value)
    if _PLUS.fullmatch(text):
        raise ValueError("in a query the + of a time zone is written %2B")
    if not _DATE.match(text):
        raise ValueError("a time is written as RFC 3339 has it, 2026-03-01T12:00:00Z")
    return value


QueryTime = Annotated[AwareDatetime, BeforeValidator(_asked), AfterValidator(bounded), WithJsonSchema(_TEXT)]
"""A time in a query: always written out."""
