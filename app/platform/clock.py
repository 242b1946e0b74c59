"""What time it is: the database tells, now and then, and the monotonic clock counts from there.

The clock of the machine may be wrong or jump, and that of each machine in its own way. What is compared with times in
the database, or is stored there, comes from here; a duration comes from `time.monotonic`.
"""

import time
from datetime import UTC, datetime

STALE_SECONDS = 10.0
"""After so long the database is asked again."""

BACK_SECONDS = 5.0
"""What the database tells is so much earlier than expected where its clock was put back, or it is another one."""


class Clock:
    """The clock of one process. Until the database has told, it is the machine's, as it was at the start."""

    query = "SELECT extract(epoch FROM clock_timestamp())::float8"
    """Tells the time that it takes."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()  # noqa: TID251  (nothing else is known yet)
        self._stale_at = float("-inf")
        self.steps_back = 0
        """How often the time that the database told lay before what it had told."""

    def now(self) -> datetime:
        """Return the time."""
        return datetime.fromtimestamp(self.timestamp(), UTC)

    def timestamp(self) -> float:
        """Return the time in seconds since 1970."""
        return time.monotonic() + self._offset

    def is_stale(self) -> bool:
        """Return whether the database should tell again."""
        return time.monotonic() >= self._stale_at

    def learn(self, told: float, asked: float) -> None:
        """Take the time that the database told when it was asked, at `asked` by the monotonic clock."""
        answered = time.monotonic()
        offset = told - (asked + answered) / 2
        if offset < self._offset - BACK_SECONDS:
            self.steps_back += 1
        self._offset = offset
        self._stale_at = answered + STALE_SECONDS


clock = Clock()
"""Of this process."""
