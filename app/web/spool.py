"""Replies of any length that never make a database wait for a client.

A task reads from the database into a file without a name; the reply is sent from the file, as fast as the client takes
it, while it still grows. The connection is free once all is read, and it was one statement all the way: a snapshot,
which pages of an export would not be. Exports read block by block, in turns, with pauses between the blocks
(`pace.py`): whether anybody reads them or not, they take a part of the process's time and no more.
"""

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Hashable
from dataclasses import dataclass, field
from typing import IO

from app.platform import disk
from app.platform.errors import OverloadedError
from app.platform.turns import Turns
from app.web.pace import Pace

BLOCK = 64 * 1024
MAX_READING = 3
"""Exports of a process that read from the database at the same time; others wait for their turn."""

MAX_OPEN = 32
"""Exports of a process that are under way at all: each may be a file on the disk."""

KEPT_FOR_OTHERS = 8
"""Of these, so many are no project's alone."""

WAIT_SECONDS = 30.0
"""How long an export may wait for its turn; its reply has not begun by then."""

READ_SECONDS = 3600.0
"""How long an export may read from the database."""


class TooManyExportsError(OverloadedError):
    """More exports are under way than a process may have."""

    headers = {"Retry-After": "10"}  # noqa: RUF012  (as the base declares it)

    def __init__(self) -> None:
        super().__init__("Too many exports are under way; try again when one has ended.")


class _Spools:
    """The exports of this process."""

    def __init__(self) -> None:
        self.reading = Turns([None] * MAX_READING, WAIT_SECONDS)
        self.turn = asyncio.Lock()
        self.pace = Pace()
        self.open: Counter[Hashable] = Counter()
        """How many are under way, by project."""

    def has_room(self, project: Hashable) -> bool:
        """Tell whether one more of a project may begin."""
        return self.open.total() < MAX_OPEN and self.open[project] < MAX_OPEN - KEPT_FOR_OTHERS


_BY_LOOP: dict[asyncio.AbstractEventLoop, _Spools] = {}


def _spools() -> _Spools:
    loop = asyncio.get_running_loop()
    if loop not in _BY_LOOP:
        _BY_LOOP.clear()
        _BY_LOOP[loop] = _Spools()
    return _BY_LOOP[loop]


def check_room(project: Hashable = None) -> None:
    """Refuse an export where too many are under way, in all or of the project, before its reply begins.

    Raises:
        TooManyExportsError: there are.
    """
    if not _spools().has_room(project):
        raise TooManyExportsError


@dataclass(slots=True)
class _Spool:
    """The file of one export."""

    file: IO[bytes]
    written: int = 0
    looked: int = 0
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, block: bytes) -> None:
        """Write a block behind the others.

        Raises:
            NoRoomError: too little would be left for others.
        """
        if self.written - self.looked >= disk.LOOK_BYTES:
            self.looked = self.written
            disk.check_room(self.file.fileno())
        self.file.seek(self.written)
        self.written += self.file.write(block)
        self.more.set()

    def give(self, sent: int) -> bytes:
        """Return what comes next to who has had so much."""
        self.file.seek(sent)
        return self.file.read(min(BLOCK, self.written - sent))


async def spooled(blocks: AsyncIterator[bytes], project: Hashable = None) -> AsyncGenerator[bytes, None]:
    """Give what `blocks` gives, and have `blocks` never wait for who takes it. Projects read in turn.

    Args:
        blocks: what is read; the first one is empty, and comes once there is a connection.
        project: whose export it is.

    Raises:
        TooManyExportsError: others read for so long that the turn did not come; nothing was given.
    """
    check_room(project)
    spools = _spools()
    spools.open[project] += 1
    try:
        with tempfile.TemporaryFile() as file:
            spool = _Spool(file)
            filling = asyncio.create_task(_fill(spools, spool, blocks, project))
            try:
                sent = 0
                while sent < spool.written or not filling.done():
                    if sent == spool.written:
                        spool.more.clear()
                        await spool.more.wait()
                        continue
                    block = spool.give(sent)
                    sent += len(block)
                    yield block
                await filling  # what went wrong there goes on here: the reply ends short, as it must
            finally:
                filling.cancel()
                await asyncio.wait([filling])
    finally:
        spools.open[project] -= 1
        spools.open += Counter()  # who has none is forgotten


async def _fill(spools: _Spools, spool: _Spool, blocks: AsyncIterator[bytes], project: Hashable) -> None:
    try:
        try:
            await spools.reading.take(project)
        except OverloadedError:
            raise TooManyExportsError from None
        try:
            async with asyncio.timeout(READ_SECONDS):
                # With its connection, for which others may have to end: they do in the turns that it leaves them.
                spool.take(await anext(blocks, b""))
                while await _fill_on(spools, spool, blocks):
                    pass
        finally:
            spools.reading.give_back(None)
    finally:
        spool.more.set()


async def _fill_on(spools: _Spools, spool: _Spool, blocks: AsyncIterator[bytes]) -> bool:
    """Take the next block; return whether there was one. One export of the process reads at a time, then all rest."""
    clock = asyncio.get_running_loop().time
    async with spools.turn:
        began = clock()
        block = await anext(blocks, None)
        if block is None:
            return False
        spool.take(block)
        await spools.pace.rest(clock() - began)
        return True
