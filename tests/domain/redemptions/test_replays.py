"""The mapping is applied to the events that are there, whatever goes on beside that."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from sqlalchemy import text

from app.domain.customers import service as customers
from app.domain.lifecycle import check, order, transitions
from app.domain.redemptions import service
from app.platform.database import transaction
from tests.factories import fill
from tests.waiting import is_waiting

ANNA, COOKIE = "anna", "cookie-17"


async def map_(client, *properties):
    mappings = [{"event_type": "purchase", "property": property_} for property_ in properties]
    reply = await client.put("/v1/redemption-mapping", json={"mappings": mappings})
    assert reply.status_code == 200, reply.text


async def track(client, *codes, customer=ANNA):
    events = [
        {"customer_id": customer, "event_type": "purchase", "properties": {"code": code}} for code in codes
    ]
    items = (await client.post("/v1/events", json={"events": events})).json()["items"]
    return [item["redemption"] for item in items]


async def stored(engine):
    """Code and customer of each use that is stored."""
    async with transaction(engine) as connection:
        assert await check.violations(connection) == []
        rows = await connection.execute(text("SELECT code, customer_id FROM redemption ORDER BY code"))
        return [tuple(row) for row in rows]


# Of codes whose import was undone since: without a key, with one, and of a person who was erased.
TOLD_DIRECTLY = text("""
INSERT INTO redemption (code, event_id, property, outcome, redeemed_at) VALUES
    ('D', NULL, NULL, 'unknown_code', now()), ('E', E'\\nkey', 'direct', 'unknown_code', now()),
    ('F', NULL, 'direct', 'unknown_code', now())
