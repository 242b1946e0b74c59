"""Codes that were given by another system come in with their past: idempotent, exact beside draws, and told."""

import asyncio
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import text

from app.domain.changes import service as changes
from app.domain.imports.merging import given, pipeline
from app.domain.lifecycle import check
from app.domain.redemptions import service as redemptions
from app.domain.tracking import service as tracking
from app.domain.webhooks import statements as hooks
from app.platform.database import transaction
from app.platform.projects import DEFAULT
from tests.domain.imports.imported import books_agree, counts, queue, run_job
from tests.factories import new_event

COLUMNS = {
    "customer_id_column": "customer",
    "assigned_at_column": "given",
    "campaign_id_column": "campaign",
    "redeemed_at_column": "used",
}
HEAD = "code;customer;campaign;given;used\n"
FILE = HEAD + (
    "A-1;anna;spring;2026-03-01T10:00:00Z;2026-03-05T12:00:00Z\n"
    "A-2;ben;;2026-03-02;\n"
    "A-3;;;;2026-04-01\n"
    "A-4;NULL;spring;;\n"
    "A-5;carl;;;2026-03-07T08:00:00+02:00\n"
)
LATER_USE = FILE.replace("A-2;ben;;2026-03-02;", "A-2;ben;;2026-03-02;2026-05-01")
CODES_ALONE = dict.fromkeys(COLUMNS)


@pytest.fixture
def run(engine, settings, client):
    """Imports a file by the job itself, and returns its figures."""
    return partial(run_job, engine, settings, client, **COLUMNS)


@pytest.fixture(autouse=True)
async def agree(engine):
    yield
    await books_agree(engine)


async def voucher(client, code):
    return (await client.get(f"/v1/vouchers/{code}")).json()


async def rejects(client, done):
    items = (await client.get(f"/v1/imports/{done['id']}/rejects?limit=1000")).json()["items"]
    return [(item["line"], item["value"], item["reason"]) for item in items]


async def test_the_past_comes_in_and_only_what_nobody_has_is_drawn(client, upload):
    done = (await upload(FILE, **COLUMNS)).json()
    assert (done["imported"], done["rejected"], done["columns_not_imported"]) == (5, 0, []), done
    assert await counts(client) == {"available": 1, "assigned": 1, "redeemed": 3}
    anna = await voucher(client, "A-1")
    assert (anna["status"], anna["customer_id"]) == ("redeemed", "anna")
    assert (anna["assigned_at"], anna["redeemed_at"]) == ("2026-03-01T10:00:00Z", "2026-03-05T12:00:00Z")
    (row,) = (await client.get("/v1/assignments", params={"customer_id": "anna"})).json()["items"]
    assert (row["code"], row["campaign_id"], row["status"]) == ("A-1", "spring", "redeemed")
    assert (await voucher(client, "A-2"))["assigned_at"] == "2026-03-02T00:00:00Z"
    assert (await voucher(client, "A-3"))["status"] == "redeemed"
    carl = await voucher(client, "A-5")
    assert (carl["assigned_at"], carl["redeemed_at"]) == ("2026-03-07T06:00:00Z", "2026-03-07T06:00:00Z")
    drawn = await client.post("/v1/pools/p/assignments", json={})
    assert drawn.json()["code"] == "A-4"
    assert (await client.post("/v1/pools/p/assignments", json={})).status_code == 409
    outcomes = {
        item["code"]: item["outcome"]
        for outcome in ("redeemed", "not_assigned")
        for item in (await client.get("/v1/redemptions", params={"outcome": outcome})).json()["items"]
    }
    assert outcomes == {"A-1": "redeemed", "A-3": "not_assigned", "A-5": "redeemed"}


async def test_twice_is_once_and_what_became_of_it_since_stays(client, run):
    assert (await run(FILE))["imported"] == 5
    again = await run(FILE)
    assert (again["imported"], again["ignored"], again["rejected"]) == (0, 5, 0), again
    (row,) = (await client.get("/v1/assignments", params={"customer_id": "ben"})).json()["items"]
    await client.post(f"/v1/assignments/{row['id']}/release")
    assert (await run(FILE))["ignored"] == 5
    assert (await voucher(client, "A-2"))["status"] == "available"


