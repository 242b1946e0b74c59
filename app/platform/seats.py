"""Seats for what an event loop does few of at a time: who finds all taken waits in line, and not for ever."""

import asyncio
from weakref import WeakKeyDictionary

from app.platform.errors import OverloadedError


class Seats:
    """The seats of each event loop.

    Args:
        most: how many are taken at a time.
        waiting: how many may wait for one; more are refused at once.
        patience: seconds that one waits.
        refusal: what is raised then.
    """

    def __init__(self, most: int, waiting: int, patience: float, refusal: type[OverloadedError]) -> None:
        self.most, self.waiting, self.patience, self._refusal = most, waiting, patience, refusal
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()

    def one(self) -> "_Seat":
        """Take a seat for the block.

        Raises:
            OverloadedError: as the `refusal` says: too many wait, or this one waited too long.
        """
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None:
            line = self._lines[loop] = _Line(self.most)
        return _Seat(self, line)

    async def take(self, line: "_Line") -> None:
        """Take a seat of a line, at once where one is free."""
        if line.free.locked():
            await self._wait(line)
        else:
            await line.free.acquire()

    async def _wait(self, line: "_Line") -> None:
        if line.waiting >= self.waiting:
            raise self._refusal
        line.waiting += 1
        try:
            async with asyncio.timeout(self.patience):
                await line.free.acquire()
        except TimeoutError:
            raise self._refusal from None
        finally:
            line.waiting -= 1


class _Line:
    """The seats of one event loop, and how many wait for one."""

    def __init__(self, most: int) -> None:
        self.free = asyncio.Semaphore(most)
        self.waiting = 0


class _Seat:
    """A seat for a block; as a generator it would cost as much as the rest of the way to a connection."""

    __slots__ = ("_line", "_seats")

    def __init__(self, seats: Seats, line: _Line) -> None:
        self._seats, self._line = seats, line

    async def __aenter__(self) -> None:
        await self._seats.take(self._line)

    async def __aexit__(self, *_: object) -> None:
        self._line.free.release()
