import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from app.domain.lifecycle import check
from app.domain.redemptions import service
from tests.factories import fill

CUSTOMER = "c1"
TOMORROW = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)


def later(**by):
    """A time so much after tomorrow, when every code of a test has been assigned."""
    return (TOMORROW + timedelta(**by)).isoformat().replace("+00:00", "Z")


async def assigned(client, customer_id=CUSTOMER, pool="p"):
    """A code that this customer holds."""
    reply = await client.post(f"/v1/pools/{pool}/assignments", json={"customer_id": customer_id})
    return reply.json()["code"]


async def map_(client, *properties, event_type="purchase"):
    """Say where codes are."""
    mappings = [{"event_type": event_type, "property": property_} for property_ in properties]
    reply = await client.put("/v1/redemption-mapping", json={"mappings": mappings})
    assert reply.status_code == 200, reply.text


async def track(client, *events):
    """What came of the codes in these events."""
    defaults = {"customer_id": CUSTOMER, "event_type": "purchase"}
    reply = await client.post("/v1/events", json={"events": [defaults | event for event in events]})
    assert reply.status_code == 200, reply.text
    return [item["redemption"] for item in reply.json()["items"]]


async def voucher(client, code):
    return (await client.get(f"/v1/vouchers/{code}")).json()


async def test_a_mapped_event_redeems_the_code_at_its_own_time(client, engine):
    await fill(engine, "p", 2)
    await map_(client, "voucher_code")
    code = await assigned(client)
    at = later()
    assert await track(client, {"properties": {"voucher_code": f" {code} "}, "timestamp": at}) == ["redeemed"]
    now = await voucher(client, code)
    assert (now["status"], now["redeemed_at"]) == ("redeemed", at)
    assert [entry["event"] for entry in now["history"]] == ["imported", "assigned", "redeemed"]
    counts = (await client.get("/v1/pools/p/counts")).json()
    assert (counts["available"], counts["assigned"], counts["redeemed"], counts["total"]) == (1, 0, 1, 2)


async def test_the_same_event_again_changes_nothing(client, engine):
    await fill(engine, "p", 2)
    await map_(client, "voucher_code")
    event = {"event_id": "e1", "properties": {"voucher_code": await assigned(client)}}
    other = {"event_id": "e1", "properties": {"voucher_code": await assigned(client)}}
    assert await track(client, event, event) == ["redeemed", "redeemed"]
    reply = await client.post(
        "/v1/events", json={"events": [{"customer_id": "c1", "event_type": "purchase", **other}]}
    )
    (item,) = reply.json()["items"]
    assert (item["status"], item["redemption"], reply.json()["accepted"]) == ("conflict", None, 0)
    assert (await client.get("/v1/pools/p/counts")).json()["redeemed"] == 1


@pytest.mark.parametrize(
    ("properties", "outcome"),
    [
        ({"a": {"list": [{"code": "nope"}]}}, "unknown_code"),
        ({"a.list.0.code": "nope"}, "unknown_code"),
        ({"a": {"list": [{"code": "x" * 256}]}}, "unknown_code"),
        ({"a": {"list": [{"code": 17}]}}, "not_a_string"),
        ({"a": {"list": [{"code": ["nope"]}]}}, "not_a_string"),
        ({"a": {"list": [{"code": False}]}}, "not_a_string"),
        ({"a": {"list": [{"code": None}]}}, None),
        ({"a": {"list": [{"code": "  "}]}}, None),
        ({"a": {"list": []}}, None),
        ({"a": "text"}, None),
        ({}, None),
    ],
)
async def test_a_dotted_path_leads_to_the_code_and_a_value_is_not_guessed(client, properties, outcome):
    await map_(client, "a.list.0.code")
    assert await track(client, {"properties": properties}) == [outcome]
    issues = (await client.get("/v1/redemptions", params={"issue": outcome} if outcome else {})).json()[
        "items"
    ]
    assert [issue["outcome"] for issue in issues] == ([outcome] if outcome else [])


async def test_twenty_who_redeem_one_code_at_once_redeem_it_once(client, engine):
    await fill(engine, "p", 1)
    await map_(client, "voucher_code")
    code = await assigned(client)
    tracked = await asyncio.gather(
        *(track(client, {"properties": {"voucher_code": code}}) for _ in range(20))
    )
    assert sorted(outcome for (outcome,) in tracked) == ["already_redeemed"] * 19 + ["redeemed"]
    assert (await client.get("/v1/pools/p/counts")).json()["redeemed"] == 1
    told = await client.get("/v1/redemptions", params={"issue": "already_redeemed"})
    assert len(told.json()["items"]) == 19
    assert (told.headers["deprecation"], told.headers["sunset"][5:16]) == ("@1795651200", "01 Jun 2027")
    assert "deprecation" not in (await client.get("/v1/redemptions")).headers


