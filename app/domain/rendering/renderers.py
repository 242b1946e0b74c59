"""The processes that render (`worker.py`): started when needed, replaced when they die."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from contextlib import AbstractAsyncContextManager, suppress
from copy import copy
from pathlib import Path
from typing import ClassVar

import orjson

from app.domain.rendering.confined.protocol import GRACE, HEADER, JOB_SHARE, SHARED_BY, Answer, Job
from app.platform.databases import Place
from app.platform.errors import DomainError, InvalidRequestError
from app.platform.settings import Settings
from app.platform.turns import Turns

PATIENCE = 10.0
"""Seconds that a message may wait for its turn, and a job for a process."""

MAX_WAITING = 64
"""Jobs of a project that wait for a process; one more is refused at once."""


START_SECONDS = 5.0
"""How long the start of a process may take."""

STILL_SECONDS = 3.0
"""A process that takes no processor time for so long, though it could, was stopped or is stuck: it is replaced."""
ENDING_SECONDS = 1.0
"""How long a process that has closed its pipe may take to end."""
TRIES, MAX_KILLS = 5, 2
"""How many processes are tried for a job, and how many may be killed over it before it is to blame."""
PATIENT = 10
"""So many times what a job may take of the processor it may take by the clock: others load the machine as well."""


_FROM_OUTSIDE = frozenset({-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP, -signal.SIGINT})
"""How a process ended that was killed, as by a system short of memory, or told to stop before it could ignore that."""


class RendererUnavailableError(DomainError):
    """No process could render; nothing was taken, and the template is not at fault."""

    status, name, title = 503, "renderer-unavailable", "No process can render"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}

    def __init__(self) -> None:
        super().__init__("No process could render this; nothing was taken. Try again.")


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
        self._seconds = settings.template_seconds
        self.max_template_bytes = settings.template_bytes
        self.max_output_bytes = settings.template_output_bytes
        self._processes: Turns[Process | None] = Turns(
            [None] * settings.render_processes, PATIENCE, MAX_WAITING
        )
        # A message holds a connection while it waits for a process. Half of those to its database stay free for others.
        self._most = max(1, settings.database_connections // 2)
        self._turns_of: dict[int, Turns[None]] = {}
        self._turns = Turns([None] * self._most, PATIENCE)
        self._project: int | None = None

    def of(self, place: Place) -> "Renderers":
        """Return the same processes as a project uses them: its messages wait in a line of their own."""
        database_id, project = place
        own = copy(self)
        own._project = project  # noqa: SLF001  (its own kind)
        own._turns = self._turns_of.setdefault(  # noqa: SLF001
            database_id, Turns([None] * self._most, PATIENCE)
        )
        return own

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Wait for a turn before taking a connection.

        Raises:
            OverloadedError: it did not come in time.
        """
        return self._turns.one(self._project)

    async def render(self, job: Job) -> Answer:
        """Return the answer to a job.

        Raises:
            InvalidRequestError: it holds what cannot be said to a template.
            OverloadedError: too many wait for a process, or this one waited too long.
            RendererDiedError: there is none; the process ended over it.
            RendererUnavailableError: there is none, and the job is not at fault.
        """
        try:
            body = orjson.dumps(job)
        except TypeError as error:  # numbers of more than 64 bits, more than 254 levels
            raise InvalidRequestError.of_body(
                f"A template cannot take these properties or context: {error}."
            ) from None
        seconds = STILL_SECONDS + PATIENT * (self._seconds + GRACE) * max(
            1, len(job["items"]) / SHARED_BY * JOB_SHARE
        )
        kills = 0
        for _ in range(TRIES):
            try:
                return await self._once(body, seconds)
            except _LostError:
                pass
            except (
                _KilledError
            ):  # from outside, as by a system short of memory: not the template's doing, unless again
                kills += 1
                if kills == MAX_KILLS:
                    raise RendererDiedError from None
        raise RendererUnavailableError

    async def check(self) -> None:
        """Make sure that a process can render, where none is at it.

        Raises:
            RendererUnavailableError: none can be started.
        """
        if self._processes.free:
            process = await self._processes.take(self._project)
            try:
                if process is None or process.returncode is not None:
                    process = await self._start()
            finally:
                self._processes.give_back(process)

    async def _once(self, body: bytes, seconds: float) -> Answer:
        process = await self._processes.take(self._project)
        try:
            if process is None or process.returncode is not None:
                process = await self._start()
            async with asyncio.timeout(seconds) as limit:
                watch = _Watch(process.pid, limit)
                try:
                    return await _converse(process, body)
                finally:
                    watch.cancel()
        except _LostError:
            ended, process = process, None
            await asyncio.shield(_end(ended))
            raise
        except asyncio.IncompleteReadError:
            ended, process = process, None
            await _end(ended, within=ENDING_SECONDS)
            if ended is not None and ended.returncode in _FROM_OUTSIDE:
                raise _KilledError from None
            raise RendererDiedError from None
        except BaseException as error:  # a request that was cancelled leaves a process amid its answer
            ended, process = process, None
            await asyncio.shield(_end(ended))
            if isinstance(error, TimeoutError):
                raise RendererUnavailableError from None
            raise
        finally:
            self._processes.give_back(process)

    async def close(self) -> None:
        """End the processes."""
        while self._processes.free:
            await _end(self._processes.free.pop())

    async def _start(self) -> Process:
        # Nothing of our environment goes along but where the code is: no database, no key.
        environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            # A loop that closes cancels all tasks, also the one of asyncio's that connects the pipes; asyncio then
            # waits for the end of a pipe that was never connected (`BaseSubprocessTransport._try_finish`), without end.
            async with asyncio.timeout(START_SECONDS):
                return await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "app.domain.rendering.confined.worker", self._limits),
                    stdin=PIPE,
                    stdout=PIPE,
                    env=environment,
                )
        except (OSError, TimeoutError):  # no memory, or no more processes
            raise RendererUnavailableError from None


