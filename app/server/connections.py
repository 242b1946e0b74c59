"""How many connections to the database a process has, told every few seconds."""

import asyncio

from sqlalchemy import QueuePool

from app.platform.databases import Databases
from app.platform.metrics import CONNECTIONS, MOST_CONNECTIONS

SECONDS = 5.0


async def tell_connections(databases: Databases) -> None:
    """Set the gauges again and again, until this is cancelled; pools to a further database are named after it."""
    while True:
        for database in databases.all():
            before = "" if database is databases.main else f"{database.name}/"
            for name, engine in (("requests", database.engine), ("keys", database.short)):
                pool = engine.sync_engine.pool
                if isinstance(pool, QueuePool):
                    _tell(before + name, pool.checkedout(), pool.checkedin(), pool.size())
            _tell(f"{before}assigns", *database.direct.figures())
        await asyncio.sleep(SECONDS)


def _tell(name: str, used: int, idle: int, most: int) -> None:
    CONNECTIONS.labels(name, "used").set(used)
    CONNECTIONS.labels(name, "idle").set(idle)
    MOST_CONNECTIONS.labels(name).set(most)
