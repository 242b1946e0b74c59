"""A use of a code and the import of that code meet in every order, and the code is never drawn."""

import asyncio
import os
import random

import pytest
from sqlalchemy import text

from app.domain.imports.merging import merge
from app.domain.lifecycle import check, draw_keys
from app.domain.pools import service as pools
from app.domain.redemptions import service
from app.domain.tracking import service as tracking
from app.platform.connections import connect_sync
from app.platform.database import transaction
from app.platform.giving_way import UnhurriedSync
from app.platform.projects import DEFAULT
from tests.factories import fill, new_event

RACES = int(os.environ.get("VOUCHERS_TEST_RACES", "600"))
"""Codes whose use races their import; 10000 for the long form."""


def event(code, **more):
    return new_event("c1", "purchase", {"code": code}, **more)


@pytest.fixture
async def mapped(client):
    mappings = [{"event_type": "purchase", "property": "code"}]
    assert (await client.put("/v1/redemption-mapping", json={"mappings": mappings})).status_code == 200


async def new_pool(engine, name="p"):
    async with transaction(engine) as connection:
        return await pools.ensure(connection, name)


async def new_import(engine, pool_id):
    insert = text("""INSERT INTO import (pool_id, pool, source, options, seed, merged_to, status)
        VALUES (:pool_id, 'p', '{}', '{}', 1, ARRAY[0, 0], 'running') RETURNING id""")
    async with transaction(engine) as connection:
        return (await connection.execute(insert, {"pool_id": pool_id})).scalar_one()


def staged(settings, codes):
    """A connection with these codes ready to be merged."""
    connection = connect_sync(settings, project=DEFAULT, autocommit=True)
    rows = [f"{line}\t{code}\t\\N\n" for line, code in enumerate(codes)]
    merge.stage([connection], iter([[rows]]), UnhurriedSync(connection), with_attributes=False)
    merge.order(connection, 1, 0, draw_keys.FIRST)
    return connection


def merge_all(connection, target, limit, n):
    after, keys = draw_keys.FIRST, merge.keys_of(0)
    while after < keys.stop - 1:
        upto = merge.end_of_chunk(after, n, limit, keys)
        merge.chunk(connection, target, after, upto, 1)
        after = upto


async def drawn(client):
    """All that the pool still gives, one by one."""
    codes = []
    while (reply := await client.post("/v1/pools/p/assignments", json={})).status_code == 201:
        codes.append(reply.json()["code"])
    return codes


async def test_a_use_before_the_import_takes_the_code(client, engine, mapped, settings, connection):
    pool_id = await new_pool(engine)
    assert (await tracking.track_all(engine, [event("KA"), event("KA")]))[0].redemption == "unknown_code"
    target = merge.Target(0, await new_import(engine, pool_id), pool_id, None, dry_run=False)
    with staged(settings, ["KA", "KB"]) as merging:
        await asyncio.to_thread(merge_all, merging, target, 10, 2)
    assert await drawn(client) == ["KB"]
    listed = (await client.get("/v1/redemptions")).json()["items"]
    assert [use["outcome"] for use in listed] == ["already_redeemed", "not_assigned"]
    assert await check.violations(connection) == []


async def test_an_event_under_way_is_waited_for_by_the_merge(client, engine, mapped, settings):
    pool_id = await new_pool(engine)
    target = merge.Target(0, await new_import(engine, pool_id), pool_id, None, dry_run=False)
    with staged(settings, ["KA"]) as merging:
        async with transaction(engine) as tracked:
            (told,) = await tracking.track(tracked, [event("KA")])
            assert told.redemption == "unknown_code"
            merged = asyncio.create_task(asyncio.to_thread(merge_all, merging, target, 10, 1))
            await asyncio.sleep(0.3)
            assert not merged.done()
        await merged
    assert await drawn(client) == []
    assert (await client.get("/v1/vouchers/KA")).json()["status"] == "redeemed"


async def test_an_event_waits_for_a_merge_under_way_and_sees_its_vouchers(
    client, engine, mapped, settings, monkeypatch
):
    pool_id = await new_pool(engine)
    target = merge.Target(0, await new_import(engine, pool_id), pool_id, None, dry_run=False)
    settled, go_on = asyncio.Event(), asyncio.Event()
    loop, settle = asyncio.get_running_loop(), merge.settle_chunk

    def slowly(*arguments):
        settle(*arguments)
        loop.call_soon_threadsafe(settled.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(20)

    monkeypatch.setattr(merge, "settle_chunk", slowly)
    with staged(settings, ["KA"]) as merging:
        merged = asyncio.create_task(asyncio.to_thread(merge_all, merging, target, 10, 1))
        await settled.wait()
        told = asyncio.create_task(tracking.track_all(engine, [event("KA")]))
        await asyncio.sleep(0.3)
        assert not told.done()
        go_on.set()
        await merged
    assert [one.redemption for one in await told] == ["not_assigned"]
    assert await drawn(client) == []


async def test_uses_race_an_import_while_others_draw(client, engine, mapped, settings, connection):
    pool_id = await new_pool(engine)
    target = merge.Target(0, await new_import(engine, pool_id), pool_id, None, dry_run=False)
    codes = [f"R-{n:06}" for n in range(RACES)]
    order = random.Random(1).sample(codes, RACES)
    given: list[str] = []
    done = False

    async def draw():
        while not done:
            reply = await client.post("/v1/pools/p/assignments", json={})
            if reply.status_code == 201:
                given.append(reply.json()["code"])
            await asyncio.sleep(0.01)

    outcomes = {}

    async def use(some):
        for start in range(0, len(some), 5):
            part = some[start : start + 5]
            told = await tracking.track_all(engine, [event(code) for code in part])
            outcomes.update(zip(part, (one.redemption for one in told), strict=True))

    with staged(settings, codes) as merging:
        drawing = asyncio.create_task(draw())
        using = asyncio.gather(*(use(order[share::4]) for share in range(4)))
        await asyncio.to_thread(merge_all, merging, target, 20, RACES)
        await using
        done = True
        await drawing
    # Drawn before it was used is right; drawn after its use was answered never is. Every code is used by now.
    given_before = {code for code in given if outcomes[code] == "redeemed"}
    assert set(given) == given_before, set(given) - given_before
    assert await drawn(client) == []
    assert (await client.get("/v1/pools/p/counts")).json()["redeemed"] == RACES
    assert await check.violations(connection) == []


async def test_an_event_under_way_when_the_mapping_changes_is_judged_by_the_new_one(client, engine, mapped):
    async with transaction(engine) as tracked:
        (told,) = await tracking.track(tracked, [new_event("c1", "purchase", {"other": "X"})])
        assert told.redemption is None
        body = {"mappings": [{"event_type": "purchase", "property": "other"}]}
        changed = asyncio.create_task(client.put("/v1/redemption-mapping", json=body))
        await asyncio.sleep(0.3)
        assert not changed.done()
    assert (await changed).status_code == 200
    assert await service.replay(engine) == {"events": 1, "found": 1}


async def test_a_pool_of_which_a_code_was_used_is_not_deleted(client, engine, mapped, connection):
    await fill(engine, "p", ["D-1"])
    await tracking.track_all(engine, [event("D-1")])
    reply = await client.delete("/v1/pools/p")
    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/pool-not-empty")
    assert (await client.get("/v1/vouchers/D-1")).json()["status"] == "redeemed"
    assert await check.violations(connection) == []
