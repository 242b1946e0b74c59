"""A support desk gives this code and no other."""

import asyncio

import pytest
from sqlalchemy import text

from app.domain.lifecycle import check
from app.platform.database import transaction
from tests.factories import add_key, fill
from tests.waiting import until_somebody_waits

ASSIGN = "/v1/pools/p/assignments"
OF_THE_POOL = "Pool 'p' does not hold this code."


async def ask(client, code, key=None, **body):
    headers = {"Idempotency-Key": key} if key else {}
    return await client.post(ASSIGN, json={"code": code, **body}, headers=headers)


async def test_the_code_is_given_once_and_a_repeat_is_the_same(client, engine):
    await fill(engine, "p", ["A", "B", "C"])
    await fill(engine, "q", ["Q"])
    first = await ask(client, "B", "k", customer_id="anna")
    assert (first.status_code, first.json()["code"], first.json()["status"]) == (201, "B", "assigned")
    again = await ask(client, "B", "k", customer_id="anna")
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (await ask(client, "A", "k", customer_id="anna")).json()[
        "type"
    ] == "/problems/idempotency-key-reused"
    taken = await ask(client, "B", customer_id="ben")
    assert (taken.status_code, taken.json()["voucher_status"]) == (409, "assigned")
    assert taken.json()["type"] == "/problems/voucher-not-available"
    for code in ("nope", "Q"):
        refused = (await ask(client, code)).json()
        assert (refused["type"], refused["detail"]) == ("/problems/voucher-not-found", OF_THE_POOL)
    leased = await ask(client, "A", lease_seconds=60)
    assert (leased.json()["status"], leased.json()["code"]) == ("reserved", "A")
    items = [{"code": "C"}]
    assert (await client.post(f"{ASSIGN}/batch", json={"items": items})).status_code == 422
    async with transaction(engine) as connection:
        assert await check.violations(connection) == []


async def test_of_many_at_once_one_gets_it_also_beside_draws(client, engine):
    codes = await fill(engine, "p", 20)
    asked = [ask(client, codes[0], customer_id=f"c{n}") for n in range(8)]
    drawn = [client.post(ASSIGN, json={}) for _ in range(12)]
    replies = await asyncio.gather(*asked, *drawn)
    given = [reply.json()["code"] for reply in replies if reply.status_code == 201]
    assert len(given) == len(set(given))
    assert sum(reply.status_code == 201 for reply in replies[:8]) <= 1
    async with transaction(engine) as connection:
        assert await check.violations(connection) == []


async def test_holds_rules_and_scopes_hold_for_it_too(client, engine):
    await fill(engine, "p", ["A", "B", "C"])
    await client.post("/v1/pools/p/holds", json={"campaign_id": "k", "count": 3})
    assert (await ask(client, "A")).json()["reason"] == "held"
    assert (await ask(client, "A", campaign_id="k", customer_id="anna")).status_code == 201
    await client.patch("/v1/pools/p", json={"per_customer": {"count": 1}})
    reply = await ask(client, "B", campaign_id="k", customer_id="anna")
    assert reply.json()["type"] == "/problems/customer-limit"
    await add_key(engine, "desk-0123456789-0123456789-0123456789", "assign")
    headers = {"Authorization": "Bearer desk-0123456789-0123456789-0123456789"}
    assert (await client.post(ASSIGN, json={"code": "B"}, headers=headers)).status_code == 403


@pytest.mark.parametrize("ruled", [False, True])
async def test_a_repeat_that_overlaps_the_first_is_the_same(ruled, client, engine):
    await fill(engine, "p", ["A", "B"])
    if ruled:
        await client.patch("/v1/pools/p", json={"per_customer": {"count": 1}})
    async with engine.begin() as connection:
        await connection.execute(text("SELECT FROM pool FOR NO KEY UPDATE"))
        both = [asyncio.create_task(ask(client, "B", "k", customer_id="anna")) for _ in range(2)]
        await until_somebody_waits(engine, 2)
    replies = [await each for each in both]
    assert sorted(reply.status_code for reply in replies) == [200, 201], [reply.text for reply in replies]
    assert len({reply.json()["id"] for reply in replies}) == 1
