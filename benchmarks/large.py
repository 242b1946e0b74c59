"""A pool of 110 million codes, of which 100 million were given: `python -m benchmarks.large [--codes N] [--given N]`.

Assigns and counts there beside those of a service that has nothing but a pool of 20,000, in turns, before and after its
indexes by code and by id have been read into memory. The codes and the ledger are made by SQL: rows in draw order, the
first `--given` of them given, ids and codes in no order; indexes are made after the rows, while the service is stopped.
It needs some 60 GB of disk and, on two cores, the better part of an hour.
"""

import argparse
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.pools import service as pools
from app.platform.database import transaction
from app.platform.postgres.server import LocalPostgres
from benchmarks import goals, growth, harness, load
from tests.service import Service

AT_A_TIME = 5_000_000
TABLES = ("voucher", "assignment")

# Multiplied by an odd number, 32 bits stay one of a kind: codes in no order, beside keys that rise.
NUMBERS = """
SELECT n, 'L' || lpad(to_hex((n * 2654435761) % 4294967296), 8, '0') AS code,
    CAST(-9.2e18 + n * (1.84e19 / CAST(:codes AS numeric)) AS bigint) AS draw_key, CAST(md5(n::text) AS uuid) AS id
FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n
"""
GIVE = text(f"""
WITH numbers AS MATERIALIZED ({NUMBERS}), given AS (
    INSERT INTO voucher (project_id, code, pool_id, draw_key, status, assignment_id, assigned_at)
    SELECT 1, code, :pool_id, draw_key, 'assigned', id, now() FROM numbers ORDER BY n
)
INSERT INTO assignment (project_id, id, pool_id, code, customer_id, assigned_at)
SELECT 1, id, :pool_id, code, 'c-' || n, now() FROM numbers ORDER BY n
""")
STORE = text(f"""
INSERT INTO voucher (project_id, code, pool_id, draw_key)
SELECT 1, code, :pool_id, draw_key FROM ({NUMBERS}) AS numbers ORDER BY n
""")
COUNT = text("""
UPDATE stock SET available = available + :available, assigned = assigned + :given
WHERE project_id = 1 AND pool_id = :pool_id AND slot = 0
""")
KEYS = text("""
SELECT format('ALTER TABLE %I DROP CONSTRAINT %I', CAST(:name AS text), conname) AS drop,
    format('ALTER TABLE %I ADD CONSTRAINT %I %s', CAST(:name AS text), conname, pg_get_constraintdef(oid)) AS make
FROM pg_constraint WHERE conrelid = CAST(:name AS regclass) AND contype IN ('p', 'u')
""")
INDEXES = text(
    "SELECT format('DROP INDEX %I', indexname) AS drop, indexdef AS make FROM pg_indexes WHERE tablename = :name"
)
WARM = (
    "SET enable_seqscan = off",
    "SET max_parallel_workers_per_gather = 0",
    "SELECT count(*) FROM voucher WHERE code > ''",
    "SELECT count(*) FROM assignment WHERE id > '00000000-0000-0000-0000-000000000000'",
    "RESET ALL",
)
"""Reads both indexes from front to back."""
SIZE = text(
    "SELECT sum(pg_total_relation_size(CAST(name AS regclass))) FROM unnest(CAST(:names AS text[])) AS name"
)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--codes", type=int, default=110_000_000)
    options.add_argument("--given", type=int, default=100_000_000)
    arguments = options.parse_args()
    with harness.service(workers=2) as large, harness.service(workers=2) as small:
        filled = _fill_stopped(large, arguments.codes, arguments.given)
        size = harness.on(large, _size)
        millions = f"{arguments.codes / 1e6:g} M"
        cold = _in_turns(large, small, arguments.rounds, "cold")
        _warm(large)
        warm = _in_turns(large, small, arguments.rounds, "warm")
        print(f"{harness.machine()}; load by {load.tool()}; medians of {arguments.rounds} rounds in turns\n")
        goal_rows = [
            goals.row(name, both.large, both.small, size=millions, said=said)
            for name, both, said in (
                ("large assigns", warm.assigns, _before(cold.assigns)),
                ("large keyed assigns", warm.keyed, _before(cold.keyed)),
                ("large counts", warm.counts, ""),
            )
        ]
        print(goals.table(*goal_rows))
        made = f"{arguments.codes:,} codes, {arguments.given:,} of them given ({size / 1e9:.0f} GB, {filled:.0f} s)"
        rows = [
            [what, *both.medians()]
            for what, both in (
                (f"assigns per second: {made}; a service with a pool of {growth.SMALL:,}", warm.assigns),
                ("the same, each with an `Idempotency-Key`", warm.keyed),
                ("GET counts, ms", warm.counts),
            )
        ]
        print(harness.table(["what", "large", "small"], rows))
        print("\n" + harness.books_agree(large))


