"""Events by trackers, and the same by `/v1/events`: `python -m benchmarks.trackers [--rounds 5] [--seconds 5]`.

Single events and 50 at once, of customers who are known and of those who are new. The two ways take turns request by
request, over as many connections at once, so that whatever else the machine does slows both.
"""

import http.client
import itertools
import json
import statistics
import threading
import time
from collections import defaultdict
from urllib.parse import urlsplit

from benchmarks import harness
from tests.factories import KEY

BATCH = 50
CONNECTIONS = 4
TRACK = "/track/v2/projects/default"
HEAD = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
EVENT = {"event_type": "visit", "timestamp": 1767225600.5}
numbers = itertools.count()


def main() -> None:
    """Measure and print."""
    rounds, seconds = harness.rounds_and_seconds(__doc__)
    took: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    with harness.service(1) as service:
        for _ in range(rounds):
            for customers in ("known", "new"):
                for n in (1, BATCH):
                    _at_once(service.url, customers, n, seconds, took)
        print(harness.machine())
        print(harness.books_agree(service))
    rows = []
    for customers in ("known", "new"):
        for n in (1, BATCH):
            api, ours = (took[customers, n, way] for way in ("api", "trackers"))
            ratio = statistics.median(api) / statistics.median(ours)
            told = [f"{statistics.median(each) * 1000:.2f} ms" for each in (ours, api)]
            rows.append((f"{n} at once, {customers} customers", *told, ratio, len(ours)))
    print(harness.table(("events", "trackers, p50", "/v1/events, p50", "speed", "requests"), rows))


def _at_once(
    url: str, customers: str, n: int, seconds: float, took: dict[tuple[str, int, str], list[float]]
) -> None:
    ways = [
        threading.Thread(target=_take_turns, args=(url, customers, n, seconds, took, place))
        for place in range(CONNECTIONS)
    ]
    for way in ways:
        way.start()
    for way in ways:
        way.join()


def _take_turns(
    url: str,
    customers: str,
    n: int,
    seconds: float,
    took: dict[tuple[str, int, str], list[float]],
    first: int,
) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    until = time.perf_counter() + seconds
    for turn in itertools.count(first):
        if time.perf_counter() > until:
            break
        way = ("api", "trackers")[turn % 2]
        path, body = _request(way, customers, n)
        began = time.perf_counter()
        connection.request("POST", path, body, HEAD)
        reply = connection.getresponse()
        said = reply.read()
        took[customers, n, way].append(time.perf_counter() - began)
        if reply.status != http.client.OK or b'"success":false' in said:
            raise RuntimeError(f"{path}: {reply.status} {said[:200]!r}")
    connection.close()


def _request(way: str, customers: str, n: int) -> tuple[str, str]:
    number = next(numbers)
    who = [f"n-{number}-{place}" if customers == "new" else f"c-{place}" for place in range(n)]
    event = {**EVENT, "properties": {"page": f"/{number}", "n": 1}}
    if way == "api":
        return "/v1/events", json.dumps({"events": [{"customer_id": id_, **event} for id_ in who]})
    tracked: list[dict[str, object]] = [{"customer_ids": {"registered": id_}, **event} for id_ in who]
    if n == 1:
        return f"{TRACK}/customers/events", json.dumps(tracked[0])
    commands = [{"name": "customers/events", "data": each} for each in tracked]
    return f"{TRACK}/batch", json.dumps({"commands": commands})


if __name__ == "__main__":
    main()
