"""What must not grow with what there is: a misspelt name, a page of pools, a campaign in one pool, a forecast, a use.

And what does: a pool that is deleted and an import that is undone take their time, and only their own codes wait.

`python -m benchmarks.bounds`, on a database of its own.
"""

import argparse
import asyncio
import shutil
import statistics
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.assignments import queries as ledger
from app.domain.assignments.drawing import Draw
from app.domain.assignments.schemas import Filter
from app.domain.forecast import service as forecast
from app.domain.imports import undoing
from app.domain.lifecycle.requests import AssignmentRequest
from app.domain.pools import service as pools
from app.domain.tracking import service as tracking
from app.platform.database import run_act
from app.platform.engines import create_engine
from app.platform.migrate import migrate
from app.platform.postgres.server import LocalPostgres
from app.platform.projects import DEFAULT, of_project
from app.platform.settings import Settings
from app.platform.similar import similar_names
from benchmarks import harness
from tests.factories import new_event

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

EARLIER = (0, 10_000, 300_000)
"""Uses of a code that were told before the one that is measured."""
KINDS = {
    "held": ("redeemed", "already_redeemed"),
    "unknown": (None, "unknown_code"),
    "void": ("void", "void"),
    "expired": ("expired", "expired"),
}
"""Of each kind of code: the state of its voucher, and what its uses come to."""
VOUCHERS_OF_USES = text("""
INSERT INTO voucher (code, pool_id, draw_key, status, expires_at, redeemed_at, expired_at, voided_at)
SELECT :code, 1, 1, CAST(:status AS text), CASE :status WHEN 'expired' THEN timestamptz '2020-01-01' END,
    CASE :status WHEN 'redeemed' THEN timestamptz '2020-01-01' END,
    CASE :status WHEN 'expired' THEN now() END, CASE :status WHEN 'void' THEN timestamptz '2020-01-01' END
""")
USES = text("""
INSERT INTO redemption (code, customer_id, outcome, redeemed_at)
SELECT :code, 'c' || n, :outcome, timestamptz '2020-01-02' + make_interval(secs => n)
FROM generate_series(1, :n) AS n
""")
FIRST_USE = text("""
INSERT INTO redemption (code, customer_id, outcome, redeemed_at) VALUES (:code, 'c', 'not_assigned', '2020-01-01')
""")


async def one_use(engine: AsyncEngine) -> None:
    """Print how long one event takes that says that a code was used, by how often it was used before."""
    async with engine.begin() as connection:
        await connection.execute(
            text("INSERT INTO redemption_mapping (event_type, property) VALUES ('purchase', 'code')")
        )
        for kind, (status, outcome) in KINDS.items():
            for n in EARLIER:
                code = f"{kind}-{n}"
                if status is not None:
                    await connection.execute(VOUCHERS_OF_USES, {"code": code, "status": status})
                if status == "redeemed":
                    await connection.execute(FIRST_USE, {"code": code})
                await connection.execute(USES, {"code": code, "outcome": outcome, "n": n})
    async with harness.alone(engine) as connection:
        await connection.execute(text("VACUUM ANALYZE redemption"))
    took: dict[str, list[float]] = {f"{kind}-{n}": [] for kind in KINDS for n in EARLIER}
    for _ in range(ROUNDS + 5):
        for code, times in took.items():  # in turn, so that whatever else the machine does meets all alike
            began = time.perf_counter()
            await tracking.track_all(engine, [new_event("c", "purchase", {"code": code})])
            times.append((time.perf_counter() - began) * 1000)
    for kind in KINDS:
        medians = [statistics.median(took[f"{kind}-{n}"][5:]) for n in EARLIER]
        figures = ", ".join(
            f"{n:,} earlier {median:.1f} ms" for n, median in zip(EARLIER, medians, strict=True)
        )
        print(f"one use of a code that is {kind}: {figures}; {medians[-1] / medians[0]:.2f} times")


CODES = 1_000_000
FORTNIGHT = 14 * 86400
OF_POOL = text("""
INSERT INTO voucher (code, pool_id, draw_key, import_id, expires_at)
SELECT :pool || '-' || n, pool.id, hashtextextended(n::text, 0) AS draw_key, CAST(:import_id AS uuid),
    CASE WHEN n > 50 THEN now() + interval '2 days' WHEN :long = 'dated' THEN now() + interval '1 month' END
FROM pool, generate_series(CASE :long WHEN 'none' THEN 51 ELSE 1 END, :n) AS n WHERE name = :pool ORDER BY draw_key
""")
COUNT = text("""
UPDATE stock SET available = (SELECT count(*) FROM voucher WHERE voucher.pool_id = stock.pool_id)
WHERE slot = 0 AND pool_id = (SELECT id FROM pool WHERE name = :pool)
""")
AN_IMPORT = text("""
INSERT INTO import (pool_id, pool, status, source, options, seed, imported)
SELECT id, name, 'succeeded', '{}', '{}', 0, :n FROM pool WHERE name = :pool RETURNING id
""")


