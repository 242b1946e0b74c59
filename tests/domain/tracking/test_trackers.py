"""What Exponea's clients send: customers, events and batches, and whose they are."""

import asyncio
import base64
import json
import time
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from app.domain.customers import service as customers
from app.domain.lifecycle import check
from app.domain.tracking import commands, identities, merge, sign_ins
from app.domain.tracking.commands import Command
from app.platform.database import transaction
from app.platform.settings import Settings
from tests.factories import KEY, add_key, fill

TRACK = "/track/v2/projects/default"
ANNA, BEN, COOKIE = "anna", "ben", "cookie-17"
BOTH = {"registered": ANNA, "cookie": COOKIE}
LETTER = "{{ vouchers['p'].assign_available() }}"


async def answered(client, path, method="POST", **body):
    """What a path replies; where it says so, it is asked again, as a client would: the machine may be busy."""
    for _ in range(20):
        reply = await client.request(method, path, **body)
        if reply.status_code not in {409, 503}:
            break
        await asyncio.sleep(0.1)
    return reply


@pytest.fixture
def track(client):
    """Sends to a path of trackers: the reply, which must be a success unless said otherwise."""

    async def send(path, body, *, status=200):
        reply = await answered(client, f"{TRACK}/{path}", content=json.dumps(body))
        assert (reply.status_code, reply.json()["success"]) == (status, status == 200), reply.text
        return reply.json()

    return send


def event(ids, type_="visit", at=None, **properties):
    return {"customer_ids": ids, "event_type": type_, "properties": properties, "timestamp": at}


def of_batch(name, data, command_id=None):
    return {"name": name, "data": data} | ({} if command_id is None else {"command_id": command_id})


async def render(client, customer, message):
    body = {"template": LETTER, "channel": "email", "mode": "send", "customer_id": customer}
    reply = await answered(client, "/v1/render", json=body | {"message_id": message})
    assert reply.status_code == 200, reply.text
    return reply.json()["rendered"]


async def events_of(client, customer):
    items = (await client.get(f"/v1/customers/{customer}/events")).json()["items"]
    return sorted(item["event_type"] for item in items)


async def agrees(engine):
    async with transaction(engine) as connection:
        assert await check.violations(connection) == []


async def ids_in(engine):
    async with transaction(engine) as connection:
        rows = await connection.execute(
            text("SELECT name, value, customer_id, shared FROM tracked_id ORDER BY 1, 2")
        )
        return [tuple(row) for row in rows]


async def test_customers_and_events_are_those_of_the_api(client, track, engine):
    await fill(engine, "p", ["SAVE-1"])
    mapping = [{"event_type": "purchase", "property": "voucher_code"}]
    await client.put("/v1/redemption-mapping", json={"mappings": mapping})
    await client.post("/v1/pools/p/assignments", json={"customer_id": ANNA})
    await track("customers", {"customer_ids": {"registered": ANNA}, "properties": {"city": "Prague", "x": 1}})
    await track("customers", {"customer_ids": {"registered": ANNA}, "properties": {"x": None}})
    await track("customers", {"customer_ids": {"registered": ANNA}, "properties": None, "project_id": "?"})
    bought = event({"registered": ANNA, "cookie": None}, "purchase", 1700000000.25, voucher_code="SAVE-1")
    assert await track("customers/events", bought) == {"success": True}
    found = (await client.get(f"/v1/customers/{ANNA}")).json()
    assert found["properties"] == {"city": "Prague"}
    assert found["tracked_ids"] == [{"name": "registered", "value": ANNA}]
    (stored,) = (await client.get(f"/v1/customers/{ANNA}/events")).json()["items"]
    assert (stored["timestamp"], stored["properties"]) == (
        "2023-11-14T22:13:20.250000Z",
        {"voucher_code": "SAVE-1"},
    )
    assert (await client.get("/v1/vouchers/SAVE-1")).json()["status"] == "redeemed"
    await agrees(engine)


async def test_the_time_is_told(client):
    for method in ("GET", "POST"):
        reply = await client.request(method, f"{TRACK}/system/time")
        assert reply.status_code == 200
        assert abs(reply.json()["time"] - time.time()) < 60


