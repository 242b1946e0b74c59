"""The places of uncached calls in a message, counted over its parts in their order.

A part's places are kept with the message: they stay the same when the part is rendered alone again, or when another
part has more or fewer of them than before.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from app.domain.rendering.confined.protocol import Places as PlacesAsJson

Kept = Mapping[str, Mapping[str, Sequence[int]]]
"""By part and pool: its places."""


class Places:
    """Of one message. A template that is no part has the places from 1 on, and keeps none.

    Args:
        kept: returns what was kept when the message was made before.
    """

    def __init__(self, kept: Callable[[], Kept]) -> None:
        self._kept = kept
        self._part: str | None = None
        self._turns: dict[str, int] = defaultdict(int)
        self.new: dict[str, dict[str, list[int]]] = {}
        """By part and pool: places that are not kept yet."""

    def begin(self, part: str | None) -> None:
        """Begin a part."""
        self._part = part
        self._turns.clear()

    def next_of(self, pool: str) -> int:
        """Return the place of the next uncached call of a pool."""
        turn = self._turns[pool]
        if self._part is None:
            return turn + 1
        kept = self._kept()
        known: list[int] = [
            *kept.get(self._part, {}).get(pool, ()),
            *self.new.get(self._part, {}).get(pool, ()),
        ]
        if turn < len(known):
            return known[turn]
        every = [*kept.values(), *self.new.values()]
        return 1 + max((place for part in every for place in part.get(pool, ())), default=0)

    def take(self, pool: str, place: int) -> None:
        """Go on to the next place of a pool."""
        turn = self._turns[pool]
        self._turns[pool] = turn + 1
        if self._part is None:
            return
        kept = self._kept().get(self._part, {}).get(pool, ())
        if turn >= len(kept):
            self.new.setdefault(self._part, {}).setdefault(pool, []).append(place)

    def all(self) -> PlacesAsJson:
        """Return what is to be kept."""
        every: PlacesAsJson = {
            part: {pool: list(kept) for pool, kept in pools.items()} for part, pools in self._kept().items()
        }
        for part, pools in self.new.items():
            of_part = every.setdefault(part, {})
            for pool, places in pools.items():
                of_part[pool] = [*of_part.get(pool, ()), *places]
        return every
