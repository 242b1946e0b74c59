"""A pool may say how many codes a customer gets: exact, whoever asks, and however many at once."""

import asyncio

import pytest
from fastapi import Request
from sqlalchemy import Engine, event, text

from app.domain.assignments import service
from app.domain.lifecycle import check
from app.domain.lifecycle.claim import CustomerRule
from app.domain.rendering.batcher import RenderBatcher
from app.platform import batching
from app.platform.database import transaction
from app.server.application import with_hot_path
from app.web.dependencies import held_by
from tests import hung_up
from tests.factories import fill
from tests.waiting import until_somebody_waits

ASSIGN = "/v1/pools/p/assignments"
LETTER = "{{ vouchers['p'].assign_available() }}"


async def rule(client, count=1, days=None, then="same"):
    body = {"per_customer": {"count": count, "days": days, "then": then}}
    reply = await client.patch("/v1/pools/p", json=body)
    assert (reply.status_code, reply.json()["per_customer"]) == (200, body["per_customer"])


async def assign(client, key=None, **body):
    headers = {"Idempotency-Key": key} if key else {}
    return await client.post(ASSIGN, json=body, headers=headers)


async def render(client, customer, message=None, template=LETTER, channel="weblayer", **more):
    body = {"template": template, "channel": channel, "mode": "send", "customer_id": customer, **more}
    return await client.post("/v1/render", json=body | ({"message_id": message} if message else {}))


async def given(client):
    counts = (await client.get("/v1/pools/p/counts")).json()
    return counts["assigned"] + counts["reserved"]


async def agrees(engine):
    async with transaction(engine) as connection:
        assert await check.violations(connection) == []


async def test_a_customer_gets_the_same_again_whoever_asks(client, engine):
    await fill(engine, "p", 9)
    await rule(client)
    first = await assign(client, customer_id="anna", message_id="m1")
    assert first.status_code == 201
    code = first.json()["code"]
    again = await assign(client, customer_id="anna", message_id="m2", campaign_id="other")
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (await assign(client, "key", customer_id="anna")).json()["code"] == code
    assert (await render(client, "anna")).json()["rendered"] == code
    assert (await render(client, "anna", "m3", "{{ vouchers['p'].assign_available(cached=False) }}")).json()[
        "rendered"
    ] == code
    items = [{"customer_id": "anna"}, {"customer_id": "ben"}, {"customer_id": "ben"}, {}, {}]
    batch = (await client.post(f"{ASSIGN}/batch", json={"items": items})).json()
    assert [item["status"] for item in batch["items"]] == [
        "replayed",
        "assigned",
        "replayed",
        "assigned",
        "assigned",
    ]
    assert batch["items"][0]["code"] == code
    assert batch["items"][1]["code"] == batch["items"][2]["code"]
    assert await given(client) == 4
    await agrees(engine)


async def test_three_views_of_a_weblayer_take_one_code(client, engine):
    await fill(engine, "p", 9)
    assert len({(await render(client, "anna")).json()["rendered"] for _ in range(3)}) == 3
    await rule(client)
    assert len({(await render(client, "ben")).json()["rendered"] for _ in range(3)}) == 1
    assert await given(client) == 4


async def served(ask):
    """Ask until there is an answer: all draws from such a pool follow each other, and a busy machine lets one wait."""
    while (reply := await ask()).status_code == 503:
        pass
    return reply


