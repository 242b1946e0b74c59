"""Events that come one at a time share transactions, and each is judged by itself."""

import asyncio
from itertools import pairwise
from types import SimpleNamespace

import psycopg
import pytest
from sqlalchemy import text

from app.domain.tracking import commands, gathering, merge, service, sign_ins, together
from app.platform.errors import DatabaseUnavailableError
from tests.factories import fill

TRACK = "/track/v2/projects/default/customers/events"
MAPPING = {"event_type": "purchase", "property": "voucher_code", "effect": "redeem"}


def sent(client, n, code=None, event_id=None):
    event = {"customer_id": f"c{n}", "event_type": "purchase", "properties": {"n": n}}
    event["properties"] |= {"voucher_code": code} if code else {}
    event |= {"event_id": event_id} if event_id else {}
    return client.post("/v1/events", json={"events": [event]})


def tracked(client, n, **ids):
    body = {"customer_ids": ids or {"cookie": f"k{n}"}, "event_type": "visit", "properties": {"n": n}}
    return client.post(TRACK, json=body)


@pytest.fixture
def shared(monkeypatch):
    """How many events each transaction had."""
    sizes: list[int] = []
    all_events, all_commands = service.track_all, commands.carry_out

    async def track_all(engine, events):
        sizes.append(len(events))
        return await all_events(engine, events)

    async def carry_out(engine, sign_ins, caller, some):
        sizes.append(len(some))
        return await all_commands(engine, sign_ins, caller, some)

    monkeypatch.setattr(gathering.service, "track_all", track_all)
    monkeypatch.setattr(gathering.commands, "carry_out", carry_out)
    return sizes


async def test_events_that_come_at_once_share_transactions_and_each_has_its_answer(client, engine, shared):
    codes = await fill(engine, "p", 8)
    assert (await client.put("/v1/redemption-mapping", json={"mappings": [MAPPING]})).is_success
    for n in range(8):
        body = {"customer_id": f"c{n}", "code": codes[n]}
        assert (await client.post("/v1/pools/p/assignments", json=body)).is_success
    replies = await asyncio.gather(*(sent(client, n, codes[n % 8]) for n in range(24)))
    items = [reply.json()["items"][0] for reply in replies]
    assert [item["redemption"] for item in items[:8]] == ["redeemed"] * 8
    assert {item["redemption"] for item in items[8:]} == {"already_redeemed"}
    assert len({item["event_id"] for item in items}) == 24
    assert sum(shared) == 24
    assert len(shared) < 12