async def test_a_use_that_is_heard_of_later_is_taken_once(client, run):
    await run(FILE)
    assert (await run(LATER_USE))["imported"] == 1
    assert (await run(LATER_USE))["ignored"] == 5
    assert (await voucher(client, "A-2"))["redeemed_at"] == "2026-05-01T00:00:00Z"


async def uses_of(client, code):
    """What came of each use of a code, and whose it was."""
    items = [
        item
        for outcome in ("redeemed", "not_assigned")
        for item in (await client.get("/v1/redemptions", params={"outcome": outcome})).json()["items"]
    ]
    return [(item["outcome"], item["customer_id"]) for item in items if item["code"] == code]


@pytest.mark.parametrize("erased", [False, True])
async def test_a_use_that_is_heard_of_once_the_code_went_back_takes_it(client, run, erased):
    await run(FILE)
    (row,) = (await client.get("/v1/assignments", params={"customer_id": "ben"})).json()["items"]
    await client.post(f"/v1/assignments/{row['id']}/release")
    if erased:
        await client.delete("/v1/customers/ben")
    assert (await run(LATER_USE, dry_run=True))["imported"] == 1
    assert (await run(LATER_USE))["imported"] == 1
    found = await voucher(client, "A-2")
    assert (found["status"], found["redeemed_at"]) == ("redeemed", "2026-05-01T00:00:00Z")
    assert await uses_of(client, "A-2") == [("not_assigned", None if erased else "ben")]
    assert (await run(LATER_USE))["ignored"] == 5
    assert (await client.post("/v1/pools/p/assignments", json={})).json()["code"] == "A-4"


async def test_a_use_that_is_heard_of_after_an_erasure_names_nobody(client, run):
    await run(FILE)
    await client.delete("/v1/customers/ben")
    assert (await run(LATER_USE))["imported"] == 1
    assert (await voucher(client, "A-2"))["status"] == "redeemed"
    assert await uses_of(client, "A-2") == [("redeemed", None)]


@pytest.mark.parametrize("lease", [{}, {"lease_seconds": 600}], ids=["assigned", "reserved"])
@pytest.mark.parametrize(
    ("holder", "row", "outcome"),
    [
        ("ben", "A-2;ben;;2026-03-02;2026-05-01", "not_assigned"),  # it was not given here by then
        ("ben", "A-2;ben;;;{now}", "redeemed"),
        (None, "A-2;;;;{now}", "redeemed"),
    ],
    ids=["before", "since", "nobody"],
)
async def test_a_use_of_what_was_given_here_to_the_same_takes_it(
    client, run, engine, lease, holder, row, outcome
):
    await run("code\nA-1\nA-2\n", **CODES_ALONE)
    body = {"code": "A-2", "customer_id": holder, **lease}
    given_here = (await client.post("/v1/pools/p/assignments", json=body)).json()
    content = f"{HEAD}{row.format(now=given_here['assigned_at'])}\nB-1;zoe;;;\n"
    assert (await run(content))["imported"] == 2
    found = (await client.get(f"/v1/assignments/{given_here['id']}")).json()
    assert (found["status"], found["lease_until"]) == ("redeemed", None)
    assert await uses_of(client, "A-2") == [(outcome, holder)]
    assert (await run(content))["ignored"] == 2
    refused = await client.post(f"/v1/assignments/{given_here['id']}/release")
    assert refused.json()["type"] == "/problems/already-redeemed"
    query = f"SELECT before, {hooks.TYPE} FROM pool_change WHERE code = 'A-2'"
    async with transaction(engine) as connection:
        (told,) = await connection.execute(text(query))
    assert tuple(told) == ("reserved" if lease else "assigned", "voucher.redeemed")


