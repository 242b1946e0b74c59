"""Single assigns over HTTP against the yardsticks: `python -m benchmarks.assign [--rounds 5] [--seconds 5]`.

All of it in one run, in interleaved rounds, on one PostgreSQL with fsync on; the table has medians and ratios.
"""

import argparse
from collections import defaultdict
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks import harness, load, plot, yardsticks
from tests.factories import KEY

CONNECTIONS = 64
WORKERS = 2
SWEEP = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PLOT = Path(__file__).parent.parent / "docs" / "assigns-over-connections.svg"


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=5)
    options.add_argument("--sweep", action="store_true", help="also measure over the number of connections")
    options.add_argument("--projects", type=int, help="instead: so many projects beside as many pools of one")
    arguments = options.parse_args()
    if arguments.projects:
        measure_projects(arguments.projects, arguments.rounds, arguments.seconds)
    else:
        measure(arguments.rounds, arguments.seconds, sweep=arguments.sweep)


def measure(rounds: int, seconds: int, *, sweep: bool) -> None:
    """All yardsticks, interleaved."""
    plenty = seconds * (rounds * 25_000 + (3 * len(SWEEP) * 10_000 if sweep else 0))
    found: defaultdict[str, list[float]] = defaultdict(list)
    with (
        harness.service(WORKERS) as service,
        yardsticks.y2(service, rounds * seconds * 2_000) as tutorial,
        yardsticks.y3(rounds * seconds * 15_000) as redis,
    ):
        harness.import_pool(service, "http", plenty)
        y1_pool = harness.on(service, lambda engine: harness.fill(engine, "y1", plenty))
        ours = f"{service.url}/v1/pools/http/assignments"

        def drive(
            url: str, connections: int = CONNECTIONS, duration: float = seconds, pause_ms: float = 0
        ) -> load.Load:
            done = load.post(
                url, KEY, yardsticks.BODY, connections=connections, seconds=duration, pause_ms=pause_ms
            )
            if done.failed:
                raise RuntimeError(f"{done.failed} requests to {url} failed")
            return done

        drive(ours, duration=2)  # warm
        for _ in range(rounds):
            found["Y1"].append(yardsticks.y1(service, y1_pool, clients=16, seconds=seconds))
            found["ours"].append(drive(ours).per_second)
            found["Y2"].append(drive(tutorial).per_second)
            if redis is not None:
                found["Y3"].append(drive(redis).per_second)
        half = harness.median(found["ours"]) / 2
        pause_ms = load.pause_ms(half, CONNECTIONS, lambda ms: drive(ours, pause_ms=ms))
        calm = [drive(ours, pause_ms=pause_ms) for _ in range(rounds)]
        yardsticks.put_counts_right(service, y1_pool)
        _print(found, calm)
        if sweep:
            points = [(n, harness.median([drive(ours, n).per_second for _ in range(3)])) for n in SWEEP]
            print("\n" + harness.table(["connections", "assigns per second"], points))
            plot.line(PLOT, "Single assigns over HTTP, per second", "connections", points)
        print("\n" + harness.books_agree(service))


def measure_projects(n: int, rounds: int, seconds: int) -> None:
    """So many pools, each of a project of its own, beside as many of one project, in turns."""
    plenty = 1000 + rounds * seconds * 12_000 // n * 2
    with harness.service(WORKERS) as service:
        made = harness.on(service, lambda engine: harness.projects(engine, n, plenty))
        apart = [("/v1/pools/codes/assignments", project.key) for project in made]
        together = [(f"/v1/pools/together-{k}/assignments", KEY) for k in range(n)]
        harness.on(service, lambda engine: _pools(engine, n, plenty))
        found: defaultdict[str, list[float]] = defaultdict(list)
        for turn in range(rounds + 1):
            both = [("apart", apart), ("together", together)]
            for name, places in both if turn % 2 else reversed(both):
                done = load.post_all_over(
                    service.url, places, yardsticks.BODY, connections=CONNECTIONS, seconds=seconds
                )
                if done.failed:
                    raise RuntimeError(f"{done.failed} requests failed")
                if turn:  # the first warms
                    found[name].append(done.per_second)
        one = harness.median(found["together"])
        ratios = [a / b for a, b in zip(found["apart"], found["together"], strict=True)]
        rows = [
            [f"{n} projects, a pool each", harness.median(found["apart"]), harness.median(ratios)],
            [f"one project, {n} pools", one, 1.0],
        ]
        print(f"{harness.machine()}; load by {load.tool()}; medians of {rounds} interleaved rounds\n")
        print(harness.table(["", "assigns per second", "ratio"], rows))
        print(f"\nBy round {min(ratios):.2f} to {max(ratios):.2f}")
        print("\n" + harness.books_agree(service))


async def _pools(engine: AsyncEngine, n: int, plenty: int) -> None:
    for k in range(n):
        await harness.fill(engine, f"together-{k}", plenty)


def _print(found: dict[str, list[float]], calm: list[load.Load]) -> None:
    ours = harness.median(found["ours"])
    names = {
        "ours": f"this service, {WORKERS} processes, {CONNECTIONS} connections",
        "Y1": "Y1: pgbench, single claims straight into PostgreSQL, 16 clients",
        "Y2": "Y2: tutorial service, 2 processes",
        "Y3": "Y3: Redis service, appendfsync always",
    }
    rows = [
        [name, harness.median(found[key]), ours / harness.median(found[key])]
        if found[key]
        else [name, "not available", ""]
        for key, name in names.items()
    ]
    print(f"{harness.machine()}; load by {load.tool()}; medians of {len(found['ours'])} interleaved rounds\n")
    print(harness.table(["", "per second", "this service against it"], rows))
    rate, p50, p99 = (
        harness.median([getattr(run, name) for run in calm]) for name in ("per_second", "p50_ms", "p99_ms")
    )
    print(f"\nAt {rate:,.0f} per second: p50 {p50:.2f} ms, p99 {p99:.2f} ms, p99 / p50 = {p99 / p50:.1f}")


if __name__ == "__main__":
    main()