async def test_the_same_event_twice_at_once_is_one(client, shared):
    replies = await asyncio.gather(*(sent(client, n // 2, event_id=f"e{n // 2}") for n in range(10)))
    statuses = [reply.json()["items"][0]["status"] for reply in replies]
    assert (statuses.count("accepted"), statuses.count("duplicate")) == (5, 5)
    other = await asyncio.gather(sent(client, 7, event_id="e1"), sent(client, 8, event_id="e8"))
    assert [reply.json()["items"][0]["status"] for reply in other] == ["conflict", "accepted"]


async def test_what_fails_for_one_fails_for_that_one(client, monkeypatch):
    await client.put("/v1/redemption-mapping", json={"mappings": [MAPPING]})
    all_events = service.track_all

    async def track_all(engine, events):
        if any(event.customer_id == "c3" for event in events):
            raise DatabaseUnavailableError("It cannot be.")
        return await all_events(engine, events)

    monkeypatch.setattr(gathering.service, "track_all", track_all)
    replies = await asyncio.gather(*(sent(client, n) for n in range(8)))
    assert [reply.status_code for reply in replies] == [200, 200, 200, 503, 200, 200, 200, 200]


async def test_a_sign_in_that_fails_fails_for_that_one(engine, monkeypatch):
    merge_all = sign_ins.merge_all
    monkeypatch.setattr(merge, "PATIENCE", 60)
    monkeypatch.setattr(sign_ins, "PATIENCE", 60)

    async def merged(engine, caller, pairs, **more):
        if ("r3", "k3") in pairs:
            raise DatabaseUnavailableError("It cannot be.")
        return await merge_all(engine, caller, pairs, **more)

    monkeypatch.setattr(sign_ins, "merge_all", merged)
    signing_in = sign_ins.SignIns(engine)
    done = await asyncio.gather(
        *(signing_in.merge(None, [(f"r{n}", f"k{n}")]) for n in range(6)), return_exceptions=True
    )
    assert [type(each) for each in done if each is not None] == [DatabaseUnavailableError]
    assert done[3] is not None
    async with engine.begin() as connection:
        led = "SELECT id FROM customer_alias WHERE id <> customer_id ORDER BY id"
        assert list((await connection.execute(text(led))).scalars()) == ["k0", "k1", "k2", "k4", "k5"]


async def test_a_request_that_waited_too_long_is_told_so(client, monkeypatch):
    await client.put("/v1/redemption-mapping", json={"mappings": [MAPPING]})

    async def track_all(_engine, events):
        raise DatabaseUnavailableError("It cannot be.")

    monkeypatch.setattr(gathering.service, "track_all", track_all)
    monkeypatch.setattr(together, "time", SimpleNamespace(monotonic=lambda: float("inf")))
    replies = await asyncio.gather(*(sent(client, n) for n in range(4)))
    assert {reply.status_code for reply in replies} == {503}


async def test_trackers_share_transactions_also_where_somebody_signs_in(client, shared):
    assert (await tracked(client, 0, cookie="mine")).json() == {"success": True}
    replies = await asyncio.gather(
        *(tracked(client, n) for n in range(10)),
        tracked(client, 10, cookie="mine", registered="anna"),
        *(tracked(client, n) for n in range(11, 20)),
    )
    assert [reply.json() for reply in replies] == [{"success": True}] * 20
    assert sum(shared) >= 21
    assert len(shared) < 15
    events = (await client.get("/v1/customers/anna/events")).json()["items"]
    assert {event["properties"]["n"] for event in events} == {0, 10}


@pytest.mark.parametrize("mapped", [False, True])
async def test_an_event_without_an_id_is_stored_once_though_the_answer_to_its_batch_is_lost(
    client, engine, monkeypatch, mapped
):
    """The database has committed it, and nobody knows: each of the batch is tried again by itself."""
    if mapped:
        assert (await client.put("/v1/redemption-mapping", json={"mappings": [MAPPING]})).is_success
    lost = []

    def losing(act):
        async def once(*arguments):
            result = await act(*arguments)
            if not lost and len(arguments[-1]) > 1:
                lost.append(arguments[-1])
                raise psycopg.OperationalError("the connection is lost")
            return result

        return once

    monkeypatch.setattr(gathering, "PATIENCE", 20)  # however slow the machine is
    monkeypatch.setattr(gathering.Gathering, "_track", losing(gathering.Gathering._track))
    (code,) = await fill(engine, "p", 1)
    replies = await asyncio.gather(*(sent(client, n, code if n == 5 else None) for n in range(10)))
    assert len(lost) == 1
    said = {(reply.status_code, reply.json()["items"][0]["status"]) for reply in replies}
    assert said == {(200, "accepted")}
    for n in range(10):
        stored = (await client.get(f"/v1/customers/c{n}/events")).json()["items"]
        assert [event["event_id"] for event in stored] == [replies[n].json()["items"][0]["event_id"]]
    assert (replies[5].json()["items"][0]["redemption"] == "not_assigned") is mapped


async def test_what_arrives_at_once_is_numbered_in_blocks_and_what_comes_later_behind(client, engine):
    """Where two things are said of one moment, the order of arrival decides."""

    def send(request, n):
        events = [
            {"customer_id": "c", "event_type": "visit", "properties": {"request": request}} for _ in range(n)
        ]
        return client.post("/v1/events", json={"events": events})

    for turn in range(3):
        at_once = await asyncio.gather(*(send(6 * turn + n, 1 + 499 * (n % 2)) for n in range(6)))
        assert {reply.status_code for reply in at_once} == {200}
    async with engine.begin() as connection:
        blocks = (
            await connection.execute(
                text("""SELECT (properties ->> 'request')::int AS request, min(arrival), max(arrival), count(*)
                    FROM event GROUP BY 1 ORDER BY min(arrival)""")
            )
        ).all()
    assert sum(block.count for block in blocks) == 3 * (3 + 1500)
    several = [block for block in blocks if block.count > 1]
    assert all(before[2] < after[1] for before, after in pairwise(several))
    assert [block.request // 6 for block in several] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