async def test_a_use_of_what_was_made_void_or_is_another_ones_by_now_is_told(client, run):
    await run(FILE + "A-6;ben;;2026-03-02;\n")
    rows = (await client.get("/v1/assignments", params={"customer_id": "ben"})).json()["items"]
    await client.post("/v1/vouchers/A-2/void")
    (released,) = [row["id"] for row in rows if row["code"] == "A-6"]
    await client.post(f"/v1/assignments/{released}/release")
    await client.post("/v1/pools/p/assignments", json={"code": "A-6", "customer_id": "zoe"})
    content = LATER_USE + "A-6;ben;;2026-03-02;2026-05-01\n"
    done = await run(content)
    assert await rejects(client, done) == [(3, "A-2", "not_available"), (7, "A-6", "given_to_another")]
    assert (await run(FILE + "A-6;ben;;2026-03-02;\n"))["ignored"] == 6


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("again", [False, True])
async def test_a_use_counts_whichever_row_of_a_code_tells_it(client, run, turned, again):
    rows = ["A-2;ben;;2026-03-02;\n", "A-2;ben;;2026-03-02;2026-05-01\n"]
    if again:
        await run(HEAD + rows[0] + "B-1;zoe;;;\n")
    content = HEAD + "".join(reversed(rows) if turned else rows) + "B-1;zoe;;;\n"
    done = await run(content)
    assert (done["imported"], done["ignored"], done["rejected"]) == ((1, 2, 0) if again else (2, 1, 0)), done
    found = await voucher(client, "A-2")
    assert (found["status"], found["redeemed_at"]) == ("redeemed", "2026-05-01T00:00:00Z")
    assert found["assigned_at"] == "2026-03-02T00:00:00Z"
    assert (await run(content))["ignored"] == 3


async def test_a_code_that_would_come_later_and_is_used_does_not_come(client, run):
    content = "code;used;from\nA-1;;2999-01-01\nA-1;2026-05-01;\nB-1;;2999-01-01\n"
    only = {**CODES_ALONE, "redeemed_at_column": "used", "valid_from_column": "from"}
    done = await run(content, **only)
    assert (done["imported"], done["ignored"], done["scheduled"]) == (2, 1, 1), done
    assert (await voucher(client, "A-1"))["status"] == "redeemed"


async def test_a_code_that_nobody_has_is_given_and_one_of_somebody_else_is_told(client, run):
    await run(
        "code\nA-1\nA-2\nA-3\nA-4\nA-5\nB-1\nB-2\n",
        customer_id_column=None,
        assigned_at_column=None,
        campaign_id_column=None,
        redeemed_at_column=None,
    )
    await client.post("/v1/pools/p/assignments", json={"code": "A-1", "customer_id": "zoe"})
    await client.post("/v1/pools/p/assignments", json={"code": "A-2", "customer_id": "ben"})
    await client.post("/v1/vouchers/B-1/void")
    await run("code\nO-1\n", "other", **CODES_ALONE)
    done = await run(FILE + "B-1;dora;;;\nO-1;dora;;;\nN-1;eva;;;\nN-1;fritz;;;\nN-1;eva;;;\n")
    assert await rejects(client, done) == [
        (2, "A-1", "given_to_another"),
        (7, "B-1", "not_available"),
        (8, "O-1", "in_other_pool"),
        (10, "N-1", "given_to_another"),
    ]
    # A-4 is there already, A-2 is its customer's, and N-1 comes twice.
    assert (done["imported"], done["ignored"]) == (3, 3), done
    assert done["rejected_by"] == {"in_other_pool": 1, "invalid": 3, "suspicious": 0}
    assert await counts(client) == {"available": 2, "assigned": 3, "redeemed": 2, "void": 1}


IMPOSSIBLE = [
    (";a\x00;;;", "invalid_customer_id"),
    (f";{'x' * 256};;;", "invalid_customer_id"),
    (f";anna;{'x' * 256};;", "invalid_campaign_id"),
    (";1.23457E+15;;;", "invalid_customer_id"),
    (";anna;1,23457E+15;;", "invalid_campaign_id"),
    (";anna;;01.02.2026;", "invalid_assigned_at"),
    (";anna;;2999-01-01;", "invalid_assigned_at"),
    (";anna;;2026-03-02;yes", "invalid_redeemed_at"),
    (";anna;;2026-03-02;2026-03-01", "invalid_redeemed_at"),
]


