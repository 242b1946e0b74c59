"""Exports that follow each other: no row is in none of them, and none is in two."""

import asyncio
import os
import random
from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta

import orjson
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.domain.assignments import service
from app.domain.lifecycle import order
from app.domain.lifecycle.requests import AssignmentRequest
from app.platform.database import ONLY_READS, transaction
from app.platform.ids import ordered_id
from app.platform.projects import of_project
from tests.factories import add_projects, fill

CUTS = int(os.environ.get("VOUCHERS_TEST_CUTS", "10"))
"""1000 is the long form."""


async def exported(client, **params):
    reply = await client.get("/v1/assignments/export", params={"format": "ndjson", **params})
    while reply.status_code == 503:
        await asyncio.sleep(1)
        reply = await client.get("/v1/assignments/export", params={"format": "ndjson", **params})
    assert reply.status_code == 200, reply.text
    rows = [orjson.loads(line) for line in reply.text.splitlines()]
    return rows, reply.headers["complete-until"]


async def given(client, **body):
    reply = await client.post("/v1/pools/p/assignments", json=body)
    assert reply.status_code == 201, reply.text
    return reply.json()


def states(rows):
    return {row["code"]: row["status"] for row in rows}


async def test_what_is_under_way_when_an_export_is_made_is_in_the_next_one(client, engine):
    await fill(engine, "p", 10)
    before = await given(client)
    async with transaction(engine) as begun, transaction(engine) as claimed:
        await begun.execute(text("SELECT 1"))
        after = await given(client)
        requests = [AssignmentRequest(ordered_id()) for _ in range(5)]
        await service.claim_many(claimed, "p", requests)
        first, until = await exported(client)
        assert [row["id"] for row in first] == [before["id"]]
    second, until = await exported(client, since=until)
    assert {row["id"] for row in second} == {after["id"], *(str(request.id) for request in requests)}
    assert (await exported(client, since=until))[0] == []
    assert len((await exported(client))[0]) == 7


async def test_what_begins_after_an_export_is_stamped_later_whatever_the_clock_does(client, engine):
    await fill(engine, "p", 2)
    async with engine.begin() as connection:
        ahead = (
            await connection.execute(
                text("INSERT INTO horizon (at) VALUES (now() + interval '1 hour') RETURNING at")
            )
        ).scalar_one()
    assert datetime.fromisoformat((await given(client))["assigned_at"]) == ahead
    assert await order.settled(engine) <= ahead
    released = await given(client)
    await client.post(f"/v1/assignments/{released['id']}/release")
    async with engine.begin() as connection:
        assert (await connection.execute(text("SELECT changed_at FROM pool_change"))).scalar_one() == ahead


async def test_what_only_reads_holds_no_export_up(engine):
    async with engine.begin() as reader:
        await reader.execute(ONLY_READS)
        begun = (await reader.execute(text("SELECT now()"))).scalar_one()
        assert await order.settled(engine) > begun
    async with engine.begin() as other:
        begun = (await other.execute(text("SELECT now()"))).scalar_one()
        assert await order.settled(engine) <= begun


async def test_what_is_under_way_in_another_project_holds_no_export_up(engine):
    (shop,) = await add_projects(engine, "shop")
    another = of_project(engine, shop)
    async with transaction(another) as other:
        begun = (await other.execute(text("SELECT now()"))).scalar_one()
        assert await order.settled(engine) > begun
        assert await order.settled(another) <= begun


async def test_until_is_kept_where_all_before_it_is_committed_and_cut_where_not(client, engine):
    await fill(engine, "p", 3)
    first, second = await given(client), await given(client)
    rows, until = await exported(client, until=second["assigned_at"])
    assert [row["id"] for row in rows] == [first["id"]]
    assert until == second["assigned_at"]
    future = datetime.fromisoformat(until) + timedelta(days=1)
    rows, until = await exported(client, since=until, until=future.isoformat())
    assert [row["id"] for row in rows] == [second["id"]]
    assert datetime.fromisoformat(until) < future
    rows, until = await exported(client, since=future.isoformat())
    assert (rows, datetime.fromisoformat(until)) == ([], future)


async def test_what_changed_is_in_the_export_of_that_time_too_with_its_new_state(client, engine):
    codes = await fill(engine, "p", 6)
    rows = {name: await given(client) for name in ("stays", "released", "redeemed", "voided")}
    rows["confirmed"] = await given(client, lease_seconds=60)
    rows["lapsed"] = await given(client, lease_seconds=60)
    _, until = await exported(client)
    for name, path in (
        ("released", "/v1/assignments/{id}/release"),
        ("confirmed", "/v1/assignments/{id}/confirm"),
        ("redeemed", "/v1/vouchers/{code}/redemptions"),
        ("voided", "/v1/vouchers/{code}/void"),
    ):
        reply = await client.post(path.format(**rows[name]), json={} if name == "redeemed" else None)
        assert reply.status_code < 300, reply.text
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE assignment SET lease_until = now() WHERE id = :id"), {"id": rows["lapsed"]["id"]}
        )
    await service.vouchers.sweep(engine)
    changed, later = await exported(client, since=until)
    assert states(changed) == {
        rows["released"]["code"]: "released",
        rows["redeemed"]["code"]: "redeemed",
        rows["voided"]["code"]: "void",
        rows["confirmed"]["code"]: "assigned",
        rows["lapsed"]["code"]: "lapsed",
    }
    assert (await exported(client, since=until, changes="false"))[0] == []
    of_pool, _ = await exported(client, since=until, pool="p")
    assert states(of_pool) == states(changed)
    again = await given(client)
    new = await exported(client, since=later)
    assert states(new[0]) == {again["code"]: "assigned"}
    assert len(codes) == 6


async def _until_told(act, stop):
    while not stop.is_set():
        with suppress(DBAPIError):  # a busy machine: what became of it, the ledger knows
            await act()
        await asyncio.sleep(random.random() / 50)


async def test_no_row_is_lost_and_none_is_there_twice_wherever_is_cut(client, engine):
    await fill(engine, "p", 500 + CUTS * 150)
    stop = asyncio.Event()
    template = "{{ vouchers['p'].assign_available() }}"

    async def single():
        await client.post("/v1/pools/p/assignments", json={"customer_id": "c"})

    async def batch():
        items = [{} for _ in range(random.randint(1, 40))]
        await client.post("/v1/pools/p/assignments/batch", json={"items": items})

    async def render():
        await client.post("/v1/render", json={"template": template, "channel": "sms", "mode": "send"})

    async def slow():
        async with transaction(engine) as connection:
            await connection.execute(text("SELECT 1"))
            await asyncio.sleep(random.random() / 20)
            await service.claim_many(connection, "p", [AssignmentRequest(ordered_id())])
            await asyncio.sleep(random.random() / 20)

    acts = (single, single, batch, render, slow, slow)
    working = [asyncio.create_task(_until_told(act, stop)) for act in acts]
    seen, until = Counter(), None
    for _ in range(CUTS):
        rows, until = await exported(client, **({"since": until} if until else {}))
        seen.update(row["id"] for row in rows)
        await asyncio.sleep(random.random() / 50)
    stop.set()
    await asyncio.gather(*working)
    rows, until = await exported(client, since=until)
    seen.update(row["id"] for row in rows)
    async with engine.connect() as connection:
        ids = [str(id_) for (id_,) in await connection.execute(text("SELECT id FROM assignment"))]
    assert len(ids) > CUTS
    assert [id_ for id_ in ids if seen[id_] != 1] == []
    assert len(seen) == len(ids)
