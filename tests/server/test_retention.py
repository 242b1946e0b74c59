"""What is old goes where the operator says so, and nothing that a promise needs goes with it."""

from types import SimpleNamespace

import pytest
from sqlalchemy import text

from app.domain.access.replies import tasks as replies
from app.domain.alerts.deliveries import tasks as deliveries
from app.domain.customers import tasks as customers
from app.domain.lifecycle.check import violations
from app.domain.webhooks import tasks as webhooks
from app.platform import forgetting
from app.platform.database import transaction
from app.platform.projects import everywhere
from app.platform.settings import Settings
from app.server import retention
from app.server.retention import RULES, Rule, forget_old
from tests.factories import fill

LETTER = {
    "template": "{{ vouchers['p'].assign_available() }} {{ vouchers['p'].count_available() }}",
    "channel": "sms",
}


@pytest.fixture
async def lived(client, engine):
    """A pool with a use by an event, a message that saw a count, an answer by a rule, and their traces."""
    await fill(engine, "p", 5)
    mapping = {"mappings": [{"event_type": "purchase", "property": "code"}]}
    assert (await client.put("/v1/redemption-mapping", json=mapping)).status_code == 200
    code = (await client.post("/v1/pools/p/assignments", json={"customer_id": "c"})).json()["code"]
    event = {"event_id": "e", "customer_id": "c", "event_type": "purchase", "properties": {"code": code}}
    reply = await client.post("/v1/events", json={"events": [event]})
    assert reply.json()["items"][0]["redemption"] == "redeemed"
    sent = await client.post("/v1/render", json={**LETTER, "message_id": "m", "customer_id": "c"})
    assert sent.status_code == 200
    await client.patch("/v1/pools/p", json={"per_customer": {"count": 1}})
    again = await client.post(
        "/v1/pools/p/assignments", json={"customer_id": "c"}, headers={"Idempotency-Key": "k"}
    )
    assert again.status_code == 200
    await client.patch("/v1/pools/p", json={"per_customer": None})
    return event, sent.json()["rendered"]


async def counts(engine):
    async with transaction(engine) as connection:
        return {
            rule.table: (await connection.execute(text(f"SELECT count(*) FROM {rule.table}"))).scalar_one()
            for rule in RULES
        }


async def age(engine, days):
    async with transaction(engine) as connection:
        for rule in RULES:
            column = f"{rule.column} = {rule.column} - make_interval(days => :days)"
            await connection.execute(text(f"UPDATE {rule.table} SET {column}"), {"days": days})


async def test_by_default_nothing_goes(lived, engine, settings):
    before = await counts(engine)
    await age(engine, 10_000)
    assert await forget_old(everywhere(engine), settings) == {}
    assert await counts(engine) == before


async def test_what_is_old_goes_in_batches_and_what_is_used_stays_used(
    lived, client, engine, settings, monkeypatch
):
    monkeypatch.setattr(forgetting, "BATCH", 1)
    event, rendered = lived
    days = {rule.setting: 30 for rule in RULES}
    short = Settings(DATABASE_URL=settings.database_url, **days)
    assert set((await forget_old(everywhere(engine), short)).values()) == {0}
    before = (await client.get("/v1/pools/p/counts")).json()
    had = await counts(engine)
    assert all(had.values())
    await age(engine, 31)
    assert await forget_old(everywhere(engine), short) == had
    assert set((await counts(engine)).values()) == {0}

    assert (await client.get("/v1/pools/p/counts")).json() == before
    code = event["properties"]["code"]
    assert (await client.get(f"/v1/vouchers/{code}")).json()["status"] == "redeemed"
    again = (await client.post("/v1/events", json={"events": [event]})).json()["items"][0]
    assert again["redemption"] == "redeemed"  # as told the first time
    assert (await client.get("/v1/pools/p/counts")).json() == before
    sent = await client.post("/v1/render", json={**LETTER, "message_id": "m", "customer_id": "c"})
    assert sent.json()["rendered"].split()[0] == rendered.split()[0]
    assert (await client.get("/v1/pools/p/counts")).json() == before
    async with transaction(engine) as connection:
        assert await violations(connection) == []


async def test_a_table_of_which_it_fails_keeps_no_other_from_its_turn(lived, engine, settings, monkeypatch):
    odd, *others = RULES
    monkeypatch.setattr(retention, "RULES", (Rule(odd.table, "no_such_column", odd.setting), *others))
    days = {rule.setting: 30 for rule in RULES}
    await age(engine, 31)
    had = await counts(engine)
    gone = await forget_old(everywhere(engine), Settings(DATABASE_URL=settings.database_url, **days))
    assert gone == {rule.table: had[rule.table] for rule in others}
    assert (await counts(engine))[odd.table] == had[odd.table] > 0


async def test_a_table_that_takes_long_goes_on_the_next_time(lived, engine, settings, monkeypatch):
    monkeypatch.setattr(forgetting, "BATCH", 1)
    monkeypatch.setattr(forgetting, "MOST_SECONDS", 0)
    days = {rule.setting: 30 for rule in RULES}
    await age(engine, 31)
    short = Settings(DATABASE_URL=settings.database_url, **days)
    had = await counts(engine)
    assert await forget_old(everywhere(engine), short) == dict.fromkeys(had, 1)
    assert max(had.values()) > 1


LOGS = {
    "kept_reply": (
        replies.forget_replies,
        "key_id, idempotency_key, request, kept_at",
        "gen_random_uuid(), 'k', ''",
    ),
    "erased_event": (customers.forget_erased, "mark, erased_at", "sha256(n::text::bytea)"),
    "delivery": (
        deliveries.forget_deliveries,
        "pool_id, event, channel, destination, payload, created_at",
        "(SELECT id FROM pool), 'pool.low', 'email', 'a@example.org', '{}'",
    ),
    "webhook_delivery": (
        webhooks.forget_webhook_deliveries,
        "webhook_id, events, test, created_at",
        "(SELECT id FROM webhook), 1, true",
    ),
}


@pytest.mark.parametrize("table", LOGS)
async def test_what_is_kept_for_a_time_goes_after_it_in_batches(client, engine, monkeypatch, table):
    monkeypatch.setattr(forgetting, "BATCH", 2)
    monkeypatch.setattr(forgetting, "MOST_BATCHES", 2)
    await fill(engine, "p", 1)
    hook = {"url": "https://example.org/hook", "events": ["pool.low"]}
    assert (await client.post("/v1/webhooks", json=hook)).status_code == 201
    task, columns, values = LOGS[table]
    ages = "generate_series(0, 5) AS n"
    async with transaction(engine) as connection:
        await connection.execute(
            text(
                f"INSERT INTO {table} ({columns}) SELECT {values}, now() - n * interval '100 days' FROM {ages}"
            )
        )
    left = []
    for _ in range(2):
        await task.func(SimpleNamespace(additional_context={"engine": engine}), 0)
        async with transaction(engine) as connection:
            left.append((await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())
    assert left == [2, 1]
