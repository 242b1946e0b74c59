"""Single assigns beside a constant answer of the same server: `python -m benchmarks.wire [--rounds 5] [--seconds 5]`.

Each request has a customer and an `Idempotency-Key` of its own, and draws from an imported pool. The two in turns, with
the data folder on the disk and with it in memory, where no disk decides. Then one connection, beside `pgbench` that
makes one claim after another, and the latencies under full load and at half of it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx

from benchmarks import constant, goals, harness, load, processors, yardsticks
from benchmarks.load import Load
from benchmarks.processors import Turn
from tests.factories import KEY
from tests.service import Service

CONNECTIONS = 64
WORKERS = 2
POOL = "wire"
PATH = f"/v1/pools/{POOL}/assignments"
OWN = "c-01234567-12345"
"""A customer and a key as long as those of the load."""

WARM_SECONDS = 2
HEAD = ["", "per second", "CPU, µs: web processes", "PostgreSQL", "all", "p50, ms", "p99, ms"]
Turns = tuple[list[Turn], list[Turn]]


def main() -> None:
    """Measure and print."""
    rounds, seconds = harness.rounds_and_seconds(__doc__)
    codes = (rounds * seconds + WARM_SECONDS) * 20_000
    with pool(harness.service(WORKERS), 2 * codes) as service:
        disk = in_turns(service, rounds, seconds)
        single = one_connection(service, rounds, seconds)
        calm = at_half(service, harness.median(rates(disk[0])), rounds, seconds)
        agree = harness.books_agree(service)
    with pool(harness.service(WORKERS, disk=harness.memory()), codes) as service:
        memory = in_turns(service, rounds, seconds)
    print(f"{harness.machine()}; load by {load.tool()}; medians of {rounds} interleaved rounds\n")
    _print_goals(disk, memory, single, calm)
    rows = [
        [f"{what}, data folder {where}", *cells(turns)]
        for where, both in (("on disk", disk), (harness.in_memory(), memory))
        for what, turns in zip(("single assigns", "constant answers"), both, strict=True)
    ]
    print(harness.table(HEAD, rows))
    print("\n" + agree)


@contextmanager
def pool(service: Service, codes: int) -> Iterator[Service]:
    """Start the service, and import the pool."""
    with service:
        harness.import_pool(service, POOL, codes)
        yield service


def assigns(service: Service, seconds: float, *, connections: int = CONNECTIONS, pause_ms: float = 0) -> Load:
    """Assign from the pool."""
    return _drive(f"{service.url}{PATH}", seconds, connections, pause_ms)


def in_turns(service: Service, rounds: int, seconds: float) -> Turns:
    """Assigns, and constant answers like one of the service's to the same requests, in turns."""
    headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": OWN}
    reply = httpx.post(f"{service.url}{PATH}", json={"customer_id": OWN}, headers=headers).raise_for_status()
    found: Turns = [], []
    with constant.serving(constant.Reply.like(reply), WORKERS) as (url, processes):
        for number in range(rounds + 1):
            duration = seconds if number else WARM_SECONDS
            assign = turn(service, duration)
            fixed = processors.turn(
                lambda some: _drive(f"{url}{PATH}", some), duration, processes, [], processes
            )
            if number:
                found[0].append(assign)
                found[1].append(fixed)
    return found


def turn(service: Service, seconds: float) -> Turn:
    """Assign for so long, and see what it takes of the processors."""
    return processors.of_service(service, lambda some: assigns(service, some), seconds)


def one_connection(service: Service, rounds: int, seconds: int) -> tuple[list[float], list[float]]:
    """Assigns a second over one connection, and claims a second by `pgbench -c 1`, in turns."""
    harness.import_pool(service, "y1", rounds * seconds * 5_000)
    y1_pool = harness.pool_id(service, "y1")
    ours, pgbench = [], []
    for _ in range(rounds):
        pgbench.append(yardsticks.y1(service, y1_pool, clients=1, seconds=seconds))
        ours.append(assigns(service, seconds, connections=1).per_second)
    yardsticks.put_counts_right(service, y1_pool)
    return ours, pgbench


def at_half(service: Service, top: float, rounds: int, seconds: float) -> list[Load]:
    """Assigns at half of the top rate."""
    pause_ms = load.pause_ms(top / 2, CONNECTIONS, lambda ms: assigns(service, seconds, pause_ms=ms))
    return [assigns(service, seconds, pause_ms=pause_ms) for _ in range(rounds)]


def rates(turns: Sequence[Turn]) -> list[float]:
    """Return the requests a second of each."""
    return [turn.load.per_second for turn in turns]


def costs(turns: Sequence[Turn]) -> list[float]:
    """Return what a request took of all processors in each, in µs."""
    return [turn.everything for turn in turns]


def cells(turns: Sequence[Turn]) -> list[float]:
    """Return the medians for a row of the table."""
    each = [
        (turn.load.per_second, turn.web, turn.database, turn.everything, turn.load.p50_ms, turn.load.p99_ms)
        for turn in turns
    ]
    return [harness.median(column) for column in zip(*each, strict=True)]


def _drive(url: str, seconds: float, connections: int = CONNECTIONS, pause_ms: float = 0) -> Load:
    return load.post(
        url, KEY, yardsticks.BODY, connections=connections, seconds=seconds, pause_ms=pause_ms, keyed=True
    ).good()


def _print_goals(
    disk: Turns, memory: Turns, single: tuple[list[float], list[float]], calm: list[Load]
) -> None:
    both = [harness.median(costs(turns)) for turns in disk]
    ours, pgbench = ([1000 / rate for rate in each] for each in single)
    singles = [f"{harness.median(each):,.0f}/s, {1000 / harness.median(each):.2f} ms" for each in single]
    rows = [
        goals.row("processors", *map(costs, disk), said=f"{both[0]:.0f} µs / {both[1]:.0f} µs"),
        goals.row("throughput", *map(rates, memory), said=harness.in_memory()),
        goals.row("one connection", ours, pgbench, said=" / ".join(singles)),
    ]
    for name, loads in (("half", calm), ("full", [turn.load for turn in disk[0]])):
        p99, p50 = [each.p99_ms for each in loads], [each.p50_ms for each in loads]
        rate = harness.median([each.per_second for each in loads])
        rows.append(goals.row(f"latencies at {name}", p99, p50, said=f"{rate:,.0f}/s"))
    print(goals.table(*rows))


if __name__ == "__main__":
    main()
