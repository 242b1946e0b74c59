"""Two customers who are one person: what is one's becomes the other's, whatever happens at the same time."""

import asyncio
import time

import orjson
import pytest
from sqlalchemy import text

from app.cli.merging import merge_all
from app.domain.assignments.claiming import Claimer
from app.domain.customers import queries
from app.domain.lifecycle import check
from app.domain.lifecycle import uses as uses_lock
from app.domain.lifecycle.requests import AssignmentRequest, LedgerEntry
from app.domain.persons import ids
from app.domain.persons import service as persons
from app.domain.tracking import merge as merging
from app.platform.database import WHOLE_POOL_SECONDS, transaction
from app.platform.driver_pool import create_driver_pool
from app.platform.engines import create_engine
from app.platform.errors import ChangesConflictError, CommandError
from app.platform.ids import ordered_id
from app.platform.projects import DEFAULT, of_project, share_of
from app.platform.settings import Settings
from app.schema.base import Base
from tests.factories import add_projects, fill

ASSIGN = "/v1/pools/p/assignments"
LETTER = "{{ vouchers['p'].assign_available() }}"
ANNA, COOKIE = "anna@example.org", "cookie-17"


async def merge(client, into=ANNA, of=COOKIE):
    reply = await client.post(f"/v1/customers/{into}/merge", json={"from": of})
    assert reply.status_code == 200, reply.text
    return reply.json()


async def assign(client, customer, message=None, key=None, **more):
    headers = {"Idempotency-Key": key} if key else {}
    body = {"customer_id": customer, **more} | ({"message_id": message} if message else {})
    reply = await client.post(ASSIGN, json=body, headers=headers)
    assert reply.status_code in {200, 201}, reply.text
    return reply.json()


async def render(client, customer, message, template=LETTER, **more):
    body = {"template": template, "channel": "email", "mode": "send", "customer_id": customer}
    reply = await client.post("/v1/render", json=body | {"message_id": message} | more)
    assert reply.status_code == 200, reply.text
    return reply.json()["rendered"]


async def track(client, event_id, customer, type_="visit", **properties):
    event = {"event_id": event_id, "customer_id": customer, "event_type": type_, "properties": properties}
    return (await client.post("/v1/events", json={"events": [event]})).json()["items"][0]


async def agrees(engine):
    async with transaction(engine) as connection:
        assert await check.violations(connection) == []


async def tables_with(engine, who):
    found = []
    async with engine.begin() as connection:
        for table in Base.metadata.sorted_tables:
            query = text(
                f'SELECT count(*) FROM "{table.name}" AS t WHERE strpos(to_jsonb(t)::text, :who) > 0'
            )
            if (await connection.execute(query, {"who": who})).scalar_one():
                found.append(table.name)
    return found


