"""Told to stop, or to restart, the service breaks no connection and loses nothing."""

import asyncio
import signal
import socket
import time

import httpx

from app.platform.postgres.server import LocalPostgres
from tests.chaos.load import Told, assign_until
from tests.factories import KEY, fill
from tests.service import Service
from tests.worker import eventually


async def test_every_process_is_replaced_under_load_and_no_request_fails():
    with Service(workers=2) as service:
        await _fill(service, "p", 20_000)
        told, done = Told(), asyncio.Event()
        callers = [
            asyncio.create_task(assign_until(done, lambda: service.url, "p", told, keep_alive=n % 2 == 0))
            for n in range(8)
        ]
        before = {process.pid for process in (*service.web(), *service.jobs())}
        assert len(before) == 3
        service.process.send_signal(signal.SIGHUP)
        await eventually(lambda: "every process was replaced" in service.log.read_text(), 90)
        await asyncio.sleep(0.5)
        done.set()
        await asyncio.gather(*callers)
        await eventually(lambda: len({*service.web(), *service.jobs()}) == 3, 30)
        assert not before & {process.pid for process in (*service.web(), *service.jobs())}
        assert (told.broken, set(told.statuses)) == ([], {201})
        assert len(set(told.codes.values())) == len(told.codes) > 100
        assert service.run("check").returncode == 0


async def test_a_stop_goes_by_stages_and_tells_everybody():
    with Service(workers=1, VOUCHERS_DRAIN_SECONDS="2", VOUCHERS_STOP_SECONDS="12") as service:
        await _fill(service, "p", 20_000)
        stuck = _stuck_upload(service)
        async with service.client() as client:
            batch = asyncio.create_task(_batch(client))
            await asyncio.sleep(0.2)
            began = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            await eventually(lambda: _status(service, "/health/ready", 503), 1.5)
            # It is not ready, and serves all the same: a proxy may not have noticed yet.
            reply = await client.post("/v1/pools/p/assignments", json={}, headers={"Idempotency-Key": "late"})
            assert (reply.status_code, reply.headers["connection"]) == (201, "close")
            items = await batch
            told = (await asyncio.to_thread(stuck.recv, 65536)).decode()
            await asyncio.to_thread(service.process.communicate, timeout=20)
            assert service.process.returncode == 0
            seconds = time.monotonic() - began
        stuck.close()
        assert len(items) == 10_000
        kinds = {(item["status"], item["problem"] and item["problem"]["type"]) for item in items}
        assert kinds == {("rendered", None), ("failed", "/problems/stopping")}
        assert told.startswith("HTTP/1.1 503")
        assert "/problems/stopping" in told
        assert 2 <= seconds < 2 + 12 + 10
        service.start()
        async with service.client() as client:
            given = sum(len(item["vouchers"]) for item in items)
            counts = (await client.get("/v1/pools/p/counts")).json()
            assert counts["assigned"] == given + 1  # the one that was late; nothing is burnt
            again = await client.post("/v1/pools/p/assignments", json={}, headers={"Idempotency-Key": "late"})
            assert (again.status_code, again.json()["code"]) == (200, reply.json()["code"])


async def test_two_services_behind_a_proxy_restart_in_turn_and_no_request_fails(outside):
    settings = {"DATABASE_URL": LocalPostgres(outside).url, "VOUCHERS_DRAIN_SECONDS": "1.5"}
    with Service(workers=1, **settings) as one, Service(workers=1, **settings) as other:
        await _fill(one, "p", 20_000)
        alive = [one, other]
        turn = iter(range(1_000_000))

        def upstream() -> str:
            return alive[next(turn) % len(alive)].url

        async def look() -> None:
            """As a proxy does: send no more requests to what is not ready."""
            while True:
                ready = [each for each in (one, other) if await _status(each, "/health/ready", 200)]
                alive[:] = ready or alive
                await asyncio.sleep(0.2)

        looking = asyncio.create_task(look())
        told, done = Told(), asyncio.Event()
        callers = [
            asyncio.create_task(assign_until(done, upstream, "p", told, keep_alive=n % 2 == 0))
            for n in range(6)
        ]
        for service in (one, other):
            await asyncio.sleep(1)
            assert await asyncio.to_thread(service.stop) == 0
            await asyncio.to_thread(service.start)
            await asyncio.sleep(0.5)
        done.set()
        await asyncio.gather(*callers)
        looking.cancel()
        assert (told.broken, set(told.statuses)) == ([], {201})
        assert len(set(told.codes.values())) == len(told.codes) > 100
        assert one.run("check").returncode == 0


async def _fill(service: Service, pool: str, codes: int) -> None:
    engine = service.engine()
    await fill(engine, pool, codes)
    await engine.dispose()


async def _batch(client: httpx.AsyncClient) -> list[dict]:
    recipients = [{"customer_id": f"c{n}"} for n in range(10_000)]
    body = {
        "template": "{{ vouchers['p'].assign_available() }}" + "{% for n in range(30000) %}{% endfor %}",
        "channel": "sms",
        "recipients": recipients,
    }
    headers = {"Accept": "application/x-ndjson", "Idempotency-Key": "batch"}
    reply = await client.post("/v1/render/batch", json=body, headers=headers)
    assert reply.status_code == 200
    lines = [httpx.Response(200, text=line).json() for line in reply.text.splitlines()]
    assert [line["index"] for line in lines] == list(range(10_000))
    return lines


def _stuck_upload(service: Service) -> socket.socket:
    """A client that announces a file and sends no more of it."""
    host, port = service.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), 30)
    head = (
        f"POST /v1/pools/p/imports HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n--b\r\n"
    )
    connection.sendall(head.encode())
    return connection


async def _status(service: Service, path: str, status: int) -> bool:
    async with httpx.AsyncClient(base_url=service.url, timeout=2) as client:
        try:
            return (await client.get(path)).status_code == status
        except httpx.TransportError:
            return False
