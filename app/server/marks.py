"""What jobs give way to: each database that this process has many requests at is marked."""

import asyncio
from functools import partial

from app.platform.background import keep
from app.platform.databases import Database, Databases
from app.platform.giving_way import mark_requests

SECONDS = 1.0
"""Between two looks for further databases."""


async def mark_databases(databases: Databases) -> None:
    """Mark the databases, each by itself, until this is cancelled."""
    marked: set[Database] = set()
    async with asyncio.TaskGroup() as group:
        while True:
            for database in databases.all():
                if database not in marked:
                    marked.add(database)
                    mark = partial(
                        mark_requests, database.settings, database.begun, tells_time=database.tells_time
                    )
                    group.create_task(keep(f"marks of {database.name}", mark))
            await asyncio.sleep(SECONDS)
