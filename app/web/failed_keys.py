"""A limit on keys that are not known: who guesses is not even looked up for a while."""

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from app.domain.access.errors import TooManyRequestsError

FAILURES_PER_MINUTE = 20
_LIMIT = RateLimitItemPerMinute(FAILURES_PER_MINUTE)


class FailedKeys:
    """Counts failed keys by address, in this process.

    A key that this process remembers is let in whatever its neighbours at the same address do.
    """

    def __init__(self) -> None:
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    def refuse(self, address: str) -> None:
        """Refuse an address that failed too often within the minute.

        Raises:
            TooManyRequestsError: it did.
        """
        if address and not self._limiter.test(_LIMIT, address):
            raise TooManyRequestsError("Too many keys from this address were not known; wait a minute.", 60)

    def note(self, address: str) -> None:
        """Count a failure of this address."""
        if address:
            self._limiter.hit(_LIMIT, address)
