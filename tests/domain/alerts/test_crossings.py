"""What is written down and put on its way when a count falls to a threshold; no worker runs here."""

import asyncio

from sqlalchemy import text

from app.domain.alerts import service
from app.domain.lifecycle.thresholds import note_fallen
from app.platform.database import transaction
from tests.factories import COUNT, fill

URL = "/v1/pools/p/alerts"
HOOK = "https://example.com/hook"


async def set_alerts(client, *thresholds, **more):
    reply = await client.put(URL, json={"thresholds": thresholds, "webhook_url": HOOK, **more})
    assert reply.status_code == 200


async def assign(client, n):
    reply = await client.post("/v1/pools/p/assignments/batch", json={"items": [{}] * n})
    assert reply.json()["assigned"] == n


async def sweep(engine):
    async with transaction(engine) as connection:
        await service.notify_crossed(connection)


async def sent(client):
    """What was put on its way, oldest first: the threshold, or what else it is about."""
    items = (await client.get(f"{URL}/deliveries")).json()["items"]
    return [(item["event"], item["payload"]["data"].get("threshold")) for item in items[::-1]]


async def armed(client):
    return [state["threshold"] for state in (await client.get(URL)).json()["states"] if state["armed"]]


async def restock(engine, n):
    async with transaction(engine) as connection:
        pool_id = (await connection.execute(text("SELECT id FROM pool"))).scalar_one()
        await note_fallen(connection, [pool_id])
        await connection.execute(COUNT, {"pool_id": pool_id, "n": n})


async def test_each_threshold_is_told_once(client, engine):
    await fill(engine, "p", 10)
    await set_alerts(client, 8, 3, 0)
    for n, expected in ((1, []), (1, [8]), (1, [8]), (4, [8, 3]), (3, [8, 3, 0])):
        await assign(client, n)
        await sweep(engine)
        assert [threshold for _, threshold in await sent(client)] == expected
    assert [event for event, _ in await sent(client)] == ["pool.low", "pool.low", "pool.exhausted"]


async def test_a_count_that_is_less_than_what_is_held_is_told_as_none(client, engine):
    codes = await fill(engine, "p", 5)
    held = await client.post("/v1/pools/p/holds", json={"campaign_id": "spring", "count": 3})
    assert held.status_code == 201
    await set_alerts(client, 1)
    for code in codes[:4]:
        assert (await client.post(f"/v1/vouchers/{code}/void")).status_code == 200
    await set_alerts(client, 1, 0)  # one that is new is told at once
    await sweep(engine)
    assert sorted(await sent(client)) == [("pool.exhausted", 0), ("pool.low", 1)]
    items = (await client.get(f"{URL}/deliveries")).json()["items"]
    assert [item["payload"]["data"]["available"] for item in items] == [0, 0]
    assert {state["available"] for state in (await client.get(URL)).json()["states"]} == {0}


async def test_thresholds_that_one_batch_crosses_are_told_each(client, engine):
    await fill(engine, "p", 10)
    await set_alerts(client, 8, 3, 0)
    await assign(client, 10)
    await sweep(engine)
    assert sorted(threshold for _, threshold in await sent(client)) == [0, 3, 8]


async def test_a_restocked_pool_is_told_again(client, engine):
    await fill(engine, "p", 10)
    await set_alerts(client, 8)
    await assign(client, 5)
    await sweep(engine)
    assert await armed(client) == []
    await restock(engine, 5)
    await sweep(engine)
    assert await armed(client) == [8]
    await assign(client, 4)
    await sweep(engine)
    assert await sent(client) == [("pool.low", 8)] * 2


async def test_a_released_code_arms_the_threshold_again(client, engine):
    await fill(engine, "p", 3)
    await set_alerts(client, 2)
    for told in (1, 2):
        given = (await client.post("/v1/pools/p/assignments", json={})).json()
        await sweep(engine)
        assert await sent(client) == [("pool.low", 2)] * told
        assert (await client.post(f"/v1/assignments/{given['id']}/release")).status_code == 200
        await sweep(engine)
        assert await armed(client) == [2]