async def test_it_is_exact_under_races_of_every_kind(client, engine):
    await fill(engine, "p", 60)
    await rule(client)
    customers = ["anna", "ben", "cleo"]

    async def batch():
        items = [{"customer_id": customer} for customer in customers * 2]
        reply = await served(lambda: client.post(f"{ASSIGN}/batch", json={"items": items}))
        return [(customers[n % 3], item["code"]) for n, item in enumerate(reply.json()["items"])]

    async def one(customer, n):
        reply = await served(lambda: assign(client, customer_id=customer, campaign_id=f"k{n}"))
        return [(customer, reply.json()["code"])]

    async def message(customer):
        reply = await served(lambda: render(client, customer))
        return [(customer, reply.json()["rendered"])]

    async def messages():
        recipients = [{"customer_id": customer} for customer in customers * 2]
        body = {"template": LETTER, "channel": "email", "mode": "send", "recipients": recipients}
        reply = await served(lambda: client.post("/v1/render/batch", json=body))
        return [(customers[n % 3], item["rendered"]) for n, item in enumerate(reply.json()["items"])]

    asked = [one(customer, n) for customer in customers for n in range(4)]
    asked += [message(customer) for customer in customers for _ in range(3)]
    found = await asyncio.gather(*asked, batch(), messages(), batch(), messages())
    by_customer = {}
    for customer, code in (each for some in found for each in some):
        by_customer.setdefault(customer, set()).add(code)
    assert {customer: len(codes) for customer, codes in by_customer.items()} == dict.fromkeys(customers, 1)
    assert await given(client) == 3
    await agrees(engine)


async def test_a_customer_may_be_refused(client, engine):
    await fill(engine, "p", 9)
    await fill(engine, "q", 2)
    await rule(client, count=2, days=30, then="refuse")
    first = await assign(client, "k1", customer_id="anna")
    await assign(client, customer_id="anna")
    reply = await assign(client, customer_id="anna")
    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/customer-limit")
    assert (reply.json()["pool"], reply.json()["count"], reply.json()["days"]) == ("p", 2, 30)
    assert (await assign(client, "k1", customer_id="anna")).json()["id"] == first.json()["id"]
    reply = await render(client, "anna", "m")
    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/customer-limit")
    template = "{{ vouchers['p'].assign_available(fallback=['q']) }}"
    assert (await render(client, "anna", "m1", template)).json()["rendered"].startswith("q-")
    template = "{{ vouchers['p'].assign_available(default='SORRY') }}"
    assert (await render(client, "anna", "m2", template)).json()["rendered"] == "SORRY"
    items = [{"customer_id": "anna"}, {"customer_id": "ben"}]
    batch = (await client.post(f"{ASSIGN}/batch", json={"items": items})).json()
    assert [item["status"] for item in batch["items"]] == ["customer_limit", "assigned"]
    reply = await client.post(f"{ASSIGN}/batch", json={"items": items, "atomic": True})
    assert reply.json()["type"] == "/problems/customer-limit"
    assert await given(client) == 3


async def sent_twice_at_once(client, engine, template):
    """Items of one message to anna that is sent again while the first send waits for its turn in pool p."""
    recipients = [{"customer_id": "anna", "message_id": "m"}]
    body = {"template": template, "channel": "sms", "recipients": recipients}
    async with transaction(engine) as connection:
        await connection.execute(text("SELECT FROM pool WHERE name = 'p' FOR NO KEY UPDATE"))
        sends = [asyncio.create_task(client.post("/v1/render/batch", json=body)) for _ in range(2)]
        await until_somebody_waits(engine, 2)
    return [item for each in sends for item in (await each).json()["items"]]


@pytest.mark.parametrize("otherwise", ["fallback=['q']", "default='SORRY'", "cached=True"])
async def test_a_message_that_is_sent_twice_at_once_is_not_refused_its_own_code(otherwise, client, engine):
    await fill(engine, "p", 9)
    await fill(engine, "q", 2)
    await rule(client, then="refuse")
    template = f"{{{{ vouchers['p'].assign_available({otherwise}) }}}}"
    first, again = await sent_twice_at_once(client, engine, template)
    assert (first["status"], first["rendered"][:2]) == ("rendered", "p-")
    assert again == first
    assert await given(client) == 1
    assert (await client.get("/v1/pools/q/counts")).json()["available"] == 2
    await agrees(engine)


