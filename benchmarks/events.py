"""Events over HTTP beside single assigns and the bare insert: `python -m benchmarks.events [--rounds 5] [--seconds 5]`.

Single events of customers of their own, as a tracker sends them, in turns with single assigns; then 1,000 a request by
four clients, without a code and each redeeming one, in turns with the insert of the same rows on one connection.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator

import httpx
import orjson
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.customers.events import NewEvent, add_events
from app.platform.database import transaction
from benchmarks import goals, harness, load
from tests.factories import KEY
from tests.service import Service

CONNECTIONS = 64
CLIENTS = 4
EVENTS = 1000
POOL = "used"
URL, ASSIGN = "/v1/events", "/v1/pools/codes/assignments"
JSON = {"Content-Type": "application/json"}
SINGLE = '{"events":[{"customer_id":"CUSTOMER","event_type":"visit","properties":{"page":"/spring"}}]}'
MAPPING = {"mappings": [{"event_type": "purchase", "property": "voucher_code"}]}
numbers = itertools.count()


def main() -> None:
    """Measure and print."""
    rounds, seconds = harness.rounds_and_seconds(__doc__)
    with harness.service(workers=2) as service:
        used = (rounds + 1) * seconds * 15_000  # one to warm up
        harness.import_pool(service, "codes", used)
        harness.import_pool(service, POOL, used)
        codes = _given(service, used)
        with service_client(service) as client:
            client.put("/v1/redemption-mapping", json=MAPPING).raise_for_status()
        drive = _single(service, seconds)
        measures: dict[str, Callable[[], float]] = {
            "events": lambda: drive(URL, SINGLE),
            "assigns": lambda: drive(ASSIGN, '{"customer_id":"CUSTOMER"}'),
            "inserted": lambda: harness.on(service, lambda engine: _inserted(engine, seconds)),
            "many": lambda: asyncio.run(_many(service, seconds, _visits)),
            "redeeming": lambda: asyncio.run(_many(service, seconds, lambda n: _purchases(codes, n))),
        }
        measures["events"](), measures["assigns"]()  # warm
        turns = [{name: measure() for name, measure in measures.items()} for _ in range(rounds)]
        each = {name: [turn[name] for turn in turns] for name in measures}
        of = {name: harness.median(rates) for name, rates in each.items()}
        print(f"{harness.machine()}; load by {load.tool()}; medians of {rounds} interleaved rounds\n")
        print(
            goals.table(
                goals.row("event", each["events"], each["assigns"]),
                goals.row("events", each["many"], each["inserted"]),
                goals.row("redeeming", each["redeeming"], each["many"]),
            )
        )
        rows = [
            [
                f"single events, {CONNECTIONS} connections",
                of["events"],
                of["events"] / of["assigns"],
                "single assigns",
            ],
            [
                f"{EVENTS:,} events a request, {CLIENTS} clients",
                of["many"],
                of["many"] / of["inserted"],
                "the insert",
            ],
            [
                "the same, each redeeming a code",
                of["redeeming"],
                of["redeeming"] / of["many"],
                "not redeeming",
            ],
            ["single assigns", of["assigns"], 1.0, ""],
            [f"the insert of {EVENTS:,} events on one connection", of["inserted"], 1.0, ""],
        ]
        print(harness.table(["", "per second", "ratio", "against"], rows))
        print("\n" + harness.books_agree(service))


def service_client(service: Service) -> httpx.Client:
    """Talk to the service."""
    return httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)


def _single(service: Service, seconds: int) -> Callable[[str, str], float]:
    def drive(path: str, body: str) -> float:
        done = load.post(f"{service.url}{path}", KEY, body, connections=CONNECTIONS, seconds=seconds)
        if done.failed:
            raise RuntimeError(f"{done.failed} requests to {path} failed")
        return done.per_second

    return drive


def _given(service: Service, n: int) -> Iterator[tuple[str, str]]:
    """Assign codes, each to a customer of its own; yield customer and code."""
    given = []
    with service_client(service) as client:
        for start in range(0, n, EVENTS):
            items = [{"customer_id": f"u-{start + place}"} for place in range(EVENTS)]
            reply = client.post(
                f"/v1/pools/{POOL}/assignments/batch", json={"items": items}
            ).raise_for_status()
            given += [(f"u-{start + item['index']}", item["code"]) for item in reply.json()["items"]]
    return iter(given)


def _visits(n: int) -> list[dict[str, object]]:
    return [
        {"customer_id": f"v-{next(numbers)}", "event_type": "visit", "properties": {"page": "/spring"}}
        for _ in range(n)
    ]


def _purchases(codes: Iterator[tuple[str, str]], n: int) -> list[dict[str, object]]:
    return [
        {"customer_id": customer, "event_type": "purchase", "properties": {"voucher_code": code}}
        for customer, code in itertools.islice(codes, n)
    ]


async def _many(service: Service, seconds: float, make: Callable[[int], list[dict[str, object]]]) -> float:
    """Events per second that a few clients have stored."""
    stored = 0
    started = time.perf_counter()

    async def client() -> None:
        nonlocal stored
        async with service.client() as http:
            while time.perf_counter() - started < seconds:
                body = orjson.dumps({"events": make(EVENTS)})
                reply = (await http.post(URL, content=body, headers=JSON)).raise_for_status()
                stored += orjson.loads(reply.content)["accepted"]

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return stored / (time.perf_counter() - started)


async def _inserted(engine: AsyncEngine, seconds: float) -> float:
    """Events per second that one connection stores by the service's own statement, a commit each time."""
    stored = 0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        events = {
            id_: NewEvent(id_, f"i-{stored}-{place}", "visit", {"page": "/spring"})
            for place, id_ in enumerate(f"i-{next(numbers)}" for _ in range(EVENTS))
        }
        async with transaction(engine) as connection:
            stored += len(await add_events(connection, events))
    return stored / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
