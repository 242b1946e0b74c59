"""Events that say nothing of codes are stored by one statement; whatever is odd is judged as ever."""

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from app.domain.customers.events import NewEvent
from app.domain.lifecycle import uses
from app.domain.tracking import commands, gathering, service
from app.domain.tracking.commands import REMEMBERED_SECONDS, Command
from app.domain.tracking.plain import MOST_PASSED, Plain
from app.platform.clock import clock
from app.platform.database import transaction
from app.platform.driver_pool import create_driver_pool
from app.platform.projects import DEFAULT
from tests.factories import fill, new_event

TRACK = "/track/v2/projects/default/customers/events"
MAPPING = {"event_type": "purchase", "property": "voucher_code", "effect": "redeem"}

MERGING = """
INSERT INTO customer_alias (id, customer_id, merging) VALUES ('anna', 'anna', true), ('cookie', 'cookie', true)
"""


@pytest.fixture
def judged(monkeypatch):
    """The events that took the way of all others."""
    events = []
    track_all = service.track_all

    async def noted(engine, some):
        events.extend(some)
        return await track_all(engine, some)

    monkeypatch.setattr(gathering.service, "track_all", noted)
    return events


@pytest.fixture
async def plain(settings):
    async with create_driver_pool(settings) as direct:
        yield Plain(direct.of(DEFAULT))


async def send(client, *events):
    reply = await client.post("/v1/events", json={"events": list(events)})
    assert reply.status_code == 200, reply.text
    return [(item["status"], item["redemption"]) for item in reply.json()["items"]]


def visit(customer_id="c", **more):
    return {"customer_id": customer_id, "event_type": "visit", "properties": {"page": 'ä"\\,{}'}, **more}


async def test_plain_events_are_stored_as_they_were_sent(client, engine, judged):
    at = "2026-01-02T03:04:05Z"
    assert (
        await send(client, visit(event_id="e-1", timestamp=at), visit(), visit("d"))
        == [("accepted", None)] * 3
    )
    assert judged == []
    first, second = (await client.get("/v1/customers/c/events")).json()["items"]
    assert {first["event_id"], second["event_id"]} > {"e-1"}
    (dated,) = [event for event in (first, second) if event["event_id"] == "e-1"]
    assert (dated["timestamp"], dated["properties"]) == (at, {"page": 'ä"\\,{}'})
    async with transaction(engine) as connection:
        stored = "SELECT count(*), count(DISTINCT arrival), min(project_id) FROM event"
        assert tuple((await connection.execute(text(stored))).one()) == (3, 3, DEFAULT)


async def test_an_event_that_was_stored_or_erased_before_is_told_so(client, judged):
    await send(client, visit(event_id="e-1"), visit("gone", event_id="e-2"))
    assert (await client.delete("/v1/customers/gone")).is_success
    assert await send(client, visit(event_id="e-1"), visit(event_id="e-3")) == [
        ("duplicate", None),
        ("accepted", None),
    ]
    assert await send(client, visit("other", event_id="e-1")) == [("conflict", None)]
    assert await send(client, visit("gone", event_id="e-2")) == [("erased", None)]
    twice = visit(event_id="e-4")
    assert await send(client, twice, twice) == [("accepted", None), ("duplicate", None)]
    assert len((await client.get("/v1/customers/c/events")).json()["items"]) == 3
    assert len(judged) == 6


async def test_a_mapped_type_is_judged_and_others_with_it(client, engine, judged):
    (code,) = await fill(engine, "p", 1)
    await client.put("/v1/redemption-mapping", json={"mappings": [MAPPING]})
    await client.post("/v1/pools/p/assignments", json={"customer_id": "c"})
    purchase = {"customer_id": "c", "event_type": "purchase", "properties": {"voucher_code": code}}
    assert await send(client, visit(), purchase) == [("accepted", None), ("accepted", "redeemed")]
    assert len(judged) == 2


async def test_an_event_of_a_merged_customer_becomes_the_other_ones(client, plain, engine, judged):
    assert (await client.post("/v1/customers/anna/merge", json={"from": "cookie"})).is_success
    assert await send(client, visit("cookie"), visit("c")) == [("accepted", None)] * 2
    assert await plain.carry_out([tracked(1, registered="anna"), tracked(2, registered="cookie")])
    assert await whose(engine) == ["anna", "c", "anna", "anna"]
    assert judged == []


