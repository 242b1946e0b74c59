"""What jobs give way to: each database that this process has many requests at is marked."""

import asyncio

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
                    group.create_task(
                        mark_requests(database.settings, database.begun, tells_time=database.tells_time)
                    )
            await asyncio.sleep(SECONDS)
