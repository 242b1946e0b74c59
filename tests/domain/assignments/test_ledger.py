import csv
import io
import json

import pytest

from app.platform import keyset
from app.web import exports
from tests.factories import KEY, add_key, fill


async def given(client, pool="p", **body):
    return (await client.post(f"/v1/pools/{pool}/assignments", json=body)).json()


async def listed(client, **params):
    items, cursor = [], None
    while True:
        reply = await client.get(
            "/v1/assignments", params=params | {"limit": 2} | ({"cursor": cursor} if cursor else {})
        )
        assert reply.status_code == 200, reply.text
        items += reply.json()["items"]
        cursor = reply.json()["next_cursor"]
        if cursor is None:
            return items


async def test_who_got_what_is_listed_by_customer_campaign_pool_and_time(client, engine):
    await fill(engine, "p", 5)
    await fill(engine, "q", 5)
    made = [
        await given(client, pool, customer_id=customer, campaign_id=campaign)
        for pool, customer, campaign in [
            ("p", "c1", "spring"),
            ("q", "c1", "summer"),
            ("p", "c2", "spring"),
            ("p", None, None),
        ]
    ]
    ids = [one["id"] for one in made]

    async def found(**params):
        return [ids.index(item["id"]) for item in await listed(client, **params)]

    assert await found(customer_id="c1") == [0, 1]
    assert await found(campaign_id="spring") == [0, 2]
    assert await found(customer_id="c1", campaign_id="spring") == [0]
    assert await found(pool="p") == [0, 2, 3]
    assert await found() == [0, 2, 3, 1]
    assert await found(pool="p", since=made[2]["assigned_at"], until=made[3]["assigned_at"]) == [2]
    assert (await listed(client, customer_id="c2"))[0] == made[2] | {"lease_until": None, "released_at": None}


@pytest.mark.parametrize("path", ["", "/export"])
async def test_the_ledger_of_an_unknown_pool_is_a_problem(client, path):
    reply = await client.get(f"/v1/assignments{path}", params={"pool": "nope"})
    assert (reply.status_code, reply.json()["type"]) == (404, "/problems/pool-not-found")


async def test_a_key_that_may_only_read_sees_no_codes_and_exports_nothing(client, engine):
    await fill(engine, "p", ["SECRET"])
    await given(client)
    await add_key(engine, KEY[::-1], "read")
    headers = {"Authorization": f"Bearer {KEY[::-1]}"}
    page = await client.get("/v1/assignments", headers=headers)
    assert page.json()["items"][0]["code"] == "SE******"
    for path in ("/v1/assignments/export", "/v1/pools/p/export"):
        assert (await client.get(path, headers=headers)).status_code == 403


async def test_an_export_holds_every_row_once_in_both_formats(client, engine):
    codes = await fill(engine, "p", exports.ROWS_AT_A_TIME + 5)
    items = [{"customer_id": f"c{n}"} for n in range(len(codes))]
    await client.post("/v1/pools/p/assignments/batch", json={"items": items})
    for path in ("/v1/assignments/export", "/v1/pools/p/export"):
        table = await client.get(path)
        assert table.headers["content-type"] == "text/csv; charset=utf-8"
        rows = list(csv.DictReader(io.StringIO(table.text)))
        assert sorted(row["code"] for row in rows) == sorted(codes)
        lines = (await client.get(path, params={"format": "ndjson"})).text.splitlines()
        objects = [json.loads(line) for line in lines]
        assert {row["code"]: row["assigned_at"] for row in rows} == {
            row["code"]: row["assigned_at"] for row in objects
        }
        assert {row["customer_id"] for row in objects} == {item["customer_id"] for item in items}


async def test_an_export_of_one_state_holds_that_state(client, engine):
    await fill(engine, "p", 3)
    one = await given(client)
    table = await client.get("/v1/pools/p/export", params={"status": "assigned"})
    assert [row["code"] for row in csv.DictReader(io.StringIO(table.text))] == [one["code"]]


async def test_a_cell_that_a_spreadsheet_would_run_is_made_harmless(client, engine):
    evil = ["=1+1", "+1", "-1", "@SUM(A1)", "\uff1d1", 'a","=1', "plain"]
    await fill(engine, "p", evil)
    for _ in evil:
        await given(client, customer_id="\t=cmd|' /C calc'!A0")
    for path in ("/v1/assignments/export", "/v1/pools/p/export"):
        rows = list(csv.DictReader(io.StringIO((await client.get(path)).text, newline="")))
        assert sorted(row["code"] for row in rows) == sorted(
            ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\uff1d1", 'a","=1', "plain"]
        )
        assert {row["customer_id"] for row in rows} == {"'\t=cmd|' /C calc'!A0"}
        lines = (await client.get(path, params={"format": "ndjson"})).text.splitlines()
        assert sorted(json.loads(line)["code"] for line in lines) == sorted(evil)


async def test_a_page_of_a_campaign_in_one_pool_reads_a_bounded_part_and_all_pages_hold_all(
    client, engine, monkeypatch
):
    monkeypatch.setattr(keyset, "MOST_READ", 4)
    await fill(engine, "p", 30)
    await fill(engine, "q", 30)
    pools = ["q"] * 9 + ["p"] * 3 + ["q"] * 8 + ["p"]
    made = [(pool, (await given(client, pool, campaign_id="spring"))["id"]) for pool in pools]
    for pool in ("p", "q"):
        wanted = [id_ for name, id_ in made if name == pool]
        assert [one["id"] for one in await listed(client, campaign_id="spring", pool=pool)] == wanted
    assert await listed(client, campaign_id="other", pool="p") == []
    first = (await client.get("/v1/assignments", params={"campaign_id": "spring", "pool": "p"})).json()
    assert (first["items"], first["next_cursor"] is None) == ([], False)
