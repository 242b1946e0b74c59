import asyncio
import uuid

from sqlalchemy import text

from app.domain.alerts import service as alerts
from app.domain.assignments import service as assignments
from app.domain.holds import service
from app.domain.holds.schemas import HoldUpdate
from app.domain.lifecycle import check
from app.domain.vouchers import service as vouchers
from app.platform.database import transaction
from tests.factories import fill
from tests.waiting import until_somebody_waits

URL = "/v1/pools/p/holds"
ASSIGN = "/v1/pools/p/assignments"


async def hold(client, campaign_id="spring", count=1, **more):
    return await client.post(URL, json={"campaign_id": campaign_id, "count": count} | more)


async def draw(client, campaign_id=None):
    return (await client.post(ASSIGN, json={"campaign_id": campaign_id})).status_code


async def stock_holds(engine):
    async with engine.begin() as connection:
        return (await connection.execute(text("SELECT DISTINCT holds FROM stock"))).scalars().all()


async def test_the_holds_of_a_pool_are_listed_page_by_page(client, engine):
    await fill(engine, "p", 10)
    for campaign in ("c", "a", "b", "ä"):
        await hold(client, campaign, 2)
    listed, cursor = [], None
    for left in (True, False):
        page = (await client.get(URL, params={"limit": 2} | ({"cursor": cursor} if cursor else {}))).json()
        listed += [each["campaign_id"] for each in page["items"]]
        assert (page["free"], page["next_cursor"] is not None) == (2, left)
        cursor = page["next_cursor"]
    assert len(listed) == 4
    assert set(listed) == {"a", "b", "c", "ä"}


async def test_what_is_held_for_a_campaign_only_that_campaign_draws(client, engine):
    await fill(engine, "p", 5)
    made = await hold(client, count=3)
    assert made.status_code == 201
    assert (await client.get(URL)).json() == {"items": [made.json()], "next_cursor": None, "free": 2}
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
    assert (await hold(client, expires_at="2000-01-01T00:00:00Z")).status_code == 422
    assert (await hold(client, expires_at="2100-01-01T00:00:00Z")).status_code == 201
    assert await draw(client) == 409
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE hold SET expires_at = now() - interval '1 s'"))
    assert await stock_holds(engine) == [1]
    assert (await client.get(URL)).json() == {"items": [], "next_cursor": None, "free": 1}
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


async def test_what_nobody_saw_goes_back_to_its_hold_also_as_another_one_ends(client, engine):
    await fill(engine, "p", 3)
    await hold(client, "spring")
    other = (await hold(client, "summer")).json()
    given = (await client.post(ASSIGN, json={"campaign_id": "spring"})).json()
    async with transaction(engine) as connection:
        await assignments.release_unseen(connection, [uuid.UUID(given["id"])])
        ending = asyncio.create_task(client.delete(f"{URL}/{other['id']}"))
        await until_somebody_waits(engine)
    assert (await ending).status_code == 204
    assert await stock_holds(engine) == [1]
    assert [await draw(client) for _ in range(3)] == [201, 201, 409]
    assert await broken(engine) == []


async def drawn(client):
    return (await client.get(URL)).json()["items"][0]["drawn"]


async def broken(engine):
    async with engine.begin() as connection:
        return await check.violations(connection)


async def leases_lapse(engine):
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE assignment SET lease_until = now() - interval '1 s' WHERE lease_until IS NOT NULL")
        )
    return (await vouchers.sweep(engine))[0]


async def test_what_comes_back_comes_back_to_the_hold_that_it_was_drawn_from(client, engine):
    await fill(engine, "p", 5)
    await hold(client, count=5)
    for _ in range(3):
        await client.post(ASSIGN, json={"campaign_id": "spring", "lease_seconds": 60})
    given = [(await client.post(ASSIGN, json={"campaign_id": "spring"})).json()["id"] for _ in range(2)]
    assert (await drawn(client), await stock_holds(engine)) == (5, [0])
    for id_ in (*given, given[0]):
        assert (await client.post(f"/v1/assignments/{id_}/release")).status_code == 200
    assert (await drawn(client), await stock_holds(engine)) == (3, [1])
    assert await leases_lapse(engine) == 3
    assert await drawn(client) == 0
    assert await draw(client, "other") == 409
    assert [await draw(client, "spring") for _ in range(6)] == [201] * 5 + [409]
    assert await broken(engine) == []


async def test_what_was_drawn_beyond_the_hold_comes_back_to_all(client, engine):
    await fill(engine, "p", 4)
    await hold(client, count=2)
    given = [(await client.post(ASSIGN, json={"campaign_id": "spring"})).json()["id"] for _ in range(4)]
    for id_ in given:
        await client.post(f"/v1/assignments/{id_}/release")
    assert await drawn(client) == 0
    assert [await draw(client, "other") for _ in range(3)] == [201, 201, 409]
    assert await broken(engine) == []


