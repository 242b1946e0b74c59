"""Unused codes move to another pool, beside everything that draws from either; and a pool is made like another."""

import asyncio

from app.domain.changes import service
from app.domain.lifecycle import check
from app.platform.database import transaction
from tests.factories import fill


async def move(client, engine, pool="p", **wanted):
    return await done(client, engine, await client.post(f"/v1/pools/{pool}/move", json=wanted))


async def asked(client, engine, change):
    return await done(client, engine, await client.post("/v1/bulk-changes", json=change))


async def done(client, engine, reply):
    """Do the job of a change that was asked for; what it came to."""
    assert reply.status_code == 202, reply.text
    await service.run(engine, reply.json()["id"])
    found = (await client.get(reply.headers["Location"])).json()
    assert found["status"] == "succeeded"
    await agrees(engine)
    return found


async def agrees(engine):
    async with transaction(engine) as connection:
        assert await check.violations(connection) == []


async def available(client, pool):
    return (await client.get(f"/v1/pools/{pool}/counts")).json()["available"]


async def test_so_many_of_what_is_available_move_and_tell_it(client, engine):
    codes = await fill(engine, "p", 10)
    await fill(engine, "q", 1)
    given = (await client.post("/v1/pools/p/assignments", json={})).json()
    told = await move(client, engine, to="q", count=4, dry_run=True)
    assert (told["changed"], told["to"], told["count"]) == (4, "q", 4)
    assert (await move(client, engine, to="q", count=4, reason="sold out"))["changed"] == 4
    assert (await available(client, "p"), await available(client, "q")) == (5, 5)
    chosen = [given["code"], *[code for code in codes if code != given["code"]][:2], "nope"]
    found = await move(client, engine, to="q", codes=chosen)
    assert found["changed"] + found["skipped_by"].get("no_match", 0) == 2  # one or both may have moved before
    assert {"not_available", "not_found"} <= set(found["skipped_by"])
    moved = (await client.get("/v1/pools/q/vouchers", params={"code_prefix": "p-"})).json()["items"][0]
    (entry,) = [
        each
        for each in (await client.get(f"/v1/vouchers/{moved['code']}")).json()["history"]
        if each["event"] == "moved"
    ]
    assert entry["from_pool"] == "p"
    # They are drawn there, and a message of the old pool keeps its own.
    drawn = [(await client.post("/v1/pools/q/assignments", json={})).json()["pool"] for _ in range(5)]
    assert drawn == ["q"] * 5
    assert (await client.get(f"/v1/assignments/{given['id']}")).json()["pool"] == "p"
    await agrees(engine)


async def test_what_holds_keep_stays_and_a_repeat_is_the_same_move(client, engine):
    await fill(engine, "p", 6)
    await fill(engine, "q", 0)
    await client.post("/v1/pools/p/holds", json={"campaign_id": "may", "count": 4})
    headers = {"Idempotency-Key": "k"}
    first = await client.post("/v1/pools/p/move", json={"to": "q"}, headers=headers)
    again = await client.post("/v1/pools/p/move", json={"to": "q"}, headers=headers)
    assert (again.json()["id"], again.headers["Idempotency-Replayed"]) == (first.json()["id"], "true")
    await service.run(engine, first.json()["id"])
    found = (await client.get(first.headers["Location"])).json()
    assert (found["changed"], found["skipped_by"]) == (2, {"held": 4})
    assert (await available(client, "p"), await available(client, "q")) == (4, 2)
    drawn = await client.post("/v1/pools/p/assignments", json={"campaign_id": "may"})
    assert drawn.status_code == 201
    await agrees(engine)


