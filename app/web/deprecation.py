"""`Deprecation` (RFC 9745) and `Sunset` (RFC 8594): a reply says that what was asked with is going, and when.

See `docs/api-policy.md`: six months at the least.
"""

from datetime import UTC, date, datetime, time
from email.utils import format_datetime

from fastapi import Response


def tell(response: Response, since: date, until: date) -> None:
    """Say on a reply since when something is deprecated, and the day of its end."""
    since_at, until_at = (datetime.combine(day, time(), UTC) for day in (since, until))
    response.headers["Deprecation"] = f"@{since_at.timestamp():.0f}"
    response.headers["Sunset"] = format_datetime(until_at, usegmt=True)
