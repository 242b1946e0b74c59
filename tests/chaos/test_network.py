"""A network between the service and its database that is slow, or swallows everything."""

import asyncio
import re
import time
import uuid

import httpx

from tests.chaos.between import Network
from tests.chaos.load import Told, assign_until
from tests.chaos.promises import LONG
from tests.factories import fill
from tests.service import Service
from tests.worker import eventually

OUTAGE_SECONDS = 64 if LONG else 6
BODIES = {
    "/v1/pools/{pool}/assignments": {},
    "/v1/pools/{pool}/assignments/batch": {"items": [{}]},
    "/v1/render": {"template": "{{ vouchers['p'].assign_available() }}", "channel": "sms"},
    "/v1/pools/{pool}/imports": {"source": {"type": "text", "text": "code\nx-1\n"}},
    "/v1/events": {"events": [{"customer_id": "c", "event_type": "purchase", "properties": {}}]},
    "/v1/vouchers/{code}/redemptions": {},
}


async def test_a_database_behind_a_slow_network_serves_and_behind_a_black_hole_is_told(outside):
    async with Network(outside / "run" / ".s.PGSQL.5432") as network:
        url = f"postgresql://vouchers@127.0.0.1:{network.port}/vouchers"
        service = Service(workers=1, DATABASE_URL=url)
        try:
            await asyncio.to_thread(service.start)
            engine = service.engine()
            await fill(engine, "p", 20_000)
            await engine.dispose()
            async with service.client() as client:
                await _slow(client, network)
                await _black_hole(client, network, service)
            assert (await asyncio.to_thread(service.run, "check")).returncode == 0
        finally:
            await asyncio.to_thread(service.__exit__)


async def _slow(client: httpx.AsyncClient, network: Network) -> None:
    network.latency = 0.1  # each way
    replies = await asyncio.gather(*(client.post("/v1/pools/p/assignments", json={}) for _ in range(50)))
    assert {reply.status_code for reply in replies} == {201}
    letter = BODIES["/v1/render"]
    replies = [await client.post("/v1/render", json={**letter, "message_id": f"m{n}"}) for n in range(3)]
    assert {reply.status_code for reply in replies} == {200}
    assert (await client.get("/health/ready")).status_code == 200
    network.latency = 0.0


async def _black_hole(client: httpx.AsyncClient, network: Network, service: Service) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    gets = [path for path, methods in paths.items() if "get" in methods and path.startswith("/v1/")]
    told, done = Told(), asyncio.Event()
    callers = [asyncio.create_task(assign_until(done, lambda: service.url, "p", told)) for _ in range(4)]
    await eventually(lambda: len(told.codes) > 20, 60)
    network.swallow()
    began = time.monotonic()
    await asyncio.sleep(0.1)
    replies = [
        *await asyncio.gather(*(_timed(client, "GET", path) for path in gets)),
        *await asyncio.gather(*(_timed(client, "POST", path, body) for path, body in BODIES.items())),
    ]
    ready = await _timed(client, "GET", "/health/ready")
    await asyncio.sleep(max(0.0, began + OUTAGE_SECONDS - time.monotonic()))
    network.heal()
    healed, before = time.monotonic(), len(told.codes)
    await eventually(lambda: len(told.codes) > before, 20)
    back = time.monotonic() - healed
    done.set()
    await asyncio.gather(*callers)
    # A path may be refused for what it is before the database is asked.
    odd = [(path, status) for path, status, _, _ in replies if status not in {503, 403, 404, 405, 422}]
    assert odd == []
    assert sum(status == 503 for _, status, _, _ in replies) > 20
    assert all(retry for _, status, _, retry in [*replies, ready] if status == 503)
    assert [(path, seconds) for path, _, seconds, _ in [*replies, ready] if seconds >= 5] == []
    assert ready[1] == 503
    assert back < 3
    assert (told.broken, set(told.statuses)) == ([], {201, 503})
    assert len(set(told.codes.values())) == len(told.codes)


async def _timed(
    client: httpx.AsyncClient, method: str, path: str, body: dict | None = None
) -> tuple[str, int, float, bool]:
    filled = path.replace("{pool}", "p").replace("{code}", "p-000001")
    filled = re.sub(r"\{\w*id\}", str(uuid.uuid4()), filled)
    began = time.monotonic()
    reply = await client.request(method, re.sub(r"\{[^}]+\}", "x", filled), json=body)
    return path, reply.status_code, time.monotonic() - began, "Retry-After" in reply.headers
