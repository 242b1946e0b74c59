"""Whether the draws of many processes meet: `python -m benchmarks.cursors [--processes 16] [--codes 320000]`.

So many processes claim from one pool at once, twenty codes a statement, from cursors of their own as the service has
them, and for comparison all from the same place. For each tenth of the pool: index entries that were read for a code
(one where nobody meets: the rest was locked by others, or is the trace of what they took), pages for a claim, speed.
"""

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

import psycopg
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.assignments.cursors import Cursors
from app.domain.lifecycle import claim as lifecycle
from app.domain.lifecycle.draw_keys import FIRST
from app.domain.lifecycle.requests import AssignmentRequest
from app.domain.lifecycle.statements import Ids
from app.platform.database_url import conninfo
from app.platform.driver_pool import create_driver_pool
from app.platform.engines import create_long_engine
from app.platform.ids import ordered_id
from app.platform.migrate import migrate
from app.platform.postgres.server import LocalPostgres
from app.platform.projects import DEFAULT, of_project
from app.platform.settings import Settings
from benchmarks import harness

BATCH = 20
TENTHS = 9
PATIENCE = 300.0
"""Seconds that a process waits for the others."""
READ = """
SELECT (SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'voucher_draw_idx'),
    (SELECT sum(idx_blks_hit + idx_blks_read) FROM pg_statio_user_indexes WHERE indexrelname = 'voucher_draw_idx')
"""


@dataclass(frozen=True, slots=True)
class Tenth:
    """What a tenth of the pool took."""

    entries: float
    """Index entries that were read for a code."""
    pages: float
    """Pages of that index for a claim."""
    per_second: float
    """Codes."""


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--processes", type=int, default=16)
    options.add_argument("--codes", type=int, default=320_000)
    arguments = options.parse_args()
    print(f"{harness.machine()}; {arguments.processes} processes, {BATCH} codes a claim\n")
    for round_ in range(arguments.rounds):
        own, same = (
            _measured(arguments.processes, arguments.codes, together=together) for together in (False, True)
        )
        rows = [[f"{tenth}0 %", *_cells(own[tenth]), *_cells(same[tenth])] for tenth in range(TENTHS)]
        figures = ("entries a code", "pages a claim", "codes a second")
        head = [f"{which}: {what}" for which in ("own cursors", "from one place") for what in figures]
        print(harness.table([f"drawn before (round {round_ + 1})", *head], rows))


def _cells(tenth: Tenth) -> list[float]:
    return [tenth.entries, tenth.pages, tenth.per_second]


def _measured(processes: int, codes: int, *, together: bool) -> Sequence[Tenth]:
    with tempfile.TemporaryDirectory(prefix="vp-") as home, LocalPostgres(Path(home)) as postgres:
        migrate(postgres.url)
        asyncio.run(_fill(postgres.url, codes))
        claims = codes // 10 // BATCH // processes
        spawn = multiprocessing.get_context("spawn")
        barrier = spawn.Barrier(processes + 1)
        running = [
            spawn.Process(target=_claim, args=(postgres.url, claims, barrier, together))
            for _ in range(processes)
        ]
        for process in running:
            process.start()
        found = []
        with psycopg.connect(conninfo(postgres.url), autocommit=True) as looker:
            barrier.wait(PATIENCE)  # all have their connections
            before = looker.execute(READ).fetchone()
            for _ in range(TENTHS):
                barrier.wait(PATIENCE)
                began = time.perf_counter()
                barrier.wait(PATIENCE)
                seconds = time.perf_counter() - began
                after = looker.execute(READ).fetchone()
                if before is None or after is None:
                    raise RuntimeError("there are no statistics")
                n = claims * processes
                entries, pages = (new - old for new, old in zip(after, before, strict=True))
                found.append(Tenth(entries / n / BATCH, float(pages) / n, n * BATCH / seconds))
                before = after
        for process in running:
            process.join()
        return found


async def _fill(url: str, codes: int) -> None:
    engine: AsyncEngine = create_long_engine(Settings(DATABASE_URL=url))
    await harness.fill(of_project(engine, DEFAULT), "codes", codes)
    await engine.dispose()


def _claim(url: str, claims: int, barrier: Barrier, together: bool) -> None:
    asyncio.run(_run(url, claims, barrier, together=together))


async def _run(url: str, claims: int, barrier: Barrier, *, together: bool) -> None:
    cursors, place = Cursors(), (DEFAULT, "codes")
    if together:
        cursors.passed(place, 0, [0])
    async with create_driver_pool(Settings(DATABASE_URL=url)) as direct:
        connections = direct.of(DEFAULT)
        await connections.fetch(b"SELECT 1", [])
        barrier.wait(PATIENCE)
        for _ in range(TENTHS):
            barrier.wait(PATIENCE)
            for _ in range(claims):
                left = [AssignmentRequest(ordered_id()) for _ in range(BATCH)]
                for cursor in (cursors.of(place), FIRST):
                    claimed = await lifecycle.claim_direct(connections, "codes", left, cursor, Ids.SINGLE)
                    cursors.passed(place, cursor, claimed.draw_keys)
                    if not (left := claimed.left(left)):
                        break
            await connections.fetch(b"SELECT pg_stat_force_next_flush()", [])
            await connections.fetch(b"SELECT 1", [])
            barrier.wait(PATIENCE)


if __name__ == "__main__":
    main()
