"""Whoever lifts a count notes first which thresholds it had fallen to; no sweep runs here before it rises."""

import uuid

import pytest
from sqlalchemy import text

from app.domain.lifecycle import coming, moving, transitions
from app.platform.database import transaction
from tests.domain.imports.imported import books_agree, run_job
from tests.factories import fill

URL = "/v1/pools/p/alerts"
FOOTED = "code\n" + "".join(f"K-{n:03}\n" for n in range(50)) + "Total: 50\n"


async def run(engine, statement, **values):
    async with transaction(engine) as connection:
        return (await connection.execute(text(statement), values)).scalars().all()


async def fallen(engine):
    return await run(
        engine, "SELECT array[threshold, available] FROM alert_threshold WHERE fell_at IS NOT NULL"
    )


async def taken(client, n=2, **more):
    replies = [(await client.post("/v1/pools/p/assignments", json=more)).json() for _ in range(n)]
    return [reply["id"] for reply in replies]


async def release(client, engine, settings):
    ids = await taken(client)
    assert await fallen(engine) == []
    assert (await client.post(f"/v1/assignments/{ids[0]}/release")).status_code == 200


async def lapse(client, engine, settings):
    await taken(client, lease_seconds=60)
    await run(engine, "UPDATE assignment SET lease_until = now() - interval '1 s' RETURNING 1")
    async with transaction(engine) as connection:
        await transitions.lapse(connection, 10)


async def reinstate(client, engine, settings):
    await taken(client, 1)
    codes = await run(engine, "SELECT code FROM voucher WHERE status = 'available' ORDER BY code LIMIT 1")
    async with transaction(engine) as connection:
        await transitions.void(connection, codes)
        assert await transitions.reinstate(connection, codes) == 1


async def extend(client, engine, settings):
    await taken(client, 1)
    codes = await run(
        engine,
        "UPDATE voucher SET expires_at = now() - interval '1 s'"
        " WHERE code = (SELECT min(code) FROM voucher WHERE status = 'available') RETURNING code",
    )
    async with transaction(engine) as connection:
        await transitions.expire(connection, 10)
        await transitions.set_expiry(connection, codes, None)


async def move(client, engine, settings):
    await taken(client)
    codes = await fill(engine, "q", ["Q-1"])
    (pool,) = await run(engine, "SELECT id FROM pool WHERE name = 'p'")
    async with transaction(engine) as connection:
        assert await moving.move(connection, codes, pool) == 1


async def come(client, engine, settings):
    await taken(client)
    await run(
        engine,
        "INSERT INTO coming_voucher (code, pool_id, draw_key, import_id, line, valid_from)"
        " SELECT 'L-1', id, 1, gen_random_uuid(), 1, now() FROM pool RETURNING 1",
    )
    async with transaction(engine) as connection:
        assert await coming.come(connection, 10) == 1


async def bring_in(client, engine, settings):
    await taken(client)
    assert (await run_job(engine, settings, client, "code\nN-1\nN-2\n"))["imported"] == 2


async def accept(client, engine, settings):
    done = await run_job(engine, settings, client, FOOTED, pool="p")
    assert done["rejected_by"]["suspicious"] == 1
    await taken(client, 52)
    await run(
        engine, "UPDATE alert_threshold SET fell_at = NULL, told_at = NULL, available = NULL RETURNING 1"
    )
    assert (await client.post(f"/v1/imports/{done['id']}/accept-suspicious")).status_code == 200


async def end_hold(client, engine, settings):
    held = await client.post("/v1/pools/p/holds", json={"campaign_id": "spring", "count": 2})
    assert (await client.delete(f"/v1/pools/p/holds/{held.json()['id']}")).status_code == 204


@pytest.mark.parametrize(
    "lift",
    [release, lapse, reinstate, extend, move, come, bring_in, accept, end_hold],
    ids=lambda f: f.__name__,
)
async def test_it_is_noted_before_the_count_rises(client, engine, settings, lift):
    await fill(engine, "p", 3)
    hook = f"https://example.com/{uuid.uuid4()}"
    assert (await client.put(URL, json={"thresholds": [1], "webhook_url": hook})).status_code == 200
    await lift(client, engine, settings)
    assert await fallen(engine) == [[1, 1]]
    if lift is not come:  # that one's import is made up
        await books_agree(engine)
    assert (await client.get("/v1/pools/p/counts")).json()["available"] > 1
