"""What came together is done in one transaction; where that fails, each request by itself."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from app.platform.batching import Waiter
from app.platform.errors import OverloadedError

ALONE_AT_ONCE = 4
"""Requests of a batch that failed which are tried by themselves at a time."""

Item = TypeVar("Item")
Result = TypeVar("Result")


async def serve(
    batch: Sequence[Waiter[Sequence[Item], Sequence[Result]]],
    act: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
) -> None:
    """Do all in one transaction; where that fails each request by itself, for the fault may be one's alone.

    Args:
        batch: who waits, each with the items of a request.
        act: does items in a transaction of its own; returns the result of each.
    """
    try:
        results = await act([item for waiter in batch for item in waiter.item])
    except Exception:
        if len(batch) == 1:
            raise
        places = asyncio.Semaphore(ALONE_AT_ONCE)
        await asyncio.gather(*(_serve_alone(waiter, act, places) for waiter in batch))
        return
    start = 0
    for waiter in batch:
        end = start + len(waiter.item)
        waiter.resolve(results[start:end])
        start = end


async def _serve_alone(
    waiter: Waiter[Sequence[Item], Sequence[Result]],
    act: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
    places: asyncio.Semaphore,
) -> None:
    async with places:
        if time.monotonic() > waiter.deadline:
            waiter.fail(OverloadedError())
            return
        try:
            waiter.resolve(await act(waiter.item))
        except Exception as error:  # noqa: BLE001  (whatever it was, the one who waits must hear of it)
            waiter.fail(error)
