"""Events by trackers, and the same by `/v1/events`: `python -m benchmarks.trackers [--rounds 5] [--seconds 5]`.

Single events and 50 at once, of customers who are known and of those who are new, round about on one worker.
"""

import json
import statistics
from collections import defaultdict

from benchmarks import harness, load
from tests.factories import KEY

BATCH = 50
CONNECTIONS = 8
TRACK = "/track/v2/projects/default"


def main() -> None:
    """Measure and print."""
    rounds, seconds = harness.rounds_and_seconds(__doc__)
    rates: dict[tuple[str, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with harness.service(1) as service:
        for _ in range(rounds):
            for customers in ("known", "new"):
                for n in (1, BATCH):
                    for way, (path, body) in _ways(customers, n).items():
                        done = load.post(
                            service.url + path, KEY, body, connections=CONNECTIONS, seconds=seconds
                        )
                        if done.failed:
                            raise RuntimeError(f"{done.failed} requests to {path} failed")
                        rates[customers, n][way].append(done.per_second * n)
        print(harness.machine())
        print(harness.books_agree(service))
    rows = []
    for (customers, n), by_way in rates.items():
        ours, api = (statistics.median(by_way[way]) for way in ("trackers", "api"))
        rows.append((f"{n} at once, {customers} customers", ours, api, ours / api))
    print(harness.table(("events", "trackers, a second", "/v1/events, a second", "ratio"), rows))


def _ways(customers: str, n: int) -> dict[str, tuple[str, str]]:
    """Return path and body of each way; CUSTOMER becomes another text in each request."""
    who = [f"CUSTOMER-{place}" if customers == "new" else f"c-{place}" for place in range(n)]
    event = {"event_type": "visit", "timestamp": 1767225600.5, "properties": {"page": "/CUSTOMER", "n": 1}}
    api = {"events": [{"customer_id": id_, **event} for id_ in who]}
    tracked = [{"customer_ids": {"registered": id_}, **event} for id_ in who]
    batch = {"commands": [{"name": "customers/events", "data": each} for each in tracked]}
    return {
        "api": ("/v1/events", json.dumps(api)),
        "trackers": (f"{TRACK}/customers/events", json.dumps(tracked[0]))
        if n == 1
        else (f"{TRACK}/batch", json.dumps(batch)),
    }


if __name__ == "__main__":
    main()