async def test_a_move_that_cannot_be_is_refused_or_moves_nothing(client, engine):
    await fill(engine, "p", 3)
    await fill(engine, "q", 0)
    for body, status in (({"to": "nope"}, 404), ({}, 422), ({"to": "q", "count": 0}, 422)):
        assert (await client.post("/v1/pools/p/move", json=body)).status_code == status
    assert (await client.post("/v1/pools/nope/move", json={"to": "q"})).status_code == 404
    bulk = {"action": "void", "filter": {"pool": "p"}, "to": "q"}
    assert (await client.post("/v1/bulk-changes", json=bulk)).status_code == 422
    assert (await move(client, engine, to="p"))["skipped_by"] == {"already": 3}
    gone = await client.post("/v1/pools/p/move", json={"to": "q"})
    assert (await client.delete("/v1/pools/q")).status_code == 204
    await service.run(engine, gone.json()["id"])
    assert (await client.get(gone.headers["Location"])).json()["skipped_by"] == {"no_pool": 3}
    assert await available(client, "p") == 3


async def test_a_move_beside_draws_releases_and_another_move_back(client, engine):
    await fill(engine, "p", 40)
    await fill(engine, "q", 5)

    async def draw(pool):
        reply = await client.post(f"/v1/pools/{pool}/assignments", json={})
        assert reply.status_code in {201, 409, 503}, reply.text
        if reply.status_code == 201:
            await client.post(f"/v1/assignments/{reply.json()['id']}/release")

    async def moves(pool, to):
        await service.run(engine, (await client.post(f"/v1/pools/{pool}/move", json={"to": to})).json()["id"])

    await asyncio.gather(
        *[draw(pool) for _ in range(10) for pool in "pq"], moves("p", "q"), moves("q", "p"), moves("p", "q")
    )
    await agrees(engine)
    assert await available(client, "p") + await available(client, "q") == 45


async def test_a_pool_is_made_with_the_settings_of_another(client, engine):
    await fill(engine, "p", 3)
    rule = {"count": 1, "days": 30, "then": "refuse"}
    await client.patch("/v1/pools/p", json={"description": "spring", "per_customer": rule})
    alerts = {"thresholds": [5, 0], "webhook_url": "https://example.org/hook", "expiring_within_days": 3}
    secret = (await client.put("/v1/pools/p/alerts", json=alerts)).json()["webhook_secret"]
    made = await client.post("/v1/pools", json={"name": "q", "like": "p"})
    assert made.status_code == 201, made.text
    assert (made.json()["description"], made.json()["per_customer"]) == ("spring", rule)
    assert made.headers["ETag"] == (await client.get("/v1/pools/q")).headers["ETag"]
    copied = (await client.get("/v1/pools/q/alerts")).json()
    assert {name: copied[name] for name in alerts} == alerts
    assert secret is None or copied["webhook_secret"] is None
    other = await client.post("/v1/pools", json={"name": "r", "like": "p", "description": "other"})
    assert other.json()["description"] == "other"
    for like in ("nope", "s"):
        assert (await client.post("/v1/pools", json={"name": "s", "like": like})).status_code == 404
    assert (await client.get("/v1/pools/s")).status_code == 404
    await agrees(engine)


async def test_a_dry_run_tells_what_would_move_beside_what_holds_keep_however_many_they_are(
    client, engine, monkeypatch
):
    monkeypatch.setattr(service, "CODES_AT_A_TIME", 5)
    codes = await fill(engine, "p", 20)
    others = await fill(engine, "r", 7)
    await fill(engine, "q", 0)
    await client.post("/v1/pools/p/holds", json={"campaign_id": "may", "count": 12})
    told = await move(client, engine, to="q", dry_run=True)
    assert (told["changed"], told["skipped_by"]) == (8, {"held": 12})
    change = {"action": "move", "to": "q", "filter": {"codes": [*codes, *others]}}
    told = await asked(client, engine, change | {"dry_run": True})
    assert (told["changed"], told["skipped_by"]) == (15, {"held": 12})
    entry = (await client.get("/v1/audit?action=bulk_change.finished")).json()["items"][0]
    assert (entry["details"]["changed"], entry["details"]["skipped_by"]) == (15, {"held": 12})
    found = await asked(client, engine, change)
    assert (found["changed"], found["skipped_by"]) == (told["changed"], told["skipped_by"])
    assert (await available(client, "p"), await available(client, "q")) == (12, 15)
