"""How much of a process long work may take while others want answers: after each piece of it, it rests."""

import asyncio
import time
from collections.abc import Awaitable, Callable

BUSY_REST = 3.0
"""Rest after a piece of work, in times of what it took, while the process has other work: a quarter is worked."""

QUIET_REST = 0.25
"""The same while it has none."""

LEAST = 0.002
"""Seconds: shorter rests are saved up, for the timers of an event loop know no shorter time well."""

LOOK_SECONDS = 0.1
"""Of rests, after which it is judged anew whether the process has other work."""

BUSY = 0.02
"""Part of the rests in which the event loop worked for others, from which on it is busy: some 100 requests a second."""


class Pace:
    """The pace of the long work of one event loop, of which one piece is done at a time.

    Args:
        clock: tells the time.
        worked: tells the processor time that the thread of the event loop has had.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        worked: Callable[[], float] = time.thread_time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock, self._worked, self._sleep = clock, worked, sleep
        self._owed = 0.0
        self._passed = 0.0
        self._others = 0.0
        self.busy = True
        """Whether the event loop had other work of late."""

    async def rest(self, took: float) -> None:
        """Rest after a piece of work that took so many seconds, waits for the database included."""
        self._owed += took * (BUSY_REST if self.busy else QUIET_REST)
        if self._owed < LEAST:
            return
        owed, self._owed = self._owed, 0.0
        began, worked = self._clock(), self._worked()
        await self._sleep(owed)
        self._passed += self._clock() - began
        self._others += self._worked() - worked
        if self._passed >= LOOK_SECONDS:
            self.busy = self._others > BUSY * self._passed
            self._passed = self._others = 0.0
