"""Where this process's draws from each pool have come to."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.lifecycle.draw_keys import anywhere
from app.platform.metrics import DRAWN

_MAX_CURSORS = 10_000
_WIDE = 8
"""Times the usual distance of two codes: so far ahead the next one is only where others were."""
_SOON, _LATE = 16, 1024
"""Draws after which a process that meets others leaves: the first time, and at the latest. Where little is left it
would meet them anywhere, and come to the end of the pool more often."""
PoolKey = tuple[int, str]
"""Project and name of a pool."""


@dataclass(slots=True)
class _Walk:
    """Where a pool is drawn from, and what the way looks like."""

    at: int
    distance: float = 0.0
    """Of two codes that follow each other where nobody else draws; 0 where that is not known."""
    draws: int = 0
    """Since it began here."""
    leaves_after: int = _SOON
    """So many draws."""

    def leave(self) -> None:
        """Go on anywhere else; stay longer the next time, unless it was worth it this time."""
        self.at = anywhere()
        worth = self.draws > 8 * self.leaves_after
        self.leaves_after = _SOON if worth else min(2 * self.leaves_after, _LATE)
        self.draws = 0


class Cursors:
    """Where this process's last draw from each pool ended: a hint that keeps the next one off what is taken.

    A pool not seen before starts at a random place, so that processes walk apart. One that catches up with another
    would from then on find in front of it what the other took or has locked: it goes on at another random place.
    Losing a cursor loses nothing.
    """

    def __init__(self) -> None:
        self._by_pool: OrderedDict[PoolKey, _Walk] = OrderedDict()

    def of(self, pool: PoolKey) -> int:
        """Return the draw key after which the next draw begins."""
        walk = self._by_pool.get(pool)
        if walk is None:
            walk = self._by_pool[pool] = _Walk(anywhere())
            if len(self._by_pool) > _MAX_CURSORS:
                self._by_pool.popitem(last=False)
        return walk.at

    def passed(self, pool: PoolKey, cursor: int, draw_keys: Sequence[int]) -> None:
        """Move past the keys that a draw from `cursor` on took."""
        if not draw_keys:
            return
        n = len(draw_keys)
        DRAWN.inc(n)
        walk = self._by_pool.get(pool)
        if walk is None:
            walk = self._by_pool[pool] = _Walk(cursor)
        first, last = min(draw_keys), max(draw_keys)
        if first <= cursor:  # it went round
            walk.at = max(key for key in draw_keys if key <= cursor)
            return
        walk.at = last
        walk.draws += 1
        if walk.distance and first - cursor > max(_WIDE, n / 2) * walk.distance:
            if walk.draws > walk.leaves_after:
                walk.leave()
            return
        seen = (last - first) / (n - 1) if n > 1 else float(first - cursor)
        walk.distance += (min(seen, 4 * walk.distance) - walk.distance) / 8 if walk.distance else seen


CURSORS = Cursors()
