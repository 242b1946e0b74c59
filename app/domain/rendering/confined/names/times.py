"""Times: `now()`, `from_timestamp`, `to_timestamp`, `datetime`.

After https://documentation.bloomreach.com/engagement/docs/filters and
https://support.bloomreach.com/hc/en-us/articles/27944710762653 (seconds since 1970, whole or
in fractions, and ISO 8601).
The default format and zone are ours: what could be read of the pages does not tell theirs.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jinja2 import TemplateRuntimeError, Undefined

DEFAULT_FORMAT = "%Y-%m-%d %H:%M:%S"
MAX_FORMAT = 200
"""Characters: what reads or writes times is no quick program."""


def from_timestamp(value: object, format: str = DEFAULT_FORMAT, timezone: str = "UTC") -> object:  # noqa: A002  (named in templates)
    """Write seconds since 1970, or a time in ISO 8601, in a format of strftime and a time zone."""
    if isinstance(value, Undefined) or value == "":
        return value
    try:
        if isinstance(value, datetime) or (isinstance(value, str) and "-" in value[1:]):
            return _read(value).astimezone(_zone(timezone)).strftime(_checked(format))
        return datetime.fromtimestamp(_number(value), _zone(timezone)).strftime(_checked(format))
    except (TypeError, ValueError, OSError) as error:
        raise TemplateRuntimeError(f"'from_timestamp' takes seconds since 1970: {error}.") from None


def to_timestamp(value: object, format: str | None = None, timezone: str = "UTC") -> object:  # noqa: A002  (as above)
    """Read a text, in ISO 8601 or a format of strptime, as seconds since 1970."""
    if isinstance(value, Undefined):
        return value
    seconds = _read(value, format, timezone).timestamp()
    return int(seconds) if seconds == int(seconds) else seconds


def to_datetime(value: object, format: str | None = None, timezone: str = "UTC") -> object:  # noqa: A002  (as above)
    """Read a text or seconds since 1970 as a time that knows its zone."""
    return value if isinstance(value, Undefined) else _read(value, format, timezone)


def _number(value: object) -> float:
    if isinstance(value, str | int | float):
        return float(value)
    raise TypeError(f"a {type(value).__name__} is no number")


def _read(value: object, format: str | None = None, timezone: str = "UTC") -> datetime:  # noqa: A002  (as above)
    if isinstance(value, datetime):
        return value
    try:
        if isinstance(value, (int, float)):
            return datetime.fromtimestamp(value, _zone(timezone))
        read = _parse(str(value), format)
    except (TypeError, ValueError, OSError) as error:
        raise TemplateRuntimeError(f"This is no time: {error}.") from None
    return read if read.tzinfo else read.replace(tzinfo=_zone(timezone))


def at(seconds: float) -> datetime:
    """Return the time of the message."""
    return datetime.fromtimestamp(seconds, UTC)


def _parse(text: str, format: str | None) -> datetime:  # noqa: A002  (as above)
    if format is None:
        return datetime.fromisoformat(text)
    return datetime.strptime(text, _checked(format))  # noqa: DTZ007  (given its zone by who asks)


def _checked(format: object) -> str:  # noqa: A002  (as above)
    text = str(format)
    if len(text) > MAX_FORMAT:
        raise TemplateRuntimeError(f"A format of times has at most {MAX_FORMAT} characters.")
    return text


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise TemplateRuntimeError(f"There is no time zone {str(name)[:60]!r}.") from None


FILTERS = {"from_timestamp": from_timestamp, "to_timestamp": to_timestamp, "datetime": to_datetime}