async def test_a_message_draws_from_the_hold_and_what_it_gives_back_returns(client, engine):
    await fill(engine, "p", 3)
    await hold(client, count=3)
    body = {"channel": "email", "template": "{{ vouchers['p'].assign_available() }}", "campaign_id": "spring"}
    for n in range(2):
        assert (await client.post("/v1/render", json=body | {"message_id": f"m{n}"})).status_code == 200
    assert await drawn(client) == 2
    ledger = (await client.get("/v1/assignments", params={"campaign_id": "spring"})).json()["items"]
    await client.post(f"/v1/assignments/{ledger[0]['id']}/release")
    assert await drawn(client) == 1
    assert await broken(engine) == []


async def test_what_comes_back_after_its_hold_has_ended_comes_back_to_all(client, engine):
    await fill(engine, "p", 2)
    made = (await hold(client, count=2)).json()
    given = (await client.post(ASSIGN, json={"campaign_id": "spring"})).json()
    await client.delete(f"{URL}/{made['id']}")
    await hold(client, count=1)
    await client.post(f"/v1/assignments/{given['id']}/release")
    assert await drawn(client) == 0
    assert await draw(client, "other") == 201
    assert await broken(engine) == []


async def test_draws_releases_and_lapses_at_once_leave_the_holds_figures_right(client, engine):
    await fill(engine, "p", 40)
    await hold(client, "spring", 15)
    await hold(client, "summer", 10)

    async def one(n):
        body = {"campaign_id": ("spring", "summer", None)[n % 3], "lease_seconds": 60 if n % 2 else None}
        reply = await client.post(ASSIGN, json=body)
        if reply.status_code == 201 and n % 5 == 0:
            assert (await client.post(f"/v1/assignments/{reply.json()['id']}/release")).status_code == 200
        if n % 20 == 0:
            await leases_lapse(engine)

    for start in (0, 40, 80):
        await asyncio.gather(*(one(n) for n in range(start, start + 40)))
        assert await broken(engine) == []
    await leases_lapse(engine)
    assert await broken(engine) == []


async def test_what_is_held_is_said_and_counts_for_nobody_else(client, engine):
    await fill(engine, "p", 10)
    await hold(client, count=10)
    counts = (await client.get("/v1/pools/p/counts")).json()
    assert (counts["available"], counts["held"]) == (10, 10)
    refused = await client.post(ASSIGN, json={})
    assert (refused.status_code, refused.json()["reason"]) == (409, "held")
    body = {"channel": "email", "template": "{{ vouchers['p'].count_available() }}"}
    shown = [
        (await client.post("/v1/render", json=body | {"campaign_id": campaign, "mode": mode})).json()[
            "rendered"
        ]
        for campaign in ("spring", "other", None)
        for mode in ("send", "preview")
    ]
    assert shown == ["10", "10", "0", "0", "0", "0"]
    body["template"] = "{{ vouchers['p'].assign_available() }}"
    for mode in ("send", "preview"):
        refused = await client.post("/v1/render", json=body | {"mode": mode, "campaign_id": "other"})
        assert (refused.status_code, refused.json()["reason"]) == (409, "held")
        assert "held" in refused.json()["detail"]
    preview = await client.post("/v1/render", json=body | {"mode": "preview", "campaign_id": "spring"})
    assert preview.status_code == 200
    forecast = (await client.get("/v1/pools/p/forecast")).json()
    assert forecast["available"] == 0
    assert all(rate["runs_out_at"] == forecast["at"] for rate in forecast["rates"])
    one = (await client.get("/v1/pools")).json()["items"][0]["counts"]
    assert one["held"] == 10


async def test_alerts_go_by_what_anybody_may_draw(client, engine):
    await fill(engine, "p", 10)
    await client.put(
        "/v1/pools/p/alerts", json={"thresholds": [5, 2, 0], "webhook_url": "https://example.com/h"}
    )
    await hold(client, count=10)

    async def told():
        async with engine.begin() as connection:
            await alerts.notify_crossed(connection)
        items = (await client.get("/v1/pools/p/alerts/deliveries")).json()["items"]
        return [item["payload"]["data"]["threshold"] for item in items[::-1]]

    assert await told() == [5, 2, 0]
    assert [await draw(client, "spring") for _ in range(3)] == [201] * 3
    assert await told() == [5, 2, 0]