async def test_everything_becomes_the_others_and_the_old_id_leads_there(client, engine):
    await fill(engine, "p", 9)
    await client.patch(f"/v1/customers/{ANNA}", json={"properties": {"name": "Anna", "city": "Prague"}})
    await client.patch(f"/v1/customers/{COOKIE}", json={"properties": {"name": "?", "device": "phone"}})
    given = await assign(client, COOKIE, "m1")
    keyed = await assign(client, COOKIE, key="k1")
    await track(client, "e1", COOKIE)

    assert await merge(client) == {
        "customer_id": ANNA,
        "customers": 1,
        "events": 1,
        "assignments": 2,
        "redemptions": 0,
    }
    for id_ in (ANNA, COOKIE):
        found = (await client.get(f"/v1/customers/{id_}")).json()
        assert (found["id"], found["aliases"]) == (ANNA, [COOKIE])
        assert found["properties"] == {"name": "Anna", "city": "Prague", "device": "phone"}
        listed = (await client.get("/v1/assignments", params={"customer_id": id_})).json()["items"]
        assert [each["id"] for each in listed] == [given["id"], keyed["id"]]
        events = (await client.get(f"/v1/customers/{id_}/events")).json()["items"]
        assert [event["event_id"] for event in events] == ["e1"]
        in_pool = await client.get("/v1/pools/p/vouchers", params={"customer_id": id_})
        assert {each["code"] for each in in_pool.json()["items"]} == {given["code"], keyed["code"]}
    # What comes late does not bring the old one back as a second person.
    assert (await track(client, "e1", COOKIE))["status"] == "duplicate"
    await track(client, "e2", COOKIE)
    await client.patch(f"/v1/customers/{COOKIE}", json={"properties": {"late": True}})
    assert (await assign(client, COOKIE, key="k1"))["code"] == keyed["code"]
    assert (await assign(client, ANNA, key="k1"))["code"] == keyed["code"]
    assert (await assign(client, COOKIE))["customer_id"] == ANNA
    assert sorted(await tables_with(engine, COOKIE)) == ["customer_alias"]
    # Again, it changes nothing.
    assert (await merge(client))["assignments"] == 0
    audit = (await client.get("/v1/audit", params={"action": "customer.merged"})).json()["items"]
    assert len(audit) == 1
    await agrees(engine)


@pytest.mark.parametrize("mode", ["send", "test"])
async def test_a_message_shows_the_same_code_before_and_after_whoever_it_names(client, engine, mode):
    await fill(engine, "p", 20)
    many = (
        LETTER + " {{ vouchers['p'].assign_available(cached=False) }} {{ vouchers['p'].count_available() }}"
    )
    before = await render(client, COOKIE, "m1", many, mode=mode)
    both = [await render(client, who, "m2", mode=mode) for who in (ANNA, COOKIE)]
    assigned = await assign(client, COOKIE, "m3")
    await merge(client)
    for who in (COOKIE, ANNA):
        assert await render(client, who, "m1", many, mode=mode) == before
        assert (await assign(client, who, "m3"))["code"] == assigned["code"]
    # Both had their own of this one: each goes on showing its own.
    assert [await render(client, who, "m2", mode=mode) for who in (ANNA, COOKIE)] == both
    # A message that is new is one message, whoever it names.
    assert await render(client, COOKIE, "m4", mode=mode) == await render(client, ANNA, "m4", mode=mode)
    assert (await assign(client, COOKIE, "m5"))["code"] == (await assign(client, ANNA, "m5"))["code"]
    recipients = [{"customer_id": who, "message_id": "m6"} for who in (COOKIE, ANNA, "ben")]
    body = {"template": LETTER, "channel": "email", "mode": mode, "recipients": recipients}
    items = (await client.post("/v1/render/batch", json=body)).json()["items"]
    assert [item["customer_id"] for item in items] == [COOKIE, ANNA, "ben"]
    assert items[0]["rendered"] == items[1]["rendered"] != items[2]["rendered"]
    lasting = [await assign(client, who, "m8", valid_for_seconds=60) for who in (COOKIE, ANNA)]
    assert lasting[0]["id"] == lasting[1]["id"]
    batch = {"items": [{"customer_id": who, "message_id": "m7"} for who in (COOKIE, ANNA, COOKIE)]}
    items = (await client.post(f"{ASSIGN}/batch", json=batch)).json()["items"]
    assert [item["status"] for item in items] == ["assigned", "replayed", "replayed"]
    assert len({item["code"] for item in items}) == 1
    await agrees(engine)


