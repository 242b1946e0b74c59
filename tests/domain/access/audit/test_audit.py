import asyncio
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from app.domain.access.audit import service as audit
from app.domain.access.audit.schemas import Filter
from app.domain.access.keys import service as auth
from app.domain.access.scopes import Scope
from app.platform.database import transaction
from app.platform.projects import DEFAULT
from tests.factories import add_key, fill

URL = "/v1/audit"
HOOK = "https://example.com/hook"
ADD = text("INSERT INTO audit_entry (id, key_name, action, details) VALUES (:id, 'k', 'thing.done', '{}')")
ADD_MANY = text("""
INSERT INTO audit_entry (id, at, key_name, action, details)
SELECT extract(epoch FROM at) * 1000000 + n, at, 'k', 'thing.done', '{}'
FROM (SELECT now() - make_interval(days => :days) AS at) AS moment, generate_series(1, :n) AS n
""")
READ = text("""
SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables
WHERE relname = 'audit_entry'
""")
"""How many rows the session has read of late."""


async def entries(client, **params):
    return (await client.get(URL, params=params)).json()["items"]


async def actions(client, **params):
    return [entry["action"] for entry in await entries(client, **params)]


async def test_what_a_key_does_is_in_the_audit(client, engine):
    await client.post("/v1/pools", json={"name": "p"})
    await client.put("/v1/pools/p/alerts", json={"thresholds": [5], "webhook_url": HOOK})
    await client.post("/v1/pools/p/alerts/secret")
    await client.delete("/v1/pools/p/alerts")
    await client.delete("/v1/pools/p")
    assert await actions(client, pool="p") == [
        "pool.deleted",
        "alerts.deleted",
        "alerts.secret_rotated",
        "alerts.set",
        "pool.created",
    ]
    async with transaction(engine) as connection:
        key_id = (await connection.execute(text("SELECT id FROM api_key"))).scalar_one()
    for entry in await entries(client, pool="p"):
        assert (entry["key_id"], entry["key_name"]) == (str(key_id), "test")


async def test_aggregates_that_are_set_and_deleted_are_in_the_audit(client):
    await client.put("/v1/aggregates/a", json={"event_type": "e", "function": "count"})
    await client.delete("/v1/aggregates/a")
    assert (await client.delete("/v1/aggregates/a")).status_code == 404
    assert [(entry["action"], entry["key_name"], entry["details"]) for entry in await entries(client)] == [
        ("aggregate.deleted", "test", {"name": "a"}),
        ("aggregate.set", "test", {"name": "a"}),
    ]


async def test_what_was_refused_is_not_in_the_audit(client, engine):
    await fill(engine, "p", 3)
    await client.post("/v1/pools/p/assignments", json={})
    assert (await client.delete("/v1/pools/p")).status_code == 409
    assert (await client.post("/v1/pools", json={"name": "p"})).status_code == 409
    assert (await client.delete("/v1/pools/q")).status_code == 404
    assert await actions(client) == []


async def test_no_secret_is_in_the_audit(client, engine):
    await fill(engine, "p", 3)
    reply = await client.put("/v1/pools/p/alerts", json={"thresholds": [5], "webhook_url": HOOK})
    async with transaction(engine) as connection:
        key_id, secret = await auth.create(connection, "shop", [Scope.EVENTS])
        assert await auth.revoke(connection, None, DEFAULT, key_id)
        assert not await auth.revoke(connection, None, DEFAULT, key_id)
    revoked, created, _ = await entries(client)
    assert created["details"] == {"id": str(key_id), "name": "shop", "scopes": ["events"]}
    assert (revoked["action"], revoked["details"]) == ("api_key.revoked", {"id": str(key_id)})
    assert (created["key_id"], created["key_name"]) == (None, "(no key)")
    text_ = (await client.get(URL)).text
    assert secret not in text_
    assert reply.json()["webhook_secret"] not in text_