""")


@pytest.fixture
async def told_before_it_was_mapped(client, engine):
    await fill(engine, "p", ["K"])
    assert await track(client, "K", customer=COOKIE) == [None]
    await map_(client, "code")


@pytest.mark.usefixtures("told_before_it_was_mapped")
async def test_of_who_is_erased_meanwhile_nothing_is_stored(client, engine, monkeypatch):
    monkeypatch.setattr(customers, "PATIENCE", 0.05)
    async with transaction(engine) as holding:
        await transitions.lock(holding, ["K"])
        replaying = asyncio.create_task(service.replay(engine))
        assert await is_waiting(engine, replaying)
        reply = await client.delete(f"/v1/customers/{COOKIE}")
        assert reply.status_code == 503, "what is under way might store something yet"
    assert await replaying == {"events": 1, "found": 0}
    assert await stored(engine) == []


@pytest.mark.usefixtures("told_before_it_was_mapped")
async def test_what_is_stored_of_who_is_merged_meanwhile_is_the_persons(client, engine, monkeypatch):
    looked, look = asyncio.Event(), order.under_way

    async def under_way(connection):
        others = await look(connection)
        looked.set()
        return others

    monkeypatch.setattr(order, "under_way", under_way)
    async with AsyncExitStack() as first:
        slow = await first.enter_async_context(transaction(engine))
        await slow.execute(text("SELECT 1"))
        merging = asyncio.create_task(client.post(f"/v1/customers/{ANNA}/merge", json={"from": COOKIE}))
        await looked.wait()  # from here on nobody is waited for but the one above
        async with transaction(engine) as holding:
            await transitions.lock(holding, ["K"])
            replaying = asyncio.create_task(service.replay(engine))
            assert await is_waiting(engine, replaying)
            await first.aclose()
            assert (await merging).json()["events"] == 1
    assert await replaying == {"events": 1, "found": 1}
    assert await stored(engine) == [("K", ANNA)]


async def test_what_is_not_mapped_any_more_is_forgotten_step_by_step(client, engine, monkeypatch):
    monkeypatch.setattr(service, "AT_A_TIME", 2)
    await map_(client, "code", "codes[*]")
    await track(client, "A", "B", "C", "D", "E", 7)
    event = {"customer_id": ANNA, "event_type": "purchase", "properties": {"codes": ["F", "G", 8]}}
    await client.post("/v1/events", json={"events": [event]})
    await map_(client, "codes[*]")
    await service.replay(engine)
    assert await stored(engine) == [("F", ANNA), ("G", ANNA), (None, ANNA)]


async def test_what_was_found_in_events_that_are_gone_is_forgotten_once_no_type_has_its_property(
    client, engine
):
    await map_(client, "code", "codes[*]")
    await track(client, "A")
    await track(client, "B", customer=COOKIE)
    event = {"customer_id": ANNA, "event_type": "purchase", "properties": {"codes": ["C"]}}
    await client.post("/v1/events", json={"events": [event]})
    await client.delete(f"/v1/customers/{COOKIE}")
    async with transaction(engine) as connection:
        await connection.execute(text("DELETE FROM event"))  # as `keep_events_days` does
        await connection.execute(TOLD_DIRECTLY)
    directly = [("D", None), ("E", None), ("F", None)]
    for left in ("code", "codes[*]"):
        mappings = [{"event_type": "order", "property": left}]
        await client.put("/v1/redemption-mapping", json={"mappings": mappings})
        await service.replay(engine)
        found = [("A", ANNA), ("B", None)] if left == "code" else []
        assert await stored(engine) == [*found, *directly]


async def issues(client):
    return [(item["code"], item["outcome"]) for item in (await client.get("/v1/redemptions")).json()["items"]]


async def map_as(client, engine, **how):
    mappings = [
        {"event_type": "purchase", "property": property_, **how} for property_ in ("code", "codes[*]")
    ]
    await client.put("/v1/redemption-mapping", json={"mappings": mappings})
    return (await client.post("/v1/redemption-mapping/replay")).json()["found"]


async def test_a_spelling_that_is_mapped_later_finds_the_codes_of_events_that_are_there(client, engine):
    await fill(engine, "p", ["SAVE10"])
    await map_as(client, engine)
    assert await track(client, "save10", "no-such") == ["unknown_code"] * 2
    event = {"customer_id": ANNA, "event_type": "purchase", "properties": {"codes": ["nope", "NOPE"]}}
    await client.post("/v1/events", json={"events": [event]})
    assert await map_as(client, engine, normalise="upper") == 3
    expected = [("SAVE10", "not_assigned"), ("NO-SUCH", "unknown_code"), ("NOPE", "unknown_code")]
    assert await issues(client) == expected
    assert (await client.post("/v1/pools/p/assignments", json={})).status_code == 409
    assert (await client.get("/v1/vouchers/SAVE10")).json()["status"] == "redeemed"
    assert await map_as(client, engine, normalise="upper") == 0
    assert await issues(client) == expected


async def test_uses_that_were_mapped_as_cancellations_are_uses_once_the_mapping_says_so(client, engine):
    await fill(engine, "p", ["K"])
    await map_as(client, engine, effect="cancel")
    assert await track(client, "K", "L") == ["not_redeemed", "unknown_code"]
    assert await map_as(client, engine) == 2
    assert await issues(client) == [("K", "not_assigned"), ("L", "unknown_code")]
    await fill(engine, "q", ["L"])
    assert await service.resolve(engine) == 1
    for pool in ("p", "q"):
        assert (await client.post(f"/v1/pools/{pool}/assignments", json={})).status_code == 409


async def test_what_took_or_freed_a_code_stays_when_it_is_mapped_otherwise(client, engine):
    await fill(engine, "p", ["K"])
    await map_as(client, engine)
    assert await track(client, "K", "K") == ["not_assigned", "already_redeemed"]
    assert await map_as(client, engine, effect="cancel", normalise="lower") == 0
    assert await issues(client) == [("K", "already_redeemed"), ("K", "not_assigned")]


async def test_uses_are_stored_while_others_are_forgotten(client, engine):
    await map_(client, "code")
    await track(client, "A")
    await map_(client)
    async with transaction(engine) as holding:
        await holding.execute(text("SELECT FROM redemption FOR UPDATE"))
        replaying = asyncio.create_task(service.replay(engine))
        assert await is_waiting(engine, replaying)
        assert await track(client, "B") == [None]
    await replaying
    assert await stored(engine) == []


async def test_of_two_mappings_the_last_one_counts_though_the_first_is_still_being_applied(
    client, engine, monkeypatch
):
    await track(client, "A", "B")
    await map_(client, "code")
    monkeypatch.setattr(service, "AT_A_TIME", 1)
    step = service._replay_some

    async def one_step(*arguments):
        done = await step(*arguments)
        monkeypatch.setattr(service, "_replay_some", step)
        await map_(client)
        await service.replay(engine)
        return done

    monkeypatch.setattr(service, "_replay_some", one_step)
    await service.replay(engine)
    assert await stored(engine) == []
