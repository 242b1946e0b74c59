"""Vouchers and assignments are found by what is known of them, a bounded number of rows at a time."""

import pytest
from sqlalchemy import Engine, event, text

from app.domain.vouchers import finding
from app.platform import keyset
from app.platform.database import transaction
from app.web import pagination
from tests.factories import add_key, fill

LIST = "/v1/pools/p/vouchers"


async def walk(client, path, limit=2, **wanted):
    """Return the codes of all pages, in their order."""
    found, cursor = [], None
    for _ in range(100):
        params = wanted | {"limit": limit} | ({"cursor": cursor} if cursor else {})
        reply = await client.get(path, params=params)
        assert reply.status_code == 200, reply.text
        found += [item["code"] for item in reply.json()["items"]]
        cursor = reply.json()["next_cursor"]
        if cursor is None:
            return found
    raise AssertionError("the list does not end")


@pytest.fixture
async def given(client, engine):
    """Two pools; what of the first was given, in the order of the codes."""
    codes = await fill(engine, "p", [f"{kind}-{n}" for kind in ("AB", "ABC", "X_%") for n in range(3)])
    await fill(engine, "q", ["AB-9"])
    rows = [
        {"customer_id": "anna", "campaign_id": "k", "message_id": "m1"},
        {"customer_id": "anna", "test": True},
        {"customer_id": "ben", "campaign_id": "k", "lease_seconds": 600},
        {"campaign_id": "other"},
    ]
    made = [(await client.post("/v1/pools/p/assignments", json=row)).json() for row in rows]
    await client.post("/v1/pools/q/assignments", json={"customer_id": "anna", "campaign_id": "k"})
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE voucher SET expires_at = '2090-01-01Z' WHERE code LIKE 'ABC%'"))
    return codes, made


async def test_each_filter_finds_what_it_says(client, given):
    codes, (first, proof, leased, last) = given
    assert set(await walk(client, LIST)) == set(codes)
    cases = {
        (("customer_id", "anna"),): {first["code"], proof["code"]},
        (("customer_id", "anna"), ("test", "false")): {first["code"]},
        (("campaign_id", "k"),): {first["code"], leased["code"]},
        (("campaign_id", "k"), ("status", "reserved")): {leased["code"]},
        (("message_id", "m1"),): {first["code"]},
        (("test", "true"),): {proof["code"]},
        (("status", "assigned"),): {first["code"], proof["code"], last["code"]},
        (("code_prefix", "AB-"),): {"AB-0", "AB-1", "AB-2"},
        (("code_prefix", "X_%"),): {"X_%-0", "X_%-1", "X_%-2"},
        (("code_prefix", "AB"), ("code_contains", "C-1")): {"ABC-1"},
        (("code_contains", "_%-"),): {"X_%-0", "X_%-1", "X_%-2"},
        (("expires_before", "2091-01-01T00:00:00Z"),): {"ABC-0", "ABC-1", "ABC-2"},
        (("expires_after", "2091-01-01T00:00:00Z"),): set(),
        (("assigned_since", leased["assigned_at"]),): {leased["code"], last["code"]},
        (("assigned_until", leased["assigned_at"]),): {first["code"], proof["code"]},
        (("import_id", "00000000-0000-4000-8000-000000000000"),): set(),
    }
    for wanted, expected in cases.items():
        found = await walk(client, LIST, **dict(wanted))
        assert len(found) == len(set(found))
        assert set(found) == expected, wanted
        export = await client.get("/v1/pools/p/export", params=dict(wanted) | {"format": "ndjson"})
        assert export.text.count("\n") == len(expected), wanted


async def test_assignments_are_found_too(client, given):
    _, (first, proof, leased, last) = given
    await client.post(f"/v1/assignments/{last['id']}/release")
    cases = {
        (("message_id", "m1"),): {first["code"]},
        (("status", "reserved"),): {leased["code"]},
        (("status", "released"),): {last["code"]},
        (("test", "true"), ("pool", "p")): {proof["code"]},
        (("customer_id", "anna"), ("campaign_id", "k"), ("pool", "p")): {first["code"]},
        (("code_prefix", proof["code"]), ("customer_id", "anna")): {proof["code"]},
        (("code_contains", first["code"][-4:]), ("pool", "p"), ("campaign_id", "k")): {first["code"]},
        (("expires_after", "2091-01-01T00:00:00Z"),): set(),
    }
    for wanted, expected in cases.items():
        found = set(await walk(client, "/v1/assignments", **dict(wanted)))
        assert expected <= found if "code_contains" in dict(wanted) else expected == found, wanted
        export = await client.get("/v1/assignments/export", params=dict(wanted) | {"format": "ndjson"})
        assert export.status_code == 200


async def test_what_was_taken_back_and_given_anew_is_listed_once(client, engine):
    codes = await fill(engine, "p", 3)
    for _ in range(3):
        made = [(await client.post("/v1/pools/p/assignments", json={})).json() for _ in codes]
        for assignment in made:
            assert (await client.post(f"/v1/assignments/{assignment['id']}/release")).status_code == 200
    again = [(await client.post("/v1/pools/p/assignments", json={})).json()["code"] for _ in range(2)]
    assert await walk(client, LIST, limit=1, status="assigned") == again  # as they were given
    every = await walk(client, LIST, limit=1)
    assert (len(every), set(every)) == (3, set(codes))
    assert every[1:] == again


