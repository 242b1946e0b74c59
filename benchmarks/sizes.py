"""What a code takes on the disk: `python -m benchmarks.sizes [--codes 300000] [--rounds 3]`.

Codes of 10 characters (`--length`) are imported, and all are assigned to customers of 8 (`--customer`), 1,000 a request
(`--items`; 1: each in a transaction of its own). What the tables have grown by,
indexes included: as the import has left them, as the assigns have, and when they were written anew after each (`VACUUM
FULL`). The goals are for imported ones as they are, and for assigned ones written anew: what dead rows take serves the
next ones.
"""

import argparse
import random
import sys
from collections.abc import Iterator

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks import goals, harness
from tests.factories import KEY
from tests.service import Service

POOL = "sized"
TABLES = ("voucher", "assignment")
SIZE = text("SELECT pg_total_relation_size(CAST(:name AS regclass))")
REST = text("""
SELECT CAST(sum(pg_total_relation_size(oid)) AS bigint) FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> ALL (:names)
""")
BOTH = "both"
WHEN = ("imported", "imported, written anew", "assigned", "assigned, written anew")
Sizes = dict[str, float]


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--codes", type=int, default=300_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--length", type=int, default=10)
    options.add_argument("--customer", type=int, default=8)
    options.add_argument("--items", type=int, default=1000)
    arguments = options.parse_args()
    found = [_round(arguments) for _ in range(arguments.rounds)]
    print(f"{harness.machine()}; medians of {arguments.rounds} rounds\n")
    sizes = [[one[place][BOTH] for one in found] for place in range(len(WHEN))]
    _, small, given, _ = map(harness.median, sizes)
    print(
        goals.table(
            goals.row("imported", sizes[0], said=f"written anew {small:.0f}"),
            goals.row("assigned", sizes[3], said=f"written anew; {given:.0f} before"),
        )
    )
    rows = [
        [when, *(harness.median([one[place][name] for one in found]) for name in found[0][place])]
        for place, when in enumerate(WHEN)
    ]
    print(harness.table([f"bytes a code, {arguments.codes:,} codes", *found[0][0]], rows))


def _round(asked: argparse.Namespace) -> list[Sizes]:
    """Return the bytes a code, in the order of `WHEN`."""
    codes: int = asked.codes
    with harness.service(workers=1) as service:
        empty = _sizes(service)
        found = []
        harness.import_codes(service, POOL, _codes(codes, asked.length))
        found += [_sizes(service), _anew(service)]
        _assign_all(service, codes, asked.customer, asked.items)
        found += [_sizes(service), _anew(service)]
        print(harness.books_agree(service), file=sys.stderr, flush=True)
    return [{name: (size - empty[name]) / codes for name, size in sizes.items()} for sizes in found]


def _codes(n: int, length: int) -> Iterator[str]:
    """Codes in no order, each once."""
    chance = random.Random(1)
    return (f"{number:0{length}}" for number in chance.sample(range(10**length), n))


def _assign_all(service: Service, n: int, length: int, at_once: int) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=60) as client:
        for start in range(0, n, at_once):
            numbers = range(start, min(start + at_once, n))
            items = [{"customer_id": f"c-{number:0{length - 2}}"} for number in numbers]
            done = client.post(f"/v1/pools/{POOL}/assignments/batch", json={"items": items})
            if done.raise_for_status().json()["assigned"] != len(items):
                raise RuntimeError("not all were assigned")


def _sizes(service: Service) -> Sizes:
    """Return the bytes of each table of codes, of both, and of all other tables."""

    async def look(engine: AsyncEngine) -> Sizes:
        async with harness.alone(engine) as connection:
            sizes = {name: (await connection.execute(SIZE, {"name": name})).scalar_one() for name in TABLES}
            rest = (await connection.execute(REST, {"names": list(TABLES)})).scalar_one()
        return {**sizes, BOTH: sum(sizes.values()), "all other tables": rest}

    return harness.on(service, look)


def _anew(service: Service) -> Sizes:
    """Write the tables anew; return their sizes."""

    async def write(engine: AsyncEngine) -> None:
        async with harness.alone(engine) as connection:
            await connection.execute(text("VACUUM FULL"))

    harness.on(service, write)
    return _sizes(service)


if __name__ == "__main__":
    main()
