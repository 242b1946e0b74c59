"""A limit on keys that are not known: who guesses is not even looked up for a while."""

from app.domain.access.errors import TooManyRequestsError
from app.platform.limiter import PerMinute

FAILURES_PER_MINUTE = 20


class FailedKeys:
    """Counts failed keys by address, in this process.

    A key that this process has recognised before is looked up whatever its neighbours at the same address do: it is no
    guess. One that turns out to be good no more is known no longer.
    """

    def __init__(self) -> None:
        self._limiter = PerMinute()

    def refuse(self, address: str) -> None:
        """Refuse an address that failed too often within the minute.

        Raises:
            TooManyRequestsError: it did.
        """
        if address and not self._limiter.has_room(FAILURES_PER_MINUTE, address):
            raise TooManyRequestsError("Too many keys from this address were not known; wait a minute.", 60)

    def note(self, address: str) -> None:
        """Count a failure of this address."""
        if address:
            self._limiter.hit(FAILURES_PER_MINUTE, address)
