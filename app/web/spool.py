"""Replies of any length that never make a database wait for a client.

A task reads from the database into a file without a name, as fast as the database gives; the reply is sent from the
file, as fast as the client takes it, while it still grows. The connection is free once all is read, and it was one
statement all the way: a snapshot, which pages of an export would not be.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator

from app.platform.errors import OverloadedError

BLOCK = 64 * 1024
MAX_READING = 3
"""Exports of a process that read from the database at the same time; others wait for their turn."""

MAX_OPEN = 32
"""Exports of a process that are under way at all: each may be a file on the disk."""

WAIT_SECONDS = 30.0
READ_SECONDS = 900.0
"""How long an export may read from the database."""


class TooManyExportsError(OverloadedError):
    """More exports are under way than a process may have."""

    headers = {"Retry-After": "10"}  # noqa: RUF012  (as the base declares it)

    def __init__(self) -> None:
        super().__init__("Too many exports are under way; try again when one has ended.")


class _Spools:
    """How many exports this process has."""

    def __init__(self) -> None:
        self.reading = asyncio.Semaphore(MAX_READING)
        self.open = 0


_BY_LOOP: dict[asyncio.AbstractEventLoop, _Spools] = {}


def _spools() -> _Spools:
    loop = asyncio.get_running_loop()
    if loop not in _BY_LOOP:
        _BY_LOOP.clear()
        _BY_LOOP[loop] = _Spools()
    return _BY_LOOP[loop]


def check_room() -> None:
    """Refuse an export where too many are under way, before its reply begins.

    Raises:
        TooManyExportsError: there are.
    """
    if _spools().open >= MAX_OPEN:
        raise TooManyExportsError


async def spooled(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Give what `blocks` gives, and have `blocks` never wait for who takes it."""
    spools = _spools()
    spools.open += 1
    try:
        with tempfile.TemporaryFile() as file:
            written = 0
            more = asyncio.Event()

            async def fill() -> None:
                nonlocal written
                try:
                    async with asyncio.timeout(WAIT_SECONDS):
                        await spools.reading.acquire()
                    try:
                        async with asyncio.timeout(READ_SECONDS):
                            async for block in blocks:
                                file.seek(written)
                                written += file.write(block)
                                more.set()
                    finally:
                        spools.reading.release()
                finally:
                    more.set()

            filling = asyncio.create_task(fill())
            try:
                sent = 0
                while sent < written or not filling.done():
                    if sent == written:
                        more.clear()
                        await more.wait()
                        continue
                    file.seek(sent)
                    block = file.read(min(BLOCK, written - sent))
                    sent += len(block)
                    yield block
                await filling  # what went wrong there goes on here: the reply ends short, as it must
            finally:
                filling.cancel()
                await asyncio.wait([filling])
    finally:
        spools.open -= 1