async def test_a_node_and_a_default_stay_what_they_were(client, engine):
    await fill(engine, "p", 5)
    node = {"template": '{"code": "' + LETTER.replace("'", '"') + '"}', "message_id": "m1", "mode": "send"}
    first = (await client.post(f"/v1/customers/{COOKIE}/properties/render", json=node)).json()
    fallback = "{{ vouchers['p'].assign_available(default='SORRY', valid_for=3600) }}"
    await client.post("/v1/pools", json={"name": "empty"})
    fallback = fallback.replace("'p'", "'empty'")
    assert await render(client, COOKIE, "m2", fallback) == "SORRY"
    await merge(client)
    for who in (ANNA, COOKIE):
        again = (await client.post(f"/v1/customers/{who}/properties/render", json=node)).json()
        assert again["vouchers"] == first["vouchers"]
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE pool SET name = 'other' WHERE name = 'empty'"))
    await fill(engine, "empty", 1)
    assert await render(client, ANNA, "m2", fallback) == "SORRY"
    await agrees(engine)


async def test_a_use_by_the_other_one_was_a_use_by_the_person(client, engine):
    await fill(engine, "p", 2)
    mapping = [{"event_type": "purchase", "property": "code"}]
    await client.put("/v1/redemption-mapping", json={"mappings": mapping})
    code = (await assign(client, ANNA))["code"]
    assert (await track(client, "e1", COOKIE, "purchase", code=code))["redemption"] == "other_customer"
    assert (await merge(client))["redemptions"] == 1
    uses = (await client.get("/v1/redemptions", params={"customer_id": COOKIE})).json()["items"]
    assert [use["outcome"] for use in uses] == ["redeemed"]
    assert (await client.get(f"/v1/vouchers/{code}")).json()["status"] == "redeemed"
    direct = f"/v1/vouchers/{(await assign(client, COOKIE))['code']}/redemptions"
    assert (await client.post(direct, json={"customer_id": ANNA})).json()["outcome"] == "redeemed"
    await agrees(engine)


async def test_a_use_that_came_too_late_is_the_redemption_once_it_is_the_holders(client, engine):
    await fill(engine, "p", 1)
    mapping = [{"event_type": "purchase", "property": "code"}]
    await client.put("/v1/redemption-mapping", json={"mappings": mapping})
    code = (await assign(client, ANNA))["code"]
    said = [
        await track(client, f"e-{who}", who, "purchase", code=code) for who in ("bob", COOKIE, COOKIE.upper())
    ]
    assert [each["redemption"] for each in said] == ["other_customer", "already_redeemed", "already_redeemed"]
    await merge(client)
    uses = (await client.get("/v1/redemptions", params={"customer_id": ANNA})).json()["items"]
    assert [use["outcome"] for use in uses] == ["redeemed"]
    (bobs,) = (await client.get("/v1/redemptions", params={"customer_id": "bob"})).json()["items"]
    assert bobs["outcome"] == "other_customer"
    assert (await client.get(f"/v1/vouchers/{code}")).json()["redeemed_at"] == uses[0]["redeemed_at"]
    await agrees(engine)


async def test_chains_lead_to_the_end_and_an_erasure_takes_all_ids(client, engine):
    await fill(engine, "p", 9)
    for who in ("a", "b", "c", "d"):
        await assign(client, who, "m")
    await merge(client, "b", "a")
    await merge(client, "c", "b")
    assert (await merge(client, "a", "d"))["customer_id"] == "c"
    assert (await merge(client, "b", "b"))["customer_id"] == "c"
    assert len((await client.get("/v1/assignments", params={"customer_id": "a"})).json()["items"]) == 4
    rule = {"per_customer": {"count": 4, "days": None, "then": "same"}}
    await client.patch("/v1/pools/p", json=rule)
    assert (await assign(client, "d"))["code"] in {(await assign(client, who, "m"))["code"] for who in "abcd"}
    await client.patch("/v1/customers/a", json={"properties": {"x": 1}})
    erased = (await client.delete("/v1/customers/d")).json()
    assert (erased["customers"], erased["assignments"]) == (1, 4)
    assert await tables_with(engine, "customer_alias") == []
    async with engine.begin() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM customer_alias"))).scalar_one() == 0
    await agrees(engine)


