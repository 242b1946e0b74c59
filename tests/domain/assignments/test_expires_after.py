"""A pool may say when a code ends, counted from handing out; what goes back has its own expiry again."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from app.domain.lifecycle import check, transitions
from app.domain.tracking import service as tracking
from app.domain.vouchers import service as vouchers
from app.platform.database import run_act, transaction
from tests.factories import fill, new_event
from tests.waiting import is_waiting

ASSIGN = "/v1/pools/p/assignments"
LETTER = "{{ vouchers['p'].assign_available().expires_at }}"
DAY = timedelta(days=1)


async def pool(client, engine, code, days):
    """Make a pool of 14 days with one code, which ends in so many days by itself; return its own expiry."""
    await fill(engine, "p", [code])
    own = None if days is None else datetime.now(UTC) + days * DAY
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE voucher SET expires_at = :own"), {"own": own})
    reply = await client.patch("/v1/pools/p", json={"expires_after_days": 14})
    assert (reply.status_code, reply.json()["expires_after_days"]) == (200, 14)
    return await own_expiry(client)


async def own_expiry(client):
    (voucher,) = (await client.get("/v1/pools/p/vouchers")).json()["items"]
    assert voucher["status"] == "available"
    return voucher["expires_at"]


async def agrees(engine):
    async with transaction(engine) as connection:
        assert await check.violations(connection) == []


def is_in_14_days(told):
    return abs(datetime.fromisoformat(told) - datetime.now(UTC) - 14 * DAY) < timedelta(minutes=5)


async def give(client, how, code, **more):
    """Give a code of the pool; return its assignment and the expiry that was told."""
    if how == "chosen":
        reply = await client.post(ASSIGN, json={"code": code, **more})
    elif how == "reserved":
        reply = await client.post(ASSIGN, json={"lease_seconds": 600, **more})
    elif how == "lasting":
        reply = await client.post(ASSIGN, json={"valid_for_seconds": 60, **more})
    elif how == "batch":
        reply = await client.post(f"{ASSIGN}/batch", json={"items": [more]})
        return reply.json()["items"][0]["id"], reply.json()["items"][0]["expires_at"]
    elif how == "message":
        message = {"template": LETTER, "channel": "email", "message_id": "m", "customer_id": "anna"}
        reply = await client.post("/v1/render", json=message)
        assert reply.status_code == 200, reply.text
        (row,) = (await client.get("/v1/assignments", params={"message_id": "m"})).json()["items"]
        return row["id"], reply.json()["rendered"]
    else:
        reply = await client.post(ASSIGN, json=more)
    assert reply.status_code == 201, reply.text
    return reply.json()["id"], reply.json()["expires_at"]


@pytest.mark.parametrize("how", ["plain", "batch", "chosen", "reserved", "lasting", "message"])
async def test_the_earlier_of_the_two_ends_it_and_a_release_restores_its_own(how, client, engine):
    own = await pool(client, engine, "A-1", None if how in {"plain", "message"} else 30)
    id_, told = await give(client, how, "A-1")
    assert is_in_14_days(told)
    stored = (await client.get(f"/v1/assignments/{id_}")).json()
    assert datetime.fromisoformat(stored["expires_at"]) == datetime.fromisoformat(told)
    await agrees(engine)
    assert (await client.post(f"/v1/assignments/{id_}/release", json={})).status_code == 200
    assert await own_expiry(client) == own
    await agrees(engine)


async def test_what_ends_earlier_by_itself_does(client, engine):
    own = await pool(client, engine, "A-1", 7)
    id_, told = await give(client, "plain", "A-1")
    assert told == own
    await client.post(f"/v1/assignments/{id_}/release", json={})
    assert await own_expiry(client) == own
    await agrees(engine)


async def test_a_preview_tells_the_expiry_that_a_send_would_give(client, engine):
    await pool(client, engine, "A-1", 30)
    shown = await client.post("/v1/render", json={"template": LETTER, "channel": "email", "mode": "preview"})
    assert is_in_14_days(shown.json()["rendered"])


async def test_a_lease_that_lapses_restores_it_too(client, engine):
    own = await pool(client, engine, "A-1", 30)
    await give(client, "reserved", "A-1")
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE assignment SET lease_until = now() - interval '1 second'"))
    async with transaction(engine) as connection:
        assert len(await transitions.lapse(connection, 10)) == 1
    assert await own_expiry(client) == own
    await agrees(engine)


async def test_a_use_is_judged_by_it(client, engine):
    await client.put(
        "/v1/redemption-mapping", json={"mappings": [{"event_type": "purchase", "property": "code"}]}
    )
    await pool(client, engine, "A-1", None)
    await give(client, "plain", "A-1", customer_id="anna")
    event = {
        "event_id": "e",
        "event_type": "purchase",
        "customer_id": "anna",
        "properties": {"code": "A-1"},
    }
    async with transaction(engine) as connection:
        await connection.execute(
            text(
                "UPDATE voucher SET assigned_at = assigned_at - interval '15 days',"
                " expires_at = expires_at - interval '15 days'"
            )
        )
    reply = await client.post("/v1/events", json={"events": [event]})
    assert reply.json()["items"][0]["redemption"] == "expired"


async def test_nothing_is_given_that_would_hold_too_short(client, engine):
    await pool(client, engine, "A-1", None)
    fits, longer = ({"valid_for_seconds": n * 86400} for n in (14, 15))
    refused = await client.post(ASSIGN, json=longer)
    assert (refused.status_code, refused.json()["reason"]) == (409, "too_short_lived")
    chosen = await client.post(ASSIGN, json={"code": "A-1", **longer})
    assert (chosen.status_code, chosen.json()["reason"]) == (409, "too_short_lived")
    letter = "{{ vouchers['p'].assign_available(valid_for=1296000) }}"
    for mode in ("preview", "send"):
        message = {
            "template": letter,
            "channel": "email",
            "mode": mode,
            "message_id": "m",
            "customer_id": "a",
        }
        assert (await client.post("/v1/render", json=message)).json()["reason"] == "too_short_lived"
    key = {"Idempotency-Key": "k"}
    first = await client.post(ASSIGN, json=fits, headers=key)
    assert (first.status_code, is_in_14_days(first.json()["expires_at"])) == (201, True)
    again = await client.post(ASSIGN, json=fits, headers=key)
    assert (again.status_code, again.json()["code"]) == (200, first.json()["code"])


async def test_it_is_taken_back_and_copied_and_part_of_the_version(client, engine):
    own = await pool(client, engine, "A-1", 30)
    version = (await client.get("/v1/pools/p")).headers["etag"]
    copied = await client.post("/v1/pools", json={"name": "q", "like": "p"})
    assert copied.json()["expires_after_days"] == 14
    for wrong in (0, -1, 3661, "14", 1.5):
        assert (await client.patch("/v1/pools/p", json={"expires_after_days": wrong})).status_code == 422
    off = await client.patch("/v1/pools/p", json={"expires_after_days": None}, headers={"If-Match": version})
    assert (off.status_code, off.json()["expires_after_days"]) == (200, None)
    assert off.headers["etag"] != version
    assert (await give(client, "plain", "A-1"))[1] == own
    await agrees(engine)


async def test_a_moved_expiry_takes_the_place_of_both(client, engine):
    await pool(client, engine, "A-1", 30)
    id_, told = await give(client, "plain", "A-1")
    async with transaction(engine) as connection:
        await transitions.set_expiry(connection, ["A-1"], datetime.fromisoformat(told))
    await client.post(f"/v1/assignments/{id_}/release", json={})
    assert datetime.fromisoformat(await own_expiry(client)) == datetime.fromisoformat(told)
    await agrees(engine)


async def test_it_holds_from_the_reply_on_whatever_races(client, engine):
    await fill(engine, "p", 60)
    before = [asyncio.create_task(client.post(ASSIGN, json={})) for _ in range(20)]
    rule = asyncio.create_task(client.patch("/v1/pools/p", json={"expires_after_days": 14}))
    beside = [asyncio.create_task(client.post(ASSIGN, json={})) for _ in range(20)]
    assert (await rule).status_code == 200
    after = await asyncio.gather(*(client.post(ASSIGN, json={}) for _ in range(20)))
    assert all(is_in_14_days(reply.json()["expires_at"]) for reply in after)
    assert {(await reply).status_code for reply in before + beside} == {201}
    await agrees(engine)


async def used_too_late(client, engine, how):
    """Give a code that has no expiry of its own to anna, who uses it after the end that the pool set; return its id."""
    mapping = {"mappings": [{"event_type": "purchase", "property": "code"}]}
    await client.put("/v1/redemption-mapping", json=mapping)
    await pool(client, engine, "A-1", None)
    id_, _ = await give(client, how, "A-1", customer_id="anna")
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE voucher SET expires_at = expires_at - interval '15 days'"))
    assert await use(client) == "expired"
    return id_


async def use(client, at=None):
    moment = {} if at is None else {"timestamp": at.isoformat()}
    event = {"event_type": "purchase", "customer_id": "anna", "properties": {"code": "A-1"}, **moment}
    return (await client.post("/v1/events", json={"events": [event]})).json()["items"][0]["redemption"]


async def is_given_to_nobody(client):
    refused = await client.post(ASSIGN, json={"customer_id": "bob"})
    return (refused.status_code, refused.json().get("reason")) == (409, "empty")


async def test_a_code_used_after_that_end_is_not_released(client, engine):
    id_ = await used_too_late(client, engine, "plain")
    refused = await client.post(f"/v1/assignments/{id_}/release", json={})
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/already-redeemed")
    assert await is_given_to_nobody(client)
    await agrees(engine)


async def test_a_code_used_after_that_end_does_not_come_back_with_its_lease(client, engine):
    id_ = await used_too_late(client, engine, "reserved")
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE assignment SET lease_until = now() - interval '1 second'"))
    assert await vouchers.sweep(engine) == (1, 0)
    assert (await client.get(f"/v1/assignments/{id_}")).json()["status"] == "lapsed"
    assert (await client.get("/v1/vouchers/A-1")).json()["status"] == "expired"
    assert await is_given_to_nobody(client)
    await agrees(engine)


@pytest.mark.parametrize("how", ["plain", "reserved"])
async def test_who_takes_a_code_back_waits_for_a_use_of_it_that_is_under_way(client, engine, how):
    await client.put(
        "/v1/redemption-mapping", json={"mappings": [{"event_type": "purchase", "property": "code"}]}
    )
    await pool(client, engine, "A-1", None)
    id_, _ = await give(client, how, "A-1", customer_id="anna")
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE voucher SET expires_at = expires_at - interval '15 days'"))
        await connection.execute(
            text("UPDATE assignment SET lease_until = now() WHERE lease_until IS NOT NULL")
        )
    async with transaction(engine) as using:
        (told,) = await tracking.track(using, [new_event("anna", "purchase", {"code": "A-1"})])
        assert told.redemption == "expired"
        if how == "plain":
            act = client.post(f"/v1/assignments/{id_}/release", json={})
        else:
            act = run_act(engine, transitions.lapse_these, [uuid.UUID(id_)])
        taking = asyncio.create_task(act)
        assert await is_waiting(engine, taking)
    await taking
    assert await is_given_to_nobody(client)
    await agrees(engine)


async def test_a_use_that_is_told_ahead_of_the_expiry_takes_a_code_that_could_be_drawn(client, engine):
    await client.put(
        "/v1/redemption-mapping", json={"mappings": [{"event_type": "purchase", "property": "code"}]}
    )
    await pool(client, engine, "A-1", 1)
    assert await use(client, datetime.now(UTC) + 2 * DAY) == "not_assigned"
    assert await is_given_to_nobody(client)
    await agrees(engine)