async def test_what_replaces_a_voided_code_is_found_by_a_message_that_is_sent_twice_at_once(client, engine):
    await fill(engine, "p", 9)
    await rule(client, then="refuse")
    template = "{{ vouchers['p'].assign_available(cached=False) }}"
    voided = (await render(client, "anna", "m", template, "sms")).json()["rendered"]
    assert (await client.post(f"/v1/vouchers/{voided}/void")).is_success
    first, again = await sent_twice_at_once(client, engine, template)
    assert first["status"] == "rendered"
    assert again == first
    assert first["rendered"] != voided
    assert await given(client) == 1
    await agrees(engine)


async def test_what_went_back_does_not_count_and_an_empty_pool_gives_the_same(client, engine):
    await fill(engine, "p", 2)
    await rule(client)
    first = (await assign(client, customer_id="anna")).json()
    await assign(client, customer_id="ben")
    assert (await assign(client, customer_id="cleo")).json()["type"] == "/problems/pool-exhausted"
    assert (await assign(client, customer_id="anna")).json()["code"] == first["code"]
    assert (await render(client, "anna")).json()["rendered"] == first["code"]
    await client.post(f"/v1/assignments/{first['id']}/release")
    second = await assign(client, customer_id="anna", lease_seconds=60)
    assert second.status_code == 201
    # Asked for for good, what was reserved is.
    third = (await assign(client, customer_id="anna")).json()
    assert (third["id"], third["status"]) == (second.json()["id"], "assigned")
    await client.post(f"/v1/vouchers/{third['code']}/void")
    assert (await assign(client, customer_id="anna")).json()["type"] == "/problems/pool-exhausted"
    await agrees(engine)


async def test_codes_of_long_ago_and_of_proofs_do_not_count(client, engine):
    await fill(engine, "p", 9)
    await rule(client, days=30)
    proof = (await assign(client, customer_id="anna", test=True)).json()
    first = (await assign(client, customer_id="anna")).json()
    assert first["code"] != proof["code"]
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE assignment SET assigned_at = now() - interval '31 days'"))
    assert (await assign(client, customer_id="anna")).json()["code"] not in {first["code"], proof["code"]}


async def test_a_message_shows_as_many_as_the_rule_lets_it(client, engine):
    await fill(engine, "p", 9)
    await rule(client, count=2)
    template = "{% for n in range(3) %}{{ vouchers['p'].assign_available(cached=False) }} {% endfor %}"
    shown = (await render(client, "anna", "m", template)).json()["rendered"].split()
    assert (len(shown), len(set(shown))) == (3, 2)
    assert (await render(client, "anna", "m", template)).json()["rendered"].split() == shown
    assert await given(client) == 2
    # A message that fails takes nothing, and leaves the customer what the rule allows.
    broken = LETTER + "{{ vouchers['nope'].assign_available() }}"
    recipients = [{"customer_id": "ben", "message_id": "x"}]
    body = {"channel": "email", "mode": "send", "recipients": recipients}
    await client.post("/v1/render/batch", json=body | {"template": broken})
    assert await given(client) == 2
    assert (await render(client, "ben", "x2")).status_code == 200
    await agrees(engine)


async def test_a_rule_with_holds_and_without_a_customer(client, engine):
    await fill(engine, "p", 3)
    await client.post("/v1/pools/p/holds", json={"campaign_id": "k", "count": 1})
    await rule(client)
    first = (await assign(client, customer_id="anna", campaign_id="k")).json()
    assert (await assign(client, customer_id="anna")).json()["id"] == first["id"]
    assert {(await assign(client)).status_code for _ in range(2)} == {201}
    assert (await assign(client)).json()["type"] == "/problems/pool-exhausted"
    reply = await client.patch("/v1/pools/p", json={"per_customer": None})
    assert reply.json()["per_customer"] is None
    await agrees(engine)
    actions = [entry["action"] for entry in (await client.get("/v1/audit")).json()["items"]]
    assert actions.count("pool.changed") == 2


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"per_customer": {"count": 0}},
        {"per_customer": {"count": True}},
        {"per_customer": {"days": 0}},
        {"per_customer": {"then": "maybe"}},
        {"per_customer": {"counts": 1}},
    ],
)
async def test_a_rule_that_is_none_is_refused(client, engine, body):
    await fill(engine, "p", 1)
    assert (await client.patch("/v1/pools/p", json=body)).status_code == 422