async def issues(client, **params):
    return (await client.get("/v1/redemptions", params=params)).json()["items"]


async def test_a_code_used_by_another_customer_is_redeemed_and_an_issue(client, engine):
    await fill(engine, "p", 1)
    await map_(client, "code")
    code = await assigned(client, "c1")
    used = {"customer_id": "c2", "properties": {"code": code}, "event_id": "e2"}
    assert await track(client, used) == ["other_customer"]
    assert (await voucher(client, code))["status"] == "redeemed"
    (issue,) = await issues(client)
    assert (issue["code"], issue["customer_id"], issue["event_id"]) == (code, "c2", "e2")


async def test_a_code_assigned_to_nobody_in_particular_may_be_used_by_anybody(client, engine):
    await fill(engine, "p", 1)
    await map_(client, "code")
    code = await assigned(client, None)
    assert await track(client, {"customer_id": "c2", "properties": {"code": code}}) == ["redeemed"]


async def test_a_code_used_before_it_was_assigned_is_not_handed_out_any_more(client, engine):
    await fill(engine, "p", ["leaked"])
    await map_(client, "code")
    assert await track(client, {"properties": {"code": "leaked"}}) == ["not_assigned"]
    reply = await client.post("/v1/pools/p/assignments", json={})
    assert reply.json()["type"] == "/problems/pool-exhausted"


async def test_the_time_of_the_event_counts_and_not_its_arrival(client, engine):
    await fill(engine, "p", 1)
    await map_(client, "code")
    code = await assigned(client)
    second = {"event_id": "second", "properties": {"code": code}, "timestamp": later(days=32)}
    first = {"event_id": "first", "properties": {"code": code}, "timestamp": later()}
    before = {"event_id": "before", "properties": {"code": code}, "timestamp": "2020-01-01T00:00:00Z"}
    assert await track(client, second) == ["redeemed"]
    assert await track(client, first) == ["redeemed"]
    assert await track(client, before, second, first) == ["not_assigned", "already_redeemed", "redeemed"]
    assert (await voucher(client, code))["redeemed_at"] == later()
    assert (await client.get("/v1/pools/p/counts")).json()["redeemed"] == 1


async def test_a_use_heard_of_late_is_judged_by_who_held_the_code_then(client, engine):
    await fill(engine, "p", 1)
    await map_(client, "code")
    first = (await client.post("/v1/pools/p/assignments", json={"customer_id": "c1"})).json()
    await client.post(f"/v1/assignments/{first['id']}/release")
    await client.post("/v1/pools/p/assignments", json={"customer_id": "c2"})
    used = {"customer_id": "c1", "properties": {"code": first["code"]}, "timestamp": first["assigned_at"]}
    assert await track(client, used) == ["redeemed"]


@pytest.mark.parametrize(
    ("seconds", "outcome", "status"), [(-1, "redeemed", "redeemed"), (300, "expired", "assigned")]
)
async def test_a_use_after_the_expiry_is_an_issue_and_one_before_it_is_not(
    client, engine, seconds, outcome, status
):
    await fill(engine, "p", 1)
    await map_(client, "code")
    code = await assigned(client)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE voucher SET expires_at = :at"), {"at": TOMORROW})
    at = later(seconds=seconds)
    assert await track(client, {"properties": {"code": code}, "timestamp": at}) == [outcome]
    assert (await voucher(client, code))["status"] == status


async def test_a_use_of_a_void_code_is_an_issue(client, engine):
    await fill(engine, "p", 1)
    await map_(client, "code")
    code = await assigned(client)
    await client.post(f"/v1/vouchers/{code}/void")
    assert await track(client, {"properties": {"code": code}}) == ["void"]
    assert (await voucher(client, code))["status"] == "void"


async def test_an_unknown_code_is_redeemed_by_itself_once_it_is_imported(client, engine):
    await map_(client, "code")
    assert await track(client, {"properties": {"code": "p-000000"}}) == ["unknown_code"]
    assert await service.resolve(engine) == 0
    await fill(engine, "p", 2)
    assert await service.resolve(engine) == 1
    assert (await voucher(client, "p-000000"))["status"] == "redeemed"
    assert [issue["outcome"] for issue in await issues(client)] == ["not_assigned"]


async def test_codes_that_no_pool_ever_gets_keep_none_from_its_turn(client, engine, monkeypatch):
    await map_(client, "code")
    codes = [f"a-{n}" for n in range(3)]
    assert (
        await track(client, *({"properties": {"code": code}} for code in [*codes, "z"]))
        == ["unknown_code"] * 4
    )
    await fill(engine, "p", ["z"])
    monkeypatch.setattr(service, "AT_A_TIME", 1)
    monkeypatch.setattr(service, "turn_is_over", lambda: True)
    assert await service.resolve(engine) == 1
    assert (await voucher(client, "z"))["status"] == "redeemed"


