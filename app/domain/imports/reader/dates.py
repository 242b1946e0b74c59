"""How times in a column are written: ISO 8601, or a format that is given; never guessed.

Cells of a spreadsheet that are dates come in ISO 8601, whatever the format of those that are texts.
"""

import re
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, StringConstraints

from app.schema.times import bounded

_TOKENS = {"YYYY": "%Y", "MM": "%m", "DD": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}
_KNOWN = frozenset("YmdHMS")
_DATE_ONLY = 10
_CELL = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d+)?)?")
"""How the date of a spreadsheet's cell comes, however it is shown there."""


def _format(text: str) -> str:
    """Return a format in the directives of strptime."""
    found = text if "%" in text else re.sub("|".join(_TOKENS), lambda token: _TOKENS[token[0]], text)
    used = re.findall(r"%(.)", found)
    if not {"Y", "m", "d"} <= set(used) <= _KNOWN or len(used) != len(set(used)):
        raise ValueError(
            "a format has YYYY, MM and DD once each, and may have HH, mm and ss, as DD.MM.YYYY or MM/DD/YYYY HH:mm"
        )
    return found


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}; one is named as Europe/Prague") from None
    return name


DateFormat = Annotated[str, StringConstraints(min_length=6, max_length=40), AfterValidator(_format)]
"""How dates are written, as `DD.MM.YYYY`."""
ZoneName = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_zone)]
"""The name of a time zone, as `Europe/Prague`."""


def _form_of(text: str, form: str | None) -> str | None:
    """Return the format of a text: none where it is a date cell, for no text in the format looks like one.

    One in the format may, where its day stands before its month.
    """
    is_cell = form is not None and not form.startswith("%Y-%d") and _CELL.fullmatch(text)
    return None if is_cell else form


def is_day_alone(text: str, form: str | None = None) -> bool:
    """Return whether a text or its format has no time of the day."""
    form = _form_of(text, form)
    return "%H" not in form if form is not None else len(text) <= _DATE_ONLY


def moment(text: str, zone: tzinfo = UTC, form: str | None = None, *, end_of_day: bool = True) -> datetime:
    """Read a time in ISO 8601 or in a format; in a zone, where it names none. A day alone means until its end there.

    Where it is not `end_of_day`, a day alone means its begin. A format says nothing of the date cells of a spreadsheet.

    Raises:
        ValueError: it is no such time.
    """
    form = _form_of(text, form)
    found = datetime.fromisoformat(text) if form is None else datetime.strptime(text, form)  # noqa: DTZ007  (zoned below)
    if end_of_day and is_day_alone(text, form) and (form is not None or found.time() == time()):
        bounded(found.replace(tzinfo=found.tzinfo or zone))
        found += timedelta(days=1)
    return bounded(found if found.tzinfo else found.replace(tzinfo=zone))
