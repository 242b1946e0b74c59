"""What was reserved is reserved and says so; a request that comes again gets what it got, or is told why not."""

import asyncio

import pytest
from sqlalchemy import text

from app.domain.lifecycle import check
from app.domain.vouchers import service as vouchers
from tests.factories import fill

URL = "/v1/pools/p/assignments"
TEMPLATE = "{{ vouchers['p'].assign_available() }}"


async def assign(client, key=None, **body):
    return await client.post(URL, json=body, headers={"Idempotency-Key": key} if key else {})


async def send(client, template=TEMPLATE, mode="send", **body):
    wanted = {"template": template, "channel": "email", "mode": mode, "customer_id": "c", "message_id": "m"}
    return await client.post("/v1/render", json=wanted | body)


async def run(engine, statement, **values):
    async with engine.begin() as connection:
        return (await connection.execute(text(statement), values)).rowcount


async def leases_end(engine):
    lapsed = "UPDATE assignment SET lease_until = now() - interval '1 s' WHERE lease_until IS NOT NULL"
    return await run(engine, lapsed)


async def counts(client):
    return (await client.get("/v1/pools/p/counts")).json()


async def nothing_is_broken(engine):
    async with engine.begin() as connection:
        assert await check.violations(connection) == []


async def test_a_send_confirms_what_was_reserved_for_its_message(client, engine):
    await fill(engine, "p", 3)
    reserved = (
        await assign(client, customer_id="c", message_id="m", campaign_id="spring", lease_seconds=3)
    ).json()
    assert reserved["status"] == "reserved"
    shown = (await send(client, campaign_id="spring")).json()
    assert shown["rendered"] == reserved["code"]
    assert (await client.get(f"/v1/assignments/{reserved['id']}")).json()["status"] == "assigned"
    assert await leases_end(engine) == 0
    assert await vouchers.sweep(engine) == (0, 0)
    assert (await send(client, campaign_id="spring")).json()["rendered"] == reserved["code"]
    counted = await counts(client)
    assert (counted["assigned"], counted["reserved"], counted["available"]) == (1, 0, 2)
    await nothing_is_broken(engine)


async def test_a_preview_shows_what_was_reserved_and_confirms_nothing(client, engine):
    await fill(engine, "p", 3)
    reserved = (await assign(client, customer_id="c", message_id="m", lease_seconds=60)).json()
    assert (await send(client, mode="preview")).json()["rendered"] == reserved["code"]
    assert (await counts(client))["reserved"] == 1


@pytest.mark.parametrize("swept", [False, True])
@pytest.mark.parametrize("how", ["lapsed", "expired"])
async def test_a_send_draws_anew_where_the_lease_or_the_code_has_run_out(client, engine, swept, how):
    await fill(engine, "p", 3)
    reserved = (await assign(client, customer_id="c", message_id="m", lease_seconds=60)).json()
    if how == "lapsed":
        await leases_end(engine)
    else:
        await run(engine, "UPDATE voucher SET expires_at = now() WHERE code = :code", code=reserved["code"])
    if swept:
        await vouchers.sweep(engine)
    first = (await send(client)).json()["rendered"]
    assert (await send(client)).json()["rendered"] == first
    again = (await client.get("/v1/assignments", params={"customer_id": "c"})).json()["items"]
    stands = [row for row in again if row["status"] == "assigned"]
    assert [row["code"] for row in stands] == [first]
    if how == "expired":
        assert first != reserved["code"]
    await nothing_is_broken(engine)


async def test_a_batch_of_sends_confirms_each_lease(client, engine):
    await fill(engine, "p", 20)
    people = [f"c{n}" for n in range(6)]
    codes = {}
    for person in people[:4]:
        reply = await assign(client, customer_id=person, message_id="m", lease_seconds=60)
        codes[person] = reply.json()["code"]
    body = {
        "template": TEMPLATE,
        "channel": "email",
        "recipients": [{"customer_id": person, "message_id": "m"} for person in people],
    }
    items = (await client.post("/v1/render/batch", json=body)).json()["items"]
    assert [item["rendered"] for item in items[:4]] == list(codes.values())
    counted = await counts(client)
    assert (counted["assigned"], counted["reserved"]) == (6, 0)
    await nothing_is_broken(engine)


async def test_sends_and_sweeps_at_once_give_nobody_anothers_code(client, engine):
    await fill(engine, "p", 60)
    people = [f"c{n}" for n in range(20)]
    for person in people:
        await assign(client, customer_id=person, message_id="m", lease_seconds=60)
    await run(
        engine,
        "UPDATE assignment SET lease_until = now() + CASE WHEN code < 'p-000030' THEN -1 ELSE 60 END * interval '1 s'",
    )
    replies, *_ = await asyncio.gather(
        asyncio.gather(*(send(client, customer_id=person) for person in people)),
        *(vouchers.sweep(engine) for _ in range(3)),
        *(assign(client) for _ in range(20)),
    )
    shown = [reply.json()["rendered"] for reply in replies]
    assert len(set(shown)) == 20
    ledger = (await client.get("/v1/assignments", params={"pool": "p", "limit": 1000})).json()["items"]
    holders = {row["code"]: row["customer_id"] for row in ledger if row["status"] == "assigned"}
    assert [holders[code] for code in shown] == people
    await nothing_is_broken(engine)


