"""When a cron expression fires next, in a time zone with its summer time."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import croniter
from croniter.croniter import CroniterError

FIELDS = 5


def zone(name: str) -> ZoneInfo:
    """A time zone by its IANA name.

    Raises:
        ValueError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"there is no time zone {name!r}") from error


def next_run(cron: str, timezone: str, after: datetime) -> datetime:
    """The first time after `after` at which the expression fires.

    Raises:
        ValueError: it is no expression of five fields, or never fires.
    """
    if len(cron.split()) != FIELDS:
        raise ValueError("a cron expression has five fields: minute, hour, day, month, day of the week")
    local = after.astimezone(zone(timezone))
    try:
        following: datetime = croniter(cron, local).get_next(datetime)
    except CroniterError as error:
        raise ValueError(f"the cron expression {cron!r} is not valid, or never fires: {error}") from error
    return following.astimezone(UTC)
