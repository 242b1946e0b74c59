"""Undo: what campaigns were promised stays, and a schedule does not bring back what was taken."""

import asyncio
from datetime import UTC, datetime

import pytest

from app.domain.imports import undoing
from app.domain.imports.merging import pipeline
from app.domain.imports.schedules import service
from app.domain.lifecycle import intake
from app.domain.lifecycle.check import violations
from app.platform.database import transaction
from app.platform.projects import DEFAULT
from tests.domain.imports.imported import listing, queue

SOURCE = {"type": "storage", "url": "file:codes.csv"}


async def undo(client, import_id):
    return await client.post(f"/v1/imports/{import_id}/undo")


async def hold(client, count):
    made = await client.post("/v1/pools/p/holds", json={"campaign_id": "spring", "count": count})
    assert made.status_code == 201, made.text


async def test_an_undo_leaves_what_a_hold_was_promised(client, engine, settings, connection):
    first, second = await queue(engine, listing(range(30))), await queue(engine, listing(range(30, 50)))
    for import_id in (first, second):
        await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)
    await hold(client, 35)
    undone = (await undo(client, first)).json()
    assert (undone["taken_back"], undone["kept"], undone["kept_for_holds"]) == (15, 15, 15)
    counts = (await client.get("/v1/pools/p/counts")).json()
    assert (counts["available"], counts["held"]) == (35, 35)
    drawn = [await client.post("/v1/pools/p/assignments", json={"campaign_id": "spring"}) for _ in range(35)]
    assert {reply.status_code for reply in drawn} == {201}
    assert await violations(connection) == []


@pytest.mark.parametrize("at_a_time", [1, 7, 100])
async def test_an_undo_goes_on_lot_by_lot_and_where_it_was_broken_off(
    client, engine, settings, connection, monkeypatch, at_a_time
):
    first, second = await queue(engine, listing(range(30))), await queue(engine, listing(range(30, 40)))
    for import_id in (first, second):
        await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)
    given = (await client.post("/v1/pools/p/assignments", json={})).json()["code"]
    kept = int(given < "K-000030")
    take_back, lots = intake.take_back, []

    async def breaks_off(connection, part, slot):
        lots.append(part.after)
        if len(lots) == 3:
            raise RuntimeError("the process was killed")
        return await take_back(connection, part, slot)

    monkeypatch.setattr(undoing, "AT_A_TIME", at_a_time)
    monkeypatch.setattr(intake, "take_back", breaks_off)
    reply = await undo(client, first)
    if at_a_time < 100:
        assert reply.status_code == 500
        assert (await client.get(f"/v1/imports/{first}")).json()["undone"] < 30 - kept
        reply = await undo(client, first)
    assert (reply.status_code, reply.json()["kept"]) == (200, kept)
    assert (await client.get(f"/v1/imports/{first}")).json()["undone"] == 30 - kept
    counts = (await client.get("/v1/pools/p/counts")).json()
    assert (counts["available"], counts["assigned"]) == (9 + kept, 1)
    assert await violations(connection) == []


async def test_an_undo_and_a_hold_at_once_promise_nothing_twice(client, engine, settings):
    import_id = await queue(engine, listing(range(20)))
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)
    holding = client.post("/v1/pools/p/holds", json={"campaign_id": "spring", "count": 20})
    undone, held = await asyncio.gather(undo(client, import_id), holding)
    assert undone.status_code == 200, undone.text
    counts = (await client.get("/v1/pools/p/counts")).json()
    assert counts["available"] == (20 if held.status_code == 201 else 0)


async def begin(engine):
    async with transaction(engine) as connection:
        await connection.exec_driver_sql("UPDATE import_schedule SET next_run = now()")
    async with transaction(engine) as connection:
        return await service.begin_due(connection, datetime.now(UTC), set())


async def test_the_next_run_does_not_bring_back_what_was_undone(client, engine, settings):
    (settings.import_folder / "codes.csv").write_text(listing(range(5)))
    made = await client.post(
        "/v1/import-schedules", json={"pool": "p", "source": SOURCE, "cron": "0 6 * * *"}
    )
    url = f"/v1/import-schedules/{made.json()['id']}"
    await begin(engine)
    (first,) = (await client.get("/v1/imports")).json()["items"]
    assert (await undo(client, first["id"])).status_code == 409
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, first["id"])
    await begin(engine)
    refused = await undo(client, first["id"])
    assert (refused.status_code, "run of its schedule" in refused.json()["detail"]) == (409, True)
    assert (await client.get(url)).json()["active"] is True  # nothing was done
    second = (await client.get("/v1/imports")).json()["items"][0]
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, second["id"])

    undone = (await undo(client, first["id"])).json()
    assert (undone["taken_back"], undone["paused_schedule"]) == (5, made.json()["id"])
    paused = (await client.get(url)).json()
    assert (paused["active"], paused["next_run"]) == (False, None)
    assert await begin(engine) is False
    assert (await client.get("/v1/pools/p/counts")).json()["total"] == 0
    audit = (await client.get("/v1/audit", params={"action": "schedule.changed"})).json()["items"]
    assert [entry["details"]["changed"] for entry in audit] == [["active"]]
    assert (await undo(client, first["id"])).json()["paused_schedule"] is None
