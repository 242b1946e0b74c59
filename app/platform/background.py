"""Tasks that go on beside what a process does, and whose end nobody waits for: one that fails is told, and goes on."""

import asyncio
from collections.abc import Callable, Coroutine

import structlog

log = structlog.get_logger()

PAUSE_SECONDS = 5.0
"""Before a task that failed begins again: by a fault of ours it may fail each time."""

Act = Callable[[], Coroutine[object, None, None]]


def begin(name: str, act: Act) -> asyncio.Task[None]:
    """Begin a task of this name that goes on until its act returns, or it is cancelled; whoever begins it keeps it."""
    return asyncio.create_task(keep(name, act), name=name)


async def keep(name: str, act: Act) -> None:
    """Do an act until it returns, and again after a pause whenever it fails: the log says why."""
    while True:
        try:
            return await act()
        except Exception:
            log.exception("a background task failed, beginning it again", task=name, seconds=PAUSE_SECONDS)
        await asyncio.sleep(PAUSE_SECONDS)