async def test_another_lease_is_another_request(client, engine):
    await fill(engine, "p", 9)
    first = await assign(client, "k", lease_seconds=2)
    assert first.status_code == 201
    for lease in (None, 3):
        reply = await assign(client, "k", lease_seconds=lease)
        assert (reply.status_code, reply.json()["type"]) == (422, "/problems/idempotency-key-reused")
    again = await assign(client, "k", lease_seconds=2)
    assert (again.status_code, again.json()) == (200, first.json())
    await client.post(f"/v1/assignments/{first.json()['id']}/confirm")
    confirmed = await assign(client, "k", lease_seconds=2)
    assert (confirmed.status_code, confirmed.json()["status"]) == (200, "assigned")
    await assign(client, "other")
    assert (await assign(client, "other", lease_seconds=2)).status_code == 422
    items = [{"idempotency_key": "b", "lease_seconds": 2}, {"idempotency_key": "b"}]
    batch = await client.post(f"{URL}/batch", json={"items": items})
    assert (batch.status_code, batch.json()["type"]) == (422, "/problems/idempotency-key-reused")
    await nothing_is_broken(engine)


async def test_what_expired_while_it_was_reserved_is_not_confirmed(client, engine):
    await fill(engine, "p", 1)
    one = (await assign(client, lease_seconds=60)).json()
    await run(engine, "UPDATE voucher SET expires_at = now() - interval '1 s'")
    reply = await client.post(f"/v1/assignments/{one['id']}/confirm")
    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/expired")
    await leases_end(engine)
    assert await vouchers.sweep(engine) == (1, 1)
    reply = await client.post(f"/v1/assignments/{one['id']}/confirm")
    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/assignment-released")
    await nothing_is_broken(engine)


async def statuses(client, id_):
    """What the three ways to read an assignment say of it."""
    one = (await client.get(f"/v1/assignments/{id_}")).json()
    listed = (await client.get("/v1/assignments", params={"pool": "p"})).json()["items"]
    (row,) = [row for row in listed if row["id"] == id_]
    assert row == one
    return one["status"], one["lease_until"] is None, one["released_at"] is None


async def test_each_status_is_told_apart(client, engine):
    await fill(engine, "p", 9)
    one = (await assign(client, lease_seconds=60)).json()
    assert (one["status"], one["released_at"]) == ("reserved", None)
    assert await statuses(client, one["id"]) == ("reserved", False, True)
    confirmed = (await client.post(f"/v1/assignments/{one['id']}/confirm")).json()
    assert (confirmed["status"], confirmed["lease_until"]) == ("assigned", None)
    await client.post(f"/v1/vouchers/{one['code']}/redemptions", json={})
    assert await statuses(client, one["id"]) == ("redeemed", True, True)
    two = (await assign(client)).json()
    assert two["status"] == "assigned"
    released = (await client.post(f"/v1/assignments/{two['id']}/release")).json()
    assert (released["status"], released["released_at"] is None) == ("released", False)
    assert await statuses(client, two["id"]) == ("released", True, False)
    three = (await assign(client, lease_seconds=60)).json()
    await leases_end(engine)
    assert (await statuses(client, three["id"]))[0] == "lapsed"
    await vouchers.sweep(engine)
    assert await statuses(client, three["id"]) == ("lapsed", True, False)
    four = (await assign(client)).json()
    await client.post(f"/v1/vouchers/{four['code']}/void")
    assert await statuses(client, four["id"]) == ("void", True, True)


async def test_replies_and_batches_say_status_lease_and_expiry(client, engine):
    await fill(engine, "p", 9)
    await run(engine, "UPDATE voucher SET expires_at = '2100-01-01T00:00:00Z'")
    one = (await assign(client)).json()
    assert one["expires_at"] == "2100-01-01T00:00:00Z"
    items = [
        {},
        {"lease_seconds": 60},
        {"idempotency_key": "k"},
        {"idempotency_key": "k"},
        {"lease_seconds": 5},
    ]
    reply = (await client.post(f"{URL}/batch", json={"items": items})).json()
    assert [item["status"] for item in reply["items"]] == [
        "assigned",
        "reserved",
        "assigned",
        "replayed",
        "reserved",
    ]
    assert [item["lease_until"] is None for item in reply["items"]] == [True, False, True, True, False]