async def test_a_bulk_change_and_an_import_go_by_persons(client, engine):
    await fill(engine, "p", 4)
    await assign(client, COOKIE)
    await merge(client)
    rows = f"customer_id,size\n{COOKIE},L\n{ANNA},M\n".encode()
    reply = await client.post("/v1/customers/imports", files={"file": ("c.csv", rows)})
    assert reply.json()["imported"] == 2
    assert (await client.get(f"/v1/customers/{ANNA}")).json()["properties"] == {"size": "M"}
    assert len((await client.get("/v1/customers")).json()["items"]) == 1


async def test_whoever_asked_before_is_waited_for_and_what_it_wrote_moves_too(client, engine):
    await fill(engine, "p", 4)
    async with transaction(engine) as slow:
        assert await persons.resolve(slow, [COOKIE]) == {}
        going = asyncio.create_task(client.post(f"/v1/customers/{ANNA}/merge", json={"from": COOKIE}))
        while (await slow.execute(text("SELECT count(*) FROM customer_alias"))).scalar_one() == 0:
            await asyncio.sleep(0.005)
        with pytest.raises(persons.MergingError):
            await persons.resolve(slow, [ANNA])
        await slow.execute(text("INSERT INTO customer (id) VALUES (:id)"), {"id": COOKIE})
    assert (await going).json()["customers"] == 1
    assert await tables_with(engine, COOKIE) == ["customer_alias"]


async def test_a_merge_that_cannot_come_to_its_turn_changes_nothing_and_blocks_nobody(
    client, engine, monkeypatch
):
    await fill(engine, "p", 4)
    monkeypatch.setattr(merging, "PATIENCE", 0.05)
    code = (await assign(client, COOKIE, "m"))["code"]
    async with transaction(engine) as slow:
        await slow.execute(text("SELECT 1"))
        reply = await client.post(f"/v1/customers/{ANNA}/merge", json={"from": COOKIE})
        assert (reply.status_code, reply.json()["type"]) == (409, "/problems/conflict")
        # The marks that it left mean nothing: the lock says that nobody is at work.
        assert (await assign(client, COOKIE, "m"))["customer_id"] == COOKIE
    monkeypatch.setattr(merging, "PATIENCE", 4)
    await merge(client)
    assert (await assign(client, ANNA, "m"))["code"] == code


@pytest.mark.parametrize("how", ["plain", "lasting", "ruled", "batch"])
async def test_a_key_that_another_customer_used_is_refused_to_who_was_merged(how, client, engine):
    await fill(engine, "p", 4)
    await assign(client, "bob", key="k")
    await merge(client)
    if how == "ruled":
        await client.patch("/v1/pools/p", json={"per_customer": {"count": 1}})
    for end in (False, True):
        if end:
            assert (await client.delete("/v1/customers/bob")).is_success
        for customer in (ANNA, COOKIE):
            asked = {"customer_id": customer} | ({"valid_for_seconds": 60} if how == "lasting" else {})
            if how == "batch":
                items = [asked | {"idempotency_key": "k"}]
                reply = await client.post(f"{ASSIGN}/batch", json={"items": items})
            else:
                reply = await client.post(ASSIGN, json=asked, headers={"Idempotency-Key": "k"})
            assert (reply.status_code, reply.json()["type"]) == (422, "/problems/idempotency-key-reused")


@pytest.mark.parametrize("seconds", [0, 60])
async def test_who_is_being_merged_fails_alone(seconds, client, engine, settings, monkeypatch):
    await fill(engine, "p", 9)
    await merge(client)
    monkeypatch.setattr(persons.MergingError, "pause", 0)
    people = [COOKIE, "cat", "zoe"]
    asked = [AssignmentRequest(ordered_id(), each, valid_for_seconds=seconds) for each in people]
    async with transaction(engine) as alone, create_driver_pool(settings) as direct:
        assert await persons.try_alone(alone)
        async with transaction(engine) as marking:
            await persons.mark(marking, ["cat", "dog"])
        given, reason = await Claimer(engine, direct.of(DEFAULT)).claim("p", asked)
        told = await client.post(ASSIGN, json={"customer_id": "cat", "valid_for_seconds": seconds or None})
    assert reason is None
    assert [given[request.id].__class__ for request in asked] == [
        LedgerEntry,
        ChangesConflictError,
        LedgerEntry,
    ]
    assert (told.status_code, told.json()["type"]) == (409, "/problems/conflict")
    await agrees(engine)