async def test_an_event_of_a_customer_who_is_being_merged_waits_with_all_others(plain, engine):
    async with transaction(engine) as connection:
        await connection.execute(text(MERGING))
    assert await plain.store([new_event("anna", "visit", {}), new_event("c", "visit", {})]) is None
    assert not await plain.carry_out([tracked(1, registered="c"), tracked(2, registered="cookie")])
    assert await whose(engine) == []


async def test_a_mapping_that_is_being_changed_is_waited_for(client, engine):
    (code,) = await fill(engine, "p", 1)
    await client.post("/v1/pools/p/assignments", json={"customer_id": "c"})
    async with transaction(engine) as connection:
        await uses.alone(connection)
        mapped = (
            "INSERT INTO redemption_mapping (event_type, property, effect) VALUES ('visit', :path, 'redeem')"
        )
        await connection.execute(text(mapped), {"path": "voucher_code"})
        sending = asyncio.create_task(send(client, visit() | {"properties": {"voucher_code": code}}))
        await asyncio.sleep(0.2)
        assert not sending.done()
    assert await sending == [("accepted", "redeemed")]


async def test_of_several_that_store_one_id_one_does(plain, settings, engine):
    async with create_driver_pool(settings) as direct:
        others = [plain, *(Plain(direct.of(DEFAULT)) for _ in range(3))]
        for n in range(20):
            events = [NewEvent(f"e-{n}", "c", "visit", {}), new_event("c", "visit", {})]
            for one in others:
                one.events.passing = 0
            stored = await asyncio.gather(*(one.store(events) for one in others))
            assert sum(one is not None for one in stored) == 1
    async with transaction(engine) as connection:
        assert (await connection.execute(text("SELECT count(*) FROM event"))).scalar_one() == 40


@pytest.mark.parametrize("bad", ["\0", "\ud800"])
async def test_what_cannot_be_stored_is_left_to_the_way_of_all_others(plain, engine, bad):
    assert await plain.store([new_event(bad, "visit", {}), new_event("c", "visit", {})]) is None
    async with transaction(engine) as connection:
        assert (await connection.execute(text("SELECT count(*) FROM event"))).scalar_one() == 0


async def test_where_events_are_not_plain_few_batches_are_tried(plain, client):
    await client.put("/v1/redemption-mapping", json={"mappings": [MAPPING]})
    tried = []
    stored = plain._stored

    async def noted(*arguments):
        tried.append(1)
        return await stored(*arguments)

    plain._stored = noted
    for _ in range(10 * MOST_PASSED):
        assert await plain.store([new_event("c", "purchase", {})]) is None
    assert 10 < len(tried) < 20
    plain.events.passing = 0
    assert len(await plain.store([new_event("c", "visit", {})])) == 1
    assert len(await plain.store([new_event("c", "visit", {})])) == 1


def tracked(n=0, at=1767225600.5, command_id=None, event_type="visit", **ids):
    moment = None if at is None else datetime.fromtimestamp(at, UTC)
    return Command(ids, {"n": n}, event_type, moment, command_id)


async def ids_of(engine):
    async with transaction(engine) as connection:
        rows = await connection.execute(text("SELECT name, value, customer_id FROM tracked_id ORDER BY 1, 2"))
        return [tuple(row) for row in rows]


async def whose(engine):
    async with transaction(engine) as connection:
        rows = await connection.execute(text("SELECT customer_id FROM event ORDER BY arrival"))
        return list(rows.scalars())


async def test_who_is_registered_stands_for_himself_also_the_first_time(plain, engine):
    assert await plain.carry_out(
        [tracked(1, registered="a"), tracked(2, registered="a"), tracked(3, registered="b")]
    )
    assert await plain.carry_out([tracked(4, registered="a")])
    assert await ids_of(engine) == [("registered", "a", "a"), ("registered", "b", "b")]
    assert await whose(engine) == ["a", "a", "b", "a"]


async def test_a_known_alias_stands_for_whom_it_was_tracked_for(plain, client, engine):
    together = {"customer_ids": {"registered": "a", "cookie": "k"}, "event_type": "visit", "properties": {}}
    assert (await client.post(TRACK, json=together)).is_success
    assert await plain.carry_out([tracked(1, cookie="k"), tracked(2, cookie="k", registered="a")])
    assert await whose(engine) == ["a"] * 3