async def test_a_batch_is_one_in_which_each_command_is_judged_by_itself(client, track):
    sent = [
        {"name": "system/time"},
        of_batch("customers", {"customer_ids": {"registered": ANNA}, "properties": {"a": 1}}, "c-1"),
        of_batch("customers/events", event({"registered": ANNA}), 7),
        of_batch("customers/events", event({})),
        of_batch("customers/events", {"customer_ids": {"registered": ANNA}}, "c-2"),
        of_batch("campaigns", {}),
        "?",
        of_batch("customers", {"customer_ids": {"registered": ANNA}, "properties": {"b": "\0"}}),
        of_batch("customers", {"customer_ids": {"registered": ANNA}, "properties": {"b": 2}}),
    ]
    reply = await track("batch", {"commands": sent})
    results = reply["results"]
    assert [each["success"] for each in results] == [
        True,
        True,
        True,
        False,
        False,
        False,
        False,
        False,
        True,
    ]
    assert [each.get("command_id") for each in results] == [
        None,
        "c-1",
        7,
        None,
        "c-2",
        None,
        None,
        None,
        None,
    ]
    assert results[0]["time"] <= reply["end_time"]
    assert reply["start_time"] <= reply["end_time"]
    assert results[3]["errors"] == ["customer_ids: At least one id should be specified."]
    assert all(isinstance(text, str) for each in results if not each["success"] for text in each["errors"])
    assert (await client.get(f"/v1/customers/{ANNA}")).json()["properties"] == {"a": 1, "b": 2}
    assert await events_of(client, ANNA) == ["visit"]


WRONG = [
    ("customers", {"customer_ids": {}}),
    ("customers", {"customer_ids": {"registered": "", "cookie": None}}),
    ("customers", {"customer_ids": {"registered": "."}}),
    ("customers", {"customer_ids": {"registered": True}}),
    ("customers", {"customer_ids": {"registered": 2**63}}),
    ("customers", {"customer_ids": "anna"}),
    ("customers", {"customer_ids": {"registered": ANNA} | {f"id{n}": None for n in range(20)}}),
    ("customers", {"customer_ids": {"registered": ANNA}, "properties": []}),
    ("customers", []),
    ("customers/events", event({"registered": ANNA}, type_="")),
    ("customers/events", event({"registered": ANNA}, at="yesterday")),
    ("customers/events", event({"registered": ANNA}, at=1.7e12)),
    ("batch", {}),
    ("batch", {"commands": []}),
    ("batch", {"commands": [{"name": "system/time"}] * 51}),
]


async def test_what_is_wrong_is_told_as_the_clients_read_it(track):
    for path, body in WRONG:
        errors = (await track(path, body, status=400))["errors"]
        assert errors
        assert all(isinstance(said, str) for said in errors)


async def test_what_no_reply_can_say_is_refused(client, track):
    """Half a surrogate pair, a number beyond 64 bits, yes and no."""
    half = "\ud800"
    visit = {"customer_ids": {"registered": ANNA}, "event_type": "visit"}
    odd = [half, 2**64, -(2**64), True, "", "x" * 256, {}, 1.5]
    sent = [of_batch("customers/events", visit, id_) for id_ in odd]
    sent += [
        of_batch("customers/events", visit | {"customer_ids": ids}) for ids in ({half: "x"}, {"x": half})
    ]
    sent += [of_batch(half, visit), of_batch("customers/events", visit | {"event_type": half})]
    sent += [of_batch("customers/events", visit | {"properties": {half: 1}})]
    results = (await track("batch", {"commands": sent}))["results"]
    assert [each["success"] for each in results] == [False] * len(sent)
    for command in sent[len(odd) :]:
        await track("customers/events", command["data"] | {"event_type": half}, status=400)
    assert await events_of(client, ANNA) == []


async def test_every_error_has_their_shape(client, engine):
    await add_key(engine, "read-" + KEY, "read")
    body = {"customer_ids": {"registered": ANNA}}
    key = {"Authorization": f"Bearer read-{KEY}"}
    long = {"customer_ids": {"registered": ANNA}, "properties": {"a": "x" * 1024**2}}
    replies = [
        (400, await client.post(f"{TRACK}/customers", content=b"{", headers={"Content-Type": "text/plain"})),
        (400, await client.post(f"{TRACK}/customers", content=b"\xff")),
        (400, await client.post(f"{TRACK}/customers?access_token=x", json=body)),
        (401, await client.post(f"{TRACK}/customers", json=body, headers={"Authorization": "Token x"})),
        (403, await client.post(f"{TRACK}/customers", json=body, headers=key)),
        (404, await client.post("/track/v2/projects/other/customers", json=body)),
        (
            404,
            await client.post(
                "/track/v2/projects/%00%2F/batch", json={"commands": [{"name": "system/time"}]}
            ),
        ),
        (404, await client.get("/track/v2/projects/other/system/time")),
        (404, await client.post(f"{TRACK}/campaigns/clicks", json=body)),
        (405, await client.get(f"{TRACK}/customers")),
        (413, await client.post(f"{TRACK}/customers", json=long)),
    ]
    for status, reply in replies:
        assert (reply.status_code, reply.headers["content-type"]) == (status, "application/json"), reply.text
        assert reply.json()["success"] is False
        assert reply.json()["errors"]
    assert "no permission" in replies[4][1].text.lower()