@pytest.mark.parametrize("how", ["key", "message"])
async def test_a_repeat_never_answers_with_a_code_that_was_voided(client, engine, how):
    await fill(engine, "p", 3)
    body = {"message_id": "m", "customer_id": "c"} if how == "message" else {}
    key = "k" if how == "key" else None
    one = (await assign(client, key, **body)).json()
    await client.post(f"/v1/vouchers/{one['code']}/void")
    reply = await assign(client, key, **body)
    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/void")
    item = body | ({"idempotency_key": key} if key else {})
    batch = await client.post(f"{URL}/batch", json={"items": [item]})
    assert (batch.status_code, batch.json()["type"]) == (409, "/problems/void")
    if how == "message":
        sent = await send(client)
        assert sent.status_code == 409 or sent.json()["rendered"] != one["code"]


async def test_a_message_is_its_own_key(client, engine):
    await fill(engine, "p", 9)
    both = await assign(client, "k", message_id="m", customer_id="c")
    assert (both.status_code, both.json()["type"]) == (422, "/problems/invalid-request")
    assert both.json()["errors"][0]["loc"] == ["body", "message_id"]
    first = await assign(client, message_id="m", customer_id="c")
    other = await assign(client, "k2", message_id="m", customer_id="c")
    assert (first.status_code, other.status_code) == (201, 422)
    item = {"idempotency_key": "k", "message_id": "m", "customer_id": "c"}
    assert (await client.post(f"{URL}/batch", json={"items": [item]})).status_code == 422
    assert (await send(client)).json()["rendered"] == first.json()["code"]
    assert (await counts(client))["assigned"] == 1


async def test_only_a_code_that_holds_long_enough_is_given(client, engine):
    codes = await fill(engine, "p", 6)
    await run(engine, "UPDATE voucher SET expires_at = now() + interval '2 days' WHERE code < 'p-000004'")
    await run(engine, "UPDATE voucher SET expires_at = now() + interval '20 days' WHERE code = 'p-000004'")
    wanted = 14 * 24 * 3600
    given = {(await assign(client, valid_for_seconds=wanted)).json()["code"] for _ in range(2)}
    assert given == set(codes[4:])
    refused = await assign(client, valid_for_seconds=wanted)
    assert (refused.status_code, refused.json()["reason"]) == (409, "too_short_lived")
    assert (await assign(client)).status_code == 201
    mixed = [{"valid_for_seconds": wanted}, {}, {"valid_for_seconds": 3600}]
    reply = (await client.post(f"{URL}/batch", json={"items": mixed})).json()
    assert [item["status"] for item in reply["items"]] == ["exhausted", "assigned", "assigned"]
    assert (await assign(client)).status_code == 201
    empty = await assign(client, valid_for_seconds=wanted)
    assert empty.json()["reason"] == "empty"
    await nothing_is_broken(engine)


async def test_a_repeat_that_asks_for_more_life_than_it_got_is_another_request(client, engine):
    await fill(engine, "p", 3)
    await run(engine, "UPDATE voucher SET expires_at = now() + interval '2 days'")
    assert (await assign(client, "k")).status_code == 201
    assert (await assign(client, "k", valid_for_seconds=3600)).status_code == 200
    assert (await assign(client, "k", valid_for_seconds=14 * 86400)).status_code == 422


@pytest.mark.parametrize("seconds", [0, -1, 1.5, "x", 2**70])
async def test_odd_lengths_of_life_are_refused(client, engine, seconds):
    await fill(engine, "p", 3)
    assert (await assign(client, valid_for_seconds=seconds)).status_code == 422


async def test_a_template_asks_for_life(client, engine):
    await fill(engine, "p", 3)
    await run(engine, "UPDATE voucher SET expires_at = now() + interval '2 days' WHERE code < 'p-000002'")
    asks = "{{ vouchers['p'].assign_available(valid_for=1209600) }}"
    assert (await send(client, asks, mode="preview", message_id="x")).json()["rendered"] == "p-000002"
    assert (await send(client, asks)).json()["rendered"] == "p-000002"
    refused = (await send(client, asks, message_id="m2")).json()
    assert (refused["type"], refused["reason"]) == ("/problems/pool-exhausted", "too_short_lived")
    assert (await send(client, message_id="m3")).status_code == 200
    assert (await counts(client))["assigned"] == 2
    odd = await send(client, "{{ vouchers['p'].assign_available(valid_for='x') }}", message_id="m4")
    assert odd.json()["type"] == "/problems/template-error"


async def test_a_batch_asks_for_few_lengths_of_life(client, engine):
    await fill(engine, "p", 1)
    items = [{"valid_for_seconds": n + 1} for n in range(101)]
    reply = await client.post(f"{URL}/batch", json={"items": items})
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/invalid-request")
    assert (await client.post(f"{URL}/batch", json={"items": [*items[:100], {}]})).status_code == 200