def _fill_stopped(service: Service, codes: int, given: int) -> float:
    """Fill while the service is stopped, for its sweeps would miss the indexes; return the seconds it took.

    The server is stopped too: all that was written is on the disk before anything is measured.
    """
    service.stop()
    began = time.monotonic()
    with LocalPostgres(service.home):
        harness.on(service, lambda engine: _fill(engine, codes, given))
    service.start()
    return time.monotonic() - began


async def _fill(engine: AsyncEngine, codes: int, given: int) -> None:
    async with transaction(engine) as connection:
        pool_id = await pools.ensure(connection, "large")
    async with harness.alone(engine) as connection:
        await connection.execute(text("SET maintenance_work_mem = '1GB'"))
        await connection.execute(text("SET synchronous_commit = off"))
        makes = [make for name in TABLES async for make in _dropped(connection, name)]
        about = {"pool_id": pool_id, "codes": codes}
        for first, last in _parts(1, given):
            await connection.execute(GIVE, about | {"first": first, "last": last})
            _tell(f"{last:,} given")
        for first, last in _parts(given + 1, codes):
            await connection.execute(STORE, about | {"first": first, "last": last})
        await connection.execute(COUNT, {"pool_id": pool_id, "given": given, "available": codes - given})
        for make in makes:
            await connection.execute(text(make.replace(":", r"\:")))
            _tell(make)
        for name in TABLES:
            await connection.execute(text(f"ALTER TABLE {name} RESET (autovacuum_enabled)"))
            await connection.execute(text(f"VACUUM (FREEZE, ANALYZE) {name}"))
        await connection.execute(text("RESET synchronous_commit"))
        await connection.execute(text("RESET maintenance_work_mem"))


@dataclass(frozen=True, slots=True)
class _Both:
    """A figure of the large pool and of the small one, turn by turn."""

    large: list[float] = field(default_factory=list)
    small: list[float] = field(default_factory=list)

    def medians(self) -> tuple[float, float]:
        return harness.median(self.large), harness.median(self.small)

    def ratio(self) -> float:
        large, small = self.medians()
        return large / small


@dataclass(frozen=True, slots=True)
class _Turns:
    """Assigns a second, without a key and each with its own, and milliseconds of counts."""

    assigns: _Both = field(default_factory=_Both)
    keyed: _Both = field(default_factory=_Both)
    counts: _Both = field(default_factory=_Both)


def _in_turns(large: Service, small: Service, rounds: int, name: str) -> _Turns:
    """Measure both in turns, a second each, in which a small pool is used up."""
    turns = _Turns()
    for n in range(rounds):
        pool = f"{name}-{n}"
        for keyed, both in ((False, turns.assigns), (True, turns.keyed)):
            full = f"{pool}-keyed" if keyed else pool
            harness.on(small, partial(harness.fill, pool=full, n=growth.SMALL))
            both.small.append(growth.assigns_of(small, full, 1, keyed=keyed).per_second)
            both.large.append(growth.assigns_of(large, "large", 1, keyed=keyed).per_second)
        turns.counts.small.append(growth.counts_ms(small, pool))
        turns.counts.large.append(growth.counts_ms(large, "large"))
    return turns


def _before(cold: _Both) -> str:
    return f"{cold.ratio():.2f} before its indexes are in memory"


def _warm(service: Service) -> None:
    """Read the indexes by code and by id, each of which an assign enters at random, as hours of work would."""

    async def read(engine: AsyncEngine) -> None:
        async with harness.alone(engine) as connection:
            for statement in WARM:
                await connection.execute(text(statement))

    harness.on(service, read)


async def _dropped(connection: AsyncConnection, table: str) -> AsyncIterator[str]:
    """Drop keys and indexes of a table; give the statements that make them again."""
    await connection.execute(text(f"ALTER TABLE {table} SET (autovacuum_enabled = off)"))
    for query in (KEYS, INDEXES):
        for drop, make in (await connection.execute(query, {"name": table})).all():
            await connection.execute(text(drop))
            yield make


def _parts(first: int, last: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + AT_A_TIME - 1, last)) for start in range(first, last + 1, AT_A_TIME))


async def _size(engine: AsyncEngine) -> float:
    async with harness.alone(engine) as connection:
        return float((await connection.execute(SIZE, {"names": list(TABLES)})).scalar_one())


def _tell(what: str) -> None:
    print(f"{time.strftime('%X')} {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