async def test_keys_come_as_the_clients_send_them(client, engine):
    made = (await client.post("/v1/api-keys", json={"name": "shop", "scopes": ["events"]})).json()
    other = (await client.post("/v1/api-keys", json={"name": "other", "scopes": ["events"]})).json()

    async def asks(scheme, key, *, basic=None):
        value = base64.b64encode(basic.encode()).decode() if basic is not None else key
        reply = await client.get(f"{TRACK}/system/time", headers={"Authorization": f"{scheme} {value}"})
        assert reply.status_code != 401 or reply.headers["WWW-Authenticate"].startswith("Basic ")
        return reply.status_code

    secret = made["secret"]
    assert await asks("Basic", None, basic=f"{made['id']}:{secret}") == 200
    assert await asks("basic", None, basic=f"{made['id'].upper()}:{secret}") == 200
    assert await asks("Token", secret) == 200
    assert await asks("Bearer", secret) == 200
    for wrong in (
        f"{other['id']}:{secret}",
        f":{secret}",
        f"{made['id']}:",
        f"shop:{secret}",
        "",
        f"{made['id']}",
    ):
        assert await asks("Basic", None, basic=wrong) == 401, wrong
    for scheme in ("Digest", "Basic"):
        assert await asks(scheme, secret) == 401
    # As elsewhere, who guesses is turned away after a while.
    statuses = [await asks("Token", f"guess-{n}") for n in range(21)]
    assert (statuses[0], statuses[-1]) == (401, 429)
    assert await asks("Token", secret) == 200  # it is no guess: this process has recognised it before


async def test_what_is_sent_again_counts_once(client, track, engine):
    await fill(engine, "p", ["SAVE-1", "SAVE-2"])
    mapping = [{"event_type": "purchase", "property": "voucher_code"}]
    await client.put("/v1/redemption-mapping", json={"mappings": mapping})
    anna = {"registered": ANNA}
    sent = [
        of_batch("customers/events", event(anna, "purchase", voucher_code="SAVE-1")),
        of_batch("customers/events", event(anna, "purchase", 1700000000, voucher_code="SAVE-2")),
        of_batch("customers/events", event(anna, "click", n=1), "c-1"),
    ]
    first = await track("batch", {"commands": sent})
    again = await track("batch", {"commands": sent})
    assert [each["success"] for each in first["results"] + again["results"]] == [True] * 6
    assert await events_of(client, ANNA) == ["click", "purchase", "purchase"]
    uses = (await client.get("/v1/redemptions", params={"customer_id": ANNA})).json()["items"]
    assert len(uses) == 2
    # With another time, content or command it is another event; a command with another content is refused.
    await track("customers/events", event(anna, "purchase", 1700000001, voucher_code="SAVE-2"))
    more = [of_batch("customers/events", event(anna, "click", n=n), c) for n, c in ((1, "c-2"), (2, "c-1"))]
    results = (await track("batch", {"commands": more}))["results"]
    assert [each["success"] for each in results] == [True, False]
    assert await events_of(client, ANNA) == ["click"] * 2 + ["purchase"] * 3


async def test_an_event_without_a_time_is_known_again_for_a_day(client, track, engine, monkeypatch):
    visit = event({"registered": ANNA})
    midnight = 20_000 * 86_400
    for now in (midnight - 5, midnight + 5, midnight + 10):
        monkeypatch.setattr(commands.clock, "timestamp", lambda now=now: now)
        await track("customers/events", visit)
        assert await events_of(client, ANNA) == ["visit"]
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE event SET received_at = now() - interval '25 hours'"))
    await track("customers/events", visit)
    assert await events_of(client, ANNA) == ["visit"] * 2


async def test_an_update_does_not_undo_a_newer_one(client, track):
    async def update(at, **properties):
        ids = {"registered": ANNA}
        await track("customers", {"customer_ids": ids, "properties": properties, "update_timestamp": at})
        return (await client.get(f"/v1/customers/{ANNA}")).json()["properties"]

    now = time.time()
    assert await update(now - 300, a=1, b=1) == {"a": 1, "b": 1}
    assert await update(now - 400, a=2, c=2) == {"a": 1, "b": 1, "c": 2}
    assert await update(now - 200, a=None) == {"b": 1, "c": 2}
    assert await update(now - 250, a=3, b=3) == {"b": 3, "c": 2}
    assert await update(None, c=4) == {"b": 3, "c": 4}
    assert await update(now - 100, c=5, b=5) == {"b": 5, "c": 4}
    await client.patch(f"/v1/customers/{ANNA}", json={"properties": {"b": 6, "c": None}})
    assert await update(now - 50, b=7, c=7) == {"b": 6}
    assert await update(now + 9e8, b=8) == {"b": 8}
    assert await update(None, b=9) == {"b": 9}
    # What was set before times were told is as new as the last change.
    await client.patch(f"/v1/customers/{BEN}", json={"properties": {"a": 1}})
    ids = {"registered": BEN}
    await track(
        "customers", {"customer_ids": ids, "properties": {"a": 2, "b": 2}, "update_timestamp": now - 9}
    )
    assert (await client.get(f"/v1/customers/{BEN}")).json()["properties"] == {"a": 1, "b": 2}


