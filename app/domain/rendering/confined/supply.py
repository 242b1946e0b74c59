"""What a job supplies to its messages, and what they need besides.

A message is rendered from what the service supplies. What it lacks it notes in `Needs`, and goes on with a
placeholder; the service then supplies that, and the message is rendered again. So rendering waits for nothing
and changes nothing.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from app.domain.rendering.confined.protocol import AggregateSupply, NeedsAsJson, PoolSupply


@dataclass(slots=True)
class Needs:
    """What the messages of a job asked for and the job did not supply. `codes` counts all that was drawn."""

    missing: bool = False
    codes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    occurrences: dict[str, int] = field(default_factory=dict)
    counts: set[str] = field(default_factory=set)
    valid_for: dict[str, int] = field(default_factory=dict)
    """By pool: the most seconds that a code has to hold."""
    aggregates: set[str] = field(default_factory=set)
    seen: bool = False
    """Whether a message needs what it saw when it was made before."""

    def as_json(self) -> NeedsAsJson:
        """Return it as JSON."""
        return {
            "codes": dict(self.codes),
            "occurrences": self.occurrences,
            "counts": sorted(self.counts),
            "valid_for": self.valid_for,
            "aggregates": sorted(self.aggregates),
            "seen": self.seen,
        }


@dataclass(slots=True)
class Supply:
    """What the service gives to all messages of a job."""

    pools: Mapping[str, PoolSupply]
    """By pool: `codes`, locked and free; `short`, the problem where there are no more; `looked_up`, the
    highest occurrence that was looked up; `counts`; `similar`, the nearest names where there is none; `limits`, by
    customer, how many new codes each may `left` have, and the `code` that is shown again after that."""
    aggregates: Mapping[str, AggregateSupply]
    preview: bool
    """Whether codes are only shown."""
    max_vouchers: int
    seen_known: bool = False
    about: Mapping[str, Mapping[str, object]] | None = None
    """What templates may ask of a code, by code; None where they ask nothing."""
    used: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """How many of a pool's codes went to messages."""
    needs: Needs = field(default_factory=Needs)


@dataclass(frozen=True, slots=True)
class Use:
    """A code in a message. `pool` is None for a default; `key` is what its ledger id is made of."""

    pool: str | None
    key: str
    code: str
    occurrence: int
    fresh: bool


class Code(str):
    """A code, which also says until when it holds and what comes with it."""

    __slots__ = ("attributes", "expires_at")
    attributes: dict[str, str]
    expires_at: str
    """In RFC 3339, UTC; empty where it does not expire."""

    def __new__(cls, text: str, about: Mapping[str, object]) -> Self:
        """Make one of a text and what is known of it."""
        code = super().__new__(cls, text)
        attributes = about.get("attributes")
        code.attributes = dict(attributes) if isinstance(attributes, dict) else {}
        code.expires_at = str(about.get("expires_at") or "")
        return code