async def test_the_audit_is_filtered_and_paged_newest_first(client, engine):
    for n in range(6):
        async with transaction(engine) as connection:
            await audit.record(connection, None, f"thing.{n % 2}", pool=f"p{n % 3}", n=n)
    newest_first = [entry["details"]["n"] for entry in await entries(client)]
    assert newest_first == [5, 4, 3, 2, 1, 0]
    assert [entry["details"]["n"] for entry in await entries(client, action="thing.1")] == [5, 3, 1]
    assert [entry["details"]["n"] for entry in await entries(client, action="thing.1", pool="p2")] == [5]
    middle = (await entries(client))[3]["at"]
    assert [entry["details"]["n"] for entry in await entries(client, since=middle)] == [5, 4, 3, 2]
    assert [entry["details"]["n"] for entry in await entries(client, until=middle)] == [1, 0]
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert await entries(client, since=tomorrow) == []
    page = (await client.get(URL, params={"limit": 4})).json()
    rest = (await client.get(URL, params={"limit": 4, "cursor": page["next_cursor"]})).json()
    assert [entry["details"]["n"] for entry in page["items"] + rest["items"]] == newest_first
    assert rest["next_cursor"] is None


async def test_a_bad_filter_is_refused(client):
    for params in ({"since": "yesterday"}, {"cursor": "WyJ4Il0"}, {"limit": 1001}):
        assert (await client.get(URL, params=params)).status_code == 422


async def test_only_an_admin_sees_the_audit(client, engine):
    key = "pools-0123456789-0123456789-0123456789"
    await add_key(engine, key, "pools", "assign", "events", "read")
    assert (await client.get(URL, headers={"Authorization": f"Bearer {key}"})).status_code == 403


async def test_ids_of_entries_grow_where_the_clock_has_gone_back(client, engine):
    ahead = 4 * 10**15
    async with transaction(engine) as connection:
        await connection.execute(ADD, {"id": ahead})
    await asyncio.gather(*(client.post("/v1/pools", json={"name": f"p{n}"}) for n in range(5)))
    newest_first = await entries(client)
    ids = [entry["id"] for entry in newest_first]
    assert (len(ids), sorted(set(ids), reverse=True), ids[-1]) == (6, ids, ahead)
    times = [entry["at"] for entry in newest_first[:5]]
    assert len(await entries(client, since=min(times))) == 5
    later = datetime.fromisoformat(max(times)) + timedelta(microseconds=1)
    assert len(await entries(client, until=later.isoformat())) == 6


async def test_nobody_waits_for_another_act_where_the_clock_has_gone_back(client, engine):
    async with transaction(engine) as connection:
        await connection.execute(ADD, {"id": 4 * 10**15})
    async with transaction(engine) as first, transaction(engine) as second, asyncio.timeout(5):
        for connection in (first, second):
            await audit.record(connection, None, "thing.done")
    ids = [entry["id"] for entry in await entries(client)]
    assert (len(ids), sorted(set(ids), reverse=True), ids[-1]) == (3, ids, 4 * 10**15)


async def test_an_entry_is_found_by_its_time_though_its_id_is_days_off(client, engine):
    now = datetime.now(UTC)
    async with transaction(engine) as connection:
        for days in (-6, 0, 6):
            off = now + timedelta(days=days)
            await connection.execute(ADD, {"id": int(off.timestamp() * 1_000_000)})
    for wanted in ({"since": now - timedelta(hours=1)}, {"until": now + timedelta(hours=1)}):
        ((name, time),) = wanted.items()
        assert len(await entries(client, **{name: time.isoformat()})) == 3


async def test_entries_of_a_time_are_found_without_those_of_other_times_being_read(engine):
    for days, n in ((400, 20), (200, 300), (0, 300)):
        async with transaction(engine) as connection:
            await connection.execute(ADD_MANY, {"days": days, "n": n})
    now = datetime.now(UTC)
    for wanted, most, found in (
        (Filter(since=now - timedelta(days=1)), 1000, 300),
        (Filter(until=now - timedelta(days=300)), 5, 5),
        (Filter("thing.done", since=now - timedelta(days=300), until=now - timedelta(days=100)), 400, 300),
    ):
        async with transaction(engine) as connection:
            for way in ("seqscan", "bitmapscan"):
                await connection.execute(text(f"SET LOCAL enable_{way} = off"))
            before = (await connection.execute(READ)).scalar_one_or_none() or 0
            assert len(await audit.list_page(connection, wanted, None, most)) == found
            assert (await connection.execute(READ)).scalar_one() - before <= found + 5
