"""Parts that are stopped, not killed: nothing closes, nothing answers."""

import asyncio
import time

import httpx
import psutil
import pytest

from tests.factories import fill
from tests.service import Service


@pytest.fixture(scope="module")
def service():
    with Service(workers=1) as running:
        yield running


async def test_a_database_that_hangs_is_a_503_within_5_seconds_and_assigns_are_back_3_seconds_after(service):
    engine = service.engine()
    await fill(engine, "p", 100)
    await engine.dispose()
    async with service.client() as client:
        assert (await client.post("/v1/pools/p/assignments", json={})).status_code == 201
        stopped = service.suspend_postgres()
        try:
            replies = await asyncio.gather(
                *(_timed(client, "POST", "/v1/pools/p/assignments") for _ in range(30)),
                *(_timed(client, "GET", "/v1/pools/p/counts") for _ in range(15)),
            )
            ready = await _timed(client, "GET", "/health/ready")  # by now no answer from before is remembered
        finally:
            for process in stopped:
                process.resume()
        resumed = time.monotonic()
        while (await client.post("/v1/pools/p/assignments", json={})).status_code != 201:
            await asyncio.sleep(0.05)
        back = time.monotonic() - resumed
        replies.append(ready)
        assert [reply.url.path for reply, _ in replies if reply.status_code != 503] == []
        assert all("Retry-After" in reply.headers for reply, _ in replies)
        assert max(seconds for _, seconds in replies) < 5
        assert back < 3
    assert service.run("check").returncode == 0


async def test_a_web_process_that_hangs_is_replaced(service):
    web = service.web()
    web[0].suspend()
    async with asyncio.timeout(30):
        while psutil.pid_exists(web[0].pid):
            await asyncio.sleep(0.2)
        while not await _is_ready(service):
            await asyncio.sleep(0.2)


async def _is_ready(service):
    async with httpx.AsyncClient(base_url=service.url, timeout=1) as client:
        try:
            return (await client.get("/health/ready")).status_code == 200
        except httpx.TransportError:
            return False


async def _timed(client, method, path):
    started = time.monotonic()
    reply = await client.request(method, path, json={} if method == "POST" else None)
    return reply, time.monotonic() - started