async def test_ids_are_read_without_the_marks_of_spreadsheets(client, run):
    await run(HEAD + 'A-1;\'+49151;\'=x;;\nA-2;="00042";;;\nA-3;ben\u200b;;;\nA-4;="";;;\n')
    found = [await voucher(client, f"A-{n}") for n in (1, 2, 3, 4)]
    assert [each["customer_id"] for each in found] == ["+49151", "00042", "ben", None]
    assert found[3]["status"] == "available"
    (row,) = (await client.get("/v1/assignments", params={"customer_id": "+49151"})).json()["items"]
    assert row["campaign_id"] == "=x"


async def test_an_export_that_is_imported_again_names_the_same_persons(client, run):
    await run(HEAD + "A-1;'+49151;;2026-03-02;\nA-2;''t;;2026-03-02;\n")
    exported = (await client.get("/v1/pools/p/export")).text
    assert "'+49151" in exported
    columns = {"customer_id_column": "customer_id", "assigned_at_column": "assigned_at"}
    columns |= {"redeemed_at_column": "redeemed_at", "campaign_id_column": None}
    done = await run(exported, **columns)
    assert (done["ignored"], done["rejected"]) == (2, 0), done


async def test_what_cannot_be_is_a_reject_and_no_code_for_anybody(client, run):
    rows = "".join(f"X-{n}{row}\n" for n, (row, _) in enumerate(IMPOSSIBLE))
    done = await run(FILE + rows)
    assert [one[2] for one in await rejects(client, done)] == [reason for _, reason in IMPOSSIBLE]
    assert (done["imported"], (await client.get("/v1/vouchers/X-1")).status_code) == (5, 404)


async def test_a_use_on_the_day_of_the_assignment_is_no_use_before_it(client, run):
    await run(
        f"{HEAD}A-1;anna;;2026-03-02T15:00:00;2026-03-02\nA-2;ben;;;\nA-3;;;;\n", timezone="Europe/Prague"
    )
    found = await voucher(client, "A-1")
    assert (found["assigned_at"], found["redeemed_at"]) == ("2026-03-02T14:00:00Z", "2026-03-02T14:00:00Z")


async def test_a_dry_run_tells_the_same_and_does_nothing(client, run):
    dry = await run(FILE, dry_run=True)
    assert (dry["imported"], dry["rejected"]) == (5, 0)
    await run(FILE)
    before = await counts(client)
    again = await run(FILE + "N-1;eva;;;\nA-2;zoe;;;\n", dry_run=True)
    assert (again["imported"], again["ignored"], again["rejected_by"]["invalid"]) == (1, 5, 1)
    assert await counts(client) == before
    assert (await client.get("/v1/vouchers/N-1")).status_code == 404


async def test_what_is_unlike_the_rest_is_set_aside_and_cannot_be_accepted(client, run):
    rows = "".join(f"CODE-{n:04};c{n};;;\n" for n in range(40))
    done = await run(f"{HEAD}{rows}total 40;;;;\nN/A;dora;;;\n")
    assert done["rejected_by"]["suspicious"] == 2, done
    taken = (await client.post(f"/v1/imports/{done['id']}/accept-suspicious")).json()
    assert (taken["imported"], taken["rejected_by"]["suspicious"]) == (41, 1)
    assert "Codes that were given elsewhere cannot be accepted." in taken["note"]
    assert (await client.get("/v1/vouchers/N%2FA")).status_code == 404


async def test_who_was_erased_does_not_come_back(client, run):
    await run(FILE)
    await client.delete("/v1/customers/anna")
    await client.delete("/v1/customers/ben")
    again = await run(FILE)
    assert (again["ignored"], again["rejected"]) == (5, 0), again
    assert (await voucher(client, "A-1"))["customer_id"] is None
    assert (await client.get("/v1/assignments", params={"customer_id": "ben"})).json()["items"] == []
    # Neither under another time: the code is the erased person's.
    later = await run(FILE.replace("ben;;2026-03-02;", "ben;;2026-03-03;"))
    assert (later["ignored"], later["rejected"]) == (5, 0), later