async def test_of_updates_in_one_request_the_later_one_counts(client, track, monkeypatch):
    monkeypatch.setattr(customers, "clock", SimpleNamespace(timestamp=lambda: time.time() + 60))
    said = [
        (None, {"a": 1, "c": 1}),
        (9e9, {"a": 2, "c": None}),
        (None, {"b": 1}),
        (9e9, {"b": 2}),
        (None, {"b": 3}),
    ]
    ids = {"registered": ANNA}
    sent = [
        of_batch("customers", {"customer_ids": ids, "properties": properties, "update_timestamp": at})
        for at, properties in said
    ]
    await track("batch", {"commands": sent})
    assert (await client.get(f"/v1/customers/{ANNA}")).json()["properties"] == {"a": 2, "b": 3}


async def test_what_an_alias_had_becomes_the_registered_ones(client, track, engine):
    await fill(engine, "p", 9)
    alone = {"cookie": COOKIE}
    await track("customers", {"customer_ids": alone, "properties": {"name": "?", "device": "phone"}})
    await track("customers/events", event(alone, "first"))
    before = await render(client, COOKIE, "m1")
    leased = {"customer_id": COOKIE, "message_id": "m2", "lease_seconds": 600}
    lease = (await client.post("/v1/pools/p/assignments", json=leased)).json()
    await track("customers", {"customer_ids": {"registered": ANNA}, "properties": {"name": "Anna"}})

    await track("customers/events", event(BOTH, "login"))
    for who in (ANNA, COOKIE):
        found = (await client.get(f"/v1/customers/{who}")).json()
        assert (found["id"], found["aliases"]) == (ANNA, [COOKIE])
        assert found["properties"] == {"name": "Anna", "device": "phone"}
        assert [each["value"] for each in found["tracked_ids"]] == [COOKIE, ANNA]
        assert await events_of(client, who) == ["first", "login"]
        assert await render(client, who, "m1") == before
    confirmed = (await client.post(f"/v1/assignments/{lease['id']}/confirm")).json()
    assert (confirmed["customer_id"], confirmed["status"]) == (ANNA, "assigned")
    # What comes late with the alias alone, or again, is the registered one's, once.
    await track("customers/events", event(alone, "late"))
    await track("customers/events", event(alone, "first"))
    assert await events_of(client, ANNA) == ["first", "late", "login"]
    await agrees(engine)


async def test_a_cookie_that_two_share_belongs_to_neither(client, track, engine):
    await fill(engine, "p", 9)
    await track("customers/events", event({"cookie": COOKIE}, "anonymous"))
    code = await render(client, COOKIE, "m1")
    await track("customers/events", event(BOTH, "login"))
    await track("customers/events", event({"registered": BEN, "cookie": COOKIE}, "login"))
    await track("customers/events", event({"cookie": COOKIE}, "nobody"))
    await track("customers/events", event(BOTH, "again"))
    assert await events_of(client, ANNA) == ["again", "anonymous", "login"]
    assert await events_of(client, BEN) == ["login"]
    await track(
        "customers/events", event({"cookie": COOKIE}, "anonymous")
    )  # again: it is anna's, and stays it
    nobody = identities.shared_customer(identities.TrackedId("cookie", COOKIE))
    assert await events_of(client, nobody) == ["nobody"]
    assert await ids_in(engine) == [
        ("cookie", COOKIE, nobody, True),
        ("registered", ANNA, ANNA, False),
        ("registered", BEN, BEN, False),
    ]
    assert (await render(client, ANNA, "m1"), await render(client, BEN, "m1") == code) == (code, False)


