"""The promises under real processes, real commits and real kills."""

import asyncio
import itertools
import json

import httpx
import pytest

from tests.factories import KEY, fill
from tests.service import Service


@pytest.fixture(scope="module")
def service():
    with Service(workers=2) as running:
        yield running


async def test_32_clients_empty_a_pool_of_5000_over_two_processes(service):
    engine = service.engine()
    codes = await fill(engine, "rush", 5000)
    await engine.dispose()
    given: list[str] = []
    ends: list[str] = []

    async def draw_until_the_end(client: httpx.AsyncClient) -> None:
        while True:
            reply = await client.post("/v1/pools/rush/assignments", json={})
            if reply.status_code == 201:
                given.append(reply.json()["code"])
            elif reply.json()["type"] == "/problems/pool-busy":
                continue
            else:
                ends.append(reply.json()["type"])
                return

    clients = [service.client() for _ in range(32)]
    await asyncio.gather(*(draw_until_the_end(client) for client in clients))
    counts = (await clients[0].get("/v1/pools/rush/counts")).json()
    for client in clients:
        await client.aclose()

    assert len(given) == 5000
    assert set(given) == set(codes)
    assert ends == ["/problems/pool-exhausted"] * 32
    assert (counts["available"], counts["assigned"], counts["total"]) == (0, 5000, 5000)
    assert service.run("check").returncode == 0


async def test_one_key_sent_by_50_clients_over_two_processes_is_one_assignment(service):
    engine = service.engine()
    await fill(engine, "once", 100)
    await engine.dispose()
    clients = [service.client() for _ in range(50)]
    replies = await asyncio.gather(
        *(
            client.post("/v1/pools/once/assignments", json={}, headers={"Idempotency-Key": "order-7"})
            for client in clients
        )
    )
    counts = (await clients[0].get("/v1/pools/once/counts")).json()
    for client in clients:
        await client.aclose()
    assert sorted(reply.status_code for reply in replies) == [200] * 49 + [201]
    assert len({reply.json()["code"] for reply in replies}) == 1
    assert counts["assigned"] == 1


async def test_the_database_killed_in_mid_load_loses_nothing_that_was_acknowledged(service):
    """Only PostgreSQL dies: the service starts it again by itself, and answers 503 meanwhile."""
    engine = service.engine()
    await fill(engine, "phoenix", 20_000)
    await engine.dispose()
    acknowledged: dict[str, str] = {}
    refused: set[int] = set()
    done = asyncio.Event()
    numbers = itertools.count()

    async def draw(client: httpx.AsyncClient) -> None:
        while not done.is_set():
            key = f"k{next(numbers)}"
            reply = await client.post(
                "/v1/pools/phoenix/assignments", json={}, headers={"Idempotency-Key": key}
            )
            if reply.status_code == 201:
                acknowledged[key] = reply.json()["code"]
            else:
                refused.add(reply.status_code)

    async def revived() -> None:
        async with service.client() as client:
            while (await client.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.05)

    clients = [service.client() for _ in range(16)]
    tasks = [asyncio.create_task(draw(client)) for client in clients]
    await _until(lambda: len(acknowledged) > 500)
    for process in service.postgres():
        process.kill()
    before = len(acknowledged)
    await _until(lambda: len(acknowledged) > before + 500)
    await revived()
    done.set()
    await asyncio.gather(*tasks)
    replays = await asyncio.gather(
        *(_replayed(clients[n % 16], "phoenix", key) for n, key in enumerate(list(acknowledged)[:1000]))
    )
    for client in clients:
        await client.aclose()
    assert refused <= {503}
    assert len(set(acknowledged.values())) == len(acknowledged)
    assert [reply.json()["code"] for reply in replays] == list(acknowledged.values())[:1000]


async def test_kill_9_of_everything_under_load_loses_nothing_that_was_acknowledged(record_property):
    with Service(workers=2) as service:
        engine = service.engine()
        await fill(engine, "p", 50_000)
        await engine.dispose()
        acknowledged: dict[str, str] = {}
        numbers = itertools.count()

        async def draw(client: httpx.AsyncClient) -> None:
            while True:
                key = f"k{next(numbers)}"
                try:
                    reply = await client.post(
                        "/v1/pools/p/assignments", json={"customer_id": key}, headers={"Idempotency-Key": key}
                    )
                except httpx.TransportError:
                    return
                acknowledged[key] = reply.json()["code"]

        clients = [service.client() for _ in range(16)]
        tasks = [asyncio.create_task(draw(client)) for client in clients]
        await _until(lambda: len(acknowledged) > 1000)
        await asyncio.to_thread(service.kill)
        await asyncio.gather(*tasks)
        for client in clients:
            await client.aclose()

        await asyncio.to_thread(service.start)
        record_property("seconds to ready", service.seconds_to_ready)
        async with service.client() as client:
            for key, code in list(acknowledged.items())[-200:]:
                reply = await client.post(
                    "/v1/pools/p/assignments", json={"customer_id": key}, headers={"Idempotency-Key": key}
                )
                assert (reply.status_code, reply.json()["code"]) == (200, code)
            counts = (await client.get("/v1/pools/p/counts")).json()
        assert len(set(acknowledged.values())) == len(acknowledged) <= counts["assigned"]
        check = service.run("check")
        assert check.returncode == 0, check.stdout


def test_sigterm_stops_the_service_and_its_database():
    with Service(workers=1) as service:
        assert service.postgres()
        assert service.stop() == 0
        assert not service.postgres()


async def test_logs_have_the_request_id_and_neither_code_nor_key():
    with Service(workers=1, VOUCHERS_LOG_LEVEL="INFO") as service:
        engine = service.engine()
        await fill(engine, "p", ["SECRET-1"])
        await engine.dispose()
        async with service.client() as client:
            for path in ("/v1/vouchers/SECRET-1", "/v1/pools/p/vouchers"):
                assert "SECRET-1" in (await client.get(path, headers={"X-Request-ID": "req-7"})).text
            await client.post("/v1/pools/p/assignments", json={})
        await asyncio.to_thread(service.stop)
        said = service.log.read_text()
    lines = [json.loads(line) for line in said.splitlines()]
    assert {"req-7"} < {line.get("request_id") for line in lines}
    assert "/v1/pools/{pool}/assignments" in {line.get("route") for line in lines}
    assert "SECRET" not in said
    assert KEY not in said


async def _replayed(client: httpx.AsyncClient, pool: str, key: str) -> httpx.Response:
    """The answer to a key that came before, asked for again while the service says that it is too busy."""
    async with asyncio.timeout(30):
        while True:
            reply = await client.post(
                f"/v1/pools/{pool}/assignments", json={}, headers={"Idempotency-Key": key}
            )
            if reply.status_code != 503:
                return reply
            await asyncio.sleep(float(reply.headers["Retry-After"]))


async def _until(condition) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)
