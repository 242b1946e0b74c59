"""For tests in which one transaction waits for another."""

import asyncio
import time

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.platform.database import transaction
from app.platform.projects import everywhere

WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")


async def until_somebody_waits(engine: AsyncEngine, n: int = 1) -> None:
    """Poll until `n` statements wait for a lock."""
    deadline = time.monotonic() + 10
    while True:
        async with transaction(everywhere(engine)) as connection:
            if (await connection.execute(WAITING)).scalar_one() >= n:
                return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def is_waiting(engine: AsyncEngine, task: "asyncio.Task[object]") -> bool:
    """Tell whether somebody waits for a lock in the database by now, and the task has not ended."""
    await until_somebody_waits(engine)
    return not task.done()
