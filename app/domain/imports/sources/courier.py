"""The process that fetches from URLs for one process of the service: all that it wants, side by side.

It finds as little of the service as the process of a database or a storage does (`child.py`). One for each URL would
be as good, but a start takes a tenth of a second of a processor and 30 MiB, and a URL that drips keeps them for as long
as it may. Each fetch has a socket of its own: on it comes the source with what limits it, and back go frames. When the
other end is closed, nobody wants the bytes any more, and the fetch ends.
"""

import asyncio
import os
import resource
import socket
from collections.abc import AsyncGenerator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress

import orjson

from app.domain.imports.sources import url
from app.domain.imports.sources.frames import BEGUN, BYTES, END, FAULT, HEAD, UNWORDED
from app.domain.imports.sources.limits import limits_of
from app.platform.errors import DomainError

MEMORY = 2 * 1024**3
"""Most address space."""
GRACE_SECONDS = 5.0
"""How long after its time a fetch ends by itself, where nobody has ended it."""
IDLE_SECONDS = 60.0
"""How long this process stays while there is nothing to fetch."""
RESOLVERS = 64
"""Threads that resolve names: one may wait for long."""


class Courier:
    """Fetches what is asked for on a socket, until its other end is closed or nothing was asked for long."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._under_way: set[asyncio.Task[None]] = set()
        self._idle: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Take what is asked for."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(RESOLVERS))
        self._control.setblocking(False)
        loop.add_reader(self._control, self._take)
        self._rest()
        await asyncio.Event().wait()

    def _take(self) -> None:
        said, sockets, _, _ = socket.recv_fds(self._control, 1, 1)
        if not said:
            os._exit(0)  # the service's process has gone; threads that resolve names are not waited for
        for number in sockets:
            task = asyncio.get_running_loop().create_task(serve(socket.socket(fileno=number)))
            self._under_way.add(task)
            task.add_done_callback(self._ended)
        self._rest()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._rest()

    def _rest(self) -> None:
        """Leave after a while where nothing is under way."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if not self._under_way:
            self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, os._exit, 0)


async def serve(connection: socket.socket) -> None:
    """Fetch what comes on a connection."""
    with suppress(OSError, asyncio.IncompleteReadError):
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            _, length = HEAD.unpack(await reader.readexactly(HEAD.size))
            wanted = orjson.loads(await reader.readexactly(length))
            writer.write(HEAD.pack(BEGUN, 0))
            await _until_first(_send(writer, wanted), reader.read(1))
        finally:
            writer.close()


async def _until_first(*acts: Coroutine[object, object, object]) -> None:
    """Wait until one of them ends, and end the other."""
    tasks = [asyncio.create_task(act) for act in acts]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _send(writer: asyncio.StreamWriter, wanted: dict[str, dict[str, object]]) -> None:
    limits = limits_of(wanted["settings"])
    try:
        async with asyncio.timeout(limits.fetch_seconds + GRACE_SECONDS):
            async with aclosing(url.blocks(limits, str(wanted["source"]["url"]))) as blocks:
                await _send_all(writer, blocks)
    except DomainError as error:
        writer.write(_frame(FAULT, orjson.dumps({"name": error.name, "detail": error.detail})))
    except Exception as error:  # noqa: BLE001  (whatever it is, it is told; what it says may hold secrets)
        said = orjson.dumps({"name": UNWORDED, "detail": str(error) or type(error).__name__})
        writer.write(_frame(FAULT, said))
    else:
        writer.write(_frame(END, b""))
    await writer.drain()


async def _send_all(writer: asyncio.StreamWriter, blocks: AsyncGenerator[bytes, None]) -> None:
    async for block in blocks:
        writer.write(_frame(BYTES, block))
        await writer.drain()


def _frame(kind: bytes, data: bytes) -> bytes:
    return HEAD.pack(kind, len(data)) + data


def main() -> None:
    """Serve on the socket that is this process's standard input."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with socket.socket(fileno=0) as control:
        asyncio.run(Courier(control).run())