@pytest.mark.parametrize("form", ["named", "nameless", "lines"])
async def test_the_message_of_who_is_being_merged_fails_alone(form, client, engine, monkeypatch):
    await fill(engine, "p", 9)
    await merge(client)
    monkeypatch.setattr(persons.MergingError, "pause", 0)
    named = {"message_id": "m"} if form == "named" else {}
    recipients = [{"customer_id": each} | named for each in (COOKIE, "cat", "zoe")]
    message = {"template": LETTER, "channel": "email"}
    headers = {"Accept": "application/x-ndjson"} if form == "lines" else {}
    async with transaction(engine) as alone:
        assert await persons.try_alone(alone)
        async with transaction(engine) as marking:
            await persons.mark(marking, ["cat", "dog"])
        reply = await client.post(
            "/v1/render/batch", json=message | {"recipients": recipients}, headers=headers
        )
        told = await client.post("/v1/render", json=message | recipients[1])
    assert reply.status_code == 200, reply.text
    items = list(map(orjson.loads, reply.text.splitlines())) if headers else reply.json()["items"]
    assert [item["customer_id"] for item in items] == [COOKIE, "cat", "zoe"]
    assert [item["status"] for item in items] == ["rendered", "failed", "rendered"]
    assert items[1]["problem"]["type"] == "/problems/conflict"
    assert (told.status_code, told.json()["type"]) == (409, "/problems/conflict")
    await agrees(engine)


async def test_it_is_exact_under_races_of_every_kind(client, engine):
    await fill(engine, "p", 80)
    mapping = [{"event_type": "purchase", "property": "code"}]
    await client.put("/v1/redemption-mapping", json={"mappings": mapping})
    for round_ in range(2):
        into, of = f"a{round_}", f"b{round_}"

        async def one(who, n, round_=round_):
            return (await assign(client, who, f"m{round_}-{n}"))["code"]

        async def letter(who, n, round_=round_):
            return await render(client, who, f"r{round_}-{n}")

        mine = (await assign(client, into))["code"]
        work = [act(who, n) for n in range(4) for act in (one, letter) for who in (of, into)]
        results, *rest = await asyncio.gather(
            asyncio.gather(*work),
            merge(client, into, of),
            track(client, f"u{round_}", of, "purchase", code=mine),
            client.patch(f"/v1/customers/{of}", json={"properties": {"x": 1}}),
        )
        assert rest[2].status_code == 200
        # Each shows again what it showed, and all of it is one person's.
        assert (
            await asyncio.gather(
                *[act(who, n) for n in range(4) for act in (one, letter) for who in (of, into)]
            )
            == results
        )
        uses = (
            await client.get("/v1/redemptions", params={"customer_id": into, "outcome": "redeemed"})
        ).json()
        assert [use["code"] for use in uses["items"]] == [mine]
        assert await tables_with(engine, f'"{of}"') == ["customer_alias"]
    await agrees(engine)


async def test_merges_of_the_same_people_at_once_end_as_one_person(client, engine):
    await fill(engine, "p", 20)
    for who in ("a", "b", "c", "d"):
        await assign(client, who, "m")
        await client.patch(f"/v1/customers/{who}", json={"properties": {who: 1}})
    await asyncio.gather(
        merge(client, "a", "b"), merge(client, "b", "a"), merge(client, "c", "a"), merge(client, "c", "d")
    )
    (person,) = (await client.get("/v1/customers")).json()["items"]
    assert sorted([person["id"], *person["aliases"]]) == ["a", "b", "c", "d"]
    assert person["properties"] == dict.fromkeys("abcd", 1)
    found = {(await client.get(f"/v1/customers/{who}")).json()["id"] for who in "abcd"}
    assert found == {person["id"]}
    listed = await client.get("/v1/assignments", params={"customer_id": "d"})
    assert len(listed.json()["items"]) == 4
    await agrees(engine)