@pytest.mark.parametrize("together", ["in a batch", "at once"])
async def test_a_cookie_that_first_comes_with_two_belongs_to_neither_for_ever(
    client, track, engine, together
):
    both = [BOTH, {"registered": BEN, "cookie": COOKIE}]
    if together == "in a batch":
        sent = [of_batch("customers/events", event(ids, "login")) for ids in both]
        await track("batch", {"commands": [*sent, of_batch("customers/events", event({"cookie": COOKIE}))]})
    else:
        await asyncio.gather(*(track("customers/events", event(ids, "login")) for ids in both))
        await track("customers/events", event({"cookie": COOKIE}))
    for ids in both:
        await track("customers/events", event(ids, "again"))
    nobody = identities.shared_customer(identities.TrackedId("cookie", COOKIE))
    assert ("cookie", COOKIE, nobody, True) in await ids_in(engine)
    assert [await events_of(client, who) for who in (ANNA, BEN)] == [["again", "login"]] * 2
    assert await events_of(client, nobody) == ["visit"]


async def test_a_cookie_that_two_share_is_none_of_whom_it_stood_for_before(client, track):
    """Its value is the id of another customer, so that it stood for one of its own, who is anna by now."""
    await client.patch(f"/v1/customers/{COOKIE}", json={"properties": {"x": 1}})
    await track("customers/events", event({"cookie": COOKIE}, "anonymous"))
    await track("customers/events", event(BOTH, "login"))
    await track("customers/events", event({"registered": BEN, "cookie": COOKIE}, "login"))
    await track("customers/events", event({"cookie": COOKIE}, "nobody"))
    assert await events_of(client, ANNA) == ["anonymous", "login"]
    assert await events_of(client, BEN) == ["login"]


async def test_two_registered_are_never_merged(client, track, engine):
    """Nor one by an alias that bears the other's id, whoever was first."""
    for ids in ({"registered": BEN}, {"registered": ANNA, "cookie": BEN}, {"cookie": BEN}, {"phone": ANNA}):
        await track("customers/events", event(ids))
    await track("customers/events", event({"registered": ANNA, "cookie": BEN}, "again"))
    await track("customers/events", event({"registered": BEN, "phone": ANNA}, "again"))
    assert await events_of(client, ANNA) == ["again", "visit", "visit"]
    assert await events_of(client, BEN) == ["again", "visit", "visit"]
    # Who is known to the API alone is no alias' either.
    await client.patch("/v1/customers/carl", json={"properties": {"x": 1}})
    await track("customers/events", event({"cookie": "carl"}))
    await track("customers/events", event({"registered": ANNA, "cookie": "carl"}))
    assert (await client.get("/v1/customers/carl")).json()["id"] == "carl"
    # An anonymous one whose id turns out to be a registered one's is that one, and stays it.
    await track("customers/events", event({"cookie": "dora"}))
    await track("customers/events", event({"registered": "dora"}))
    await track("customers/events", event({"registered": ANNA, "cookie": "dora"}))
    assert await events_of(client, "dora") == ["visit"] * 2
    async with transaction(engine) as connection:
        assert (await connection.execute(text("SELECT id FROM customer_alias"))).all() != []
        led = "SELECT id FROM customer_alias WHERE id <> customer_id AND id NOT LIKE 'alias-%'"
        assert (await connection.execute(text(led))).all() == []


@pytest.mark.parametrize("signed_in", [False, True])
async def test_who_registers_under_the_id_of_an_anonymous_customer_is_not_that_one(
    client, track, engine, signed_in
):
    """A visitor can choose as cookie what the shop gives the next customer as id, and sign in with it."""
    await fill(engine, "p", 9)
    alone, second = {"cookie": ANNA}, {"phone": "17", "cookie": ANNA}
    await track("customers/events", event(alone, "before"))
    await track("customers/events", event(second, "before"))
    if signed_in:
        await track("customers/events", event({"registered": BEN, "cookie": ANNA}, "login"))
        assert await render(client, ANNA, "m1") == await render(client, BEN, "m1")
    await track("customers/events", event({"registered": ANNA}, "registered"))
    await track("customers", {"customer_ids": {"registered": ANNA}, "properties": {"name": "Anna"}})
    for ids in (alone, {"phone": "17"}):
        await track("customers/events", event(ids, "after"))
    await track("customers/events", event({"registered": BEN, "cookie": ANNA}, "again"))

    anna = (await client.get(f"/v1/customers/{ANNA}")).json()
    assert (anna["id"], anna["aliases"], anna["properties"]) == (ANNA, [], {"name": "Anna"})
    assert anna["tracked_ids"] == [{"name": "registered", "value": ANNA}]
    assert await render(client, ANNA, "m2") != await render(client, BEN, "m2")
    if signed_in:
        assert await events_of(client, ANNA) == ["registered"]
        assert await events_of(client, BEN) == ["after", "after", "again", "before", "before", "login"]
    else:  # nobody can tell for whom it was meant, but it ends there
        assert await events_of(client, ANNA) == ["before", "before", "registered"]
        assert await events_of(client, BEN) == ["after", "after", "again"]
    await agrees(engine)


