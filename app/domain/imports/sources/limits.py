"""What limits a fetch: the few settings that its process is given."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Place = tuple[str, int]
"""A host, as it is named, and a port."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Settings that a fetch needs, by the names that they have among all of the service's."""

    allowed_hosts: tuple[str, ...]
    import_folder: Path | None
    fetch_seconds: float


def limits_of(given: Mapping[str, Any]) -> Limits:  # type: ignore[explicit-any]  # JSON
    """Read the limits as they come with a source, in JSON."""
    folder = given.get("import_folder")
    return Limits(tuple(given["allowed_hosts"]), folder and Path(folder), given["fetch_seconds"])
