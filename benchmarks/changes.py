"""A bulk change beside assigns: `python -m benchmarks.changes [--codes 1000000] [--rate 500] [--rounds 3]`.

So many assigns a second are made from one pool, first alone, then while all codes of another one are made void.
"""

import argparse
import time

import httpx
import orjson

from benchmarks import harness, load
from tests.factories import KEY
from tests.service import Service

CONNECTIONS = 16
BODY = orjson.dumps({"customer_id": "CUSTOMER", "campaign_id": "spring"}).decode()
ENDED = {"succeeded", "failed", "cancelled"}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--codes", type=int, default=1_000_000)
    options.add_argument("--rate", type=int, default=500)
    options.add_argument("--rounds", type=int, default=3, help="of the assigns alone")
    options.add_argument("--seconds", type=int, default=5)
    wanted = options.parse_args()
    with harness.service(workers=2) as service:
        harness.on(service, lambda engine: harness.fill(engine, "drawn", wanted.rate * 3600))
        harness.on(service, lambda engine: harness.fill(engine, "voided", wanted.codes))
        url = f"{service.url}/v1/pools/drawn/assignments"

        def drive(pause_ms: float) -> load.Load:
            return load.post(
                url, KEY, BODY, connections=CONNECTIONS, seconds=wanted.seconds, pause_ms=pause_ms
            )

        pause = load.pause_ms(wanted.rate, CONNECTIONS, drive)
        alone = [drive(pause) for _ in range(wanted.rounds)]
        started = time.monotonic()
        change = begin(service)
        beside = []
        while (found := state(service, change))["status"] not in ENDED:
            beside.append(drive(pause))
        took = time.monotonic() - started
        print(f"{harness.machine()}; load by {load.tool()}\n")
        head = ["assigns", "a second", "p50 (ms)", "p99 (ms)", "worst p99 of a window", "failed"]
        rows = [_row("alone", alone), _row(f"beside the change of {wanted.codes:,}", beside)]
        print(harness.table(head, rows))
        ratio = _median(beside, "p99_ms") / _median(alone, "p99_ms")
        print(f"\nThe change took {took:.0f} s: {found['changed']:,} codes, {found['status']}")
        print(f"p99 of the assigns beside it: {ratio:.2f} times that of assigns alone")
        print("\n" + harness.books_agree(service))


def begin(service: Service) -> str:
    """Ask for the change; its id."""
    with _client(service) as client:
        body = {"action": "void", "filter": {"pool": "voided"}, "reason": "benchmark"}
        return str(client.post("/v1/bulk-changes", json=body).raise_for_status().json()["id"])


def state(service: Service, change: str) -> dict[str, object]:
    """Return how far the change is."""
    with _client(service) as client:
        found: dict[str, object] = client.get(f"/v1/bulk-changes/{change}").raise_for_status().json()
        return found


def _client(service: Service) -> httpx.Client:
    return httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30)


def _median(loads: list[load.Load], name: str) -> float:
    return harness.median([getattr(each, name) for each in loads])


def _row(name: str, loads: list[load.Load]) -> list[object]:
    worst = max(each.p99_ms for each in loads)
    medians = [_median(loads, figure) for figure in ("per_second", "p50_ms", "p99_ms")]
    return [name, *medians, worst, sum(each.failed for each in loads)]


if __name__ == "__main__":
    main()