class _Watch:
    """Ends the wait for a process that does nothing.

    A process that is slow is left alone, however much else the machine has to do: what it may take of the processor
    is bounded in the process itself (`worker.py`).
    """

    __slots__ = ("_handle", "_limit", "_pid", "_used")

    def __init__(self, pid: int, limit: asyncio.Timeout) -> None:
        self._pid = pid
        self._limit = limit
        self._used = _processor_seconds(pid)
        self._handle = asyncio.get_running_loop().call_later(STILL_SECONDS, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        used = _processor_seconds(self._pid)
        if used is None or used != self._used or _is_starved(self._pid):
            self._used = used
            self._handle = loop.call_later(STILL_SECONDS, self._look)
        else:
            self._limit.reschedule(loop.time())

    def cancel(self) -> None:
        """End the watch."""
        self._handle.cancel()


def _processor_seconds(pid: int) -> float | None:
    """Return how much of the processor a process had; None where the system does not tell."""
    try:
        return time.clock_gettime((~pid << 3) | _PROCESS_CLOCK)
    except OSError:
        return None


def _is_starved(pid: int) -> bool:
    """Return whether a process could go on, and only waits for a processor or for its memory."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"R", "D"}
    except OSError:
        return False


_PROCESS_CLOCK = 2
"""The clock of another process, by its id: Linux, `clock_getcpuclockid(3)`."""


async def _converse(process: Process, body: bytes) -> Answer:
    assert process.stdin is not None  # noqa: S101  (narrows the type)
    assert process.stdout is not None  # noqa: S101
    try:
        process.stdin.write(HEADER.pack(len(body)) + body)
    except (ConnectionError, RuntimeError):  # uvloop's word for a pipe that has closed
        raise _LostError from None
    try:
        await process.stdin.drain()
    except ConnectionError:
        raise asyncio.IncompleteReadError(b"", HEADER.size) from None
    (length,) = HEADER.unpack(await process.stdout.readexactly(HEADER.size))
    answer: Answer = orjson.loads(await process.stdout.readexactly(length))
    return answer


async def _end(process: Process | None, within: float = 0.0) -> None:
    """End a process; one that is ending already is waited for, so that it can tell why."""
    if process is None:
        return
    if process.returncode is None and within:
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), within)
    if process.returncode is None:
        process.kill()
    await process.wait()


class _LostError(Exception):
    """The process had ended before it was given the job."""


class _KilledError(Exception):
    """The process was killed by a signal that no template sends."""
