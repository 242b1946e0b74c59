"""What was erased is gone with all that was answered before, and no late retry brings it back."""

import asyncio
import time
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from app.domain.customers import queries, service
from app.domain.customers.events import NewEvent
from app.domain.lifecycle import check
from app.domain.tracking import service as tracking
from app.platform.database import ConflictError, transaction
from app.platform.projects import everywhere, of_project
from app.schema.base import Base
from tests.factories import add_projects, fill

WHO = "anna@example.org"
MAPPING = [{"event_type": "purchase", "property": "code"}]


@pytest.fixture(autouse=True)
async def mapped(client):
    assert (await client.put("/v1/redemption-mapping", json={"mappings": MAPPING})).status_code == 200


async def traces(engine):
    """The tables in which the person is named."""
    found = []
    async with engine.begin() as connection:
        assert await check.violations(connection) == []
        for table in Base.metadata.sorted_tables:
            query = text(
                f'SELECT count(*) FROM "{table.name}" AS t WHERE strpos(to_jsonb(t)::text, :who) > 0'
            )
            if (await connection.execute(query, {"who": WHO})).scalar_one():
                found.append(table.name)
    return found


async def test_a_late_retry_does_not_bring_the_person_back_and_says_why(client, engine):
    await fill(engine, "p", 5)
    event = {"event_id": "e1", "customer_id": WHO, "event_type": "purchase", "properties": {"code": "x"}}
    node = {
        "template": '{"code": "{{ vouchers["p"].assign_available() }}"}',
        "message_id": "m1",
        "mode": "send",
    }
    body = {"customer_id": WHO}

    async def everything():
        return [
            await client.post("/v1/events", json={"events": [event]}),
            await client.post("/v1/pools/p/assignments", json=body, headers={"Idempotency-Key": "k1"}),
            await client.post("/v1/pools/p/assignments", json={**body, "message_id": "m2"}),
            await client.post(f"/v1/customers/{WHO}/properties/render", json=node),
        ]

    first = await everything()
    assert [reply.status_code for reply in first] == [200, 201, 201, 200], [reply.text for reply in first]
    before = (await client.get("/v1/pools/p/counts")).json()
    assert (await client.delete(f"/v1/customers/{WHO}")).status_code == 200
    assert await traces(engine) == []

    again = await everything()
    assert [reply.status_code for reply in again] == [200, 422, 422, 422], [reply.text for reply in again]
    assert again[0].json() == {
        "accepted": 0,
        "items": [{"event_id": "e1", "status": "erased", "redemption": None, "redemptions": []}],
    }
    assert all("erased" in reply.json()["detail"] for reply in again[1:])
    assert await traces(engine) == []
    assert (await client.get("/v1/pools/p/counts")).json() == before
    # What is new is new: a person may come back.
    fresh = {**event, "event_id": "e2"}
    assert (await client.post("/v1/events", json={"events": [fresh]})).json()["accepted"] == 1


@pytest.mark.parametrize(
    "template",
    [
        "{{ vouchers['p'].assign_available(fallback=['q']) }}",
        "{{ vouchers['p'].count_total() }}",
        "{{ now() }}",
    ],
)
async def test_a_message_that_saw_something_is_not_made_again_and_fails_alone(client, engine, template):
    await fill(engine, "p", 0)
    await fill(engine, "q", 5)
    message = {"template": template, "channel": "email"}
    to = {"customer_id": WHO, "message_id": "m"}
    assert (await client.post("/v1/render", json=message | to)).is_success
    assert (await client.delete(f"/v1/customers/{WHO}")).status_code == 200
    await fill(engine, "p", 5)
    again = await client.post("/v1/render", json=message | to)
    assert (again.status_code, "erased" in again.json()["detail"]) == (422, True), again.text
    assert await traces(engine) == []
    recipients = [to, to | {"customer_id": "bob"}]
    batch = await client.post("/v1/render/batch", json=message | {"recipients": recipients})
    assert [item["status"] for item in batch.json()["items"]] == ["failed", "rendered"], batch.text
    assert await traces(engine) == []


