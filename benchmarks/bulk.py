"""Bulk assigns over HTTP against the same statement on one connection (Y4): `python -m benchmarks.bulk`."""

import asyncio
import time
from itertools import count

import orjson

from benchmarks import goals, harness, yardsticks
from tests.service import Service

ITEMS = 1000
CLIENTS = 4


def main() -> None:
    """Measure and print."""
    rounds, seconds = harness.rounds_and_seconds(__doc__)
    plenty = (rounds * seconds + 5) * 40_000
    with harness.service(workers=2) as service:
        harness.import_pool(service, "http", plenty)
        harness.on(service, lambda engine: harness.fill(engine, "y4", plenty))
        asyncio.run(_drive(service, 2))  # warm
        ours, y4 = [], []
        for _ in range(rounds):
            y4.append(yardsticks.y4(service, "y4", seconds=seconds, size=ITEMS))
            ours.append(asyncio.run(_drive(service, seconds)))
        rows = [
            [
                f"this service, {ITEMS:,} items a request, {CLIENTS} clients",
                harness.median(ours),
                harness.median(ours) / harness.median(y4),
            ],
            [f"Y4: the batch statement of {ITEMS:,} on one connection", harness.median(y4), 1.0],
        ]
        print(f"{harness.machine()}; medians of {rounds} interleaved rounds\n")
        print(goals.table(goals.row("bulk", ours, y4)))
        print(harness.table(["", "codes per second", "against Y4"], rows))
        print("\n" + harness.books_agree(service))


async def _drive(service: Service, seconds: float) -> float:
    """Codes per second that the service hands out to a few clients."""
    given = 0
    customers = count()
    started = time.perf_counter()

    async def client() -> None:
        nonlocal given
        async with service.client() as http:
            while time.perf_counter() - started < seconds:
                items = [{"customer_id": f"c-{next(customers)}"} for _ in range(ITEMS)]
                reply = await http.post(
                    "/v1/pools/http/assignments/batch",
                    content=orjson.dumps({"items": items}),
                    headers={"Content-Type": "application/json"},
                )
                reply.raise_for_status()
                given += orjson.loads(reply.content)["assigned"]

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return given / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
