"""What size, age and company do to the service: `python -m benchmarks.growth [--minutes 30] [--large 10000000]`.

Assigns from a large pool against a small one, from one almost drawn against a fresh one, counts of a large pool
against a small one, assigns during an import against idle, and steady assigns for a long time.
"""

import argparse
import asyncio
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database import statement
from benchmarks import harness, load, yardsticks
from tests.factories import KEY
from tests.service import Service

CONNECTIONS = 64
DRAWN = text("""
WITH drawn AS (
    UPDATE voucher SET status = 'assigned', assigned_at = now(), assignment_id = gen_random_uuid()
    WHERE pool_id = :pool_id AND abs(draw_key % 100) <> 0
    RETURNING code, assignment_id
), written AS (
    INSERT INTO assignment (id, pool_id, code) SELECT assignment_id, :pool_id, code FROM drawn
)
UPDATE stock SET available = available - n, assigned = assigned + n FROM (SELECT count(*) AS n FROM drawn) AS drawn
WHERE pool_id = :pool_id AND slot = 0
""")


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=4)
    options.add_argument("--large", type=int, default=10_000_000)
    options.add_argument("--minutes", type=float, default=30)
    arguments = options.parse_args()
    with Service(workers=2) as service:
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

    def assigns(pool: str) -> float:
        return _assigns(service, pool, seconds).per_second

    # 10,000 codes are drawn within a second or two: a fresh small pool a round.
    large_found, small_found = [], []
    fill("large", large)
    for n in range(rounds):
        fill(f"small-{n}", 10_000)
        small_found.append(_until_drawn(service, f"small-{n}", 9_000))
        large_found.append(assigns("large"))
    rows.append(_row(f"assigns per second: pool of {large:,} / of 10,000", large_found, small_found))

    fresh_found, old_found = [], []
    for n in range(rounds):
        fill(f"fresh-{n}", 1_000_000 // rounds)
    old = fill("old", 1_000_000)
    harness.on(service, lambda engine: _draw_99_percent(engine, old))
    for n in range(rounds):
        fresh_found.append(_until_drawn(service, f"fresh-{n}", 1_800))
        old_found.append(_until_drawn(service, "old", 1_800))
    rows.append(_row("assigns per second: pool with 99 % drawn / fresh", old_found, fresh_found))

    counts: dict[str, list[float]] = {"large": [], "small-0": []}
    for _ in range(rounds):
        for pool, found in counts.items():
            found.append(_counts_ms(service, pool))
    rows.append(_row(f"GET counts, ms: pool of {large:,} / of 10,000", counts["large"], counts["small-0"]))

    idle, busy = [], []
    for n in range(min(rounds, 3)):
        idle.append(assigns("large"))
        busy.append(_during_import(service, n, lambda: assigns("large")))
    rows.append(_row("assigns per second: during an import of 1 M into the same pool / idle", busy, idle))
    return rows


def _row(what: str, first: list[float], second: list[float]) -> list[object]:
    a, b = harness.median(first), harness.median(second)
    return [what, a, b, a / b]


def _assigns(service: Service, pool: str, seconds: float, pause_ms: float = 0) -> load.Load:
    url = f"{service.url}/v1/pools/{pool}/assignments"
    done = load.post(url, KEY, yardsticks.BODY, connections=CONNECTIONS, seconds=seconds, pause_ms=pause_ms)
    if done.failed:
        raise RuntimeError(f"{done.failed} requests failed")
    return done


def _until_drawn(service: Service, pool: str, n: int) -> float:
    """Assigns per second while `n` codes are drawn."""

    async def drive() -> float:
        started = time.perf_counter()
        left = n
        async with service.client(limits=httpx.Limits(max_connections=CONNECTIONS)) as client:

            async def draw() -> None:
                nonlocal left
                while left > 0:
                    left -= 1
                    (
                        await client.post(f"/v1/pools/{pool}/assignments", json={"customer_id": "c"})
                    ).raise_for_status()

            await asyncio.gather(*(draw() for _ in range(CONNECTIONS)))
        return n / (time.perf_counter() - started)

    return asyncio.run(drive())


async def _draw_99_percent(engine: AsyncEngine, pool_id: int) -> None:
    async with statement(engine) as connection:
        await connection.execute(DRAWN, {"pool_id": pool_id})
        await connection.execute(text("VACUUM ANALYZE voucher"))


def _counts_ms(service: Service, pool: str, n: int = 200) -> float:
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        times = []
        for _ in range(n):
            started = time.perf_counter()
            client.get(f"/v1/pools/{pool}/counts").raise_for_status()
            times.append((time.perf_counter() - started) * 1e3)
    return harness.median(times)


def _during_import(service: Service, n: int, act: Callable[[], float]) -> float:
    """What `act` gives while an import of a million codes runs."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "codes.csv"
        file.write_text("code\n" + "".join(f"I{n}-{secrets.token_hex(8)}\n" for _ in range(1_000_000)))
        headers = {"Authorization": f"Bearer {KEY}"}
        with (
            httpx.Client(base_url=service.url, headers=headers, timeout=300) as client,
            file.open("rb") as content,
        ):
            report = client.post("/v1/pools/large/imports", files={"file": content}).json()
            found = act()
            still = client.get(f"/v1/imports/{report['id']}").json()["status"]
            if still not in {"queued", "running"}:
                raise RuntimeError("the import ended before the measurement did")
            while client.get(f"/v1/imports/{report['id']}").json()["status"] in {"queued", "running"}:
                time.sleep(0.5)
    return found


def _steady(service: Service, minutes: float) -> str:
    """Steady assigns at 70 % of the top speed: the first minutes against the last, and the memory of the server."""
    top = _assigns(service, "large", 10).per_second
    pause = 1000 * CONNECTIONS / (0.7 * top)
    memory: list[float] = []
    end = threading.Event()

    def watch() -> None:
        while not end.wait(10):
            assert service.process is not None
            children = psutil.Process(service.process.pid).children()
            memory.append(sum(child.memory_info().rss for child in children) / 2**20)

    watcher = threading.Thread(target=watch)
    watcher.start()
    rates = [_assigns(service, "large", 30, pause).per_second for _ in range(round(minutes * 2))]
    end.set()
    watcher.join()
    part = max(1, round(len(rates) * 5 / 30))
    first, last = harness.median(rates[:part]), harness.median(rates[-part:])
    warm = memory[len(memory) // 6]
    return (
        f"Steady for {minutes:g} minutes at {harness.median(rates):,.0f} per second (top {top:,.0f}):"
        f" last part against first {last / first:.2f}; memory of the service's processes"
        f" {warm:.0f} MB after warm-up, {memory[-1]:.0f} MB at the end"
    )


if __name__ == "__main__":
    main()