async def test_it_is_who_the_id_stands_for(client, run):
    await client.patch("/v1/customers/ben", json={"properties": {"a": 1}})
    await client.post("/v1/customers/benjamin/merge", json={"from": "ben"})
    await run(FILE)
    assert (await voucher(client, "A-2"))["customer_id"] == "benjamin"
    assert (await run(FILE))["ignored"] == 5


async def test_exports_that_follow_each_other_have_it_once_and_the_history_tells_it(client, run):
    until = (await client.get("/v1/assignments/export")).headers["Complete-Until"]
    await run(FILE)
    first = await client.get("/v1/assignments/export", params={"since": until, "format": "ndjson"})
    assert sorted(line.split('"code":"')[1][:3] for line in first.text.splitlines()) == ["A-1", "A-2", "A-5"]
    since = first.headers["Complete-Until"]
    assert (
        await client.get("/v1/assignments/export", params={"since": since, "format": "ndjson"})
    ).text == ""
    history = [event["event"] for event in (await voucher(client, "A-1"))["history"]]
    assert history[:2] == ["assigned", "redeemed"], history


async def test_a_use_that_was_heard_of_before_the_code_was_known_is_its_customers(client, run, engine):
    await client.put(
        "/v1/redemption-mapping",
        json={"mappings": [{"event_type": "purchase", "property": "voucher_code"}]},
    )
    for code in ("A-2", "A-3"):
        event = {"customer_id": "ben", "event_type": "purchase", "properties": {"voucher_code": code}}
        await client.post("/v1/events", json={"events": [event]})
    await run(FILE)
    async with transaction(engine) as connection:
        assert await check.violations(connection) == []
    await redemptions.resolve(engine)
    found = await voucher(client, "A-2")
    assert (found["status"], found["customer_id"]) == ("redeemed", "ben")


async def map_codes(client):
    mappings = [{"event_type": "purchase", "property": "voucher_code"}]
    reply = await client.put("/v1/redemption-mapping", json={"mappings": mappings})
    assert reply.status_code == 200


async def test_a_code_that_was_used_before_its_past_came_in_does_not_go_back_to_the_pool(client, run, engine):
    await map_codes(client)
    for code in ("A-2", "A-3"):
        event = {"customer_id": "ben", "event_type": "purchase", "properties": {"voucher_code": code}}
        await client.post("/v1/events", json={"events": [event]})
    await run(FILE)
    (given_,) = (await client.get("/v1/assignments?customer_id=ben")).json()["items"]
    refused = await client.post(f"/v1/assignments/{given_['id']}/release")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/already-redeemed")
    change = {"action": "release", "filter": {"codes": ["A-2"]}}
    made = (await client.post("/v1/bulk-changes", json=change)).json()
    await changes.run(engine, UUID(made["id"]))
    assert (await client.post("/v1/pools/p/assignments", json={})).json()["code"] == "A-4"
    assert (await client.post("/v1/pools/p/assignments", json={})).json()["reason"] == "empty"
    await redemptions.resolve(engine)
    assert (await voucher(client, "A-2"))["status"] == "redeemed"


async def test_a_use_of_such_a_code_that_is_not_judged_yet_outlasts_its_mapping(client, run, engine):
    await map_codes(client)
    event = {"customer_id": "ben", "event_type": "purchase", "properties": {"voucher_code": "A-2"}}
    await client.post("/v1/events", json={"events": [event]})
    await run(FILE)
    await client.put("/v1/redemption-mapping", json={"mappings": []})
    await redemptions.replay(engine)
    (given_,) = (await client.get("/v1/assignments?customer_id=ben")).json()["items"]
    assert (await client.post(f"/v1/assignments/{given_['id']}/release")).status_code == 409
    assert await redemptions.resolve(engine) == 1
    assert (await voucher(client, "A-2"))["status"] == "redeemed"


