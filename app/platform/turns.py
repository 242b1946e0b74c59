"""Things that few have at a time: who waits for one gets it in turn, the keys (projects) one after another."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable, Iterable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from app.platform.errors import OverloadedError

Thing = TypeVar("Thing")


class Turns(Generic[Thing]):
    """Hands out things of which there are few, and takes them back.

    However many wait under one key, the next thing that is free goes to who waits longest under the next key: a key
    alone gets them all, and one that is crowded keeps no other from its share.

    Args:
        things: what there is; of those that are free the last is handed out first.
        patience: seconds that one waits.
        waiting: how many may wait under a key; more are refused at once.
    """

    def __init__(self, things: Iterable[Thing], patience: float, waiting: int | None = None) -> None:
        self._free = list(things)
        self._patience = patience
        self._most = waiting
        self._lines: OrderedDict[Hashable, deque[asyncio.Future[Thing]]] = OrderedDict()

    @property
    def free(self) -> list[Thing]:
        """Return what nobody has."""
        return self._free

    async def take(self, key: Hashable) -> Thing:
        """Return a thing, which is to be given back.

        Raises:
            OverloadedError: too many wait under the key, or this one waited too long.
        """
        if self._free:
            return self._free.pop()
        line = self._lines.setdefault(key, deque())
        if self._most is not None and len(line) >= self._most:
            raise OverloadedError
        turn: asyncio.Future[Thing] = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            async with asyncio.timeout(self._patience):
                return await turn
        except BaseException as error:
            self._leave(key, turn)
            if isinstance(error, TimeoutError):
                raise OverloadedError from None
            raise

    def give_back(self, thing: Thing) -> None:
        """Hand a thing to who is next, or keep it until somebody asks."""
        while self._lines:
            key, line = self._lines.popitem(last=False)
            turn = line.popleft()
            if line:
                self._lines[key] = line
            if not turn.done():
                turn.set_result(thing)
                return
        self._free.append(thing)

    @asynccontextmanager
    async def one(self, key: Hashable) -> AsyncIterator[Thing]:
        """Take a thing for the block.

        Raises:
            OverloadedError: as `take` does.
        """
        thing = await self.take(key)
        try:
            yield thing
        finally:
            self.give_back(thing)

    def _leave(self, key: Hashable, turn: "asyncio.Future[Thing]") -> None:
        """Leave the line; what was handed over at that very moment goes to the next."""
        line = self._lines.get(key)
        if line is not None and turn in line:
            line.remove(turn)
            if not line:
                del self._lines[key]
        if turn.done() and not turn.cancelled():
            self.give_back(turn.result())
