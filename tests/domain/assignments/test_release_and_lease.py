import uuid

import pytest
from sqlalchemy import text

from app.domain.vouchers import service as vouchers
from tests.factories import fill

URL = "/v1/pools/p/assignments"


async def given(client, **body):
    return (await client.post(URL, json=body)).json()


async def counts(client, *states):
    stock = (await client.get("/v1/pools/p/counts")).json()
    return tuple(stock[state] for state in states)


async def let_leases_lapse(engine):
    async with engine.begin() as connection:
        lapse = "UPDATE assignment SET lease_until = now() - interval '1 s' WHERE lease_until > now()"
        await connection.execute(text(lapse))


async def test_a_released_code_is_available_again_and_its_history_stays(client, engine):
    await fill(engine, "p", 1)
    first = await given(client, customer_id="c1")
    released = await client.post(f"/v1/assignments/{first['id']}/release")
    assert released.status_code == 200
    assert released.json()["released_at"] is not None
    assert await counts(client, "available", "assigned") == (1, 0)
    second = await given(client, customer_id="c2")
    assert second["code"] == first["code"]
    history = (await client.get(f"/v1/vouchers/{first['code']}")).json()["history"]
    assert [entry["event"] for entry in history] == ["imported", "assigned", "released", "assigned"]


async def test_a_release_that_is_repeated_does_not_take_back_the_next_assignment(client, engine):
    await fill(engine, "p", 1)
    first = await given(client)
    released = await client.post(f"/v1/assignments/{first['id']}/release")
    await given(client)
    again = await client.post(f"/v1/assignments/{first['id']}/release")
    assert (again.status_code, again.json()) == (200, released.json())
    assert await counts(client, "available", "assigned") == (0, 1)


async def test_a_release_or_a_void_that_is_repeated_is_noted_once(client, engine):
    await fill(engine, "p", 2)
    one, other = await given(client), await given(client)
    for _ in range(2):
        assert (await client.post(f"/v1/assignments/{one['id']}/release")).status_code == 200
        assert (await client.post(f"/v1/vouchers/{other['code']}/void")).status_code == 200
    acts = [entry["action"] for entry in (await client.get("/v1/audit")).json()["items"]]
    assert (acts.count("assignment.released"), acts.count("voucher.voided")) == (1, 1)


@pytest.mark.parametrize(("end", "problem"), [("redemptions", "already-redeemed"), ("void", "void")])
async def test_what_was_used_or_made_void_is_not_released(client, engine, end, problem):
    await fill(engine, "p", 1)
    one = await given(client)
    assert (await client.post(f"/v1/vouchers/{one['code']}/{end}", json={})).is_success
    reply = await client.post(f"/v1/assignments/{one['id']}/release")
    assert (reply.status_code, reply.json()["type"]) == (409, f"/problems/{problem}")
    assert await counts(client, "available", "assigned") == (0, 0)


async def test_a_request_whose_assignment_was_released_is_not_answered_with_its_code(client, engine):
    await fill(engine, "p", 1)
    one = await given(client, message_id="m")
    await client.post(f"/v1/assignments/{one['id']}/release")
    reply = await client.post(URL, json={"message_id": "m"})
    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/assignment-released")


async def test_what_was_reserved_is_assigned_once_it_is_confirmed(client, engine):
    await fill(engine, "p", 1)
    one = await given(client, lease_seconds=60)
    assert await counts(client, "available", "reserved", "assigned") == (0, 1, 0)
    confirmed = await client.post(f"/v1/assignments/{one['id']}/confirm")
    assert (confirmed.status_code, confirmed.json()["lease_until"]) == (200, None)
    assert await counts(client, "available", "reserved", "assigned") == (0, 0, 1)
    assert (await client.post(f"/v1/assignments/{one['id']}/confirm")).json() == confirmed.json()
    await let_leases_lapse(engine)
    assert await vouchers.sweep(engine) == (0, 0)


async def test_a_lapsed_lease_is_not_confirmed_and_its_code_goes_back(client, engine):
    await fill(engine, "p", 3)
    one = await given(client, lease_seconds=60)
    await given(client, lease_seconds=60)
    await given(client)
    await let_leases_lapse(engine)
    unswept = await client.post(f"/v1/assignments/{one['id']}/confirm")
    assert (unswept.status_code, unswept.json()["type"]) == (409, "/problems/assignment-released")
    assert await vouchers.sweep(engine) == (2, 0)
    swept = await client.post(f"/v1/assignments/{one['id']}/confirm")
    assert (swept.status_code, swept.json()["type"]) == (409, "/problems/assignment-released")
    assert await counts(client, "available", "reserved", "assigned") == (2, 0, 1)


@pytest.mark.parametrize("action", ["release", "confirm"])
async def test_an_unknown_assignment_is_said_to_be_unknown(client, action):
    reply = await client.post(f"/v1/assignments/{uuid.uuid4()}/{action}")
    assert (reply.status_code, reply.json()["type"]) == (404, "/problems/assignment-not-found")


async def test_expired_codes_are_swept_and_those_that_were_handed_out_stay(client, engine):
    await fill(engine, "p", 3)
    one = await given(client)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE voucher SET expires_at = now() - interval '1 s'"))
    assert await vouchers.sweep(engine) == (0, 2)
    assert await counts(client, "available", "assigned", "expired", "total") == (0, 1, 2, 3)
    assert (await client.post(f"/v1/vouchers/{one['code']}/void")).json()["status"] == "void"
    assert await counts(client, "assigned", "expired", "void") == (0, 2, 1)