@pytest.mark.parametrize(("end", "problem"), [("release", "assignment-released"), ("void", "void")])
async def test_a_repeat_of_what_was_answered_again_is_answered_alike(end, problem, client, engine):
    await fill(engine, "p", 9)
    await rule(client)
    first = (await assign(client, "k1", customer_id="anna")).json()
    again = [await assign(client, "k2", customer_id="anna") for _ in range(2)]
    by_message = await assign(client, customer_id="anna", message_id="m")
    assert {reply.json()["id"] for reply in [*again, by_message]} == {first["id"]}
    if end == "release":
        await client.post(f"/v1/assignments/{first['id']}/release", json={})
    else:
        await client.post(f"/v1/vouchers/{first['code']}/void")
    for body in ({"key": "k1"}, {"key": "k2"}, {"message_id": "m"}):
        reply = await assign(client, customer_id="anna", **body)
        assert (reply.status_code, reply.json()["type"]) == (409, f"/problems/{problem}"), body
    reused = await assign(client, "k2", customer_id="ben")
    assert (reused.status_code, reused.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert await given(client) == 0
    new = await assign(client, "k3", customer_id="anna")
    assert (new.status_code, new.json()["id"] != first["id"]) == (201, True)
    late = await assign(client, "k2", customer_id="anna")
    assert late.json()["type"] == f"/problems/{problem}"
    assert await given(client) == 1
    await agrees(engine)


async def test_a_repeat_is_answered_alike_in_a_batch_and_when_the_rule_allows_more(client, engine):
    await fill(engine, "p", 9)
    await rule(client)
    items = [{"customer_id": "anna", "idempotency_key": key} for key in ("k1", "k2")]
    batch = (await client.post(f"{ASSIGN}/batch", json={"items": items})).json()["items"]
    assert batch[0]["id"] == batch[1]["id"]
    await rule(client, count=2)
    repeat = (await client.post(f"{ASSIGN}/batch", json={"items": items})).json()["items"]
    assert [item["id"] for item in repeat] == [batch[0]["id"]] * 2
    assert await given(client) == 1


async def test_nothing_is_kept_of_what_cannot_be_repeated(client, engine):
    await fill(engine, "p", 9)
    await rule(client)
    for _ in range(3):
        await assign(client, customer_id="anna")
    async with transaction(engine) as connection:
        assert (await connection.execute(text("SELECT count(*) FROM answered_again"))).scalar_one() == 0


async def in_one_batch(app, client, engine, monkeypatch, *views):
    """What views are answered that wait for their batch together, behind one that waits for the pool."""
    monkeypatch.setattr(batching, "STALL_SECONDS", 60)  # the batch before is not passed by
    queues = held_by(app, RenderBatcher, (1, 1))._batcher._queues
    async with engine.begin() as connection:
        await connection.execute(text("SELECT FROM pool FOR NO KEY UPDATE"))
        first = asyncio.create_task(render(client, "zoe"))
        await until_somebody_waits(engine)
        waiting = [asyncio.create_task(each) for each in views]
        async with asyncio.timeout(10):
            while [len(queue.waiting) for queue in queues.values()] != [len(views)]:
                await asyncio.sleep(0.001)
    await first
    return [await each for each in waiting]


async def test_a_view_that_nobody_waits_for_leaves_what_the_rule_allows_to_the_next(
    app, client, engine, monkeypatch
):
    await fill(engine, "p", 9)
    await rule(client, then="refuse")
    left = hung_up.post(
        with_hot_path(app),
        "/v1/render",
        {"template": LETTER, "channel": "weblayer", "customer_id": "anna"},
    )
    status, stays = await in_one_batch(app, client, engine, monkeypatch, left, render(client, "anna"))
    assert status == 499
    assert stays.json()["status"] == "rendered"
    assert await given(client) == 2


async def test_a_code_that_another_view_shows_is_not_taken_back_with_one_that_was_left(
    app, client, engine, monkeypatch
):
    await fill(engine, "p", 9)
    await rule(client)

    async def left(request):  # there until the messages are committed, gone as its own is sent
        return "left" in request.headers and await asyncio.create_task(given(client)) > 1

    async def view(customer, **headers):
        body = {"template": LETTER, "channel": "weblayer", "customer_id": customer}
        return (await client.post("/v1/render", json=body, headers=headers)).json()

    monkeypatch.setattr(Request, "is_disconnected", left)
    _, stays = await in_one_batch(app, client, engine, monkeypatch, view("anna", left="1"), view("anna"))
    assert (await assign(client, customer_id="anna")).json()["code"] == stays["rendered"]
    assert await given(client) == 2
    await agrees(engine)


@pytest.mark.parametrize(("then", "kept"), [("same", 1), ("refuse", 0)])
async def test_what_a_rule_does_not_show_again_is_taken_back_with_its_view(
    then, kept, client, engine, monkeypatch
):
    await fill(engine, "p", 9)
    await rule(client, then=then)

    async def left(_request):  # there until the message is committed
        return await asyncio.create_task(given(client)) > 0

    monkeypatch.setattr(Request, "is_disconnected", left)
    await render(client, "anna")
    assert await given(client) == kept
    await agrees(engine)


async def test_what_is_reserved_stays_so_where_it_does_not_answer_a_request(client, engine):
    await fill(engine, "p", 2)
    await rule(client)
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE voucher SET expires_at = now() + interval '2 days'"))
    reserved = (await assign(client, customer_id="anna", lease_seconds=600)).json()
    wanted = {"customer_id": "anna", "valid_for_seconds": 30 * 86400}
    for _ in range(2):
        reply = await assign(client, "k", **wanted)
        assert (reply.status_code, reply.json()["reason"]) == (409, "too_short_lived")
    batch = (await client.post(f"{ASSIGN}/batch", json={"items": [wanted]})).json()
    assert batch["items"][0]["status"] == "exhausted"
    stands = (await client.get(f"/v1/assignments/{reserved['id']}")).json()
    assert (stands["status"], stands["lease_until"]) == ("reserved", reserved["lease_until"])
    await agrees(engine)


@pytest.mark.parametrize("then", ["same", "refuse"])
async def test_who_has_less_than_the_rule_allows_of_an_empty_pool_is_told_that_it_is(then, client, engine):
    await fill(engine, "p", 1)
    await rule(client, count=2, then=then)
    items = [{"customer_id": customer} for customer in ("anna", "anna", "anna", "ben", "ben", "ben")]
    batch = (await client.post(f"{ASSIGN}/batch", json={"items": items})).json()
    assert [item["status"] for item in batch["items"]] == ["assigned"] + ["exhausted"] * 5


async def test_of_an_id_that_many_share_no_more_is_looked_at_than_the_rule_allows(client, engine):
    await fill(engine, "p", 9)
    shown = [(await assign(client, customer_id="all", test=n == 4)).json()["code"] for n in range(5)]
    await rule(client, count=2)
    two = CustomerRule(2, None, "same")
    async with transaction(engine) as connection:
        rows = await service.standing(connection, "p", ["all", "anna"], two, test=False)
    assert [row.code for row in rows] == shown[3:1:-1]
    assert (await assign(client, customer_id="all")).json()["code"] == shown[3]
    assert (await assign(client, customer_id="all", test=True)).status_code == 201


async def test_the_campaigns_of_a_batch_take_no_statements_of_their_own(client, engine):
    await fill(engine, "p", 40)
    await client.post("/v1/pools/p/holds", json={"campaign_id": "k1", "count": 1})
    await rule(client)
    statements = []

    def note(*about):
        statements.append(about[2])

    items = [{"customer_id": f"c{n}", "campaign_id": f"k{n}"} for n in range(39)]
    event.listen(Engine, "before_cursor_execute", note)
    try:
        batch = (await client.post(f"{ASSIGN}/batch", json={"items": items})).json()
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert batch["assigned"] == 39
    assert len(statements) < 39
    await agrees(engine)
