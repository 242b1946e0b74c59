"""What a shop says is understood: its clock, its spelling, its lists, what it says twice."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from app.domain.lifecycle import check
from tests.factories import fill

CUSTOMER = "anna"


async def map_(client, *properties, **more):
    mappings = [{"event_type": "purchase", "property": property_, **more} for property_ in properties]
    reply = await client.put("/v1/redemption-mapping", json={"mappings": mappings})
    assert reply.status_code == 200, reply.text


async def tell(client, *events):
    """The items of the reply to these events."""
    said = [{"customer_id": CUSTOMER, "event_type": "purchase", **event} for event in events]
    reply = await client.post("/v1/events", json={"events": said})
    assert reply.status_code == 200, reply.text
    return reply.json()["items"]


async def use(client, code, at=None, **more):
    moment = {} if at is None else {"timestamp": at.isoformat()}
    (item,) = await tell(client, {"properties": {"code": code}, **moment, **more})
    return item["redemption"]


async def given(client, pool="p"):
    reply = await client.post(f"/v1/pools/{pool}/assignments", json={"customer_id": CUSTOMER})
    assert reply.status_code == 201, reply.text
    return reply.json()


@pytest.mark.parametrize(
    ("seconds", "outcome"), [(-2, "redeemed"), (-299, "redeemed"), (-301, "not_assigned"), (2, "redeemed")]
)
async def test_a_shops_clock_may_be_off_by_the_tolerance_at_the_assignment(client, engine, seconds, outcome):
    await fill(engine, "p", 1)
    await map_(client, "code")
    one = await given(client)
    at = datetime.fromisoformat(one["assigned_at"]) + timedelta(seconds=seconds)
    assert await use(client, one["code"], at) == outcome


@pytest.mark.parametrize(("seconds", "outcome"), [(299, "redeemed"), (301, "expired")])
async def test_a_shops_clock_may_be_off_by_the_tolerance_at_the_expiry(client, engine, seconds, outcome):
    await fill(engine, "p", 1)
    await map_(client, "code")
    one = await given(client)
    expiry = datetime.now(UTC) + timedelta(hours=1)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE voucher SET expires_at = :at"), {"at": expiry})
    assert await use(client, one["code"], expiry + timedelta(seconds=seconds)) == outcome


async def test_a_use_before_the_void_that_is_told_after_it_is_a_use(client, engine):
    await fill(engine, "p", 2)
    await map_(client, "code")
    one, two = await given(client), await given(client)
    used = datetime.now(UTC)
    for each in (one, two):
        await client.post(f"/v1/vouchers/{each['code']}/void")
    assert await use(client, one["code"], used) == "redeemed"
    assert await use(client, two["code"], datetime.now(UTC) + timedelta(seconds=1)) == "void"
    counts = (await client.get("/v1/pools/p/counts")).json()
    assert (counts["redeemed"], counts["void"]) == (1, 1)


@pytest.mark.parametrize(
    ("normalise", "said", "outcome"),
    [
        ("upper", " spring-1\n", "redeemed"),
        ("upper", "SPRING-1", "redeemed"),
        (None, "\tSPRING-1 ", "redeemed"),
        (None, "spring-1", "unknown_code"),
        ("lower", "SPRING-1", "unknown_code"),
    ],
)
async def test_the_shops_spelling_is_brought_to_that_of_the_pools(client, engine, normalise, said, outcome):
    await fill(engine, "p", ["SPRING-1"])
    await map_(client, "code", normalise=normalise)
    await given(client)
    assert await use(client, said) == outcome


async def test_each_code_of_a_list_is_judged_by_itself_in_the_reply_too(client, engine):
    await fill(engine, "p", ["A", "B"])
    await map_(client, "voucher_codes[*]", "items[*].code")  # are read by name: the items first
    for _ in range(2):
        await given(client)
    said = {
        "voucher_codes": ["A", "C", 7, " A "],
        "items": [{"code": "B"}, {"code": "A"}, {}, {"code": None}],
    }
    (item,) = await tell(client, {"properties": said})
    assert item["redemption"] == "redeemed"
    assert {each["property"]: each["outcome"] for each in item["redemptions"]} == {
        "items[0].code": "redeemed",
        "items[1].code": "redeemed",
        "voucher_codes[1]": "unknown_code",
        "voucher_codes[2]": "not_a_string",
    }
    listed = (await client.get("/v1/redemptions", params={"outcome": "redeemed"})).json()["items"]
    assert sorted(each["code"] for each in listed) == ["A", "B"]


async def test_of_a_mapped_property_a_hundred_codes_are_looked_at_and_the_next_one_is_told(client, engine):
    codes = await fill(engine, "p", 102)
    await map_(client, "codes[*]", "items[*].code")
    said = [None, " ", *codes[:50], codes[0], None, *codes[50:100]]
    (item,) = await tell(client, {"properties": {"codes": said}})
    assert [each["outcome"] for each in item["redemptions"]] == ["not_assigned"] * 100
    (item,) = await tell(
        client,
        {"properties": {"codes": [*map(str, range(100)), *codes[100:]], "items": [{"code": codes[101]}]}},
    )
    told = {each["property"]: each["outcome"] for each in item["redemptions"]}
    assert len(told) == 102
    assert (told["items[0].code"], told["codes[100]"]) == ("not_assigned", "too_many")
    (issue,) = (await client.get("/v1/redemptions", params={"outcome": "too_many"})).json()["items"]
    assert (issue["property"], issue["code"]) == ("codes[100]", None)
    counts = (await client.get("/v1/pools/p/counts")).json()
    assert (counts["redeemed"], counts["available"]) == (101, 1)


async def test_a_direct_redemption_tells_nobody_its_key(client, engine):
    await fill(engine, "p", 1)
    code = (await given(client))["code"]
    key = {"Idempotency-Key": "till-7"}
    await client.post(f"/v1/vouchers/{code}/redemptions", json={"customer_id": "bob"}, headers=key)
    for _ in range(2):
        listed = await client.get("/v1/redemptions", params={"outcome": "other_customer"})
        (said,) = listed.json()["items"]
        assert (said["event_id"], said["property"]) == (None, None)
        await client.delete("/v1/customers/bob")


async def test_uses_are_listed_by_their_outcome(client, engine):
    await fill(engine, "p", 1)
    await map_(client, "code")
    code = (await given(client))["code"]
    assert [await use(client, code), await use(client, code), await use(client, "nope")] == [
        "redeemed",
        "already_redeemed",
        "unknown_code",
    ]
    for outcome in ("redeemed", "already_redeemed", "unknown_code"):
        for name in ("outcome", "issue"):
            listed = (await client.get("/v1/redemptions", params={name: outcome})).json()["items"]
            assert [each["outcome"] for each in listed] == [outcome], (name, outcome)
    assert (await client.get("/v1/redemptions", params={"outcome": "odd"})).status_code == 422


async def test_a_direct_redemption_obeys_its_key(client, engine):
    await fill(engine, "p", 2)
    one, two = await given(client), await given(client)
    key = {"Idempotency-Key": "till-7"}
    path = f"/v1/vouchers/{one['code']}/redemptions"
    first = await client.post(path, json={"customer_id": CUSTOMER}, headers=key)
    again = await client.post(path, json={"customer_id": CUSTOMER}, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    timed = {"customer_id": CUSTOMER, "redeemed_at": first.json()["redeemed_at"]}
    assert (await client.post(path, json=timed, headers=key)).json() == first.json()
    for code, body in (
        (two["code"], {"customer_id": CUSTOMER}),
        (one["code"], {"customer_id": "bob"}),
        (one["code"], timed | {"redeemed_at": "2026-01-01T00:00:00Z"}),
    ):
        other = await client.post(f"/v1/vouchers/{code}/redemptions", json=body, headers=key)
        assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert (first.json()["event_id"], first.json()["property"]) == (None, None)
    assert (await client.get("/v1/pools/p/counts")).json()["redeemed"] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"customer_id": "bob"},
        {"properties": {"code": "other"}},
        {"event_type": "visit"},
        {"timestamp": "2026-02-02T00:00:00Z"},
    ],
)
async def test_an_event_with_the_id_of_another_is_a_conflict_and_nothing_of_it_is_stored(client, change):
    await map_(client, "code")
    event = {"event_id": "e1", "properties": {"code": "x"}, "timestamp": "2026-01-01T00:00:00Z"}
    await tell(client, event)
    items = await tell(client, event, {**event, **change}, {"event_id": "e1", "properties": {"code": "x"}})
    assert [item["status"] for item in items] == ["duplicate", "conflict", "duplicate"]
    assert items[1]["redemption"] is None
    assert (await client.get("/v1/customers/bob/events")).json()["items"] == []


async def test_of_events_at_one_time_the_order_of_arrival_decides_everywhere(client, engine):
    await fill(engine, "p", 1)
    await map_(client, "code")
    aggregates = {
        name: {"event_type": "purchase", "property": "n", "function": name} for name in ("first", "last")
    }
    for name, body in aggregates.items():
        assert (await client.put(f"/v1/aggregates/{name}", json=body)).status_code in {200, 201}
    code, at = (await given(client))["code"], (datetime.now(UTC) + timedelta(days=1)).isoformat()
    numbers = iter(range(100))
    for size in (7, 1, 5):
        await tell(
            client,
            *({"properties": {"n": next(numbers), "code": code}, "timestamp": at} for _ in range(size)),
        )
    template = "{{ aggregates['first'] }} {{ aggregates['last'] }}"
    body = {"template": template, "customer_id": CUSTOMER, "mode": "preview", "channel": "sms"}
    assert (await client.post("/v1/render", json=body)).json()["rendered"] == "0 12"
    listed = (await client.get(f"/v1/customers/{CUSTOMER}/events")).json()["items"]
    order = [each["properties"]["n"] for each in listed]
    assert order in (list(range(13)), list(range(13))[::-1])
    async with engine.begin() as connection:
        query = text("SELECT outcome FROM redemption ORDER BY arrival")
        outcomes = (await connection.execute(query)).scalars().all()
        assert await check.violations(connection) == []
    assert outcomes == ["redeemed"] + ["already_redeemed"] * 12