async def test_an_id_that_somebody_has_merged_leads_on_though_it_registers(client, track, engine):
    await track("customers/events", event({"cookie": ANNA}, "before"))
    assert (await client.post(f"/v1/customers/{BEN}/merge", json={"from": ANNA})).is_success
    await track("customers/events", event({"registered": ANNA}, "registered"))
    await track("customers/events", event({"cookie": ANNA}, "after"))
    assert await events_of(client, BEN) == ["after", "before", "registered"]


async def test_who_registers_while_a_visitor_signs_in_with_that_id_is_nobody_else(client, track, engine):
    for n in range(10):
        await track("customers/events", event({"cookie": f"c{n}"}, "before"))
        await asyncio.gather(
            track("customers/events", event({"registered": f"b{n}", "cookie": f"c{n}"}, "login")),
            track("customers/events", event({"registered": f"c{n}"}, "registered")),
        )
        await track("customers/events", event({"registered": f"c{n}"}, "again"))
        of_one, of_other = await events_of(client, f"c{n}"), await events_of(client, f"b{n}")
        assert [each for each in of_one if each != "before"] == ["again", "registered"]
        assert sorted([*of_one, *of_other]) == ["again", "before", "login", "registered"]
    await agrees(engine)


async def test_aliases_of_one_command_are_one_customer(client, track, engine):
    await track("customers/events", event({"cookie": "c1"}, "a"))
    await track("customers/events", event({"email_id": "e1"}, "b"))
    await track("customers/events", event({"cookie": "c1", "email_id": "e1"}, "c"))
    assert await events_of(client, "e1") == ["a", "b", "c"]
    await track("customers/events", event({"registered": ANNA, "email_id": "e2"}, "d"))
    await track("customers/events", event({"cookie": "c1", "email_id": "e2"}, "e"))
    assert await events_of(client, ANNA) == ["a", "b", "c", "d", "e"]
    # Two registered ones by their aliases: the one whose alias is no cookie did it, and nothing is merged.
    await track("customers/events", event({"registered": BEN, "email_id": "e3"}, "f"))
    await track("customers/events", event({"cookie": "c1", "email_id": "e3"}, "g"))
    assert await events_of(client, BEN) == ["f", "g"]
    assert await events_of(client, ANNA) == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("known", [False, True])
async def test_in_a_batch_the_order_of_a_sign_in_does_not_matter(client, track, engine, known):
    if known:
        await track("customers/events", event({"cookie": "c1"}, "before"))
    ids = [
        {"cookie": "c1"},
        {"email_id": "e1"},
        {"cookie": "c1", "email_id": "e1"},
        {"phone": "c1"},
        {"phone": "2"},
    ]
    ids += [{"registered": ANNA, "email_id": "e1"}, {"registered": ANNA, "phone": "c1"}, {"cookie": "c1"}]
    sent = [of_batch("customers/events", event(each, f"e{n}")) for n, each in enumerate(ids)]
    results = (await track("batch", {"commands": sent}))["results"]
    assert all(each["success"] for each in results)
    expected = [f"e{n}" for n in (0, 1, 2, 3, 5, 6, 7)] + ["before"] * known
    assert await events_of(client, ANNA) == sorted(expected)
    assert await events_of(client, "2") == ["e4"]


async def test_two_who_sign_in_at_once_with_one_cookie_stay_two(client, track, engine, monkeypatch):
    """In two processes: neither is known as registered when both learn that the cookie's customer is to be merged."""
    await track("customers/events", event({"cookie": COOKIE}, "before"))
    for module in (commands, merge, sign_ins):
        monkeypatch.setattr(module, "PATIENCE", 60)
    sides, merged = asyncio.Barrier(2), []

    class AtOnce(sign_ins.SignIns):
        async def merge(self, caller, pairs):
            both = len(merged) < 2
            merged.append(pairs)
            if both:
                await sides.wait()
            await super().merge(caller, pairs)
            if both:
                await sides.wait()

    at_once = AtOnce(engine)
    logins = [Command({"registered": who, "cookie": COOKIE}, {}, "login", None) for who in (ANNA, BEN)]
    async with asyncio.timeout(30):
        await asyncio.gather(*(commands.carry_out(engine, at_once, None, [login]) for login in logins))
    had = [await events_of(client, who) for who in (ANNA, BEN)]
    assert sorted(had) == [["before", "login"], ["login"]]


