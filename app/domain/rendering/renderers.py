"""The processes that render (`worker.py`): started when needed, replaced when they die."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from app.domain.rendering.confined.worker import HEADER
from app.platform.errors import InvalidRequestError, OverloadedError
from app.platform.settings import Settings

PATIENCE = 10.0
"""Seconds that a message may wait for its turn."""


class RendererDiedError(Exception):
    """The process ended over a job: the template took more than its limits, deep in C code."""


class Renderers:
    """The render processes of one service process."""

    def __init__(self, settings: Settings) -> None:
        self._limits = orjson.dumps(
            {
                "seconds": settings.template_seconds,
                "memory_bytes": settings.template_memory_bytes,
                "output_bytes": settings.template_output_bytes,
                "iterations": settings.template_iterations,
                "vouchers": settings.template_vouchers,
            }
        ).decode()
        self.max_template_bytes = settings.template_bytes
        self._idle: asyncio.LifoQueue[Process | None] = asyncio.LifoQueue()
        for _ in range(settings.render_processes):
            self._idle.put_nowait(None)
        # A message holds a connection while it waits for a process. Half of them stay free for others.
        self._turns = asyncio.Semaphore(max(1, settings.database_connections // 2))

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn before taking a connection.

        Raises:
            OverloadedError: it did not come in time.
        """
        try:
            await asyncio.wait_for(self._turns.acquire(), PATIENCE)
        except TimeoutError:
            raise OverloadedError from None
        try:
            yield
        finally:
            self._turns.release()

    async def render(self, job: dict[str, Any]) -> dict[str, Any]:
        """The answer to a job.

        Raises:
            InvalidRequestError: it holds what cannot be said to a template.
            RendererDiedError: there is none; the process ended over it.
        """
        try:
            body = orjson.dumps(job)
        except TypeError as error:  # numbers of more than 64 bits, more than 254 levels
            raise InvalidRequestError(
                f"A template cannot take these properties or context: {error}."
            ) from None
        process = await self._idle.get()
        try:
            if process is None or process.returncode is not None:
                process = await self._start()
            answer = await _converse(process, body)
        except asyncio.IncompleteReadError:
            await _end(process)
            process = None
            raise RendererDiedError from None
        except BaseException:  # a request that was cancelled leaves a process amid its answer
            await asyncio.shield(_end(process))
            process = None
            raise
        finally:
            self._idle.put_nowait(process)
        return answer

    async def close(self) -> None:
        """End the processes."""
        while not self._idle.empty():
            await _end(self._idle.get_nowait())

    async def _start(self) -> Process:
        # Nothing of our environment goes along but where the code is: no database, no key.
        environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app.domain.rendering.confined.worker", self._limits),
            stdin=PIPE,
            stdout=PIPE,
            env=environment,
        )


async def _converse(process: Process, body: bytes) -> dict[str, Any]:
    assert process.stdin is not None  # noqa: S101  (narrows the type)
    assert process.stdout is not None  # noqa: S101
    process.stdin.write(HEADER.pack(len(body)) + body)
    try:
        await process.stdin.drain()
    except ConnectionError:
        raise asyncio.IncompleteReadError(b"", HEADER.size) from None
    (length,) = HEADER.unpack(await process.stdout.readexactly(HEADER.size))
    answer: dict[str, Any] = orjson.loads(await process.stdout.readexactly(length))
    return answer


async def _end(process: Process | None) -> None:
    if process is not None:
        if process.returncode is None:
            process.kill()
        await process.wait()
