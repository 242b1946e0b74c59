"""One bad value is refused with its place, and stops nothing but itself."""

import json

import psycopg
import pytest
from alembic import command

from app.domain.imports.reader import dates
from app.platform.database_url import conninfo
from app.platform.migrate import config, migrate
from tests.factories import fill

OUTSIDE = ["9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+01:00", "1969-12-31T23:59:59Z", "9999-12-31"]


@pytest.mark.parametrize("text", OUTSIDE)
def test_an_expiry_outside_the_years_is_an_invalid_one(text):
    with pytest.raises(ValueError, match="1970"):
        dates.moment(text)


@pytest.mark.parametrize("moment", OUTSIDE[:3])
async def test_a_time_outside_the_years_is_refused_everywhere(client, engine, moment):
    await fill(engine, "p", 3)
    replies = [
        await client.post("/v1/pools/p/holds", json={"campaign_id": "c", "count": 1, "expires_at": moment}),
        await client.post(
            "/v1/pools/p/imports", json={"source": {"type": "text", "text": "A"}, "expires_at": moment}
        ),
        await client.get("/v1/audit", params={"since": moment}),
        await client.get("/v1/assignments", params={"until": moment}),
        await client.post("/v1/vouchers/p-000000/redemptions", json={"redeemed_at": moment}),
    ]
    assert [reply.status_code for reply in replies] == [422] * 5, [reply.text for reply in replies]


async def test_a_hold_ends_in_the_future(client, engine):
    await fill(engine, "p", 3)
    body = {"campaign_id": "c", "count": 1, "expires_at": "2020-01-01T00:00:00Z"}
    assert (await client.post("/v1/pools/p/holds", json=body)).status_code == 422


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (2**64, ["body", "events", 1]),
        (-(2**63) - 1, ["body", "events", 1]),
        (nested(300), ["body"]),
        (nested(65), ["body"]),
        (nested(900), ["body"]),
    ],
)
async def test_json_beyond_the_bound_is_refused_with_its_place(client, value, place):
    good = {"customer_id": "c", "event_type": "purchase", "properties": {"a": [2**64 - 1, nested(58)]}}
    bad = good | {"properties": {"a": value}}
    content = json.dumps({"events": [good, bad]})
    reply = await client.post("/v1/events", content=content, headers={"Content-Type": "application/json"})
    assert reply.status_code == 422, reply.text
    assert [error["loc"][:3] for error in reply.json()["errors"]] == [place]
    assert (await client.post("/v1/events", json={"events": [good]})).status_code == 200
    node = {"template": json.dumps({"a": value}), "message_id": "m", "mode": "send"}
    rendered = await client.post("/v1/customers/c/properties/render", json=node)
    assert (rendered.status_code, rendered.json()["type"]) == (422, "/problems/template-error"), rendered.text
    patched = await client.patch(
        "/v1/customers/c",
        content=json.dumps({"properties": {"a": value}}),
        headers={"Content-Type": "application/json"},
    )
    assert patched.status_code == 422


async def test_a_nul_in_the_name_of_a_pool_is_a_problem_on_the_fast_route(client):
    reply = await client.post("/v1/pools/a%00b/assignments", json={})
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/invalid-request")


def test_a_migration_makes_stored_times_readable(empty_database):
    command.upgrade(config(empty_database), "0007")
    with psycopg.connect(conninfo(empty_database), autocommit=True) as connection:
        for code, moment in (("far", "10000-01-01Z"), ("near", "0001-01-01 BC"), ("good", "2030-01-01Z")):
            connection.execute(
                "INSERT INTO voucher (code, pool_id, draw_key, expires_at) VALUES (%s, 1, 1, %s)",
                (code, moment),
            )
        migrate(empty_database)
        years = connection.execute(
            "SELECT extract(year FROM expires_at AT TIME ZONE 'UTC')::int FROM voucher ORDER BY code"
        ).fetchall()
    assert years == [(None,), (2030,), (1970,)]