async def test_the_past_waits_for_a_use_that_is_being_stored(client, run, engine):
    await map_codes(client)
    async with transaction(engine) as using:
        event = new_event("ben", "purchase", {"voucher_code": "A-2"})
        (told,) = await tracking.track(using, [event])
        assert told.redemption == "unknown_code"
        running = asyncio.create_task(run(FILE))
        await asyncio.sleep(0.3)
        assert (await client.get("/v1/vouchers/A-2")).status_code == 404
    assert (await running)["status"] == "succeeded"
    assert await redemptions.resolve(engine) == 1
    assert (await voucher(client, "A-2"))["status"] == "redeemed"


async def test_draws_at_the_same_time_give_no_code_twice(client, run, engine, settings, monkeypatch):
    """Draws and the import of the past of the same codes: each code is one person's, and each is told."""
    monkeypatch.setattr(given, "CHUNK_ROWS", 20)
    numbers = range(200)
    await run("code\n" + "".join(f"R-{n:03}\n" for n in numbers), **CODES_ALONE)
    past = HEAD + "".join(
        f"R-{n:03};old-{n};;2026-01-01;{'2026-01-02' if n % 3 == 0 else ''}\n" for n in numbers
    )

    async def draw(n):
        reply = await client.post("/v1/pools/p/assignments", json={"customer_id": f"new-{n}"})
        return reply.json()["code"] if reply.status_code == 201 else None

    async def draws():
        found = []
        for start in range(0, 120, 8):
            found += await asyncio.gather(*map(draw, range(start, start + 8)))
        return [code for code in found if code is not None]

    done, twin, drawn = await asyncio.gather(run(past), run(past), draws())
    assert len(drawn) == len(set(drawn))
    told = {item[1] for one in (done, twin) for item in await rejects(client, one)}
    assert told == set(drawn)
    assert done["imported"] + twin["imported"] + len(drawn) == 200
    for code in drawn[:5]:
        assert (await voucher(client, code))["customer_id"].startswith("new-")


async def test_a_run_that_is_broken_off_goes_on_after_its_chunks(client, engine, settings, monkeypatch):
    monkeypatch.setattr(given, "CHUNK_ROWS", 10)
    content = (
        HEAD
        + "".join(f"K-{n:03};c{n};;;\n" for n in range(60))
        + "".join(f"F-{n:03};;;;\n" for n in range(40))
    )
    import_id = await queue(engine, content, **COLUMNS)
    chunk, turns = given._chunk, iter(range(100))

    def breaking(*arguments):
        if next(turns) == 3:
            raise KeyboardInterrupt
        chunk(*arguments)

    monkeypatch.setattr(given, "_chunk", breaking)
    with pytest.raises(KeyboardInterrupt):
        await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)
    half = (await client.get(f"/v1/imports/{import_id}")).json()
    assert 0 < half["imported"] < 60
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)
    done = (await client.get(f"/v1/imports/{import_id}")).json()
    assert (done["status"], done["imported"], done["ignored"]) == ("succeeded", 100, 0), done
    assert await counts(client) == {"available": 40, "assigned": 60}


async def test_a_column_that_is_not_there_is_asked_for(upload):
    reply = await upload("code\nA-1\nA-2\n", customer_id_column="who")
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/import-undecided")
    for name in ("customer_id_column", "campaign_id_column"):
        reply = await upload("code,who\nA-1,anna\n", column="code", **{name: "code"})
        assert (reply.status_code, name in reply.json()["detail"]) == (422, True)


async def test_webhooks_are_told(client, run, engine):
    await run(FILE)
    query = f"SELECT {hooks.TYPE}, code FROM pool_change WHERE code IS NOT NULL ORDER BY id"
    async with transaction(engine) as connection:
        told = [tuple(row) for row in await connection.execute(text(query))]
    given_, used = (
        [("voucher.assigned", f"A-{n}") for n in (1, 2, 5)],
        [("voucher.redeemed", f"A-{n}") for n in (1, 3, 5)],
    )
    assert sorted(told) == sorted(given_ + used)
    assert told.index(("voucher.assigned", "A-1")) < told.index(("voucher.redeemed", "A-1"))
