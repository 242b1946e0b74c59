"""A process that is kept alive: started, watched, replaced."""

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess

import structlog

from app.platform.metrics import forget_process

FIRST_SECONDS = 60.0
"""How long a process may take to start before it must give signs of life."""

JOBS_SILENCE_SECONDS = 30.0
"""A process that does jobs is silent for so long only if it hangs: an import may hold up its event loop for less."""

SPARE_SECONDS = 5.0
"""What a process that was told to end, or a start of the database, may take beyond the times of a stop."""

KILL_SECONDS = 5.0
"""How long the end of a process that was killed is waited for: the disk may hold up even that."""

REPLACED = signal.SIGUSR1
"""Tells a web process that another one has taken its place."""

_ONE_HEAP = ("MALLOC_ARENA_MAX", "1")
"""Else glibc gives each thread a heap, and what one has freed no other takes; Python's threads run in turns anyway."""

_SPAWN = multiprocessing.get_context("spawn")
log = structlog.get_logger()


def shared_times(count: int) -> ctypes.Array[ctypes.c_double]:
    """Return so many times, all 0, which processes that are started with them share."""
    return _SPAWN.RawArray(ctypes.c_double, count)


@dataclass(slots=True)
class Running:
    """A process, and when it last gave a sign of life: by the monotonic clock, 0 until the first, shared with it."""

    process: SpawnProcess
    beat: ctypes.c_double
    begun: float
    suspected: bool = False

    @property
    def started(self) -> bool:
        """Return whether it has given a sign of life."""
        return bool(self.beat.value)

    @property
    def alive(self) -> bool:
        """Return whether it has not ended."""
        return self.process.is_alive()

    def hangs(self, silence: float) -> bool:
        """Tell whether it was silent at two looks: one alone may be our own pause."""
        now = time.monotonic()
        silent = now - self.beat.value > silence if self.started else now - self.begun > FIRST_SECONDS
        was_silent, self.suspected = self.suspected, silent
        return silent and was_silent

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, where it lives."""
        if self.process.is_alive() and self.process.pid is not None:
            os.kill(self.process.pid, number)

    def kill(self) -> None:
        """End it at once; where the system does not let it go, leave it to itself."""
        self.process.kill()
        self.process.join(KILL_SECONDS)

    def forget(self) -> None:
        """Leave out its gauges, for it has ended."""
        if self.process.pid is not None:
            forget_process(self.process.pid)


class Leaving:
    """Processes that were told to end: each has its time for that, and is killed then."""

    def __init__(self) -> None:
        self._until: list[tuple[Running, float]] = []

    def add(self, told: Running, seconds: float) -> None:
        """Take a process that may go on for so long."""
        self._until.append((told, time.monotonic() + seconds))

    def look(self) -> None:
        """Kill those whose time is over, and forget those that have ended."""
        for each in [each for each in self._until if not each[0].alive or time.monotonic() > each[1]]:
            self._until.remove(each)
            each[0].kill()
            each[0].forget()

    def all(self) -> list[Running]:
        """Return those of which nobody knows yet that they have ended."""
        return [told for told, _ in self._until]


@dataclass(slots=True)
class Role:  # type: ignore[explicit-any]  # the __init__ that is made of `run`
    """What a process is for; at most one is the present one."""

    name: str
    run: Callable[..., None]  # type: ignore[explicit-any]  # takes the sign of life and its own arguments
    arguments: tuple[object, ...]
    silence: float
    """Seconds of silence after which the process is taken to hang."""
    leave: signal.Signals
    """What a process is told when another has taken its place."""
    now: Running | None = None

    def start(self) -> None:
        """Start a process, and make it the present one; where none starts, the next look tries again."""
        self.now = self.spawn() or self.now

    def spawn(self) -> Running | None:
        """Start a process, with one heap for all its threads; return None where the system gives none just now."""
        os.environ.setdefault(*_ONE_HEAP)
        try:
            beat = _SPAWN.RawValue(ctypes.c_double, 0.0)
            process = _SPAWN.Process(target=self.run, args=(beat, *self.arguments), name=self.name)
            process.start()
        except OSError as error:  # too many processes or files, no memory
            log.error("a process cannot be started", role=self.name, error=str(error))  # noqa: TRY400
            return None
        return Running(process, beat, time.monotonic())
