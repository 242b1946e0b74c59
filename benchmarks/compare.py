"""This checkout against another one, in one run: `python -m benchmarks.compare OTHER [--rounds 5] [--seconds 4]`.

Both services run side by side, each on a database of its own with fsync on, and are measured in turns, so that the
machine's moods fall on both. A ratio above 1 means that this checkout is faster. Of two services of one checkout the
one that was started first may be some per cent slower: judge small differences by a run of each order
(`--other-first`).
"""

import argparse
import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import httpx
import orjson

from benchmarks import harness, load
from tests.factories import KEY
from tests.service import Service

HERE = Path(__file__).parent.parent
CONNECTIONS = 64
ITEMS = 1000
RECIPIENTS = 2000
CLIENTS = 4
SINGLE = orjson.dumps({"customer_id": "c-1", "campaign_id": "spring"}).decode()
MESSAGE = {
    "template": "<p>Dear {{ customer.first_name }}, {{ vouchers['codes'].assign_available() }} is yours.</p>",
    "channel": "email",
    "mode": "send",
    "campaign_id": "spring",
}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("other", type=Path, help="folder of the other checkout")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=4)
    options.add_argument("--codes", type=int, default=1_500_000, help="codes in the pool that is drawn from")
    options.add_argument("--import-rows", type=int, default=300_000)
    options.add_argument("--other-first", action="store_true", help="start the other one first")
    arguments = options.parse_args()
    folders = {"this": HERE, "other": arguments.other.resolve()}
    names = sorted(folders, reverse=not arguments.other_first)
    with of(folders[names[0]]) as first, of(folders[names[1]]) as second:
        both = dict(zip(names, (first, second), strict=True))
        for service in both.values():
            upload(service, "codes", arguments.codes)
        found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for number in range(arguments.rounds):
            for what, measure in measures(arguments.seconds, arguments.import_rows, number).items():
                turns = list(both.items())
                for name, service in turns if number % 2 else reversed(turns):
                    found[what][name].append(measure(service))
        rows = []
        for what, by_name in found.items():
            here, there = harness.median(by_name["this"]), harness.median(by_name["other"])
            each = [a / b for a, b in zip(by_name["this"], by_name["other"], strict=True)]
            rows.append([what, here, there, here / there, f"{min(each):.2f} to {max(each):.2f}"])
        print(f"{harness.machine()}; load by {load.tool()}; medians of {arguments.rounds} rounds in turns\n")
        print(harness.table(["per second", "this", "other", "this : other", "by round"], rows))
        for name, service in both.items():
            print(f"\n{name}: {harness.books_agree(service)}")


def of(folder: Path) -> Service:
    """Return the service of a checkout, to be started."""
    path = os.pathsep.join([str(folder), str(HERE)])
    return Service(workers=2, PYTHONPATH=path, VOUCHERS_LOG_LEVEL="INFO", folder=folder)


def measures(seconds: float, rows: int, number: int) -> dict[str, Callable[[Service], float]]:
    """Return what is measured of a service, each as a rate."""
    return {
        "single assigns": lambda service: (
            load.post(
                f"{service.url}/v1/pools/codes/assignments",
                KEY,
                SINGLE,
                connections=CONNECTIONS,
                seconds=seconds,
            ).per_second
        ),
        f"bulk assigns, {ITEMS:,} a request": lambda service: asyncio.run(bulk(service, seconds)),
        "single renders": lambda service: (
            load.post(
                f"{service.url}/v1/render",
                KEY,
                orjson.dumps(MESSAGE | {"customer": {"first_name": "Ada"}}).decode(),
                connections=CONNECTIONS,
                seconds=seconds,
            ).per_second
        ),
        f"messages of a batch of {RECIPIENTS:,}": batch,
        f"codes of an import of {rows:,}": lambda service: upload(service, f"import-{number}", rows),
    }


async def bulk(service: Service, seconds: float) -> float:
    """Return the codes per second that a few clients get by bulk requests."""
    body = orjson.dumps({"items": [{"customer_id": "c-1"}] * ITEMS})
    given = 0
    started = time.perf_counter()

    async def client() -> None:
        nonlocal given
        async with service.client() as http:
            while time.perf_counter() - started < seconds:
                reply = await http.post(
                    "/v1/pools/codes/assignments/batch",
                    content=body,
                    headers={"Content-Type": "application/json"},
                )
                reply.raise_for_status()
                given += orjson.loads(reply.content)["assigned"]

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return given / (time.perf_counter() - started)


def batch(service: Service) -> float:
    """Return the messages per second of one batch."""
    recipients = [{"customer_id": f"c-{n}", "customer": {"first_name": "Ada"}} for n in range(RECIPIENTS)]
    body = MESSAGE | {"recipients": recipients}
    started = time.perf_counter()
    reply = httpx.post(f"{service.url}/v1/render/batch", json=body, headers=_headers(), timeout=120)
    seconds = time.perf_counter() - started
    reply.raise_for_status()
    if any(item["status"] != "rendered" for item in reply.json()["items"]):
        raise RuntimeError("a message was not rendered")
    return RECIPIENTS / seconds


def upload(service: Service, pool: str, rows: int) -> float:
    """Import codes by an upload; how many per second, from the first byte sent to the end of the import."""
    prefix = os.urandom(4).hex().upper()
    file = "code\n" + "".join(f"{prefix}-{n:08d}\n" for n in range(rows))
    started = time.perf_counter()
    with httpx.Client(base_url=service.url, headers=_headers(), timeout=600) as client:
        reply = client.post(f"/v1/pools/{pool}/imports", files={"file": ("codes.csv", file)})
        reply.raise_for_status()
        while (found := client.get(reply.headers["Location"]).json())["status"] not in {
            "succeeded",
            "failed",
        }:
            time.sleep(0.05)
    if found["imported"] != rows:
        raise RuntimeError(f"imported {found['imported']} of {rows}: {found['error']}")
    return rows / (time.perf_counter() - started)


def _headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {KEY}"}


if __name__ == "__main__":
    main()