async def test_marks_are_forgotten_after_their_time(client, engine):
    await client.post(
        "/v1/events", json={"events": [{"event_id": "e", "customer_id": WHO, "event_type": "x"}]}
    )
    await client.delete(f"/v1/customers/{WHO}")
    assert await service.forget_marks(everywhere(engine)) == 0
    async with transaction(everywhere(engine)) as connection:
        await connection.execute(text("UPDATE erased_event SET erased_at = now() - interval '91 days'"))
    assert await service.forget_marks(everywhere(engine)) == 1


async def test_an_erasure_waits_for_what_is_under_way(client, engine, monkeypatch):
    monkeypatch.setattr(service, "PATIENCE", 60)
    async with transaction(engine) as tracked:
        await tracking.track(tracked, [NewEvent("late", WHO, "visit", {})])
        erasing = asyncio.create_task(client.delete(f"/v1/customers/{WHO}"))
        await asyncio.sleep(0.1)
        assert not erasing.done()
    assert (await erasing).json()["events"] == 1
    assert await traces(engine) == []


async def test_an_erasure_that_waited_in_vain_says_so_and_its_repeat_is_whole(client, engine, monkeypatch):
    monkeypatch.setattr(service, "PATIENCE", 0.2)
    assert (await client.post(f"/v1/customers/{WHO}/merge", json={"from": "cookie"})).is_success
    async with transaction(engine) as tracked:
        await tracking.track(tracked, [NewEvent("late", "cookie", "visit", {})])
        reply = await client.delete("/v1/customers/cookie")
    assert (reply.status_code, reply.json()["detail"]) == (503, service.UNFINISHED)
    assert reply.json()["customer_ids"] == [WHO, "cookie"]
    again = [await client.delete(f"/v1/customers/{id_}") for id_ in reply.json()["customer_ids"]]
    assert [(each.status_code, each.json()["events"]) for each in again] == [(200, 1), (200, 0)]
    assert await traces(engine) == []


async def test_an_erasure_waits_for_no_other_project_and_for_nobody_who_only_reads(
    client, engine, monkeypatch
):
    monkeypatch.setattr(service, "PATIENCE", 0.2)
    (shop,) = await add_projects(engine, "shop")
    async with transaction(of_project(engine, shop)) as other, transaction(engine) as reading:
        await tracking.track(other, [NewEvent("theirs", WHO, "visit", {})])
        await reading.execute(text("SELECT count(*) FROM event"))
        assert (await client.delete(f"/v1/customers/{WHO}")).status_code == 200


async def test_what_is_under_way_is_erased_whichever_id_of_the_person_is_named(client, engine, monkeypatch):
    monkeypatch.setattr(service, "PATIENCE", 60)
    assert (await client.post(f"/v1/customers/{WHO}/merge", json={"from": "cookie"})).is_success
    async with transaction(engine) as tracked:
        await tracking.track(tracked, [NewEvent("late", "cookie", "visit", {})])
        erasing = asyncio.create_task(client.delete("/v1/customers/cookie"))
        while (await tracked.execute(text("SELECT count(*) FROM customer_alias"))).scalar_one():
            await asyncio.sleep(0.005)
    assert (await erasing).json()["events"] == 1
    assert await traces(engine) == []


@pytest.fixture
def meeting(monkeypatch):
    """Lets erasures meet another change as often as it says, after the first look at the person."""
    erase, looks = queries.erase, []
    times = SimpleNamespace(n=0)

    async def met(connection, customer_id):
        looks.append(customer_id)
        if 1 < len(looks) <= 1 + times.n:
            raise ConflictError
        return await erase(connection, customer_id)

    monkeypatch.setattr(queries, "erase", met)
    return times


async def erased_once(client):
    event = {"event_id": "e", "customer_id": WHO, "event_type": "visit"}
    assert (await client.post("/v1/events", json={"events": [event]})).is_success
    return await client.delete(f"/v1/customers/{WHO}")


async def audited(client):
    items = (await client.get("/v1/audit", params={"action": "customer.erased"})).json()["items"]
    return [item["details"]["erased"]["events"] for item in items]


@pytest.mark.parametrize("n", [1, 10])
async def test_an_erasure_that_meets_other_changes_tells_all_that_it_erased(client, engine, meeting, n):
    meeting.n = n
    reply = await erased_once(client)
    assert (reply.status_code, reply.json()["events"]) == (200, 1), reply.text
    assert (await traces(engine), await audited(client)) == ([], [1])


