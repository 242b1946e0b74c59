"""What the service does for all projects together, in each of its databases."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.answers import in_time
from app.domain.projects.databases import service
from app.platform import jobs
from app.platform.database import transaction
from app.platform.databases import Database, Databases
from app.platform.metrics import Reading
from app.platform.projects import everywhere


async def readings(databases: Databases, connection: AsyncConnection | None) -> Sequence[Reading]:
    """Return the figures of jobs: with further databases those of each, asked side by side, and whether each answers.

    Args:
        databases: of this process.
        connection: to the control database, where the caller's project lives there.
    """
    if connection is None:
        await in_time(_learn_all(databases))
    else:
        await service.learn_all(connection, databases)
        if not databases.further():
            return await jobs.state(connection)
    asked = (databases.main, *databases.further())
    found = await asyncio.gather(*(in_time(_jobs(database)) for database in asked))
    told = list(zip((database.name for database in asked), found, strict=True))
    return [
        *(
            Reading("vouchers_database_up", "1 where a database answers", float(state is not None), name)
            for name, state in told
        ),
        *(replace(reading, database=name) for name, state in told for reading in state or ()),
    ]


async def _learn_all(databases: Databases) -> Sequence[Reading]:
    async with transaction(everywhere(databases.main.engine)) as connection:
        await service.learn_all(connection, databases)
    return ()


async def _jobs(database: Database) -> Sequence[Reading]:
    async with transaction(everywhere(database.engine)) as connection:
        return await jobs.state(connection)
