"""An import of customers beside everything else: `python -m benchmarks.customers [--rows 150000] [--patches 24]`.

While one file of customers is imported, a client assigns, one asks `/health/ready`, and as many as `--patches` change a
customer of the file each, again and again. What they wait is measured idle, and during the import.
"""

import argparse
import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import httpx

from benchmarks import harness
from tests.factories import KEY

Waits: TypeAlias = dict[str, list[float]]
PAUSE = 0.05


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=150_000)
    options.add_argument("--patches", type=int, default=24)
    arguments = options.parse_args()
    with harness.service(1) as service:
        harness.import_pool(service, "beside", 20_000)
        asyncio.run(_measure(service.url, arguments.rows, arguments.patches))


async def _measure(url: str, rows: int, patches: int) -> None:
    content = "customer_id,city\n" + "".join(f"c-{n},city {n % 97}\n" for n in range(rows))
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=600) as client:
        await client.post("/v1/customers/imports", files={"file": ("c.csv", content[: len(content) // 10])})
        idle = await _beside(client, rows // 10, patches, lambda: asyncio.sleep(5))
        began = time.perf_counter()
        during = await _beside(
            client,
            rows,
            patches,
            lambda: client.post("/v1/customers/imports", files={"file": ("c.csv", content)}),
        )
        print(
            f"{rows} customers imported in {time.perf_counter() - began:.1f} s, beside {patches} who change some"
        )
    for what, waited in idle.items():
        print(f"{what}: idle {_told(waited)}; during {_told(during[what])}")


async def _beside(
    client: httpx.AsyncClient, customers: int, patches: int, act: Callable[[], Awaitable[object]]
) -> Waits:
    """Return how long each kind of request took while something was done."""
    waits: Waits = defaultdict(list)

    async def again(what: str, ask: Callable[[int], Awaitable[httpx.Response]]) -> None:
        for turn in itertools.count():
            began = time.perf_counter()
            reply = await ask(turn)
            waits[what if reply.is_success else f"{what} {reply.status_code}"].append(
                time.perf_counter() - began
            )
            await asyncio.sleep(PAUSE)

    def change(person: int) -> Callable[[int], Awaitable[httpx.Response]]:
        return lambda turn: client.patch(
            f"/v1/customers/c-{(person * 7919 + turn * 104_729) % customers}",
            json={"properties": {"turn": turn}},
        )

    others = [asyncio.create_task(again("PATCH", change(person))) for person in range(patches)]
    others.append(
        asyncio.create_task(again("assign", lambda _: client.post("/v1/pools/beside/assignments", json={})))
    )
    others.append(asyncio.create_task(again("ready", lambda _: client.get("/health/ready"))))
    await act()
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    return waits


def _told(waited: list[float]) -> str:
    if not waited:
        return "none"
    ordered = sorted(waited)
    return f"{len(ordered)} times, p50 {ordered[len(ordered) // 2] * 1000:.0f} ms, max {ordered[-1] * 1000:.0f} ms"


if __name__ == "__main__":
    main()
