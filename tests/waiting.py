"""For tests in which one transaction waits for another."""

import asyncio
import time

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.platform.database import transaction
from app.platform.projects import everywhere


async def until_somebody_waits(engine: AsyncEngine, n: int = 1) -> None:
    """Poll until `n` statements wait for a lock."""
    query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    deadline = time.monotonic() + 10
    while True:
        async with transaction(everywhere(engine)) as connection:
            if (await connection.execute(query)).scalar_one() >= n:
                return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
