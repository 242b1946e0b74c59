"""What a key that may only read is not shown of what a file or a source said: codes may stand in it."""

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from app.domain.access.scopes import Caller
from app.domain.imports.schedules.schemas import ScheduleRecord
from app.domain.imports.schemas import ImportRecord

WITHHELD = "Withheld: a key with scope `pools` is shown this."


def import_seen_by(caller: Caller, found: ImportRecord) -> ImportRecord:
    """Return an import as its caller may see it; names of columns may be codes, where a file has no header."""
    if caller.sees_codes:
        return found
    return replace(
        found,
        source=_source(found.source),
        error=_withheld(found.error),
        choices=None,
        columns_not_imported=None if found.columns_not_imported is None else [],
    )


def schedule_seen_by(caller: Caller, found: ScheduleRecord) -> ScheduleRecord:
    """Return a schedule as its caller may see it."""
    if caller.sees_codes:
        return found
    last = found.last_import
    return replace(
        found,
        source=_source(found.source),
        options={name: given for name, given in found.options.items() if "column" not in name},
        error=_withheld(found.error),
        last_import=None if last is None else replace(last, error=_withheld(last.error)),
    )


def _withheld(error: str | None) -> str | None:
    return None if error is None else WITHHELD


def origin_of(url: str) -> str:
    """Return scheme and host of a URL, and nothing else of it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
    except ValueError:
        return WITHHELD
    return f"{parts.scheme}://{host}{port}" if parts.scheme else WITHHELD


def _source(source: Mapping[str, object]) -> dict[str, object]:
    url = source.get("url")
    return {"type": source.get("type"), **({"url": origin_of(url)} if isinstance(url, str) else {})}