async def test_a_count_that_fell_and_rose_while_no_worker_ran_is_told(client, engine):
    await fill(engine, "p", 10)
    await set_alerts(client, 8, 2)
    await assign(client, 5)
    await restock(engine, 20)
    await sweep(engine)
    assert await sent(client) == [("pool.low", 8)]
    await sweep(engine)
    assert await armed(client) == [8, 2]


async def test_a_claim_that_is_undone_tells_nothing(client, engine):
    await fill(engine, "p", 10)
    await set_alerts(client, 8)
    reply = await client.post("/v1/pools/p/assignments/batch", json={"items": [{}] * 11, "atomic": True})
    assert reply.status_code == 409
    await sweep(engine)
    assert await sent(client) == []
    assert await armed(client) == [8]


async def test_what_falls_without_a_claim_is_told(client, engine):
    await fill(engine, "p", 10)
    await set_alerts(client, 8)
    await restock(engine, -5)
    await sweep(engine)
    assert await sent(client) == [("pool.low", 8)]


async def test_sweeps_at_once_tell_once(client, engine):
    await fill(engine, "p", 10)
    await set_alerts(client, 9, 8, 7, 6, 5)
    for fall in (lambda: assign(client, 5), lambda: restock(engine, -5)):
        await fall()
        await asyncio.gather(*(sweep(engine) for _ in range(8)))
        await sweep(engine)
        assert sorted(threshold for _, threshold in await sent(client)) == [5, 6, 7, 8, 9]


async def test_a_threshold_that_stays_keeps_its_state(client, engine):
    await fill(engine, "p", 10)
    await set_alerts(client, 8, 2)
    await assign(client, 3)
    await set_alerts(client, 8, 1)
    await sweep(engine)
    assert await sent(client) == [("pool.low", 8)]
    assert await armed(client) == [1]


async def test_codes_that_expire_soon_are_told_once_and_again_when_there_are_new_ones(client, engine):
    await fill(engine, "p", 10)
    await set_alerts(client, 0, expiring_within_days=7)

    async def expire(code, days):
        async with transaction(engine) as connection:
            await connection.execute(
                text(
                    "UPDATE voucher SET expires_at = now() + make_interval(days => :days) WHERE code = :code"
                ),
                {"code": code, "days": days},
            )

    async def look():
        async with transaction(engine) as connection:
            await service.notify_expiring(connection)
        return [event for event, _ in await sent(client)]

    await expire("p-000001", 8)
    assert await look() == []
    await expire("p-000002", 6)
    await asyncio.gather(*(look() for _ in range(4)))
    assert await look() == ["pool.expiring_soon"]
    item = (await client.get(f"{URL}/deliveries")).json()["items"][0]
    assert item["payload"]["data"].items() >= {"pool": "p", "within_days": 7, "expiring": 1}.items()
    await expire("p-000002", 9)
    assert await look() == ["pool.expiring_soon"]
    await expire("p-000003", 1)
    assert await look() == ["pool.expiring_soon"] * 2


async def test_a_schedule_that_gave_up_is_told_once_each_time(client, engine):
    await fill(engine, "p", 10)
    source = {"type": "url", "url": "https://example.org/codes.csv"}
    made = await client.post(
        "/v1/import-schedules", json={"pool": "p", "source": source, "cron": "0 6 * * *"}
    )

    async def give_up():
        async with transaction(engine) as connection:
            await connection.execute(
                text("UPDATE import_schedule SET gave_up_at = now(), told_at = NULL, error = 'answered 503'")
            )

    async def look():
        async with transaction(engine) as connection:
            await service.notify_failed_schedules(connection)
        return [event for event, _ in await sent(client)]

    await give_up()
    await set_alerts(client, 0)
    await asyncio.gather(*(look() for _ in range(4)))
    assert await look() == ["schedule.failed"]
    item = (await client.get(f"{URL}/deliveries")).json()["items"][0]
    assert item["payload"]["type"] == "schedule.failed"
    told = {"pool": "p", "schedule_id": made.json()["id"], "error": "answered 503"}
    assert item["payload"]["data"].items() >= told.items()
    await give_up()
    await look()
    assert await look() == ["schedule.failed"] * 2
