"""The clocks of the service's processes jump; the database's does not, and is the only one that counts."""

import asyncio
import os
import struct
import tempfile
from pathlib import Path

from sqlalchemy import text

from app.platform.database import transaction
from tests.factories import fill
from tests.receivers import Receiver
from tests.service import Service
from tests.worker import eventually

JUMPING = Path(__file__).parent / "jump"
HOUR, DAY = 3600.0, 86400.0
SCHEDULE = {"pool": "q", "source": {"type": "storage", "url": "file:codes.csv"}, "cron": "0 6 * * *"}


class Clock:
    """How far the clocks of the service's processes are ahead."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ahead"
        self.jump(0.0)

    def jump(self, seconds: float) -> None:
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.write(struct.pack("d", seconds))


async def test_leases_schedules_alerts_and_keys_follow_the_database_when_clocks_jump():
    with tempfile.TemporaryDirectory(prefix="vp-") as name:
        folder, receiver = Path(name), Receiver()
        (folder / "codes.csv").write_text("code\nx-1\n")
        clock = Clock(folder)
        await receiver.up()
        service = Service(
            workers=1,
            PYTHONPATH=os.pathsep.join([str(JUMPING), str(Path.cwd())]),
            VOUCHERS_TEST_CLOCK=str(clock.path),
            VOUCHERS_IMPORT_FOLDER=str(folder),
            VOUCHERS_ALLOWED_HOSTS="127.0.0.1",
            VOUCHERS_KEY_CACHE_SECONDS="1",
        )
        try:
            await asyncio.to_thread(service.start)
            async with service.client() as client:
                at = await _prepare(service, client, receiver)
                clock.jump(HOUR)
                await _an_hour_ahead(service, client, at)
                clock.jump(-DAY)
                await _a_day_behind(service, client, receiver, at)
            checked = await asyncio.to_thread(service.run, "check")
            assert checked.returncode == 0, checked.stdout
        finally:
            await asyncio.to_thread(service.__exit__)
            await receiver.down()


async def _prepare(service, client, receiver) -> dict:
    engine = service.engine()
    await fill(engine, "p", 20)
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE voucher SET expires_at = now() + interval '30 minutes'"))
    await engine.dispose()
    hook = {"thresholds": [15], "webhook_url": receiver.url}
    alerts = (await client.put("/v1/pools/p/alerts", json=hook)).json()
    schedule = await client.post("/v1/import-schedules", json=SCHEDULE)
    assert schedule.status_code == 201, schedule.text
    assert await _next_run_in(service, "30 minutes")
    held = await _reserve(client, "held", 1200)
    key = await client.post("/v1/api-keys", json={"name": "k", "scopes": ["read"]})
    return {
        "schedule": schedule.json(),
        "held": held,
        "key": key.json(),
        "secret": alerts["webhook_secret"],
    }


async def _an_hour_ahead(service, client, at) -> None:
    # A code that has not expired by the database is the one that its key was given.
    assert (await _reserve(client, "held", 1200))["code"] == at["held"]["code"]
    assert (await client.post(f"/v1/assignments/{at['held']['id']}/confirm")).status_code == 200
    fresh = await client.post("/v1/pools/p/assignments", json={"valid_for_seconds": 600})
    assert fresh.status_code == 201, fresh.text
    # Sweeps go on, and what is due by this clock alone is left.
    await _lapse(client, "ahead")
    assert await _imports(client, at) == []


async def _a_day_behind(service, client, receiver, at) -> None:
    rotated = await client.post(f"/v1/api-keys/{at['key']['id']}/rotate", json={"grace_seconds": 600})
    assert rotated.status_code == 200, rotated.text
    assert [await _status(service, each["secret"]) for each in (at["key"], rotated.json())] == [200, 200]
    assert await _next_run_in(service, "-1 second")
    took = await client.post("/v1/pools/p/assignments/batch", json={"items": [{}] * 6})
    assert took.json()["assigned"] == 6
    await asyncio.gather(
        _lapse(client, "behind"),
        eventually(lambda: _imports(client, at), 60),
        eventually(lambda: receiver.received, 60),
    )
    assert receiver.received[0].verified(at["secret"])  # the receiver minds the time of the signature
    assert (await client.delete(f"/v1/api-keys/{at['key']['id']}")).status_code == 204
    await eventually(lambda: _is_refused(service, rotated.json()["secret"]), 60)


async def _reserve(client, key: str, seconds: int) -> dict:
    body = {"lease_seconds": seconds}
    reply = await client.post("/v1/pools/p/assignments", json=body, headers={"Idempotency-Key": key})
    assert reply.status_code in {200, 201}, reply.text
    return reply.json()


async def _lapse(client, key: str) -> None:
    """A lease of a second is over, and its code is free again."""
    reserved = await _reserve(client, key, 1)

    async def is_free():
        voucher = (await client.get(f"/v1/vouchers/{reserved['code']}")).json()
        return voucher["status"] == "available"

    await eventually(is_free, 60)


async def _imports(client, at) -> list:
    found = await client.get("/v1/imports", params={"schedule_id": at["schedule"]["id"]})
    return found.json()["items"]


async def _next_run_in(service, interval: str) -> bool:
    engine = service.engine()
    async with transaction(engine) as connection:
        statement = text(
            "UPDATE import_schedule SET next_run = now() + CAST(CAST(:after AS text) AS interval)"
        )
        done = await connection.execute(statement, {"after": interval})
    await engine.dispose()
    return done.rowcount == 1


async def _status(service, secret: str) -> int:
    async with service.client() as client:
        reply = await client.get("/v1/pools", headers={"Authorization": f"Bearer {secret}"})
    return reply.status_code


async def _is_refused(service, secret: str) -> bool:
    return await _status(service, secret) == 401