async def test_a_cursor_of_a_release_that_had_another_order_is_refused(client, engine):
    await fill(engine, "p", 1)
    cursor = pagination.encode(("assigned", 5, "p-000000"))
    reply = await client.get(LIST, params={"cursor": cursor})
    assert (reply.status_code, reply.json()["detail"]) == (422, "The cursor is one of another filter.")


async def test_a_cursor_of_another_state_is_refused(client, engine):
    codes = await fill(engine, "p", 3)
    first = (await client.get(LIST, params={"limit": 1})).json()
    cursor = first["next_cursor"]
    reply = await client.get(LIST, params={"status": "assigned", "cursor": cursor})
    assert (reply.status_code, reply.json()["detail"]) == (422, "The cursor is one of another filter.")
    rest = (await client.get(LIST, params={"status": "available", "cursor": cursor})).json()
    assert {item["code"] for item in (*first["items"], *rest["items"])} == set(codes)


@pytest.mark.parametrize("wanted", [{}, {"code_contains": "-000"}, {"import_id": str(finding.UUID(int=0))}])
async def test_a_page_reads_only_so_much_and_goes_on(client, engine, monkeypatch, wanted):
    codes = await fill(engine, "p", 40)
    for _ in range(10):
        await client.post("/v1/pools/p/assignments", json={"customer_id": "anna"})
    monkeypatch.setattr(keyset, "MOST_READ", 3)
    expected = set() if "import_id" in wanted else set(codes)
    found = await walk(client, LIST, limit=5, **wanted)
    assert (set(found), len(found)) == (expected, len(expected))
    if not wanted:
        assert len(await walk(client, LIST, limit=5, customer_id="anna", test="false")) == 10
        assert len(await walk(client, LIST, limit=50, code_prefix="p-")) == 40
        assert len(await walk(client, "/v1/assignments", limit=50, pool="p", test="false")) == 10
        assert len(await walk(client, "/v1/assignments", limit=50, test="false")) == 10


@pytest.mark.parametrize(
    "path",
    [
        *(f"{LIST}?test=true", f"{LIST}?code_prefix=p&test=true", f"{LIST}?import_id={finding.UUID(int=0)}"),
        *(
            "/v1/assignments?test=true",
            "/v1/customers?property=a&value=b",
            "/v1/redemptions?customer_id=anna",
        ),
    ],
)
async def test_the_planner_is_told_how_few_rows_lead(client, given, path):
    """A LIMIT that is a parameter is taken for a tenth of the table, and all the table's rows are joined to that."""
    statements: list[str] = []

    def note(_connection, _cursor, statement, *_others):
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert (await client.get(path)).status_code == 200
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert any(f"LIMIT {keyset.MOST_READ})" in statement for statement in statements), statements


async def test_part_of_a_code_is_told_only_to_who_sees_codes(client, engine, given):
    await add_key(engine, "read-0123456789-0123456789-0123456789", "read")
    headers = {"Authorization": "Bearer read-0123456789-0123456789-0123456789"}
    for path in (LIST, "/v1/assignments"):
        for asked in ({"code_prefix": "A"}, {"code_contains": "AB-"}):
            assert (await client.get(path, params=asked, headers=headers)).status_code == 403
        assert (await client.get(path, params={"customer_id": "anna"}, headers=headers)).status_code == 200
        assert (await client.get(path, params={"code_contains": "AB"})).status_code == 422


async def test_a_cursor_of_another_filter_is_refused(client, given):
    cursor = (await client.get(LIST, params={"limit": 1})).json()["next_cursor"]
    reply = await client.get(LIST, params={"limit": 1, "customer_id": "anna", "cursor": cursor})
    assert (reply.status_code, reply.json()["errors"][0]["loc"]) == (422, ["query", "cursor"])


async def test_uses_are_found_by_customer_time_and_outcome(client, engine):
    codes = await fill(engine, "p", 4)
    for n, code in enumerate(codes[:3]):
        body = {"customer_id": "anna" if n else "ben", "redeemed_at": f"2026-01-0{n + 1}T00:00:00Z"}
        assert (await client.post(f"/v1/vouchers/{code}/redemptions", json=body)).status_code == 201

    async def found(**wanted):
        reply = await client.get("/v1/redemptions", params={"limit": 1, **wanted})
        items, cursor = reply.json()["items"], reply.json()["next_cursor"]
        while cursor:
            reply = await client.get("/v1/redemptions", params={"limit": 1, "cursor": cursor, **wanted})
            items, cursor = items + reply.json()["items"], reply.json()["next_cursor"]
        return [item["code"] for item in items]

    assert await found(customer_id="anna") == codes[1:3]
    assert await found(customer_id="anna", outcome="redeemed") == []
    assert await found(since="2026-01-02T00:00:00Z", outcome="not_assigned") == codes[1:3]
    assert await found(until="2026-01-02T00:00:00Z") == codes[:1]
