"""What must not grow with what there is: a misspelt name, a page of pools, a campaign in one pool, a forecast.

`python -m benchmarks.bounds`, on a database of its own.
"""

import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.assignments import queries as ledger
from app.domain.assignments.schemas import Filter
from app.domain.forecast import service as forecast
from app.domain.pools import service as pools
from app.platform.database import create_engine
from app.platform.migrate import migrate
from app.platform.postgres.server import LocalPostgres
from app.platform.settings import Settings
from app.platform.similar import similar_names

POOLS, GIVEN, FEW, ROUNDS = 20_000, 300_000, 50, 30
FILL = (
    (
        f"INSERT INTO pool (name, created_at) SELECT 'pool-' || n, now() - interval '2 days'"
        f" FROM generate_series(1, {POOLS}) AS n"
    ),
    "INSERT INTO stock (pool_id, slot, available) SELECT id, slot, 5 FROM pool, generate_series(0, 7) AS slot",
    *(
        f"INSERT INTO assignment (id, pool_id, code, campaign_id, assigned_at)"
        f" SELECT gen_random_uuid(), pool.id, name || n, 'spring', now() - make_interval(secs => n * 0.005)"
        f" FROM pool, generate_series(1, {rows}) AS n WHERE name = '{name}'"
        for name, rows in (("pool-1", GIVEN), ("pool-2", FEW))
    ),
)


async def main(url: str) -> None:
    """Fill the database, and print how long each takes."""
    engine = create_engine(Settings(DATABASE_URL=url, statement_seconds=300))
    async with engine.begin() as connection:
        for statement in FILL:
            await connection.execute(text(statement))
    async with engine.connect() as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await alone.execute(text("VACUUM ANALYZE"))
    async with engine.begin() as connection:
        few = await pools.id_of(connection, "pool-2")
        wanted = Filter(None, None, "spring", None, None)
        acts: dict[str, Callable[[AsyncConnection], Awaitable[Any]]] = {
            f"a misspelt name among {POOLS:,} pools": lambda c: similar_names(c, "pool", "pool-1234x"),
            f"a page of 100 of {POOLS:,} pools": lambda c: pools.list_page(c, None, 101),
            "a page of 100 in the middle": lambda c: pools.list_page(c, "pool-5", 101),
            f"{FEW} assignments of a campaign of {GIVEN:,} in another pool": lambda c: ledger.ledger_page(
                c, wanted, few, None, 101
            ),
            f"forecast of a pool with {GIVEN:,} given in half an hour": lambda c: forecast.forecast(
                c, "pool-1"
            ),
        }
        for name, act in acts.items():
            took = []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                await act(connection)
                took.append((time.perf_counter() - began) * 1000)
            print(f"{name}: median {statistics.median(took):.1f} ms, longest {max(took):.1f} ms")
    await engine.dispose()


if __name__ == "__main__":
    home = Path(tempfile.mkdtemp(prefix="vp-"))
    try:
        with LocalPostgres(home) as server:
            migrate(server.url)
            asyncio.run(main(server.url))
    finally:
        shutil.rmtree(home)