@pytest.mark.parametrize(
    "ids",
    [
        {"cookie": "new"},
        {"cookie": "k", "registered": "b"},
        {"cookie": "k", "registered": "new"},
        {"cookie": "both"},
        {"registered": "alone"},
    ],
)
async def test_ids_that_do_not_say_who_it_is_are_left_to_the_way_of_all_others(plain, client, engine, ids):
    for known in (
        {"registered": "a", "cookie": "k"},
        {"cookie": "both", "registered": "a"},
        {"registered": "b"},
        {"cookie": "alone"},
    ):
        assert (
            await client.post(TRACK, json={"customer_ids": known, "event_type": "v", "properties": {}})
        ).is_success
    shared = {"customer_ids": {"registered": "b", "cookie": "both"}, "event_type": "w", "properties": {}}
    assert (await client.post(TRACK, json=shared)).is_success
    before = await ids_of(engine), await whose(engine)
    plain.commands.passing = 0
    assert not await plain.carry_out([tracked(1, registered="a"), tracked(2, **ids)])
    assert (await ids_of(engine), await whose(engine)) == before


@pytest.mark.parametrize("at", [1767225600.5, None])
@pytest.mark.parametrize("command_id", ["one", None])
async def test_a_command_that_is_sent_again_is_stored_once(plain, engine, at, command_id):
    again = tracked(1, at=at, command_id=command_id, registered="a")
    assert await plain.carry_out([again])
    for some in ([again], [tracked(2, registered="a"), again], [again, again]):
        plain.commands.passing = 0
        assert not await plain.carry_out(some)
    assert await whose(engine) == ["a"]


async def test_an_event_of_the_evening_is_known_again_on_the_next_day(plain, engine, monkeypatch):
    timeless = tracked(1, at=None, registered="a")
    assert await plain.carry_out([timeless])
    tomorrow = clock.timestamp() + REMEMBERED_SECONDS
    monkeypatch.setattr(commands, "clock", SimpleNamespace(timestamp=lambda: tomorrow))
    assert not await plain.carry_out([timeless])


async def test_whoever_was_erased_does_not_come_back_with_what_is_sent_again(plain, client, engine):
    assert await plain.carry_out([tracked(1, registered="gone"), tracked(2, registered="a")])
    assert (await client.delete("/v1/customers/gone")).is_success
    assert not await plain.carry_out([tracked(1, registered="gone")])
    body = {"customer_ids": {"registered": "gone"}, "event_type": "visit", "properties": {"n": 1}}
    assert (await client.post(TRACK, json=body | {"timestamp": 1767225600.5})).json() == {"success": True}
    assert await ids_of(engine) == [("registered", "a", "a")]
    assert await whose(engine) == ["a"]


async def test_properties_are_no_event(plain, engine):
    assert not await plain.carry_out(
        [tracked(1, registered="a"), tracked(2, event_type=None, registered="a")]
    )
    assert await ids_of(engine) == []


async def test_events_beside_sign_ins_become_the_registered_ones(settings, client, engine):
    """Each of some visitors signs in while others' processes store what they do."""
    people, times = 6, 8
    for n in range(people):
        body = {"customer_ids": {"cookie": f"k{n}"}, "event_type": "first", "properties": {}}
        assert (await client.post(TRACK, json=body)).is_success
    async with create_driver_pool(settings) as direct:
        elsewhere = gathering.Gathering(engine, direct.of(DEFAULT))

        async def visits(n):
            for turn in range(times):
                assert await elsewhere.carry_out(None, [tracked(turn, cookie=f"k{n}")]) == [None]

        async def sign_in(n):
            await asyncio.sleep(0.005 * n)
            ids = {"cookie": f"k{n}", "registered": f"r{n}"}
            body = {"customer_ids": ids, "event_type": "sign_in", "properties": {}}
            assert (await client.post(TRACK, json=body)).is_success

        await asyncio.gather(*(act(n) for n in range(people) for act in (visits, sign_in)))
    assert sorted(await whose(engine)) == sorted(f"r{n}" for n in range(people) for _ in range(times + 2))
