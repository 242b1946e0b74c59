"""Examples of requests and replies, as the document shows them; the command line reads them, without a framework."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Example:
    """A request: what stands in its path and must in its query, and its body; and replies by status, each by a name."""

    place: dict[str, str] = field(default_factory=dict)
    body: object = None
    replies: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
