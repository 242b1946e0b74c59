"""When a cron expression fires next, in a time zone with its summer time."""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import croniter
from croniter.croniter import CroniterError

LARGEST = (59, 23, 31, 12, 7)
"""Of minute, hour, day, month and day of the week."""
FIELD = re.compile(r"[0-9A-Za-z*,/#?-]+")
RANDOM = re.compile(r"(?<![A-Za-z])[RH](?![A-Za-z])", re.IGNORECASE)
"""What the library takes for a random or hashed value: each look at it would be another time."""
OF_THE_MACHINE = re.compile(r"(localtime|posixrules|factory|posix/.*|right/.*)", re.IGNORECASE)
"""Files beside the zones that mean another thing on each machine, or count leap seconds."""


def zone(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name.

    Raises:
        ValueError: there is none.
    """
    if OF_THE_MACHINE.fullmatch(name):
        raise ValueError(f"there is no time zone {name!r}")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"there is no time zone {name!r}") from error


def next_run(cron: str, timezone: str, after: datetime) -> datetime:
    """Return the first time after `after` at which the expression fires.

    An hour that the clock skips in spring is made up for right after it; one that it shows twice in autumn counts
    once, unless the expression means every hour.

    Raises:
        ValueError: it is no expression of five fields, or never fires.
    """
    local_zone = zone(timezone)
    fields = _checked(cron)
    local = after.astimezone(local_zone)
    try:
        if "*" in fields[1]:
            every: datetime = croniter(cron, local).get_next(datetime)
            return every.astimezone(UTC)
        times = croniter(cron, local.replace(tzinfo=None))
        while True:
            wall: datetime = times.get_next(datetime)
            following = wall.replace(tzinfo=local_zone, fold=0).astimezone(UTC)
            if following > after:
                return following
    except (CroniterError, OverflowError) as error:
        raise ValueError(f"the cron expression {cron!r} is not valid, or never fires: {error}") from error


def _checked(cron: str) -> list[str]:
    fields = cron.split()
    if len(fields) != len(LARGEST):
        raise ValueError("a cron expression has five fields: minute, hour, day, month, day of the week")
    for field, largest in zip(fields, LARGEST, strict=True):
        steps = [int(step) for step in re.findall(r"/(\d+)", field)]
        if not FIELD.fullmatch(field) or RANDOM.search(field) or any(not 0 < s <= largest for s in steps):
            raise ValueError(f"the cron expression {cron!r} is not valid: look at {field!r}")
    return fields