async def test_an_erasure_that_meets_others_again_and_again_says_what_is_done(
    client, engine, meeting, monkeypatch
):
    monkeypatch.setattr(service, "PATIENCE", 0.2)
    meeting.n = 10**6
    reply = await erased_once(client)
    assert (reply.status_code, reply.json()["detail"]) == (503, service.UNFINISHED)
    assert (await traces(engine), await audited(client)) == ([], [1])
    meeting.n = 0
    assert (await client.delete(f"/v1/customers/{WHO}")).json()["events"] == 0


async def test_of_an_event_that_was_deleted_as_old_a_late_retry_counts_no_use(client, engine):
    await fill(engine, "p", ["J"])
    await client.post("/v1/pools/p/assignments", json={"customer_id": WHO})
    event = {"event_id": "e1", "customer_id": WHO, "event_type": "purchase", "properties": {"code": "J"}}

    async def sent():
        return (await client.post("/v1/events", json={"events": [event]})).json()["items"][0]

    assert (await sent())["redemption"] == "redeemed"
    async with transaction(engine) as connection:
        await connection.execute(text("DELETE FROM event"))
    erased = (await client.delete(f"/v1/customers/{WHO}")).json()
    assert (erased["events"], erased["redemptions"]) == (0, 1)
    assert (await sent())["status"] == "erased"
    async with transaction(engine) as connection:
        assert (await connection.execute(text("SELECT count(*) FROM redemption"))).scalar_one() == 1
    assert await traces(engine) == []


async def test_an_erasure_is_complete_against_all_that_was_answered_before_it(client, engine):
    """Whatever was answered before the erasure began is gone, and what was answered later is whole."""
    await fill(engine, "p", 60)
    for round_ in range(3):
        answered = {}

        async def act(number, reply, answered=answered):
            response = await reply
            assert response.status_code in {200, 201}, response.text
            answered[number] = time.monotonic()

        acts = []
        for number in range(4):
            key = f"{round_}-{number}"
            event = {"event_id": key, "customer_id": WHO, "event_type": "purchase", "properties": {"a": 1}}
            acts += [
                act(f"event {key}", client.post("/v1/events", json={"events": [event]})),
                act(
                    f"assign {key}",
                    client.post(
                        "/v1/pools/p/assignments",
                        json={"customer_id": WHO, "campaign_id": key},
                        headers={"Idempotency-Key": key},
                    ),
                ),
            ]
        running = [asyncio.create_task(each) for each in acts]
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        began = time.monotonic()
        erased = await client.delete(f"/v1/customers/{WHO}")
        assert erased.status_code == 200
        await asyncio.gather(*running)
        async with engine.begin() as connection:
            events = text("SELECT 'event ' || id FROM event WHERE customer_id = :who")
            given = text("SELECT 'assign ' || campaign_id FROM assignment WHERE customer_id = :who")
            left = [
                *(await connection.execute(events, {"who": WHO})).scalars(),
                *(await connection.execute(given, {"who": WHO})).scalars(),
            ]
        assert all(answered[name] > began for name in left), left
        await client.delete(f"/v1/customers/{WHO}")
        assert await traces(engine) == []


@pytest.mark.parametrize("gone", ["anna", "bob"])
async def test_an_erasure_changes_no_outcome_whichever_of_two_is_erased(client, engine, gone):
    await fill(engine, "p", ["J"])
    await client.post("/v1/pools/p/assignments", json={"customer_id": "anna"})

    async def use(customer):
        event = {"customer_id": customer, "event_type": "purchase", "properties": {"code": "J"}}
        return (await client.post("/v1/events", json={"events": [event]})).json()["items"][0]["redemption"]

    async def told():
        async with engine.begin() as connection:
            query = text("SELECT id, outcome FROM redemption ORDER BY arrival")
            return [row.outcome for row in await connection.execute(query)]

    assert [await use("bob"), await use("anna")] == ["other_customer", "redeemed"]
    history = (await client.get("/v1/vouchers/J")).json()["history"]
    await client.delete(f"/v1/customers/{gone}")
    assert await use("carl") == "already_redeemed"
    assert await use(gone) == "already_redeemed"
    assert (await told())[:2] == ["other_customer", "redeemed"]
    after = (await client.get("/v1/vouchers/J")).json()["history"]
    assert [(entry["event"], entry["at"]) for entry in after] == [
        (entry["event"], entry["at"]) for entry in history
    ]
