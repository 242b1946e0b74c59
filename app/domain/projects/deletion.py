"""How all that belongs to a project is deleted: in small transactions, from wherever it was broken off."""

import asyncio
import time

from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.projects import queries
from app.domain.projects.service import DELETION
from app.platform.database import transaction
from app.platform.projects import of_project

ROWS = 5_000
"""Rows of a table that one transaction deletes."""


async def run(engine: AsyncEngine, project_id: int, seconds: float, rows: int = ROWS) -> None:
    """Delete what belongs to a project that is being deleted, and the project last of all; done again, it goes on.

    What came too late for that is deleted where it is done once more: no number of a project is used again.

    Args:
        engine: of the service's database.
        project_id: of the project.
        seconds: how long, after the deletion was asked for, requests are still let in and write.
        rows: how many a transaction deletes.
    """
    bound = of_project(engine, project_id)
    async with transaction(bound) as connection:
        if await queries.stands(connection, project_id):
            return
    while True:
        if await _pass(bound, project_id, rows, seconds):
            return
        await asyncio.sleep(min(1.0, seconds))


async def _pass(bound: AsyncEngine, project_id: int, rows: int, seconds: float) -> bool:
    """Delete what is there; return whether nothing more came, and the project is gone."""
    for table in queries.tables():
        await _empty(bound, table, project_id, rows)
    async with transaction(bound) as connection:
        await queries.forget_jobs(connection, project_id, DELETION)
        since = await queries.seconds_deleting(connection, project_id)
        if (since is not None and since < seconds) or await queries.any_left(connection, project_id):
            return False
        await queries.remove(connection, project_id)
        return True


async def _empty(bound: AsyncEngine, table: str, project_id: int, rows: int) -> None:
    after = None
    while True:
        began = time.monotonic()
        async with transaction(bound) as connection:
            after = await queries.delete_some(connection, table, project_id, after, rows)
        if after is None:
            return
        await asyncio.sleep(time.monotonic() - began)  # as long as it took: others have the half of the disk
