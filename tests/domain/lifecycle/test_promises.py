"""What once broke the promises, told as it was told then: through HTTP, from the import on."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from app.domain.imports.merging import pipeline
from app.domain.lifecycle import check
from app.domain.vouchers import service as vouchers
from app.platform.projects import DEFAULT
from tests.factories import fill

ASSIGN = "/v1/pools/p/assignments"
OUTSIDE = ("9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+01:00")
"""Times that are no times of this service."""


@pytest.fixture(autouse=True)
async def mapped(client):
    mappings = [{"event_type": "purchase", "property": "code"}]
    assert (await client.put("/v1/redemption-mapping", json={"mappings": mappings})).status_code == 200


@pytest.fixture
def import_(client, settings):
    """Import a text; the import when it has ended."""

    async def import_(lines, **options):
        body = {"source": {"type": "text", "text": "\n".join(lines)}, **options}
        made = (await client.post("/v1/pools/p/imports", json=body)).json()
        await asyncio.to_thread(pipeline.run, settings, DEFAULT, made["id"])
        return (await client.get(f"/v1/imports/{made['id']}")).json()

    return import_


async def use(client, code, **more):
    event = {"customer_id": "anna", "event_type": "purchase", "properties": {"code": code}, **more}
    (item,) = (await client.post("/v1/events", json={"events": [event]})).json()["items"]
    return item["redemption"]


async def assign(client, **body):
    reply = await client.post(ASSIGN, json=body)
    return reply.json().get("code") or (reply.status_code, reply.json().get("reason"))


async def nothing_is_broken(engine):
    async with engine.begin() as connection:
        assert await check.violations(connection) == []


async def test_a_code_that_was_used_before_its_import_is_not_drawn_right_after_it(client, engine, import_):
    assert await use(client, "KA") == "unknown_code"
    assert (await import_(["code", "KA"]))["imported"] == 1
    assert await assign(client) == (409, "empty")
    assert (await client.get("/v1/vouchers/KA")).json()["status"] == "redeemed"
    (said,) = (await client.get("/v1/redemptions?outcome=not_assigned")).json()["items"]
    assert said["code"] == "KA"
    await nothing_is_broken(engine)


async def test_a_use_that_is_told_ahead_of_the_expiry_takes_the_code_that_is_imported(
    client, engine, import_
):
    one, two = ((datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ") for days in (1, 2))
    assert await use(client, "KA", timestamp=two) == "unknown_code"
    done = await import_(["code,exp", f"KA,{one}"], column="code", expires_at_column="exp")
    assert done["imported"] == 1
    assert await assign(client) == (409, "empty")
    await nothing_is_broken(engine)


async def test_a_pool_of_which_a_code_was_used_is_neither_deleted_nor_imported_anew(client, engine, import_):
    assert (await import_(["code", "D-1"]))["imported"] == 1
    assert await use(client, "D-1") == "not_assigned"
    refused = await client.delete("/v1/pools/p")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/pool-not-empty")
    again = await import_(["code", "D-1"])
    assert (again["imported"], again["ignored"]) == (0, 1)
    assert await assign(client) == (409, "empty")
    await nothing_is_broken(engine)


async def test_a_row_with_an_odd_year_stops_nothing_but_itself(client, engine, import_):
    rows = [
        "code,exp",
        f"FAR-1,{OUTSIDE[0]}",
        f"OLD-1,{OUTSIDE[1]}",
        "ODD-1,9999-12-31",
        "OK-1,9998-12-31T00:00:00Z",
    ]
    done = await import_(rows, column="code", expires_at_column="exp")
    assert (done["status"], done["imported"], done["rejected_by"]["invalid"]) == ("succeeded", 1, 3)
    rejects = (await client.get(f"/v1/imports/{done['id']}/rejects")).json()["items"]
    assert {each["reason"] for each in rejects} == {"invalid_expires_at"}
    assert {each["line"] for each in rejects} == {2, 3, 4}
    listed = (await client.get("/v1/pools/p/vouchers")).json()["items"]
    assert [each["code"] for each in listed] == ["OK-1"]
    exported = await client.get("/v1/pools/p/export?format=csv")
    assert (exported.status_code, "OK-1" in exported.text) == (200, True)
    assert [await use(client, code) for code in ("FAR-1", "OLD-1")] == ["unknown_code"] * 2
    assert await vouchers.sweep(engine) == (0, 0)
    assert await assign(client) == "OK-1"
    assert await use(client, "OK-1") == "redeemed"
    await nothing_is_broken(engine)


async def test_no_time_outside_the_years_is_taken_by_any_list(client):
    paths = (await client.get("/openapi.json")).json()["paths"]
    tried = 0
    for path, methods in paths.items():
        for parameter in methods.get("get", {}).get("parameters", []):
            kinds = parameter["schema"].get("anyOf", [parameter["schema"]])
            if parameter["in"] != "query" or not any(kind.get("format") == "date-time" for kind in kinds):
                continue
            filled = path.replace("{", "").replace("}", "")
            moment = OUTSIDE[tried % 2]
            reply = await client.get(filled, params={parameter["name"]: moment})
            assert reply.status_code == 422, (path, parameter["name"], moment, reply.text)
            tried += 1
    assert tried >= 10


async def test_every_reply_about_an_assignment_says_where_it_stands(client, engine):
    await fill(engine, "p", 3)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE voucher SET expires_at = '2100-01-01T00:00:00Z'"))
    reserved = (await client.post(ASSIGN, json={"lease_seconds": 60})).json()
    url = f"/v1/assignments/{reserved['id']}"
    told = [reserved, (await client.get(url)).json()]
    told += [(await client.post(f"{url}/{act}")).json() for act in ("confirm", "release")]
    told += [(await client.get(url)).json(), (await client.post(ASSIGN, json={})).json()]
    stands = [(each["status"], each["lease_until"] is None, each["released_at"] is None) for each in told]
    assert stands == [
        ("reserved", False, True),
        ("reserved", False, True),
        ("assigned", True, True),
        ("released", True, False),
        ("released", True, False),
        ("assigned", True, True),
    ]
    assert {each["expires_at"] for each in told} == {"2100-01-01T00:00:00Z"}
    items = [{"lease_seconds": 60}, {}]
    batch = (await client.post(f"{ASSIGN}/batch", json={"items": items})).json()["items"]
    assert [each["status"] for each in batch] == ["reserved", "assigned"]
    assert {each["expires_at"] for each in batch} == {"2100-01-01T00:00:00Z"}


async def test_what_a_send_confirmed_is_nobody_elses(client, engine):
    await fill(engine, "p", 2)
    message = {"customer_id": "anna", "message_id": "m", "campaign_id": "spring"}
    reserved = await assign(client, **message, lease_seconds=3)
    template = "{{ vouchers['p'].assign_available() }}"
    body = {"template": template, "channel": "email", "mode": "send", **message}
    assert (await client.post("/v1/render", json=body)).json()["rendered"] == reserved
    async with engine.begin() as connection:  # four seconds later
        back = "interval '4 s'"
        await connection.execute(
            text(
                f"UPDATE assignment SET assigned_at = assigned_at - {back}, lease_until = lease_until - {back}"
            )
        )
        await connection.execute(text(f"UPDATE voucher SET assigned_at = assigned_at - {back}"))
    await vouchers.sweep(engine)
    assert reserved not in {await assign(client, customer_id="bob"), await assign(client, customer_id="bob")}
    assert (await client.post("/v1/render", json=body)).json()["rendered"] == reserved
    await nothing_is_broken(engine)


@pytest.mark.parametrize("key", [None, "k"])
async def test_a_bulk_send_that_is_sent_again_shows_no_code_that_was_voided(client, engine, key):
    await fill(engine, "p", 6)
    people = [{"customer_id": f"c{n}", "message_id": f"m{n}"} for n in range(3)]
    template = "{{ vouchers['p'].assign_available() }}"
    body = {"template": template, "channel": "email", "recipients": people}
    headers = {} if key is None else {"Idempotency-Key": key}

    async def send():
        reply = await client.post("/v1/render/batch", json=body, headers=headers)
        assert reply.status_code == 200, reply.text
        return reply.json()["items"]

    first = await send()
    assert (await client.post(f"/v1/vouchers/{first[1]['rendered']}/void")).status_code == 200
    again = await send()
    assert [item["rendered"] for item in again] == [first[0]["rendered"], None, first[2]["rendered"]]
    assert (again[1]["status"], again[1]["problem"]["type"]) == ("failed", "/problems/void")
    counts = (await client.get("/v1/pools/p/counts")).json()
    assert (counts["assigned"], counts["void"], counts["available"]) == (2, 1, 3)
