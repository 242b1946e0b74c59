"""What a key that may only read is not shown of what a file or a source said: codes may stand in it."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from app.domain.access.scopes import Caller

WITHHELD = "Withheld: a key with scope `pools` is shown this."
_TEXTS = ("error",)
_LISTS = ("attribute_columns", "columns_not_imported", "warnings", "header", "rows")
"""They repeat cells of a file, and one without a header has codes in its first row."""


def import_seen_by(caller: Caller, shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return an import or a schedule as its caller may see it."""
    seen = dict(shown)
    if caller.sees_codes:
        return seen
    if "source" in seen:
        seen["source"] = _source(seen["source"])
    for name in _TEXTS:
        if seen.get(name) is not None:
            seen[name] = WITHHELD
    if "choices" in seen:
        seen["choices"] = None
    for name in _LISTS:
        if isinstance(seen.get(name), list):
            seen[name] = []
    for name in ("column", "expires_at_column"):
        if isinstance(seen.get(name), str):
            seen[name] = WITHHELD
    return seen


def origin_of(url: str) -> str:
    """Return scheme and host of a URL, and nothing else of it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
    except ValueError:
        return WITHHELD
    return f"{parts.scheme}://{host}{port}" if parts.scheme else WITHHELD


def _source(source: Mapping[str, Any]) -> dict[str, Any]:
    seen = {"type": source.get("type")}
    if isinstance(source.get("url"), str):
        seen["url"] = origin_of(source["url"])
    return seen
