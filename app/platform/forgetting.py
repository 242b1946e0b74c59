"""What is old is deleted in small batches: no lock is held for long, however much has gathered."""

import time
from datetime import timedelta
from typing import LiteralString

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.platform.database import transaction

BATCH = 5_000
"""Rows that are deleted in one transaction."""
MOST_BATCHES = 100
"""Batches of one table in one run; the next run goes on."""
MOST_SECONDS = 600.0
"""After so long the next table has its turn."""


async def forget(
    engine: AsyncEngine,
    table: LiteralString,
    column: LiteralString,
    age: timedelta,
    besides: LiteralString = "true",
) -> int:
    """Delete the old rows of a table, and wait for nobody's lock; return how many went.

    Args:
        engine: over all projects (`projects.everywhere`).
        table: of which they are deleted.
        column: tells since when a row is there.
        age: older ones are deleted.
        besides: SQL condition of a row, for where age alone does not make it old.
    """
    batch = text(
        f"DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table}"  # noqa: S608  (made of constants)
        f" WHERE {column} < now() - CAST(:age AS interval) AND {besides} LIMIT :batch FOR UPDATE SKIP LOCKED))"
    )
    gone, ends = 0, time.monotonic() + MOST_SECONDS
    for _ in range(MOST_BATCHES):
        async with transaction(engine) as connection:
            done = await connection.execute(batch, {"age": age, "batch": BATCH})
        gone += done.rowcount
        if done.rowcount < BATCH or time.monotonic() > ends:
            break
    return gone
