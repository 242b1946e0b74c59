import asyncio
import time

from sqlalchemy import text

from app.domain.holds import service
from app.platform.database import autocommit
from tests.factories import fill

URL = "/v1/pools/p/holds"
ASSIGN = "/v1/pools/p/assignments"


async def hold(client, campaign_id="spring", count=1, **more):
    return await client.post(URL, json={"campaign_id": campaign_id, "count": count} | more)


async def draw(client, campaign_id=None):
    return (await client.post(ASSIGN, json={"campaign_id": campaign_id})).status_code


async def stock_holds(engine):
    async with engine.begin() as connection:
        return (await connection.execute(text("SELECT DISTINCT holds FROM stock"))).scalars().all()


async def until_somebody_waits(engine):
    """Poll until a statement waits for a lock."""
    query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    deadline = time.monotonic() + 10
    async with autocommit(engine) as connection:
        while (await connection.execute(query)).scalar_one() == 0:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


async def test_what_is_held_for_a_campaign_only_that_campaign_draws(client, engine):
    await fill(engine, "p", 5)
    made = await hold(client, count=3)
    assert made.status_code == 201
    assert (await client.get(URL)).json() == {"items": [made.json()], "free": 2}
    assert [await draw(client), await draw(client, "other")] == [201, 201]
    refused = await client.post(ASSIGN, json={"campaign_id": "other"})
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/pool-exhausted")
    assert "held" in refused.json()["detail"]
    assert [await draw(client, "spring") for _ in range(4)] == [201, 201, 201, 409]
    assert (await client.get(URL)).json()["items"][0]["drawn"] == 3


async def test_a_hold_that_is_too_large_says_how_many_are_missing_and_holds_nothing(client, engine):
    await fill(engine, "p", 5)
    await hold(client, "first", 2)
    reply = await hold(client, "second", 7)
    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/hold-too-large")
    assert (reply.json()["free"], reply.json()["missing"]) == (3, 4)
    assert (await client.get(URL)).json()["free"] == 3


async def test_a_campaign_has_one_hold_so_that_a_retry_does_not_hold_twice(client, engine):
    await fill(engine, "p", 5)
    await hold(client)
    reply = await hold(client)
    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/hold-exists")
    assert (await client.get(URL)).json()["free"] == 4


async def test_a_deleted_hold_gives_back_what_it_kept(client, engine):
    await fill(engine, "p", 2)
    made = (await hold(client, count=2)).json()
    assert await draw(client) == 409
    assert (await client.delete(f"{URL}/{made['id']}")).status_code == 204
    assert (await client.delete(f"{URL}/{made['id']}")).status_code == 404
    assert await draw(client) == 201
    assert await stock_holds(engine) == [0]


async def test_a_hold_that_has_expired_holds_nothing_and_is_swept(client, engine):
    await fill(engine, "p", 1)
    await hold(client, expires_at="2000-01-01T00:00:00Z")
    assert (await client.get(URL)).json() == {"items": [], "free": 1}
    assert await draw(client) == 201
    await service.sweep(engine)
    assert await stock_holds(engine) == [0]


async def test_a_hold_that_is_used_up_slows_nobody_down(client, engine):
    await fill(engine, "p", 3)
    await hold(client, count=1)
    assert await stock_holds(engine) == [1]
    assert await draw(client, "spring") == 201
    assert await stock_holds(engine) == [0]


async def test_a_batch_of_several_campaigns_is_given_what_each_may_draw(client, engine):
    await fill(engine, "p", 4)
    await hold(client, "spring", 2)
    await hold(client, "summer", 1)
    items = [{"campaign_id": campaign} for campaign in ("summer", None, "summer", "spring", "spring", None)]
    reply = (await client.post(f"{ASSIGN}/batch", json={"items": items})).json()
    assert reply["assigned"] == 4
    by_campaign = [item["status"] == "assigned" for item in reply["items"]]
    assert by_campaign == [True, False, True, True, True, False] or sum(by_campaign) == 4
    assert by_campaign[3:5] == [True, True]


async def test_a_hold_made_while_others_draw_is_kept_to_the_last_code(client, engine):
    await fill(engine, "p", 300)

    async def others():
        return [await draw(client) for _ in range(20)]

    drawing = [asyncio.create_task(others()) for _ in range(20)]
    made = await hold(client, "spring", 100)
    assert made.status_code == 201
    outcomes = [status for task in drawing for status in await task]
    assert outcomes.count(201) == 200
    assert outcomes.count(409) == 200
    assert [await draw(client, "spring") for _ in range(101)] == [201] * 100 + [409]


async def test_a_claim_that_began_before_the_hold_takes_nothing_of_it(client, engine):
    """The claim's statement is stopped where it writes the counts, and a hold is made before it goes on."""
    await fill(engine, "p", 1)
    async with engine.begin() as connection:
        await connection.execute(text("SELECT FROM stock FOR UPDATE"))
        waiting = asyncio.create_task(draw(client))
        await until_somebody_waits(engine)
        await service.create(connection, None, "p", "spring", 1, None)
    assert await waiting == 409
    assert await draw(client, "spring") == 201