async def test_an_erasure_takes_the_aliases_along_and_nothing_sent_again_brings_them_back(
    client, track, engine
):
    sent = [
        of_batch("customers/events", event(ids, "e", 1700000000))
        for ids in ({"cookie": COOKIE}, {"registered": ANNA}, BOTH, BOTH | {"email_id": "e1"})
    ]
    for command in sent:
        await track("customers/events", command["data"])
    assert (await client.delete(f"/v1/customers/{COOKIE}")).json()["events"] == 4
    assert await ids_in(engine) == []
    results = (await track("batch", {"commands": sent}))["results"]
    assert all(each["success"] for each in results)
    assert (await ids_in(engine), await events_of(client, ANNA)) == ([], [])
    await track("customers/events", event({"cookie": COOKIE}, "new"))
    assert await events_of(client, COOKIE) == ["new"]
    assert await events_of(client, ANNA) == []


async def test_an_erased_event_that_is_sent_again_merges_nobody(client, track, engine):
    login = event(BOTH, "login", 1700000000)
    await track("customers/events", login)
    assert (await client.delete(f"/v1/customers/{ANNA}")).json()["events"] == 1
    await track("customers/events", event({"cookie": COOKIE}, "new"))
    other = of_batch("customers/events", event({"registered": BEN}, "other"))
    await track("customers/events", login)
    await track("batch", {"commands": [of_batch("customers/events", login), other]})
    assert await events_of(client, COOKIE) == ["new"]
    assert await ids_in(engine) == [
        ("cookie", COOKIE, COOKIE, False),
        ("registered", BEN, BEN, False),
    ]
    async with transaction(engine) as connection:
        assert (await connection.execute(text("SELECT id FROM customer_alias"))).all() == []


async def test_an_event_that_is_erased_meanwhile_leaves_nothing(client, track, engine, monkeypatch):
    login = event(BOTH, "login", 1700000000)
    await track("customers/events", login)
    await client.delete(f"/v1/customers/{ANNA}")
    erased, looks = commands.erased, []

    async def not_yet(connection, ids):
        looks.append(ids)
        return await erased(connection, ids) if len(looks) > 1 else set()

    monkeypatch.setattr(commands, "erased", not_yet)
    await track("customers/events", login)
    assert len(looks) > 1
    assert (await ids_in(engine), await events_of(client, ANNA)) == ([], [])


async def test_an_erased_event_that_is_sent_again_forgets_nobody_who_comes_back(client, track, engine):
    visit = event({"registered": ANNA}, at=1700000000)
    await track("customers/events", visit)
    await client.delete(f"/v1/customers/{ANNA}")
    async with transaction(engine) as back:
        await back.execute(
            text("INSERT INTO tracked_id (name, value, customer_id) VALUES ('registered', 'anna', 'anna')")
        )
        again = asyncio.create_task(track("customers/events", visit))
        await asyncio.wait([again], timeout=0.2)
    await again
    assert await ids_in(engine) == [("registered", ANNA, ANNA, False)]


async def test_a_spelling_of_ids_that_is_set_holds_for_registered_ones(client, track, monkeypatch):
    monkeypatch.setattr("app.domain.persons.ids.get_settings", lambda: Settings(customer_ids="lowercase"))
    await track("customers/events", event({"registered": " ANNA "}))
    await track("customers/events", event({"cookie": "ABC"}, "a"))
    await track("customers/events", event({"cookie": "abc"}, "b"))
    assert await events_of(client, ANNA) == ["visit"]
    assert await events_of(client, "abc") == ["a"]


@pytest.mark.parametrize("name", ["registered", "cookie"])
@pytest.mark.parametrize("id_", [" .. ", "\t.", "İ" * 255])
async def test_an_id_is_checked_as_it_is_read(client, track, engine, monkeypatch, name, id_):
    """White space goes from around dots, and a letter becomes two."""
    monkeypatch.setattr("app.domain.persons.ids.get_settings", lambda: Settings(customer_ids="lowercase"))
    for path, body in (
        ("customers", {"customer_ids": {name: id_}}),
        ("customers/events", event({name: id_})),
    ):
        (said,) = (await track(path, body, status=400))["errors"]
        assert said.startswith("customer_ids: ")
    assert await ids_in(engine) == []
    assert (await client.get("/v1/customers")).json()["items"] == []