async def test_draws_of_a_hold_let_no_threshold_fall(client, engine):
    await fill(engine, "p", 10)
    await hold(client, count=7)
    await client.put("/v1/pools/p/alerts", json={"thresholds": [2], "webhook_url": "https://example.com/h"})
    assert [await draw(client, "spring") for _ in range(7)] == [201] * 7
    async with transaction(engine) as connection:
        await alerts.notify_crossed(connection)
        fallen = (await connection.execute(text("SELECT fell_at FROM alert_threshold"))).scalars().all()
    assert fallen == [None]
    assert await draw(client, "spring") == 201
    async with transaction(engine) as connection:
        await alerts.notify_crossed(connection)
        fallen = (await connection.execute(text("SELECT available FROM alert_threshold"))).scalars().all()
    assert fallen == [2]


async def change(client, made, **wanted):
    return await client.patch(f"{URL}/{made['id']}", json=wanted)


async def test_a_hold_grows_and_shrinks_down_to_what_was_drawn(client, engine):
    await fill(engine, "p", 10)
    made = (await hold(client, count=4)).json()
    assert [await draw(client, "spring") for _ in range(3)] == [201] * 3
    grown = await change(client, made, count=6)
    assert (grown.status_code, grown.json()) == (200, made | {"count": 6, "drawn": 3})
    assert (await client.get(f"{URL}/{made['id']}")).json() == grown.json()
    too_many = await change(client, made, count=11)
    assert (too_many.status_code, too_many.json()["type"]) == (409, "/problems/hold-too-large")
    assert (too_many.json()["free"], too_many.json()["missing"]) == (4, 1)
    assert (await change(client, made, count=10)).status_code == 200
    assert await draw(client, "other") == 409
    too_few = await change(client, made, count=2)
    assert (too_few.status_code, too_few.json()["errors"][0]["loc"]) == (422, ["body", "count"])
    assert "drawn 3" in too_few.json()["detail"]
    assert (await change(client, made, count=3)).status_code == 200
    assert await stock_holds(engine) == [0], "used up: it slows nobody down"
    assert await draw(client, "other") == 201
    assert (await change(client, made, count=5)).status_code == 200
    assert await stock_holds(engine) == [1]
    assert [await draw(client, "other") for _ in range(5)] == [201] * 4 + [409]
    assert [await draw(client, "spring") for _ in range(3)] == [201, 201, 409]
    assert await broken(engine) == []


async def test_a_hold_ends_at_another_time_or_never_and_one_that_has_ended_stays_so(client, engine):
    await fill(engine, "p", 2)
    made = (await hold(client, count=2, expires_at="2100-01-01T00:00:00Z")).json()
    assert (await change(client, made, expires_at="2101-01-01T00:00:00Z")).json()["expires_at"][:4] == "2101"
    assert (await change(client, made, count=1)).json()["expires_at"][:4] == "2101"
    assert (await change(client, made, expires_at=None)).json()["expires_at"] is None
    for wanted, said in (
        ({"expires_at": "2001-01-01T00:00:00Z"}, "has passed"),
        ({"count": None}, "cannot be null"),
        ({"count": 0}, "greater than or equal to 1"),
        ({"count": True}, "whole number"),
        ({}, "say what to change"),
        ({"campaign_id": "x"}, "not"),
    ):
        reply = await change(client, made, **wanted)
        assert (reply.status_code, said in reply.text) == (422, True), (wanted, reply.text)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE hold SET expires_at = now() - interval '1 s'"))
    assert (await change(client, made, expires_at=None)).status_code == 404
    assert (await client.get(f"{URL}/{made['id']}")).status_code == 404
    other = await client.patch(f"{URL.replace('/p/', '/q/')}/{made['id']}", json={"count": 1})
    assert (other.status_code, other.json()["type"]) == (404, "/problems/pool-not-found")


async def test_of_a_hold_that_grows_while_others_draw_no_code_is_drawn_twice_or_lost(client, engine):
    await fill(engine, "p", 200)
    made = (await hold(client, "spring", 1)).json()

    async def others():
        return [await draw(client) for _ in range(20)]

    drawing = [asyncio.create_task(others()) for _ in range(10)]
    grown = await change(client, made, count=100)
    assert grown.status_code == 200, grown.text
    outcomes = [status for task in drawing for status in await task]
    assert outcomes.count(201) == 100
    assert [await draw(client, "spring") for _ in range(101)] == [201] * 100 + [409]
    assert await broken(engine) == []


async def test_a_claim_that_began_before_the_hold_grew_takes_nothing_of_it(client, engine):
    """As for a new hold: one that was used up is told to nobody until it grows."""
    await fill(engine, "p", 2)
    made = (await hold(client)).json()
    assert await draw(client, "spring") == 201
    async with engine.begin() as connection:
        await connection.execute(text("SELECT FROM stock FOR UPDATE"))
        waiting = asyncio.create_task(draw(client))
        await until_somebody_waits(engine)
        await service.change(connection, None, "p", uuid.UUID(made["id"]), HoldUpdate(count=2))
    assert await waiting == 409
    assert await draw(client, "spring") == 201