async def test_with_a_rule_a_merged_customer_has_what_both_had(client, engine):
    await fill(engine, "p", 20)
    rule = {"per_customer": {"count": 1, "days": None, "then": "refuse"}}
    await client.patch("/v1/pools/p", json=rule)
    first = await assign(client, COOKIE, "m1")
    await merge(client)
    again = await client.post(ASSIGN, json={"customer_id": ANNA})
    assert (again.status_code, again.json()["type"]) == (409, "/problems/customer-limit")
    assert (await assign(client, ANNA, "m1"))["id"] == first["id"]
    items = [{"customer_id": who, "message_id": "m1"} for who in (COOKIE, ANNA)]
    batch = (await client.post(f"{ASSIGN}/batch", json={"items": items})).json()
    assert [item["id"] for item in batch["items"]] == [first["id"]] * 2
    await client.patch("/v1/pools/p", json={"per_customer": {**rule["per_customer"], "then": "same"}})
    for who in (COOKIE, ANNA):
        assert (await assign(client, who))["code"] == first["code"]
        assert await render(client, who, "new") == first["code"]
    await agrees(engine)


async def test_a_code_that_is_chosen_and_a_held_one_go_to_the_person(client, engine):
    codes = await fill(engine, "p", 6)
    await merge(client)
    body = {"customer_id": COOKIE, "code": codes[0], "message_id": "m"}
    chosen = (await client.post(ASSIGN, json=body)).json()
    assert (chosen["customer_id"], chosen["code"]) == (ANNA, codes[0])
    again = await client.post(ASSIGN, json=body | {"customer_id": ANNA})
    assert (again.status_code, again.json()["id"]) == (200, chosen["id"])
    await client.post("/v1/pools/p/holds", json={"campaign_id": "may", "count": 5})
    held = await assign(client, COOKIE, "h", campaign_id="may")
    assert (await assign(client, ANNA, "h", campaign_id="may"))["id"] == held["id"]
    refused = await client.post(ASSIGN, json={"customer_id": COOKIE, "campaign_id": "june"})
    assert refused.json()["reason"] == "held"
    await agrees(engine)


async def test_an_erasure_at_the_same_time_leaves_nothing_of_whom_it_names(client, engine):
    await fill(engine, "p", 20)
    for n in range(3):
        into, of = f"into-{n}", f"of-{n}"
        for who in (into, of):
            await assign(client, who, "m")
        _, erased = await asyncio.gather(merge(client, into, of), client.delete(f"/v1/customers/{of}"))
        assert erased.status_code == 200, erased.text
        # Once they were one person it is erased whole; else the id may lead to who is left, and to nothing of its own.
        left = (await client.get("/v1/assignments", params={"customer_id": into})).json()["items"]
        assert await tables_with(engine, f'"{of}"') == (["customer_alias"] if left else [])
        assert len(left) in {0, 1}
    await agrees(engine)


