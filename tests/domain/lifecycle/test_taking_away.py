"""A pool that is deleted, or an import that is undone, holds up uses of its own codes and no others."""

import asyncio

import pytest
from sqlalchemy import text

from app.domain.lifecycle import check, draw_keys, intake
from app.domain.lifecycle.stock import SLOT
from app.domain.pools import service as pools
from app.domain.tracking import service as tracking
from app.platform.database import transaction
from tests.factories import fill, new_event
from tests.waiting import is_waiting


@pytest.fixture(autouse=True)
async def mapped(client):
    mappings = [{"event_type": "purchase", "property": "code"}]
    assert (await client.put("/v1/redemption-mapping", json={"mappings": mappings})).status_code == 200


async def use(engine, code):
    (told,) = await tracking.track_all(engine, [new_event("c", "purchase", {"code": code})])
    return told.redemption


async def test_uses_of_other_codes_wait_for_no_deletion(client, engine):
    await fill(engine, "p", ["K"])
    await fill(engine, "q", ["L"])
    async with transaction(engine) as deleting:
        await pools.delete(deleting, None, "p")
        assert await use(engine, "L") == "not_assigned"
        assert await use(engine, "nowhere") == "unknown_code"
        waiting = asyncio.create_task(use(engine, "K"))
        assert await is_waiting(engine, waiting)
    assert await waiting == "unknown_code"
    await fill(engine, "r", ["K"])
    async with engine.begin() as connection:
        # `fill` is no import, which would settle it: the check knows.
        assert len(await check.violations(connection)) == 2


async def test_a_deletion_waits_for_a_use_of_its_code_and_is_refused(client, engine):
    await fill(engine, "p", ["K", "L"])
    async with transaction(engine) as using:
        (told,) = await tracking.track(using, [new_event("c", "purchase", {"code": "K"})])
        assert told.redemption == "not_assigned"
        deleting = asyncio.create_task(client.delete("/v1/pools/p"))
        assert await is_waiting(engine, deleting)
    assert (await deleting).json()["type"] == "/problems/pool-not-empty"
    counts = (await client.get("/v1/pools/p/counts")).json()
    assert (counts["available"], counts["redeemed"]) == (1, 1)


async def test_uses_of_other_codes_wait_for_no_undo_and_one_of_its_codes_is_of_an_unknown_one(client, engine):
    await fill(engine, "p", ["K"])
    await fill(engine, "q", ["L"])
    async with engine.begin() as connection:
        made = text("""INSERT INTO import (pool_id, pool, status, source, options, seed, imported)
            SELECT id, name, 'succeeded', '{}', '{}', 0, 1 FROM pool WHERE name = 'p' RETURNING id, pool_id""")
        import_id, pool_id = (await connection.execute(made)).one()
        await connection.execute(
            text("UPDATE voucher SET import_id = :id WHERE code = 'K'"), {"id": import_id}
        )
    async with transaction(engine) as undoing:
        part = intake.Part(import_id, pool_id, draw_keys.FIRST, 10, None)
        assert await intake.take_back(undoing, part, SLOT) == (1, None)
        assert await use(engine, "L") == "not_assigned"
        waiting = asyncio.create_task(use(engine, "K"))
        assert await is_waiting(engine, waiting)
    assert await waiting == "unknown_code"
