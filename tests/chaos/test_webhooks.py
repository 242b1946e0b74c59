"""A receiver that is down for a while and workers that are killed: nothing is missed, and the order stays."""

import asyncio
import random
import signal
import time

from sqlalchemy import text

from tests.factories import fill
from tests.receivers import Receiver
from tests.service import Service

SECONDS = 20
POOLS = ("p", "q")
EVENTS = ["voucher.assigned", "voucher.released", "voucher.redeemed"]


def arrived(receiver, secret):
    """The events in the order in which each came first."""
    events = [event for payload in receiver.payloads(secret) for event in payload["data"]["events"]]
    return list({event["id"]: event for event in events}.values())


async def work(client, stop):
    while not stop.is_set():
        pool = random.choice(POOLS)
        reply = await client.post(f"/v1/pools/{pool}/assignments", json={"customer_id": "c"})
        if reply.status_code != 201:  # a quick machine empties a pool: its releases go on
            await asyncio.sleep(0.05)
            continue
        row = reply.json()
        if random.random() < 0.3:
            await client.post(f"/v1/assignments/{row['id']}/release")
        elif random.random() < 0.3:
            await client.post(f"/v1/vouchers/{row['code']}/redemptions", json={})
        if random.random() < 0.05:
            await client.post(f"/v1/pools/{pool}/assignments/batch", json={"items": [{}] * 200})


async def disturb(service, receiver, until):
    """Take the receiver down and up, have it fail, and kill whoever does the jobs."""
    while time.monotonic() < until:
        await asyncio.sleep(random.uniform(1, 3))
        match random.choice(("down", "fail", "kill", "kill")):
            case "down":
                await receiver.down()
                await asyncio.sleep(random.uniform(1, 3))
                await receiver.up()
            case "fail":
                receiver.status = 500
                await asyncio.sleep(random.uniform(1, 2))
            case "kill":
                for process in service.jobs():
                    process.send_signal(signal.SIGKILL)
        receiver.status = 204


async def test_nothing_is_missed_and_the_order_stays_whatever_fails_in_between():
    receiver = Receiver()
    await receiver.up()
    setting = {"VOUCHERS_ALLOWED_HOSTS": "127.0.0.1", "VOUCHERS_ALERT_RETRY_SECONDS": "0.2"}
    with Service(workers=1, **setting) as service:
        engine = service.engine()
        for pool in POOLS:
            await fill(engine, pool, 50_000)
        async with service.client() as client:
            reply = await client.post("/v1/webhooks", json={"url": receiver.url, "events": EVENTS})
            hook = reply.json()
            stop = asyncio.Event()
            working = [asyncio.create_task(work(client, stop)) for _ in range(4)]
            await disturb(service, receiver, time.monotonic() + SECONDS)
            stop.set()
            await asyncio.gather(*working)
        async with engine.connect() as connection:
            given = (await connection.execute(text("SELECT id, pool_id FROM assignment"))).all()
            changed = (
                await connection.execute(
                    text("SELECT id FROM pool_change WHERE after IN ('available', 'redeemed')")
                )
            ).all()
        expected = {f"assignment-{row.id}" for row in given} | {f"change-{row.id}" for row in changed}
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and len(arrived(receiver, hook["secret"])) < len(expected):
            await asyncio.sleep(0.5)
        await engine.dispose()
    await receiver.down()
    events = arrived(receiver, hook["secret"])
    assert {event["id"] for event in events} == expected
    times = [event["timestamp"] for event in events]
    assert times == sorted(times, key=lambda at: at.ljust(27, "0"))
    stands = {}
    for event in events:  # of each code: given, then taken back or used, then given to the next
        code, type_ = event["data"]["code"], event["type"]
        assert stands.get(code) in ({None, "voucher.released"} if type_ == EVENTS[0] else {EVENTS[0]})
        stands[code] = type_
    print(f"\n{len(expected)} events, {len(receiver.received)} messages taken")  # noqa: T201  (the figure)
