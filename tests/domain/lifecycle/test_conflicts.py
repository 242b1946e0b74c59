"""Changes that meet: nobody is told that the database did not answer, and what cannot be done is a conflict."""

import asyncio
import random

import pytest
from psycopg.errors import DeadlockDetected
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.domain.lifecycle import check
from app.domain.pools import service as pools
from app.domain.vouchers import service as vouchers
from app.platform.database import ConflictError
from tests.factories import COUNT, fill

CODES = 300
ASSIGN = "/v1/pools/p/assignments"


async def an_import(engine, pool, codes):
    """Give the codes of a pool to an import that has ended."""
    async with engine.begin() as connection:
        query = text(
            "INSERT INTO import (pool_id, pool, status, source, options, seed, imported)"
            " SELECT id, name, 'succeeded', '{}', '{}', 0, :n FROM pool WHERE name = :pool RETURNING id"
        )
        id_ = (await connection.execute(query, {"pool": pool, "n": len(codes)})).scalar_one()
        await connection.execute(text("UPDATE voucher SET import_id = :id"), {"id": id_})
    return id_


async def map_codes(client):
    mapping = {"mappings": [{"event_type": "purchase", "property": "codes[*]"}]}
    assert (await client.put("/v1/redemption-mapping", json=mapping)).status_code == 200


async def use(client, codes):
    """Tell in one batch that codes were used, in any order."""
    events = [
        {"customer_id": "c", "event_type": "purchase", "properties": {"codes": random.sample(codes, 8)}}
        for _ in range(10)
    ]
    return (await client.post("/v1/events", json={"events": events})).status_code


@pytest.mark.parametrize("change", ["undo", "delete"])
@pytest.mark.parametrize("again", range(3))
async def test_a_change_of_a_whole_pool_beside_events_draws_and_sweeps(client, engine, change, again):
    codes = await fill(engine, "p", CODES)
    await map_codes(client)
    import_id = await an_import(engine, "p", codes)
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE voucher SET expires_at = now() + make_interval(secs => random() * 0.4)")
        )

    async def change_all():
        await asyncio.sleep(random.random() / 5)
        if change == "undo":
            return (await client.post(f"/v1/imports/{import_id}/undo")).status_code
        return (await client.delete("/v1/pools/p")).status_code

    async def draw():
        await asyncio.sleep(random.random() / 5)
        return (await client.post(ASSIGN, json={"lease_seconds": 1})).status_code

    async def sweep():
        for _ in range(4):
            await vouchers.sweep(engine)
            await asyncio.sleep(0.05)
        return 200

    told = await asyncio.gather(
        *(use(client, codes) for _ in range(6)),
        change_all(),
        change_all(),
        *(draw() for _ in range(4)),
        sweep(),
        sweep(),
    )
    assert set(told) <= {200, 201, 204, 404, 409}, told
    async with engine.begin() as connection:
        assert await check.violations(connection) == []


async def test_locks_taken_in_the_order_of_codes_let_a_delete_wait_and_not_fail(client, engine):
    """An event's transaction holds the last code and then asks for the first; the delete waits for it."""
    codes = await fill(engine, "p", 50)
    async with engine.begin() as connection:
        await connection.execute(
            text("SELECT FROM voucher WHERE code = :code FOR UPDATE"), {"code": codes[0]}
        )
        waiting = asyncio.create_task(client.delete("/v1/pools/p"))
        await asyncio.sleep(0.3)
        await connection.execute(
            text("SELECT FROM voucher WHERE code = :code FOR UPDATE"), {"code": codes[-1]}
        )
    assert (await waiting).status_code == 204


async def test_what_conflicts_each_time_is_a_conflict_and_changes_nothing(client, engine, monkeypatch):
    await fill(engine, "p", 5)
    tries = []

    async def meets(connection, *_):
        tries.append(1)
        await connection.execute(COUNT, {"pool_id": 1, "n": 1})
        raise OperationalError("DELETE", {}, DeadlockDetected()) if len(tries) % 2 else ConflictError

    monkeypatch.setattr(pools, "delete", meets)
    reply = await client.delete("/v1/pools/p")
    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/conflict")
    assert len(tries) > 1
    assert (await client.get("/v1/pools/p/counts")).json()["available"] == 5


async def test_a_change_that_conflicted_once_is_made(client, engine, monkeypatch):
    await fill(engine, "p", 5)
    delete, tries = pools.delete, []

    async def first_meets(*arguments):
        tries.append(1)
        if len(tries) == 1:
            raise ConflictError
        await delete(*arguments)

    monkeypatch.setattr(pools, "delete", first_meets)
    assert (await client.delete("/v1/pools/p")).status_code == 204
    assert (await client.get("/v1/pools/p")).status_code == 404
