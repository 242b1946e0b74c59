"""How many connections to the database a process has, told every few seconds."""

import asyncio
from collections.abc import Mapping

from sqlalchemy import QueuePool
from sqlalchemy.ext.asyncio import AsyncEngine

from app.platform.driver_pool import DriverPool
from app.platform.metrics import CONNECTIONS, MOST_CONNECTIONS

SECONDS = 5.0


async def tell_connections(engines: Mapping[str, AsyncEngine], pools: Mapping[str, DriverPool]) -> None:
    """Set the gauges again and again, until this is cancelled."""
    while True:
        for name, engine in engines.items():
            pool = engine.sync_engine.pool
            if isinstance(pool, QueuePool):
                _tell(name, pool.checkedout(), pool.checkedin(), pool.size())
        for name, direct in pools.items():
            _tell(name, *direct.figures())
        await asyncio.sleep(SECONDS)


def _tell(name: str, used: int, idle: int, most: int) -> None:
    CONNECTIONS.labels(name, "used").set(used)
    CONNECTIONS.labels(name, "idle").set(idle)
    MOST_CONNECTIONS.labels(name).set(most)