async def test_a_changed_mapping_is_applied_to_the_events_that_are_there(client, engine):
    await fill(engine, "p", 3)
    await map_(client, "wrong")
    code = await assigned(client)
    events = [
        {"properties": {"code": code, "wrong": 7}},
        {"event_type": "other", "properties": {"code": code}},
        {"properties": {}},
    ]
    assert await track(client, *events) == ["not_a_string", None, None]
    await map_(client, "code")
    replayed = await client.post("/v1/redemption-mapping/replay")
    assert replayed.json() == {"events": 2, "found": 1}
    assert (await voucher(client, code))["status"] == "redeemed"
    assert await issues(client) == []
    assert (await client.post("/v1/redemption-mapping/replay")).json() == {"events": 2, "found": 0}


async def test_several_mappings_apply_at_once(client, engine):
    await fill(engine, "p", 3)
    both = [{"event_type": "purchase", "property": name} for name in ("code", "coupon")]
    mappings = [*both, {"event_type": "refund", "property": "code"}]
    mappings = [{**each, "effect": "redeem", "normalise": None} for each in mappings]
    reply = await client.put("/v1/redemption-mapping", json={"mappings": mappings})
    assert reply.json() == {"mappings": mappings} == (await client.get("/v1/redemption-mapping")).json()
    one, two = await assigned(client), await assigned(client)
    assert await track(client, {"properties": {"code": 1, "coupon": one}}) == ["redeemed"]
    assert await track(client, {"properties": {"code": two, "coupon": two}}) == ["redeemed"]
    # The same code twice in one event is one use.
    assert await issues(client, issue="already_redeemed") == []


async def test_a_batch_of_a_thousand_events_is_stored_and_judged(client, engine):
    await fill(engine, "p", 1000)
    await map_(client, "code")
    batch = await client.post(
        "/v1/pools/p/assignments/batch", json={"items": [{"customer_id": CUSTOMER}] * 1000}
    )
    codes = [item["code"] for item in batch.json()["items"]]
    assert await track(client, *({"properties": {"code": code}} for code in codes)) == ["redeemed"] * 1000
    assert (await client.get("/v1/pools/p/counts")).json()["redeemed"] == 1000


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({"properties": {"a": "\x00"}}, "NUL"),
        ({"properties": {"a": ["\ud800"]}}, "surrogate"),
        ({"properties": {"a": float("inf")}}, "not a number"),
        ({"properties": []}, "dictionary"),
        ({"timestamp": "2027-01-01T00:00:00"}, "timezone"),
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, "1970"),
        ({"event_id": ""}, "at least 1"),
        ({"customer_id": None}, "string"),
        ({"price": 3}, "no such field"),
    ],
)
async def test_a_bad_event_is_refused_with_its_place_and_none_of_the_batch_is_stored(
    client, connection, event, says
):
    good = {"customer_id": CUSTOMER, "event_type": "purchase"}
    content = json.dumps({"events": [good, good | event]})
    reply = await client.post("/v1/events", content=content, headers={"Content-Type": "application/json"})
    assert reply.status_code == 422, reply.text
    (error,) = reply.json()["errors"]
    assert error["loc"][:3] == ["body", "events", 1]
    assert says in error["msg"]
    assert (await connection.execute(text("SELECT count(*) FROM event"))).scalar_one() == 0


async def test_a_backslash_before_u0000_is_text_and_no_nul(client):
    assert await track(client, {"properties": {"a": "\\u0000"}}) == [None]


async def test_more_than_a_thousand_events_are_refused(client):
    event = {"customer_id": CUSTOMER, "event_type": "purchase"}
    assert (await client.post("/v1/events", json={"events": [event] * 1001})).status_code == 422


