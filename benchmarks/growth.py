"""What size, age and company do to the service: `python -m benchmarks.growth [--minutes 30] [--large 10000000]`.

Assigns from a large pool against a small one, from one almost drawn against a fresh one, counts of a large pool
against a small one, assigns during an import against idle, and steady assigns for a long time.
"""

import argparse
import threading
import time

import httpx
import psutil
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks import beside, harness, load, yardsticks
from tests.factories import KEY
from tests.service import Service

CONNECTIONS = 64
# All but each hundredth code is drawn; of those, what HTTP drew in a round comes back.
DRAW = text("""
WITH drawn AS (
    UPDATE voucher SET status = 'assigned', assigned_at = now(), assignment_id = gen_random_uuid()
    WHERE pool_id = :pool_id AND status = 'available' AND draw_key % 100 <> 0
    RETURNING code, assignment_id
), written AS (
    INSERT INTO assignment (id, pool_id, code) SELECT assignment_id, :pool_id, code FROM drawn
)
UPDATE stock SET available = available - n, assigned = assigned + n FROM (SELECT count(*) AS n FROM drawn) AS drawn
WHERE pool_id = :pool_id AND slot = 0
""")
RELEASE = text("""
WITH released AS (
    UPDATE assignment SET released_at = now()
    FROM voucher WHERE voucher.assignment_id = assignment.id AND voucher.pool_id = :pool_id
        AND voucher.status = 'assigned' AND voucher.draw_key % 100 = 0
    RETURNING voucher.code
), back AS (
    UPDATE voucher SET status = 'available', assigned_at = NULL, assignment_id = NULL
    FROM released WHERE voucher.code = released.code
)
UPDATE stock SET available = available + n, assigned = assigned - n FROM (SELECT count(*) AS n FROM released) AS back
WHERE pool_id = :pool_id AND slot = 0
""")


SMALL = 20_000
"""Codes of a pool that lasts for a turn of a second."""


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=4)
    options.add_argument("--large", type=int, default=10_000_000)
    options.add_argument("--minutes", type=float, default=30)
    arguments = options.parse_args()
    with harness.service(workers=2) as service:
        print(
            f"{harness.machine()}; load by {load.tool()}; medians of {arguments.rounds} interleaved rounds\n"
        )
        rows = list(_ratios(service, arguments.rounds, arguments.seconds, arguments.large))
        print(harness.table(["what", "first", "second", "ratio"], rows))
        if arguments.minutes:
            print("\n" + _steady(service, arguments.minutes))
        print("\n" + harness.books_agree(service))


def _ratios(service: Service, rounds: int, seconds: int, large: int) -> list[list[object]]:
    rows: list[list[object]] = []

    def fill(pool: str, n: int) -> int:
        return harness.on(service, lambda engine: harness.fill(engine, pool, n))

    def assigns(pool: str, duration: int = seconds) -> float:
        return assigns_of(service, pool, duration).per_second

    # A small pool is used up in a turn of a second: a fresh one a round.
    large_found, small_found = [], []
    fill("large", large)
    for n in range(rounds):
        fill(f"small-{n}", SMALL)
        small_found.append(assigns(f"small-{n}", 1))
        large_found.append(assigns("large", 1))
    rows.append(_row(f"assigns per second: pool of {large:,} / of {SMALL:,}", large_found, small_found))

    fresh_found, old_found = [], []
    fill("fresh", 1_000_000)
    old = fill("old", 1_000_000)
    harness.on(service, lambda engine: _draw_99_percent(engine, old))
    for _ in range(rounds):
        fresh_found.append(assigns("fresh", 1))
        old_found.append(assigns("old", 1))
        harness.on(service, lambda engine: _draw_99_percent(engine, old))
    rows.append(_row("assigns per second: pool with 99 % drawn / fresh", old_found, fresh_found))

    counts: dict[str, list[float]] = {"large": [], "small-0": []}
    for _ in range(rounds):
        for pool, found in counts.items():
            found.append(counts_ms(service, pool))
    rows.append(_row(f"GET counts, ms: pool of {large:,} / of {SMALL:,}", counts["large"], counts["small-0"]))

    idle, busy = [], []
    for n in range(min(rounds, 3)):
        idle.append(assigns("large"))
        during, _ = beside.during_import(service, "large", f"I{n}", lambda: assigns("large", 1))
        busy.append(harness.median(during))
    rows.append(_row("assigns per second: during an import of 1 M into the same pool / idle", busy, idle))
    return rows


def _row(what: str, first: list[float], second: list[float]) -> list[object]:
    a, b = harness.median(first), harness.median(second)
    return [what, a, b, a / b]


def assigns_of(
    service: Service, pool: str, seconds: float, pause_ms: float = 0, *, keyed: bool = False
) -> load.Load:
    """Assign from a pool as fast as its answers come, or with pauses; each `keyed` one has an `Idempotency-Key`."""
    url = f"{service.url}/v1/pools/{pool}/assignments"
    return load.post(
        url, KEY, yardsticks.BODY, connections=CONNECTIONS, seconds=seconds, pause_ms=pause_ms, keyed=keyed
    ).good()


async def _draw_99_percent(engine: AsyncEngine, pool_id: int) -> None:
    async with harness.alone(engine) as connection:
        for query in (DRAW, RELEASE):
            await connection.execute(query, {"pool_id": pool_id})
        await connection.execute(text("VACUUM ANALYZE voucher"))


def counts_ms(service: Service, pool: str, n: int = 200) -> float:
    """Return how long the counts of a pool take, the middle one of `n`."""
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        times = []
        for _ in range(n):
            started = time.perf_counter()
            client.get(f"/v1/pools/{pool}/counts").raise_for_status()
            times.append((time.perf_counter() - started) * 1e3)
    return harness.median(times)


def _steady(service: Service, minutes: float) -> str:
    """Steady assigns at 70 % of the top speed: the first minutes against the last, and the memory of the server."""
    top = assigns_of(service, "large", 10).per_second
    pause = load.pause_ms(0.7 * top, CONNECTIONS, lambda ms: assigns_of(service, "large", 5, ms))
    memory: list[float] = []
    end = threading.Event()

    def watch() -> None:
        while not end.wait(10):
            assert service.process is not None
            children = psutil.Process(service.process.pid).children()
            memory.append(sum(child.memory_info().rss for child in children) / 2**20)

    watcher = threading.Thread(target=watch)
    watcher.start()
    loads = [assigns_of(service, "large", 30, pause) for _ in range(round(minutes * 2))]
    end.set()
    watcher.join()
    rates = [one.per_second for one in loads]
    part = max(1, round(len(rates) * 5 / 30))
    first, last = harness.median(rates[:part]), harness.median(rates[-part:])
    p50, p99 = (harness.median([getattr(one, name) for one in loads]) for name in ("p50_ms", "p99_ms"))
    warm = memory[len(memory) // 6]
    return (
        f"Steady for {minutes:g} minutes at {harness.median(rates):,.0f} per second (top {top:,.0f}):"
        f" last part against first {last / first:.2f}; p50 {p50:.1f} ms, p99 {p99:.1f} ms; memory of the service's"
        f" processes {warm:.0f} MiB after warm-up, {memory[-1]:.0f} MiB at the end, {max(memory):.0f} MiB at most"
    )


if __name__ == "__main__":
    main()
