"""One project beside a busy one: `python -m benchmarks.neighbours [--rounds 3] [--seconds 5]`.

A shop sends some 300 single assigns a second, first alone, then beside another project of the same service that does
one thing with all its might: single assigns by 64 connections, batches of 10,000 messages, an import of a million codes
at a time, and assigns from a pool whose counts somebody else keeps locked.
"""

import json
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import psycopg

from app.platform.database_url import conninfo
from benchmarks import harness, load, yardsticks
from tests.service import Service

PER_SECOND = 300
CONNECTIONS = 16
MANY = 64
IMPORTED = 1_000_000
MESSAGES = 10_000
Key = str
Load = Callable[[Service, Key, threading.Event], None]


def _assigns(service: Service, key: Key, stop: threading.Event) -> None:
    while not stop.is_set():
        url = f"{service.url}/v1/pools/codes/assignments"
        load.post(url, key, yardsticks.BODY, connections=MANY, seconds=1)


def _messages(service: Service, key: Key, stop: threading.Event) -> None:
    recipients = [{"customer_id": f"c{n}", "message_id": f"m{n}"} for n in range(MESSAGES)]
    body = {
        "template": "Dear {{ customer.name }}, {{ vouchers['codes'].assign_available() }} is yours.",
        "channel": "email",
        "mode": "test",
        "recipients": recipients,
    }
    with _client(service, key) as client:
        while not stop.is_set():
            client.post(
                "/v1/render/batch", content=json.dumps(body), headers={"Content-Type": "application/json"}
            )


def _imports(service: Service, key: Key, stop: threading.Event) -> None:
    n = 0
    with tempfile.TemporaryFile() as file, _client(service, key) as client:
        while not stop.is_set():
            n += 1
            file.seek(0)
            file.truncate()
            file.write(b"code\n")
            file.writelines(b"%d-%09d\n" % (n, number) for number in range(IMPORTED))
            file.seek(0)
            done = client.post(f"/v1/pools/imported-{n}/imports", files={"file": ("codes.csv", file)}).json()
            while done["status"] in {"queued", "running"} and not stop.wait(0.2):
                done = client.get(f"/v1/imports/{done['id']}").json()


def _locked(service: Service, key: Key, stop: threading.Event) -> None:
    with psycopg.connect(conninfo(service.database_url)) as connection:
        connection.execute(
            "SELECT FROM stock JOIN pool ON pool.id = pool_id WHERE name = 'locked' FOR UPDATE OF stock"
        )
        while not stop.is_set():
            url = f"{service.url}/v1/pools/locked/assignments"
            load.post(url, key, yardsticks.BODY, connections=MANY, seconds=1)


LOADS: dict[str, Load | None] = {
    "alone": None,
    f"single assigns by {MANY} connections": _assigns,
    f"batches of {MESSAGES:,} messages": _messages,
    f"imports of {IMPORTED:,} codes": _imports,
    f"{MANY} connections at a pool that is locked": _locked,
}


def main() -> None:
    """Measure and print."""
    rounds, seconds = harness.rounds_and_seconds(__doc__)
    with harness.service(workers=2) as service:
        ours, others = harness.on(
            service, lambda engine: harness.projects(engine, 2, rounds * seconds * 60_000)
        )
        harness.on(service, lambda engine: harness.fill_in(engine, others.id, "locked", 1000))
        url = f"{service.url}/v1/pools/codes/assignments"

        def drive(pause_ms: float) -> load.Load:
            return load.post(
                url, ours.key, yardsticks.BODY, connections=CONNECTIONS, seconds=seconds, pause_ms=pause_ms
            )

        pause_ms = load.pause_ms(PER_SECOND, CONNECTIONS, drive)
        found: defaultdict[str, list[load.Load]] = defaultdict(list)
        for _ in range(rounds):
            for name, neighbour in LOADS.items():
                with _beside(neighbour, service, others.key):
                    found[name].append(drive(pause_ms))
        alone = harness.median([each.p99_ms for each in found["alone"]])
        rows = [
            [
                name,
                harness.median([each.p50_ms for each in loads]),
                harness.median([each.p99_ms for each in loads]),
                harness.median([each.p99_ms for each in loads]) / alone,
                sum(each.failed for each in loads),
            ]
            for name, loads in found.items()
        ]
        print(f"{harness.machine()}; load by {load.tool()}; medians of {rounds} interleaved rounds\n")
        print(
            harness.table(["beside another project's", "p50, ms", "p99, ms", "p99 : alone", "failed"], rows)
        )
        print("\n" + harness.books_agree(service))


@contextmanager
def _beside(neighbour: Load | None, service: Service, key: Key) -> Iterator[None]:
    if neighbour is None:
        yield
        return
    stop = threading.Event()
    busy = threading.Thread(target=neighbour, args=(service, key, stop))
    busy.start()
    try:
        time.sleep(1)
        yield
    finally:
        stop.set()
        busy.join()


def _client(service: Service, key: Key) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=service.url, headers=headers, timeout=600)


if __name__ == "__main__":
    main()