async def test_a_merge_keeps_as_of_when_properties_were_said(client, engine):
    now = time.time()

    async def update(who, at, **properties):
        body = {"customer_ids": {"registered": who}, "properties": properties, "update_timestamp": at}
        assert (await client.post("/track/v2/projects/default/customers", json=body)).is_success
        return (await client.get(f"/v1/customers/{who}")).json()["properties"]

    async def had_long_ago(who, **properties):
        await client.patch(f"/v1/customers/{who}", json={"properties": properties})
        async with transaction(engine) as connection:
            query = "UPDATE customer SET updated_at = now() - interval '1 hour' WHERE id = :who"
            await connection.execute(text(query), {"who": who})

    # Times were told of what is taken over, of what takes it over, of neither; and nobody was there to take it over.
    for kept in ("of", "into", "neither", "alone"):
        of, into = f"{kept}-1", f"{kept}-2"
        await had_long_ago(of, x=1)
        if kept != "alone":
            await had_long_ago(into, y=1)
        if kept == "of":
            await update(of, now - 300, x=2)
        if kept == "into":
            await update(into, now - 300, y=2)
        await merge(client, into, of)
        before = {"x": 2 if kept == "of" else 1} | (
            {} if kept == "alone" else {"y": 2 if kept == "into" else 1}
        )
        assert await update(into, now - 7200, x=3, y=3) == {"y": 3} | before
        assert await update(into, now - 1800, x=4) == before | {"x": 2 if kept == "of" else 4} | {
            "y": before.get("y", 3)
        }
        assert (await update(into, now - 200, x=5, y=5)) == {"x": 5, "y": 5}


async def test_a_long_history_may_take_as_long_as_a_whole_pool(client, monkeypatch):
    limits = []

    def noted(act):
        async def noting(connection, *arguments):
            driver = (await connection.get_raw_connection()).driver_connection
            limits.append(
                (driver.limit, (await connection.execute(text("SHOW statement_timeout"))).scalar_one())
            )
            return await act(connection, *arguments)

        return noting

    for where, name in (
        (queries, "take_over_history"),
        (uses_lock, "beside_others"),
        (queries, "take_over"),
        (queries, "erase"),
        (persons, "forget"),
    ):
        monkeypatch.setattr(where, name, noted(getattr(where, name)))
    await merge(client)
    usual, long = (3.0, "2850ms"), (WHOLE_POOL_SECONDS, "114s")
    assert limits == [long, usual, long]
    assert (await client.delete(f"/v1/customers/{ANNA}")).is_success
    assert limits[3:6] == [long, long, usual], "both ids, then what is short"


async def test_while_a_history_moves_uses_and_who_wants_to_be_alone_with_them_go_on(client, monkeypatch):
    await track(client, "e", COOKIE)
    moving, go_on = asyncio.Event(), asyncio.Event()
    move = queries.take_over_history

    async def held(connection, *ids_):
        moved = await move(connection, *ids_)
        moving.set()
        await go_on.wait()
        return moved

    monkeypatch.setattr(queries, "take_over_history", held)
    going = asyncio.create_task(merge(client))
    await moving.wait()
    mappings = [{"event_type": "purchase", "property": "code"}]
    changed = await client.put("/v1/redemption-mapping", json={"mappings": mappings})
    assert changed.status_code == 200, changed.text
    assert (await track(client, "f", "bob", "purchase", code="x"))["redemption"] == "unknown_code"
    go_on.set()
    assert (await going)["events"] == 1


async def test_an_erasure_that_asked_before_a_merge_keeps_nobody_from_being_one(client, engine):
    await merge(client)
    async with transaction(engine) as erasing:
        assert set(await persons.resolve(erasing, [ANNA])) == {ANNA}
        going = asyncio.create_task(client.post(f"/v1/customers/{ANNA}/merge", json={"from": "phone"}))
        while not (await erasing.execute(text("SELECT bool_or(merging) FROM customer_alias"))).scalar_one():
            await asyncio.sleep(0.005)
        await persons.forget(erasing, [ANNA, COOKIE], [ANNA])
    assert (await going).is_success
    async with transaction(engine) as connection:
        assert (await persons.resolve(connection, [ANNA]))[ANNA].aliases == ("phone",)


