"""So many a minute, counted in this process by the monotonic clock: when the machine's jumps, nobody is shut out."""

import time
from types import SimpleNamespace

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage, memory
from limits.strategies import FixedWindowRateLimiter

memory.time = SimpleNamespace(time=time.monotonic)  # type: ignore[attr-defined,assignment]  # it asks for nothing else


class PerMinute:
    """Counts by key."""

    def __init__(self) -> None:
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    def hit(self, most: int, key: str) -> float | None:
        """Count one; return the seconds until the next may come, where it was one too many."""
        limit = RateLimitItemPerMinute(most)
        if self._limiter.hit(limit, key):
            return None
        return max(0.0, self._limiter.get_window_stats(limit, key).reset_time - time.monotonic())

    def has_room(self, most: int, key: str) -> bool:
        """Return whether one more would be counted."""
        return self._limiter.test(RateLimitItemPerMinute(most), key)