async def test_signing_in_meets_whatever_happens_at_the_same_time(client, track, engine):
    """Assigning, redeeming, rendering and registering beside it; real commits."""
    await fill(engine, "p", 60)
    mapping = [{"event_type": "purchase", "property": "code"}]
    await client.put("/v1/redemption-mapping", json={"mappings": mapping})
    for round_ in range(2):
        anna, cookie = f"anna{round_}", f"cookie{round_}"
        both = {"registered": anna, "cookie": cookie}
        await track("customers/events", event({"cookie": cookie}, "anonymous"))
        code = (await client.post("/v1/pools/p/assignments", json={"customer_id": anna})).json()["code"]

        async def assign(who, n, round_=round_):
            body = {"customer_id": who, "message_id": f"a{round_}-{n}"}
            return (await answered(client, "/v1/pools/p/assignments", json=body)).json()["code"]

        async def letter(who, n, round_=round_):
            return await render(client, who, f"r{round_}-{n}")

        work = [act(who, n) for n in range(2) for act in (assign, letter) for who in (cookie, anna)]
        shown, *_ = await asyncio.gather(
            asyncio.gather(*work),
            *(track("customers/events", event(both, f"login{n}")) for n in range(3)),
            track("customers/events", event({"cookie": cookie}, "purchase", code=code)),
            track("customers", {"customer_ids": {"cookie": cookie}, "properties": {"x": 1}}),
            track("customers", {"customer_ids": both, "properties": {"y": 1}}),
        )
        work = [act(who, n) for n in range(2) for act in (assign, letter) for who in (cookie, anna)]
        assert await asyncio.gather(*work) == shown
        assert await events_of(client, anna) == ["anonymous", "login0", "login1", "login2", "purchase"]
        assert (await client.get(f"/v1/customers/{anna}")).json()["properties"] == {"x": 1, "y": 1}
        uses = (
            await client.get("/v1/redemptions", params={"customer_id": anna, "outcome": "redeemed"})
        ).json()
        assert [use["code"] for use in uses["items"]] == [code]
    await agrees(engine)


async def test_many_who_sign_in_at_once_are_each_their_own(client, track, engine):
    who = [{"cookie": f"c{n}", "registered": f"r{n}"} for n in range(12)]
    alone = [of_batch("customers/events", event({"cookie": ids["cookie"]}, "before")) for ids in who]
    await track("batch", {"commands": alone})
    await asyncio.gather(*(track("customers/events", event(ids, "login")) for ids in who))
    async with transaction(engine) as connection:
        rows = await connection.execute(text("SELECT customer_id, count(*) FROM event GROUP BY 1 ORDER BY 1"))
        assert [tuple(row) for row in rows] == sorted((ids["registered"], 2) for ids in who)


async def test_first_sights_at_once_end_as_one(client, track, engine):
    """Of an alias alone, and with a registered one, from several sides."""
    sent = [
        {"cookie": COOKIE},
        BOTH,
        {"cookie": COOKIE, "email_id": "e1"},
        {"registered": ANNA},
        {"email_id": "e1"},
    ]
    await asyncio.gather(*(track("customers/events", event(ids, f"e{n}")) for n, ids in enumerate(sent)))
    await track("customers/events", event(BOTH | {"email_id": "e1"}, "last"))
    assert await events_of(client, ANNA) == ["e0", "e1", "e2", "e3", "e4", "last"]
    await agrees(engine)


async def test_who_is_registered_while_a_merge_waits_is_not_merged(client, track, engine):
    await track("customers/events", event({"cookie": BEN}, "anonymous"))
    async with transaction(engine) as slow:
        await slow.execute(text("SELECT 1"))
        signing = asyncio.create_task(
            track("customers/events", event({"registered": ANNA, "cookie": BEN}, "login"))
        )
        marked = text("SELECT count(*) FROM customer_alias WHERE merging")
        while not signing.done() and (await slow.execute(marked)).scalar_one() == 0:
            await asyncio.sleep(0.005)
        # Whoever asked before the marks may still register it; the merge waits for this one.
        await slow.execute(
            text("INSERT INTO tracked_id (name, value, customer_id) VALUES ('registered', 'ben', 'ben')")
        )
    await signing
    assert (await events_of(client, ANNA), await events_of(client, BEN)) == (["login"], ["anonymous"])


async def test_an_erasure_beside_a_sign_in_leaves_all_of_the_person_or_nothing(client, track, engine):
    await fill(engine, "p", 9)
    for n in range(2):
        anna, cookie = f"anna{n}", f"cookie{n}"
        await track("customers/events", event({"cookie": cookie}, "anonymous"))
        await render(client, cookie, "m1")
        await asyncio.gather(
            track("customers/events", event({"registered": anna, "cookie": cookie}, "login")),
            answered(client, f"/v1/customers/{cookie}", "DELETE"),
        )
        # What was erased is gone; what came after it is the registered one's.
        await track("customers/events", event({"registered": anna, "cookie": cookie}, "after"))
        assert "anonymous" not in await events_of(client, anna)
        for who in (anna, cookie):
            assert (await answered(client, f"/v1/customers/{who}", "DELETE")).status_code == 200
    assert await ids_in(engine) == []
    await agrees(engine)