async def test_ids_are_trimmed_and_in_lower_case_wherever_one_comes_in(client, engine, monkeypatch):
    monkeypatch.setattr(ids, "get_settings", lambda: Settings(customer_ids="lowercase"))
    await fill(engine, "p", 9)
    loud = " Anna@Example.ORG "
    assert (await assign(client, loud, "m"))["customer_id"] == ANNA
    assert await render(client, loud, "m") == (await assign(client, ANNA, "m"))["code"]
    await track(client, "e", loud)
    await client.patch("/v1/customers/ANNA@example.org", json={"properties": {"a": 1}})
    rows = b"customer_id,size\nANNA@EXAMPLE.ORG,L\n"
    await client.post("/v1/customers/imports", files={"file": ("c.csv", rows)})
    found = await client.get("/v1/customers/%20Anna@example.org")
    assert found.json()["properties"] == {"a": 1, "size": "L"}
    listed = await client.get("/v1/assignments", params={"customer_id": loud})
    assert len(listed.json()["items"]) == 1
    item = {"customer_id": loud, "message_id": "m"}
    items = (await client.post(f"{ASSIGN}/batch", json={"items": [item]})).json()["items"]
    assert items[0]["status"] == "replayed"
    await merge(client, loud, " COOKIE ")
    assert (await client.get("/v1/customers/cookie")).json()["id"] == ANNA
    assert (await client.post(ASSIGN, json={"customer_id": "  "})).status_code == 422
    assert await tables_with(engine, "Example.ORG") == []


async def test_what_was_stored_in_another_spelling_before_the_setting_is_merged_once(
    client, engine, settings, monkeypatch, capsys
):
    await fill(engine, "p", 9)
    given = {who: (await assign(client, who, "m"))["code"] for who in ("Anna", " anna", "anna", "ben")}
    await track(client, "e", "CLEO")
    await track(client, "no id is left of it", " .. ")
    assert await merging.spellings(engine) == []
    monkeypatch.setattr(ids, "get_settings", lambda: Settings(customer_ids="lowercase"))
    expected = [(" anna", "anna"), ("Anna", "anna"), ("CLEO", "cleo")]
    assert sorted(await merging.spellings(engine)) == expected
    for dry_run, said in ((True, "3 ids would be"), (False, "3 ids are"), (False, "0 ids are")):
        await merge_all(settings, DEFAULT, dry_run=dry_run)
        assert said in capsys.readouterr().out
    listed = (await client.get("/v1/assignments", params={"customer_id": " ANNA"})).json()["items"]
    assert sorted(row["code"] for row in listed) == sorted(given[who] for who in ("Anna", " anna", "anna"))
    assert len((await client.get("/v1/customers/Cleo/events")).json()["items"]) == 1
    await agrees(engine)


async def test_spellings_that_others_are_at_work_with_are_told(client, engine, settings, monkeypatch):
    await track(client, "e", "Anna")
    monkeypatch.setattr(ids, "get_settings", lambda: Settings(customer_ids="lowercase"))
    monkeypatch.setattr(merging, "PATIENCE", 0.05)
    async with transaction(engine) as slow:
        await slow.execute(text("SELECT 1"))
        with pytest.raises(CommandError, match="0 of 1 ids are merged"):
            await merge_all(settings, DEFAULT, dry_run=False)


async def test_merges_of_two_projects_do_not_wait_for_each_other(engine):
    (shop,) = await add_projects(engine, "shop")
    async with transaction(of_project(engine, shop)) as connection:
        assert await persons.try_alone(connection)
        merged = await merging.merge(engine, None, ANNA, COOKIE)
    assert merged.customer_id == ANNA


async def test_a_merge_needs_one_connection_of_its_projects_share(settings):
    whole, short = create_engine(settings, 1), create_engine(settings, 1)
    engine = of_project(whole, DEFAULT, share_of(1), beside=short)
    merged = await asyncio.gather(*(merging.merge(engine, None, f"to-{n}", f"of-{n}") for n in range(3)))
    assert [each.customer_id for each in merged] == ["to-0", "to-1", "to-2"]
    await whole.dispose()
    await short.dispose()
