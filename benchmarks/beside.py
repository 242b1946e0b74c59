"""What imports do to assigns beside them: `python -m benchmarks.beside [--rows 20000000] [--rounds 3] [--used-log]`.

First, steady assigns from one pool while many codes are imported into another one: latencies of all that is answered
until the import has ended, against those before it. Then, for a minute, as many assigns as go from the new large pool,
in turns with pools of 200,000. At last, as many as go from a pool into which a million codes are imported, in turns
with none. All pools are imported, each request has a customer and an `Idempotency-Key` of its own. It needs `wrk`.

A new server makes each piece of its log anew, and commits wait for that; one that has run for a while writes old ones
over. `--used-log` lets the log go round first.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg

from benchmarks import goals, harness, imports, load, yardsticks
from benchmarks.load import Load
from tests.factories import KEY
from tests.service import Service

PER_SECOND = 300
STEADY = 16
"""Connections of the steady assigns."""

CONNECTIONS = 64
FASTEST = 20_000
"""Assigns a second that no machine reaches here."""

SMALL = 200_000
MILLION = 1_000_000
IDLE_SECONDS = 20
PIECES = 300
"""Of the log, 16 MiB each: some more than an import of 20 M fills before its first checkpoint."""
SETTLING = 3
"""Seconds of rest after an import, before an idle time."""


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=20_000_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=int, default=3)
    options.add_argument("--after", type=int, default=60, help="seconds of assigns after the import")
    options.add_argument("--used-log", action="store_true", help="let the server's log go round first")
    arguments = options.parse_args()
    rows, seconds = arguments.rows, arguments.seconds
    turns = max(1, arguments.after // (2 * seconds))
    with harness.service(workers=2) as service:
        if arguments.used_log:
            _use_log(service)
        places = _import_small(service, turns, seconds)
        idle, busy, took = meanwhile(service, rows)
        large, small = after(service, places, seconds)
        during, quiet, million = same_pool(service, arguments.rounds)
        agree = harness.books_agree(service)
    size, minute = goals.size(rows), "minute" if arguments.after == 60 else f"{arguments.after} s"
    said = f"{busy.p99_ms:.1f} ms / {idle.p99_ms:.1f} ms; p50 {busy.p50_ms:.1f} ms / {idle.p50_ms:.1f} ms"
    print(f"{harness.machine()}; load by {load.tool()}; medians of rounds in turns, one import of {size}\n")
    print(
        goals.table(
            goals.row("meanwhile", [busy.p99_ms], [idle.p99_ms], said=said, size=size),
            goals.row("after", large, small, said=f"a pool of {size}", minute=minute),
            goals.row("same pool", during, quiet),
        )
    )
    table = [
        [f"{PER_SECOND} a second from another pool, before the import", idle.per_second],
        [f"the same, during the import, which took {took:.1f} s", busy.per_second],
        [f"as many as go from the pool of {size}, in the {minute} after", harness.median(large)],
        [f"from pools of {SMALL:,}, in turns with it", harness.median(small)],
        [
            f"from a pool into which 1 M codes are imported, which took {harness.median(million):.1f} s",
            harness.median(during),
        ],
        ["from that pool, idle", harness.median(quiet)],
    ]
    print(harness.table(["assigns", "per second"], table))
    print("\n" + agree)


def meanwhile(service: Service, rows: int) -> tuple[Load, Load, float]:
    """Steady assigns before and during a large import; its seconds."""
    harness.import_pool(service, "other", SMALL + PER_SECOND * rows // 20_000)
    url, took = _url(service, "other"), []

    def drive(pause_ms: float) -> Load:
        return load.post(
            url, KEY, yardsticks.BODY, connections=STEADY, seconds=SETTLING, pause_ms=pause_ms, keyed=True
        )

    with tempfile.TemporaryDirectory() as folder:
        file = imports.write(Path(folder) / "codes.csv", "LARGE", rows)
        pause_ms = load.pause_ms(PER_SECOND, STEADY, drive)

        def steady(act: Callable[[], object]) -> Load:
            return load.post_during(
                act, url, KEY, yardsticks.BODY, connections=STEADY, pause_ms=pause_ms
            ).good()

        idle = steady(lambda: time.sleep(IDLE_SECONDS))
        busy = steady(lambda: took.append(asyncio.run(imports.send(service, "large", file, rows))))
    return idle, busy, took[0]


def after(service: Service, places: list[str], seconds: int) -> tuple[list[float], list[float]]:
    """Assigns a second from the large pool and from small ones, in turns."""
    large, small = [], []
    for place in places:
        large.append(assigns(service, "large", seconds))
        small.append(assigns(service, place, seconds))
    return large, small


def same_pool(service: Service, rounds: int) -> tuple[list[float], list[float], list[float]]:
    """Assigns a second from a pool into which a million codes are imported, and from the same one idle, in turns.

    At last the seconds of the imports.
    """
    harness.import_pool(service, "same", MILLION)
    during, quiet, took = [], [], []
    for number in range(rounds):
        time.sleep(SETTLING)
        quiet.append(harness.median([assigns(service, "same", 1) for _ in range(3)]))
        found, seconds = during_import(service, "same", f"I{number}", lambda: assigns(service, "same", 1))
        during.append(harness.median(found))
        took.append(seconds)
    return during, quiet, took


def during_import(
    service: Service, pool: str, prefix: str, act: Callable[[], float]
) -> tuple[list[float], float]:
    """Return what `act` gives again and again while a million codes are imported into the pool, and its seconds."""
    found = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as thread:
        file = imports.write(Path(folder) / "codes.csv", prefix, MILLION)
        importing = thread.submit(lambda: asyncio.run(imports.send(service, pool, file, MILLION)))
        while not importing.done():
            found.append(act())
        seconds = importing.result()
    if len(found) < 2:
        raise RuntimeError("the import ended before the measurement did")
    return found[:-1], seconds  # the import ended during the last


def assigns(service: Service, pool: str, seconds: float) -> float:
    """Assign as fast as it goes; how many a second."""
    url = _url(service, pool)
    done = load.post(url, KEY, yardsticks.BODY, connections=CONNECTIONS, seconds=seconds, keyed=True)
    return done.good().per_second


def _use_log(service: Service) -> None:
    """Let the log of the service's server go round: its next pieces are old ones."""
    socket = str(service.home / "run")
    with psycopg.connect(host=socket, user="postgres", dbname="vouchers", autocommit=True) as connection:
        for _ in range(PIECES):
            connection.execute("SELECT pg_logical_emit_message(true, 'piece', '')")
            connection.execute("SELECT pg_switch_wal()")
        connection.execute("CHECKPOINT")


def _url(service: Service, pool: str) -> str:
    return f"{service.url}/v1/pools/{pool}/assignments"


def _import_small(service: Service, turns: int, seconds: int) -> list[str]:
    """Import small pools; return which one each turn is to draw from, so that none runs out."""
    of_one = max(1, SMALL // (FASTEST * seconds))
    places = [f"small-{turn // of_one}" for turn in range(turns)]
    for place in dict.fromkeys(places):
        harness.import_pool(service, place, SMALL)
    return places


if __name__ == "__main__":
    main()
