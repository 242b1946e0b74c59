import asyncio

import pytest

from tests.factories import fill

CUSTOMER = "c1"


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
    at = "2027-01-05T10:00:00Z"
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
    assert await track(client, other) == ["redeemed"]
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


async def test_fifty_who_redeem_one_code_at_once_redeem_it_once(client, engine):
    await fill(engine, "p", 1)
    await map_(client, "voucher_code")
    code = await assigned(client)
    tracked = await asyncio.gather(
        *(track(client, {"properties": {"voucher_code": code}}) for _ in range(50))
    )
    assert sorted(outcome for (outcome,) in tracked) == ["already_redeemed"] * 49 + ["redeemed"]
    assert (await client.get("/v1/pools/p/counts")).json()["redeemed"] == 1
    issues = (await client.get("/v1/redemptions", params={"issue": "already_redeemed"})).json()["items"]
    assert len(issues) == 49