async def fill(engine: AsyncEngine, pool: str, *, long: str = "none") -> uuid.UUID:
    """Make a pool of an import of codes that expire soon, among which fifty do not; return the import's id.

    Args:
        engine: on the database.
        pool: name of the pool.
        long: whether the fifty are `dated`, `undated`, or `none` at all.
    """
    async with engine.begin() as connection:
        await pools.create(connection, None, pool)
        made = await connection.execute(AN_IMPORT, {"pool": pool, "n": CODES})
        import_id: uuid.UUID = made.scalar_one()
        await connection.execute(OF_POOL, {"pool": pool, "import_id": import_id, "long": long, "n": CODES})
        await connection.execute(COUNT, {"pool": pool})
    async with harness.alone(engine) as connection:
        await connection.execute(text("VACUUM ANALYZE voucher"))
    return import_id


async def codes_that_last(engine: AsyncEngine) -> None:
    """Print how long a draw that asks for life takes among codes that expire too soon."""

    async def assign(connection: AsyncConnection, pool: str) -> object:
        draw = Draw(connection, pool, valid_for=FORTNIGHT)
        given = await draw.claim([AssignmentRequest(uuid.uuid4(), valid_for_seconds=FORTNIGHT)])
        return "given" if given else draw.shortage and draw.shortage.name

    async def render(connection: AsyncConnection, pool: str) -> object:
        draw = Draw(connection, pool, valid_for=FORTNIGHT)
        await draw.lock(1)
        return "given" if draw.locked else draw.shortage and draw.shortage.name

    for long in ("dated", "undated", "none"):
        await fill(engine, long, long=long)
        for act in (assign, render):
            took: list[float] = []
            came: Counter[object] = Counter()
            for _ in range(ROUNDS):
                began = time.perf_counter()
                async with engine.begin() as connection:
                    came[await act(connection, long)] += 1
                took.append((time.perf_counter() - began) * 1000)
            figures = f"median {statistics.median(took):.1f} ms, longest {max(took):.1f} ms"
            print(f"{act.__name__}, a fortnight, {CODES:,} too short-lived, {long}: {figures}; {dict(came)}")


async def taken_away(engine: AsyncEngine) -> None:
    """Print how long it takes to undo an import and to delete a pool, and how long others wait meanwhile."""
    async with engine.begin() as connection:
        await pools.create(connection, None, "others")
        await connection.execute(OF_POOL, {"pool": "others", "import_id": None, "long": "none", "n": 20_000})
        await connection.execute(COUNT, {"pool": "others"})
    waited: dict[str, float] = {}
    done = False

    async def beside() -> None:
        while not done:
            began = time.perf_counter()
            async with engine.begin() as connection:
                await Draw(connection, "others").claim([AssignmentRequest(uuid.uuid4())])
            drawn = time.perf_counter()
            await tracking.track_all(engine, [new_event("c", "purchase", {"code": f"x{drawn}"})])
            for name, seconds in (("draw", drawn - began), ("use", time.perf_counter() - drawn)):
                waited[name] = max(waited.get(name, 0), seconds)
            await asyncio.sleep(0.02)

    for kind in ("undo of an import", "deletion of a pool"):
        waited.clear()
        done, import_id = False, await fill(engine, kind[:4])
        others = asyncio.create_task(beside())
        began = time.perf_counter()
        if kind.startswith("undo"):
            await undoing.undo(engine, None, import_id)
        else:
            await run_act(engine, pools.delete, None, kind[:4])
        took = time.perf_counter() - began
        done = True
        await others
        longest = ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in waited.items())
        print(
            f"{kind} of {CODES:,} codes: {took:.1f} s; longest meanwhile of other pools and codes: {longest}"
        )


async def main(url: str) -> None:
    """Fill the database, and print how long each takes."""
    engine = of_project(create_engine(Settings(DATABASE_URL=url, statement_seconds=300)), DEFAULT)
    async with engine.begin() as connection:
        for statement in FILL:
            await connection.execute(text(statement))
    async with harness.alone(engine) as connection:
        await connection.execute(text("VACUUM ANALYZE"))
    async with engine.begin() as connection:
        few = await pools.id_of(connection, "pool-2")
        wanted = Filter(campaign_id="spring")
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
    await one_use(engine)
    await codes_that_last(engine)
    await taken_away(engine)
    await engine.dispose()


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    home = Path(tempfile.mkdtemp(prefix="vp-"))
    try:
        with LocalPostgres(home) as server:
            migrate(server.url)
            asyncio.run(main(server.url))
    finally:
        shutil.rmtree(home)