async def test_issues_are_listed_page_by_page(client):
    await map_(client, "code")
    values = ["nope", 1, "nope2", 2, "nope3"]
    await track(client, *({"properties": {"code": value}} for value in values))
    seen, cursor = [], None
    while True:
        page = (
            await client.get("/v1/redemptions", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        ).json()
        seen += [issue["outcome"] for issue in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ["not_a_string"] * 2 + ["unknown_code"] * 3
    assert len(await issues(client, issue="unknown_code")) == 3


async def test_a_code_is_redeemed_directly_once(client, engine):
    await fill(engine, "p", ["a/b"])
    await assigned(client)
    path = "/v1/vouchers/a/b/redemptions"
    first = await client.post(path, json={"customer_id": CUSTOMER})
    assert (first.status_code, first.json()["outcome"]) == (201, "redeemed")
    again = await client.post(path, json={})
    assert (again.status_code, again.json()["type"]) == (409, "/problems/already-redeemed")
    unknown = await client.post("/v1/vouchers/nope/redemptions", json={})
    assert (unknown.status_code, unknown.json()["type"]) == (404, "/problems/voucher-not-found")
    assert await issues(client) == []


async def test_a_cancellation_of_a_code_that_nobody_was_given_changes_nothing(client, engine):
    """The code was used all the same: it stays redeemed, and so does what was said of it."""
    (code,) = await fill(engine, "p", ["K-1"])
    mapping = [
        {"event_type": "purchase", "property": "code"},
        {"event_type": "refund", "property": "code", "effect": "cancel"},
    ]
    await client.put("/v1/redemption-mapping", json={"mappings": mapping})

    async def say(event_type):
        event = {"customer_id": "c", "event_type": event_type, "properties": {"code": code}}
        return (await client.post("/v1/events", json={"events": [event]})).json()["items"][0]["redemption"]

    said = [await say(kind) for kind in ("purchase", "refund", "purchase", "refund")]
    assert said == ["not_assigned", "not_redeemed", "already_redeemed", "not_redeemed"]
    assert (await client.get(f"/v1/vouchers/{code}")).json()["status"] == "redeemed"
    async with engine.begin() as connection:
        assert await check.violations(connection) == []


async def test_an_event_that_was_forgotten_and_comes_again_uses_its_code_no_second_time(client, engine):
    """Old events go where the operator says so (`keep_events_days`); what they said of codes stays."""
    await fill(engine, "p", 1)
    await map_(client, "voucher_code", "other_code")
    event = {"event_id": "e1", "properties": {"voucher_code": await assigned(client)}}
    assert await track(client, event) == ["redeemed"]
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM event"))
    more = {"event_id": "e1", "properties": {**event["properties"], "other_code": "nope"}}
    assert await track(client, more) == ["redeemed"]
    listed = (await client.get("/v1/redemptions", params={"customer_id": CUSTOMER})).json()["items"]
    assert [each["outcome"] for each in listed] == ["redeemed", "unknown_code"]


async def test_what_many_events_of_a_request_say_of_codes_comes_to_what_it_comes_to_one_by_one(
    client, engine
):
    await fill(engine, "p", 3)
    mapping = [
        {"event_type": "purchase", "property": "codes[*]"},
        {"event_type": "refund", "property": "code", "effect": "cancel"},
    ]
    await client.put("/v1/redemption-mapping", json={"mappings": mapping})
    one, two = await assigned(client), await assigned(client)
    events = [
        {"properties": {"codes": [two, 7, one, "nope", "x" * 300]}},
        {"properties": {"codes": [one]}},
        {"event_type": "refund", "properties": {"code": one}},
        {"properties": {"codes": [one]}, "customer_id": "bob"},
    ]
    at = [{**event, "timestamp": later(minutes=minute)} for minute, event in enumerate(events)]
    defaults = {"customer_id": CUSTOMER, "event_type": "purchase"}
    reply = await client.post("/v1/events", json={"events": [defaults | event for event in at]})
    said = [[each["outcome"] for each in item["redemptions"]] for item in reply.json()["items"]]
    assert said == [
        ["redeemed", "not_a_string", "redeemed", "unknown_code", "unknown_code"],
        ["cancelled"],
        ["cancelled"],
        ["already_redeemed"],
    ]
    assert [(await voucher(client, code))["status"] for code in (one, two)] == ["redeemed", "redeemed"]
    again = await client.post("/v1/events", json={"events": [defaults | at[0] | {"event_id": "late"}]})
    assert again.json()["items"][0]["redemptions"][0]["outcome"] == "already_redeemed"


async def test_of_two_direct_redemptions_with_one_key_at_once_one_counts(client, engine):
    await fill(engine, "p", 2)
    codes = [await assigned(client), await assigned(client)]
    replies = await asyncio.gather(
        *(
            client.post(f"/v1/vouchers/{code}/redemptions", json={}, headers={"Idempotency-Key": "till"})
            for code in codes
        )
    )
    assert sorted(reply.status_code for reply in replies) == [201, 422]
    assert (await client.get("/v1/pools/p/counts")).json()["redeemed"] == 1


async def test_two_mappings_that_lead_to_one_place_find_one_code_there(client):
    await map_(client, "items[*].code", "items[0].code")
    properties = {"items": [{"code": "one"}], "items[0].code": "two"}
    assert await track(client, {"properties": properties}) == ["unknown_code"]
    assert len(await issues(client)) == 1
