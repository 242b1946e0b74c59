"""Acts of which the first that succeeds is enough, as with several hosts: one that is silent holds up none."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

Result = TypeVar("Result")


async def first_of(
    acts: Sequence[Callable[[], Awaitable[Result]]],
    *,
    head_start: float,
    discard: Callable[[Result], Awaitable[None]],
) -> Result:
    """Return the first result; begin each act once one before it has failed, or the last has taken `head_start`.

    Args:
        acts: at least one.
        head_start: seconds that an act has before the next begins beside it.
        discard: takes a result that came too late.

    Raises:
        Exception: what the last act to end raised; none succeeded.
    """
    left = list(acts)
    running: set[asyncio.Task[Result]] = set()
    ended: set[asyncio.Task[Result]] = set()
    won: asyncio.Task[Result] | None = None
    try:
        while won is None and (left or running):
            if left:
                running.add(asyncio.ensure_future(_of(left.pop(0))))
            ended, running = await asyncio.wait(
                running, timeout=head_start if left else None, return_when=asyncio.FIRST_COMPLETED
            )
            won = next((task for task in ended if task.exception() is None), None)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for task in (ended | running) - {won}:
            if not task.cancelled() and task.exception() is None:
                await discard(task.result())
    return (won or next(iter(ended))).result()


async def _of(act: Callable[[], Awaitable[Result]]) -> Result:
    return await act()
