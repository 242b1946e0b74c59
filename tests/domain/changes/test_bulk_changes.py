"""Many vouchers are changed at once: what a caller sees, and that no used code comes back by it."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from app.domain.changes import service, tasks
from app.domain.customers import service as customers
from app.domain.lifecycle import check, order
from app.domain.persons import service as persons
from app.domain.redemptions import service as redemptions
from app.platform.database import transaction
from tests.factories import add_key, fill

ASSIGN = "/v1/pools/p/assignments"


async def asked(client, action, chosen, **more):
    reply = await client.post("/v1/bulk-changes", json={"action": action, "filter": chosen, **more})
    assert reply.status_code == 202, reply.text
    assert reply.headers["Location"] == f"/v1/bulk-changes/{reply.json()['id']}"
    return reply.json()


async def done(client, engine, action, chosen, **more):
    """Ask for a change, do its job, and return what it came to."""
    change = await asked(client, action, chosen, **more)
    await service.run(engine, change["id"])
    found = (await client.get(f"/v1/bulk-changes/{change['id']}")).json()
    assert found["status"] == "succeeded"
    assert found["done"] == found["total"] == found["changed"] + sum(found["skipped_by"].values())
    async with transaction(engine) as connection:
        assert await check.violations(connection) == []
        assert (await connection.execute(text("SELECT count(*) FROM bulk_change_code"))).scalar_one() == 0
    return found


async def assign(client, **body):
    reply = await client.post(ASSIGN, json=body)
    assert reply.status_code == 201, reply.text
    return reply.json()


async def counts(client, pool="p"):
    found = (await client.get(f"/v1/pools/{pool}/counts")).json()
    return {state: n for state, n in found.items() if n and state not in {"total", "held"}}


async def history(client, code):
    found = (await client.get(f"/v1/vouchers/{code}")).json()["history"]
    return [(entry["event"], entry["reason"]) for entry in found]


async def test_a_campaign_is_revoked_and_each_code_tells_why(client, engine):
    await fill(engine, "p", 10)
    given = [await assign(client, campaign_id="k", customer_id=f"c{n}") for n in range(4)]
    await assign(client, campaign_id="other")
    used = given[0]["code"]
    assert (await client.post(f"/v1/vouchers/{used}/redemptions", json={})).status_code < 300
    told = await done(client, engine, "void", {"campaign_id": "k"}, dry_run=True)
    assert (told["changed"], told["skipped_by"], told["dry_run"]) == (3, {"redeemed": 1}, True)
    assert await counts(client) == {"available": 5, "assigned": 4, "redeemed": 1}
    found = await done(client, engine, "void", {"campaign_id": "k"}, reason="wrong list")
    assert (found["changed"], found["skipped_by"], found["progress"]) == (3, {"redeemed": 1}, 1.0)
    assert await counts(client) == {"available": 5, "assigned": 1, "redeemed": 1, "void": 3}
    assert (await history(client, given[1]["code"]))[-1] == ("voided", "wrong list")
    again = await done(client, engine, "void", {"campaign_id": "k"})
    assert (again["changed"], again["skipped_by"]) == (0, {"redeemed": 1, "already": 3})
    entries = (await client.get("/v1/audit?action=bulk_change.finished")).json()["items"]
    assert entries[1]["details"]["reason"] == "wrong list"
    assert entries[1]["details"]["changed"] == 3
    assert entries[1]["key_name"] == "test"


async def test_proofs_go_back_and_used_ones_do_not(client, engine):
    codes = await fill(engine, "p", 6)
    tests = [await assign(client, test=True, customer_id="me") for _ in range(2)]
    await assign(client, test=True, lease_seconds=600)
    await assign(client, customer_id="you")
    await client.post(f"/v1/vouchers/{tests[0]['code']}/redemptions", json={})
    found = await done(client, engine, "release", {"pool": "p", "test": True}, reason="proofs")
    assert (found["changed"], found["skipped_by"]) == (2, {"redeemed": 1})
    assert await counts(client) == {"available": 4, "assigned": 1, "redeemed": 1}
    assert (await history(client, tests[1]["code"]))[-2:] == [("assigned", None), ("released", "proofs")]
    assert (await client.get(f"/v1/assignments/{tests[1]['id']}")).json()["status"] == "released"
    some = await done(client, engine, "release", {"codes": [*codes, "unknown", "unknown"]})
    assert (some["changed"], some["skipped_by"]) == (1, {"redeemed": 1, "already": 4, "not_found": 1})


async def test_what_goes_back_goes_to_its_hold(client, engine):
    await fill(engine, "p", 3)
    await client.post("/v1/pools/p/holds", json={"campaign_id": "k", "count": 2})
    await assign(client, campaign_id="k")
    await assign(client, campaign_id="k")
    await done(client, engine, "release", {"campaign_id": "k"})
    (hold,) = (await client.get("/v1/pools/p/holds")).json()["items"]
    assert (hold["drawn"], (await client.get("/v1/pools/p/counts")).json()["held"]) == (0, 2)


async def test_a_void_is_taken_back_to_what_it_was(client, engine):
    await fill(engine, "p", 7)
    assigned = await assign(client, customer_id="a")
    leased = await assign(client, customer_id="b", lease_seconds=600)
    lapsed = await assign(client, customer_id="c", lease_seconds=1)
    async with transaction(engine) as connection:
        await connection.execute(
            text(
                "UPDATE assignment SET assigned_at = now() - interval '9 s', lease_until = now() + interval '1 s'"
                " WHERE id = :id"
            ),
            {"id": lapsed["id"]},
        )
        free = (
            (
                await connection.execute(
                    text("SELECT code FROM voucher WHERE status = 'available' ORDER BY code")
                )
            )
            .scalars()
            .all()
        )
    await done(client, engine, "void", {"pool": "p"}, reason="a slip")
    assert await counts(client) == {"void": 7}
    async with transaction(engine) as connection:
        query = text("UPDATE voucher SET expires_at = now() - interval '1 day' WHERE code = :code")
        await connection.execute(query, {"code": free[0]})
    # Somebody used a code while it was void: the shop may have taken it.
    reply = await client.post(f"/v1/vouchers/{free[1]}/redemptions", json={})
    assert reply.json()["type"] == "/problems/void"
    await client.put(
        "/v1/redemption-mapping", json={"mappings": [{"event_type": "purchase", "property": "code"}]}
    )
    event = {"customer_id": "x", "event_type": "purchase", "properties": {"code": free[1]}}
    assert (await client.post("/v1/events", json={"events": [event]})).json()["items"][0][
        "redemption"
    ] == "void"
    found = await done(client, engine, "reinstate", {"pool": "p"}, reason="it was a slip")
    assert (found["changed"], found["skipped_by"]) == (6, {"used": 1})
    assert await counts(client) == {"available": 2, "reserved": 2, "assigned": 1, "expired": 1, "void": 1}
    assert (await client.get(f"/v1/assignments/{assigned['id']}")).json()["status"] == "assigned"
    again = (await client.get(f"/v1/assignments/{leased['id']}")).json()
    ends = [datetime.fromisoformat(each["lease_until"]) for each in (leased, again)]
    assert (again["status"], abs(ends[1] - ends[0]) < timedelta(seconds=1)) == ("reserved", True)
    assert (await client.get(f"/v1/assignments/{lapsed['id']}")).json()["status"] == "lapsed"
    assert await history(client, assigned["code"]) == [
        ("imported", None),
        ("assigned", None),
        ("voided", "a slip"),
        ("reinstated", "it was a slip"),
    ]


async def test_an_expiry_is_moved_and_revives_what_expired(client, engine):
    codes = await fill(engine, "p", 5)
    given = await assign(client)
    past, ahead = "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"
    found = await done(client, engine, "set_expiry", {"pool": "p"}, expires_at=past)
    assert (found["changed"], found["expires_at"]) == (5, past)
    assert await counts(client) == {"expired": 4, "assigned": 1}
    assert (await client.get(f"/v1/assignments/{given['id']}")).json()["expires_at"] == past
    await client.put(
        "/v1/redemption-mapping", json={"mappings": [{"event_type": "purchase", "property": "code"}]}
    )
    late = next(code for code in codes if code != given["code"])
    event = {"customer_id": "x", "event_type": "purchase", "properties": {"code": late}}
    reply = await client.post("/v1/events", json={"events": [event]})
    assert reply.json()["items"][0]["redemption"] == "expired"
    found = await done(client, engine, "set_expiry", {"pool": "p"}, expires_at=ahead, reason="the shop did")
    assert (found["changed"], found["skipped_by"]) == (4, {"used": 1})
    assert await counts(client) == {"available": 3, "expired": 1, "assigned": 1}
    last = (await client.get(f"/v1/vouchers/{given['code']}")).json()["history"][-1]
    assert (last["event"], last["reason"], last["expires_at"]) == ("expiry_set", "the shop did", ahead)
    found = await done(client, engine, "set_expiry", {"codes": [given["code"]]}, expires_at=None)
    assert found["changed"] == 1
    assert (await client.get(f"/v1/vouchers/{given['code']}")).json()["expires_at"] is None


async def test_a_repeat_is_one_also_after_the_expiry_was_moved(client, engine):
    await fill(engine, "p", 3)
    asked = {"json": {"valid_for_seconds": 30 * 86400}, "headers": {"Idempotency-Key": "k"}}
    first = (await client.post(ASSIGN, **asked)).json()
    soon = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    await done(client, engine, "set_expiry", {"codes": [first["code"]]}, expires_at=soon)
    again = await client.post(ASSIGN, **asked)
    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    await client.post(f"/v1/assignments/{first['id']}/release")
    await done(client, engine, "set_expiry", {"pool": "p"}, expires_at=soon)
    late = await client.post(ASSIGN, **asked)
    assert (late.status_code, late.json()["type"]) == (409, "/problems/assignment-released")


@pytest.mark.parametrize(
    "body",
    [
        {"action": "void", "filter": {}},
        {"action": "void", "filter": {"status": "available", "test": False}},
        {"action": "void"},
        {"action": "set_expiry", "filter": {"pool": "p"}},
        {"action": "void", "filter": {"pool": "p"}, "expires_at": "2030-01-01T00:00:00Z"},
        {"action": "burn", "filter": {"pool": "p"}},
        {"action": "void", "filter": {"pool": "p", "campain_id": "k"}},
        {"action": "void", "filter": {"codes": []}},
        {"action": "void", "filter": {"pool": "p"}, "reason": "a\x00b"},
    ],
)
async def test_what_says_too_little_or_nonsense_is_refused(client, engine, body):
    await fill(engine, "p", 2)
    reply = await client.post("/v1/bulk-changes", json=body)
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/invalid-request"), reply.text
    assert await counts(client) == {"available": 2}


async def test_what_is_not_there_is_said_at_once(client):
    for chosen in ({"pool": "nope"}, {"import_id": "00000000-0000-0000-0000-000000000000"}):
        reply = await client.post("/v1/bulk-changes", json={"action": "void", "filter": chosen})
        assert reply.status_code == 404
    reply = await client.get("/v1/bulk-changes/00000000-0000-0000-0000-000000000000")
    assert reply.json()["type"] == "/problems/bulk-change-not-found"


async def test_codes_come_as_a_file_too(client, engine):
    codes = await fill(engine, "p", 2000)
    await fill(engine, "q", 3)
    file = ("codes.csv", "\n".join(["code", *codes[:1500], *codes[:10], "q-000001", "nope"]), "text/csv")
    reply = await client.post(
        "/v1/bulk-changes",
        files={"file": file},
        data={"action": "void", "filter": '{"pool": "p"}', "reason": "leaked"},
    )
    assert reply.status_code == 202, reply.text
    assert reply.json()["filter"] == {"pool": "p", "codes": 1512}
    await service.run(engine, reply.json()["id"])
    found = (await client.get(reply.headers["Location"])).json()
    assert (found["changed"], found["skipped_by"]) == (1500, {"no_match": 1, "not_found": 1})
    assert await counts(client) == {"available": 500, "void": 1500}
    assert await counts(client, "q") == {"available": 3}


async def test_a_file_of_codes_is_read_as_an_import_reads_it(client, engine):
    codes = await fill(engine, "p", 3)
    file = ("codes.csv", f'code\n="{codes[0]}"\n\'{codes[1]}\n{codes[2]}\u200b\n', "text/csv")
    reply = await client.post("/v1/bulk-changes", files={"file": file}, data={"action": "void"})
    await service.run(engine, reply.json()["id"])
    assert await counts(client) == {"void": 3}


async def test_a_repeat_with_its_key_is_the_same_change(client, engine):
    await fill(engine, "p", 2)
    body = {"action": "void", "filter": {"pool": "p"}}
    headers = {"Idempotency-Key": "k1"}
    first = await client.post("/v1/bulk-changes", json=body, headers=headers)
    second = await client.post("/v1/bulk-changes", json=body, headers=headers)
    assert second.json()["id"] == first.json()["id"]
    assert second.headers["Idempotency-Replayed"] == "true"
    other = await client.post("/v1/bulk-changes", json={**body, "dry_run": True}, headers=headers)
    assert other.json()["type"] == "/problems/idempotency-key-reused"
    assert len((await client.get("/v1/bulk-changes")).json()["items"]) == 1


async def test_only_who_manages_pools_may_and_customers_are_not_kept(client, engine):
    await fill(engine, "p", 2)
    await assign(client, customer_id="anna")
    await add_key(engine, "read-0123456789-0123456789-0123456789", "read", "assign", "events")
    headers = {"Authorization": "Bearer read-0123456789-0123456789-0123456789"}
    body = {"action": "void", "filter": {"pool": "p"}}
    assert (await client.post("/v1/bulk-changes", json=body, headers=headers)).status_code == 403
    found = await done(client, engine, "void", {"customer_ids": ["anna", "bob"]})
    assert (found["changed"], found["filter"]) == (1, {"customer_ids": 2})
    assert (await client.get(f"/v1/bulk-changes/{found['id']}", headers=headers)).status_code == 200
    async with transaction(engine) as connection:
        everything = text("SELECT count(*) FROM bulk_change WHERE bulk_change::text LIKE '%anna%'")
        assert (await connection.execute(everything)).scalar_one() == 0


async def test_a_run_that_was_killed_goes_on_and_one_that_is_cancelled_ends(client, engine, monkeypatch):
    await fill(engine, "p", 30)
    monkeypatch.setattr(service, "CODES_AT_A_TIME", 10)
    change = await asked(client, "void", {"pool": "p"})
    await service._list(engine, change["id"])
    assert await service._chunk(engine, change["id"])
    assert (await client.get(f"/v1/bulk-changes/{change['id']}")).json()["progress"] == pytest.approx(1 / 3)
    real = service.many.change

    async def killed(*arguments, **more):
        await real(*arguments, **more)
        raise RuntimeError

    monkeypatch.setattr(service.many, "change", killed)
    with pytest.raises(RuntimeError):
        await service.run(engine, change["id"])
    monkeypatch.setattr(service.many, "change", real)
    assert await counts(client) == {"available": 20, "void": 10}
    await asyncio.gather(service.run(engine, change["id"]), service.run(engine, change["id"]))
    found = (await client.get(f"/v1/bulk-changes/{change['id']}")).json()
    assert (found["changed"], found["total"], found["status"]) == (30, 30, "succeeded")
    back = await asked(client, "reinstate", {"pool": "p"})
    await service._list(engine, back["id"])
    await service._chunk(engine, back["id"])
    assert (await client.post(f"/v1/bulk-changes/{back['id']}/cancel")).json()["status"] == "cancelled"
    assert await service._chunk(engine, back["id"]) is False
    assert await counts(client) == {"available": 10, "void": 20}
    assert (await client.post(f"/v1/bulk-changes/{back['id']}/cancel")).status_code == 409


@pytest.mark.parametrize("action", ["void", "release", "reinstate", "set_expiry"])
async def test_beside_draws_releases_and_uses_the_books_agree_and_no_used_code_comes_back(
    client, engine, monkeypatch, action
):
    codes = await fill(engine, "p", 60)
    monkeypatch.setattr(service, "CODES_AT_A_TIME", 7)
    await client.put(
        "/v1/redemption-mapping", json={"mappings": [{"event_type": "purchase", "property": "code"}]}
    )
    for _ in range(30):
        await assign(client, campaign_id="k")
    if action == "reinstate":
        await done(client, engine, "void", {"pool": "p"})
    more = {"expires_at": "2020-01-01T00:00:00Z"} if action == "set_expiry" else {}

    async def change():
        first = await asked(client, action, {"pool": "p"}, **more)
        await service.run(engine, first["id"])
        if action == "set_expiry":
            back = await asked(client, action, {"pool": "p"}, expires_at=None)
            await service.run(engine, back["id"])

    async def draw():
        for _ in range(8):
            reply = await client.post(ASSIGN, json={})
            assert reply.status_code in {201, 409, 503}, reply.text
            if reply.status_code == 201:
                await client.post(f"/v1/assignments/{reply.json()['id']}/release", json={"reason": "x"})

    async def use(part):
        for code in codes[part::24]:
            event = {"customer_id": "x", "event_type": "purchase", "properties": {"code": code}}
            assert (await client.post("/v1/events", json={"events": [event]})).status_code == 200

    await asyncio.gather(change(), draw(), draw(), use(0), use(1))
    async with transaction(engine) as connection:
        assert await check.violations(connection) == []
        drawable = text(
            "SELECT count(*) FROM redemption JOIN voucher USING (code)"
            " WHERE effect = 'redeem' AND status IN ('available', 'reserved') AND :action <> 'release'"
            " AND (expires_at IS NULL OR expires_at > now())"
        )
        assert (await connection.execute(drawable, {"action": action})).scalar_one() == 0
    await redemptions.resolve(engine)


async def test_a_code_that_is_somebody_elses_by_now_is_left(client, engine):
    await fill(engine, "p", 1)
    first = await assign(client, campaign_id="k")
    change = await asked(client, "void", {"campaign_id": "k"})
    await service._list(engine, change["id"])
    await client.post(f"/v1/assignments/{first['id']}/release")
    second = await assign(client, campaign_id="other")
    assert second["code"] == first["code"]
    await service.run(engine, change["id"])
    found = (await client.get(f"/v1/bulk-changes/{change['id']}")).json()
    assert (found["changed"], found["skipped_by"]) == (0, {"no_match": 1})
    assert await counts(client) == {"assigned": 1}


async def test_a_single_void_and_release_keep_their_reason(client, engine):
    await fill(engine, "p", 2)
    given = await assign(client)
    reply = await client.post(f"/v1/assignments/{given['id']}/release", json={"reason": "sent twice"})
    assert reply.status_code == 200
    assert (await history(client, given["code"]))[-1] == ("released", "sent twice")
    reply = await client.post(f"/v1/vouchers/{given['code']}/void", json={"reason": "leaked"})
    assert reply.json()["history"][-1]["reason"] == "leaked"
    details = [entry["details"] for entry in (await client.get("/v1/audit")).json()["items"]]
    assert {"leaked", "sent twice"} <= {each.get("reason") for each in details}
    assert (await client.post(f"/v1/vouchers/{given['code']}/void", json={"note": "x"})).status_code == 422
    assert (await client.post(f"/v1/vouchers/{given['code']}/void")).status_code == 200


async def test_a_change_waits_for_who_is_being_merged(client, engine, monkeypatch):
    await fill(engine, "p", 2)
    given = await assign(client, customer_id="cookie")
    change = await asked(client, "void", {"customer_ids": ["anna", "cookie"]})
    monkeypatch.setattr(persons.MergingError, "pause", 0.001)
    job = SimpleNamespace(job=SimpleNamespace(attempts=0), additional_context={"engine": engine})
    async with transaction(engine) as merging:
        assert await persons.try_alone(merging)
        async with transaction(engine) as marking:
            await persons.mark(marking, ["anna", "cookie"])
        with pytest.raises(persons.MergingError):  # its job runs again later
            await tasks.run_bulk_change.func(job, change["id"])
        await customers.take_over(merging, "cookie", "anna")
        await persons.lead(merging, "cookie", "anna")
    await service.run(engine, change["id"])
    found = (await client.get(f"/v1/bulk-changes/{change['id']}")).json()
    assert (found["status"], found["total"], found["changed"]) == ("succeeded", 1, 1)
    assert (await client.get(f"/v1/vouchers/{given['code']}")).json()["status"] == "void"


async def test_nobody_waits_while_the_codes_of_a_change_are_kept_listed_or_forgotten(
    client, engine, monkeypatch
):
    codes = await fill(engine, "p", 3)
    nobody_waits = {}

    def watched(name):
        act = getattr(service.queries, name)

        async def watch(connection, *arguments, **more):
            begun = (await connection.execute(text("SELECT now()"))).scalar_one()
            looks = [
                await order.settled(engine) > begun for _ in range(3)
            ]  # others may be at work for a moment
            nobody_waits[name] = any(looks)
            return await act(connection, *arguments, **more)

        return watch

    for name in ("add_codes", "list_codes", "end"):
        monkeypatch.setattr(service.queries, name, watched(name))
    file = {"file": ("codes.csv", "\n".join(["code", *codes]), "text/csv")}
    reply = await client.post("/v1/bulk-changes", files=file, data={"action": "void"})
    assert (reply.status_code, nobody_waits.pop("add_codes")) == (202, True)
    await service.run(engine, reply.json()["id"])
    assert nobody_waits == {"list_codes": True, "end": True}
    change = await asked(client, "reinstate", {"pool": "p"})
    nobody_waits.clear()
    assert (await client.post(f"/v1/bulk-changes/{change['id']}/cancel")).status_code == 200
    assert nobody_waits == {"end": True}
    # A merge waits for who looks for persons.
    change = await asked(client, "void", {"customer_ids": ["anna"]})
    await service._list(engine, change["id"])
    assert nobody_waits["list_codes"] is False


async def test_a_repeat_is_the_same_change_though_its_pool_is_gone(client, engine):
    await fill(engine, "p", 2)
    headers = {"Idempotency-Key": "k1"}
    body = {"action": "void", "filter": {"pool": "p"}}
    first = await client.post("/v1/bulk-changes", json=body, headers=headers)
    await service.run(engine, first.json()["id"])
    assert (await client.delete("/v1/pools/p")).status_code == 204
    again = await client.post("/v1/bulk-changes", json=body, headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again.json()["changed"] == 2
    assert again.headers["Idempotency-Replayed"] == "true"
    other = await client.post("/v1/bulk-changes", json={**body, "dry_run": True}, headers=headers)
    assert other.json()["type"] == "/problems/idempotency-key-reused"
