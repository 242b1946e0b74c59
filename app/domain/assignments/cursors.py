"""Where this process's draws from each pool have come to."""

import random
from collections import OrderedDict
from collections.abc import Sequence

from app.platform.metrics import DRAWN

_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
_MAX_CURSORS = 10_000
PoolKey = tuple[int, str]
"""Project and name of a pool."""


class Cursors:
    """Where this process's last draw from each pool ended: a hint that keeps the next one off what is taken.

    A pool not seen before starts at a random place, so that processes walk apart. Losing a cursor loses nothing.
    """

    def __init__(self) -> None:
        self._by_pool: OrderedDict[PoolKey, int] = OrderedDict()

    def of(self, pool: PoolKey) -> int:
        """Return the draw key after which the next draw begins."""
        if pool not in self._by_pool:
            self._by_pool[pool] = random.randint(_SMALLEST, _LARGEST)  # noqa: S311  (a place to start, no secret)
            if len(self._by_pool) > _MAX_CURSORS:
                self._by_pool.popitem(last=False)
        return self._by_pool[pool]

    def passed(self, pool: PoolKey, cursor: int, draw_keys: Sequence[int]) -> None:
        """Move past the keys that a draw from `cursor` on took."""
        wrapped = [key for key in draw_keys if key <= cursor]
        if draw_keys:
            DRAWN.inc(len(draw_keys))
            self._by_pool[pool] = max(wrapped or draw_keys)


CURSORS = Cursors()
