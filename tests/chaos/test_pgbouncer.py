"""Behind PgBouncer in transaction mode, as Debian ships it, everything works; and a restart of it is survived."""

import asyncio
import time

import psycopg

from app.platform.connections import SESSION
from app.platform.postgres.server import LocalPostgres
from tests.chaos.between import PgBouncer
from tests.chaos.load import Told, assign_until
from tests.service import Service
from tests.worker import eventually

IMPORTED = 2000


async def test_the_service_works_behind_pgbouncer_and_outlives_its_restart(outside):
    direct = LocalPostgres(outside).url
    with (
        PgBouncer(outside / "run") as pooler,
        Service(workers=2, DATABASE_URL=pooler.url, VOUCHERS_DIRECT_DATABASE_URL=direct) as service,
    ):
        with psycopg.connect(pooler.url) as connection:
            found = {name: connection.execute(f"SHOW {name}").fetchone()[0] for name in SESSION}
        by_socket = {name: "0" for name in SESSION if name.startswith("tcp_")}  # from the pooler on
        assert found == SESSION | by_socket
        async with service.client() as client:
            text = "code\n" + "\n".join(f"p-{n}" for n in range(IMPORTED))
            reply = await client.post(
                "/v1/pools/p/imports",
                json={"source": {"type": "text", "text": text}},
                headers={"Prefer": "wait=30"},
            )
            assert (reply.status_code, reply.json()["imported"]) == (200, IMPORTED)
            given = await _everything(client)
            told, done = Told(), asyncio.Event()
            callers = [
                asyncio.create_task(assign_until(done, lambda: service.url, "p", told)) for _ in range(8)
            ]
            await eventually(lambda: len(told.codes) > 100, 60)
            assert set(told.statuses) == {201}
            pooler.stop()
            await eventually(lambda: told.statuses[503] > 8, 20)
            pooler.start()
            began, before = time.monotonic(), len(told.codes)
            await eventually(lambda: len(told.codes) > before, 20)
            assert time.monotonic() - began < 3
            done.set()
            await asyncio.gather(*callers)
            assert (told.broken, set(told.statuses)) == ([], {201, 503})
            counts = (await client.get("/v1/pools/p/counts")).json()
        assert len({*given, *told.codes.values()}) == len(given) + len(told.codes)
        assert counts["assigned"] + counts["redeemed"] >= len(given) + len(told.codes)
        assert service.run("check").returncode == 0


async def _everything(client) -> list[str]:
    """Assign, reserve, confirm, release, batches, messages, events, lists, an export; the codes that are given now."""
    replies = await asyncio.gather(
        *(client.post("/v1/pools/p/assignments", json={"customer_id": f"c{n}"}) for n in range(200))
    )
    assert {reply.status_code for reply in replies} == {201}
    given = [reply.json()["code"] for reply in replies]
    reserved = (await client.post("/v1/pools/p/assignments", json={"lease_seconds": 600})).json()
    assert (await client.post(f"/v1/assignments/{reserved['id']}/confirm")).status_code == 200
    given.append(reserved["code"])
    released = (await client.post("/v1/pools/p/assignments", json={})).json()
    assert (await client.post(f"/v1/assignments/{released['id']}/release")).status_code == 200
    items = [{"customer_id": f"b{n}"} for n in range(300)]
    batch = await client.post("/v1/pools/p/assignments/batch", json={"items": items})
    assert batch.json()["assigned"] == 300
    given += [item["code"] for item in batch.json()["items"]]
    letter = {"template": "{{ vouchers['p'].assign_available() }}", "channel": "sms"}
    for n in range(8):  # more than a driver needs to prepare a statement by itself
        reply = await client.post("/v1/render", json={**letter, "customer_id": "r", "message_id": f"m{n}"})
        assert reply.status_code == 200, reply.text
        given.append(reply.json()["rendered"])
    recipients = [{"customer_id": f"r{n}"} for n in range(300)]
    reply = await client.post("/v1/render/batch", json={**letter, "recipients": recipients})
    assert {item["status"] for item in reply.json()["items"]} == {"rendered"}
    given += [item["rendered"] for item in reply.json()["items"]]
    mapping = {"mappings": [{"event_type": "purchase", "property": "code"}]}
    assert (await client.put("/v1/redemption-mapping", json=mapping)).status_code == 200
    event = {"customer_id": "c0", "event_type": "purchase", "properties": {"code": given[0]}}
    reply = await client.post("/v1/events", json={"events": [event]})
    assert reply.json()["items"][0]["redemption"] == "redeemed"
    assert len((await client.get("/v1/pools/p/vouchers?limit=500")).json()["items"]) == 500
    exported = await client.get("/v1/pools/p/export?format=csv")
    assert len(exported.text.splitlines()) == IMPORTED + 1
    return given
