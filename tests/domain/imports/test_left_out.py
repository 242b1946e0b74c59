"""What rows leave out is read as if it stood there: those of a release that wrote it all down say the same."""

import pytest
from sqlalchemy import text

from app.platform.database import transaction

AS_BEFORE = (
    "UPDATE assignment SET occurrence = coalesce(occurrence, 0), test = coalesce(test, false)",
    """UPDATE voucher SET import_id = import.id, import_number = NULL, imported_at = started_at
    FROM import WHERE number = import_number""",
)
LEFT_OUT = """
SELECT count(*) FROM voucher JOIN assignment ON assignment_id = assignment.id
WHERE imported_at IS NULL AND import_id IS NULL AND occurrence IS NULL AND test IS NULL
"""


@pytest.fixture(params=["as before", "as now"])
async def given(request, client, upload, engine):
    """Five codes that an import brought, of which one is Anna's, one Ben's as a test; as the API showed them."""
    made = (await upload("code\n" + "".join(f"K-{n}\n" for n in range(5)))).json()
    rows = [{"customer_id": "anna"}, {"customer_id": "ben", "test": True}]
    keys = [{"Idempotency-Key": row["customer_id"]} for row in rows]
    path = "/v1/pools/p/assignments"
    shown = [
        (await client.post(path, json=row, headers=key)).json() for row, key in zip(rows, keys, strict=True)
    ]
    async with transaction(engine) as connection:
        assert (await connection.execute(text(LEFT_OUT))).scalar_one() == 1
        if request.param == "as before":
            for statement in AS_BEFORE:
                await connection.execute(text(statement))
            assert (await connection.execute(text(LEFT_OUT))).scalar_one() == 0
    return made, list(zip(rows, keys, shown, strict=True))


async def listed(client, path, **wanted):
    reply = await client.get(path, params=wanted)
    assert reply.status_code == 200, reply.text
    return {item["code"] for item in reply.json()["items"]}


async def test_a_repeat_and_each_look_at_it_show_the_same(client, given):
    for row, key, shown in given[1]:
        again = await client.post("/v1/pools/p/assignments", json=row, headers=key)
        assert (again.status_code, again.json()) == (200, shown)
        assert (await client.get(f"/v1/assignments/{shown['id']}")).json() == shown
        other = await client.post(
            "/v1/pools/p/assignments", json={**row, "test": not row.get("test")}, headers=key
        )
        assert other.status_code == 422


async def test_lists_and_exports_tell_tests_apart(client, given):
    anna, ben = (shown["code"] for _, _, shown in given[1])
    for path in ("/v1/assignments", "/v1/pools/p/vouchers"):
        assert await listed(client, path, test="false") == {anna}
        assert await listed(client, path, test="true") == {ben}
    for path in ("/v1/assignments/export", "/v1/pools/p/export"):
        reply = await client.get(path, params={"test": "false", "format": "ndjson"})
        assert reply.text.count("\n") == 1
        assert anna in reply.text


async def test_a_change_of_those_that_are_no_tests_is_of_what_was_given(client, given):
    anna = given[1][0][2]["code"]
    body = {"action": "void", "filter": {"pool": "p", "test": False}, "dry_run": True}
    change = (await client.post("/v1/bulk-changes", json=body)).headers["Location"]
    made = {}
    while made.get("status") not in {"succeeded", "failed"}:
        made = (await client.get(change)).json()
    assert (made["status"], made["total"]) == ("succeeded", 1)
    assert (await client.get(f"/v1/vouchers/{anna}")).json()["status"] == "assigned"


async def test_a_code_tells_its_import_and_when_that_began(client, given):
    made, rows = given
    codes = {f"K-{n}" for n in range(5)}
    assert await listed(client, "/v1/pools/p/vouchers", import_id=made["id"]) == codes
    for code in (rows[0][2]["code"], next(iter(codes - {shown["code"] for _, _, shown in rows}))):
        voucher = (await client.get(f"/v1/vouchers/{code}")).json()
        assert voucher["imported_at"] == made["started_at"]
        assert voucher["history"][0]["at"] == made["started_at"]
    exported = await client.get("/v1/pools/p/export", params={"format": "ndjson"})
    assert exported.text.count(f'"imported_at":"{made["started_at"]}"') == len(codes)


async def test_an_undo_takes_back_what_is_free_and_no_more(client, given):
    made, rows = given
    undone = await client.post(f"/v1/imports/{made['id']}/undo")
    assert undone.status_code == 200, undone.text
    assert await listed(client, "/v1/pools/p/vouchers") == {shown["code"] for _, _, shown in rows}


async def test_an_import_of_the_same_codes_ignores_them_all(client, given, upload):
    again = (await upload("code\n" + "".join(f"K-{n}\n" for n in range(6)))).json()
    assert (again["imported"], again["ignored"]) == (1, 5)
    assert len((await client.get(f"/v1/imports/{again['id']}/ignored")).json()["items"]) == 5
