"""A request that is sent twice with one `Idempotency-Key` is done once, whatever it makes or changes."""

import asyncio
import uuid

import pytest
from sqlalchemy import text

from app.domain.access.replies import service as replies
from app.domain.imports.sources import checking
from app.domain.lifecycle import transitions
from app.domain.tracking import merge as merging
from app.platform import hooks
from app.platform.database import transaction
from app.platform.errors import InvalidRequestError
from app.platform.projects import everywhere
from tests.domain.imports.imported import run_job
from tests.factories import add_key, fill

SAME = {"Idempotency-Key": "retry-1"}
HOOK = {"thresholds": [5], "webhook_url": "https://example.org/hook"}
SCHEDULE = {
    "pool": "p",
    "source": {"type": "url", "url": "https://example.org/codes.csv"},
    "cron": "0 6 * * *",
}
MAKES = {
    "/v1/pools": ({"name": "made"}, "pool", 1),
    "/v1/pools/p/holds": ({"campaign_id": "c", "count": 2}, "hold", 1),
    "/v1/import-schedules": (SCHEDULE, "import_schedule", 1),
    "/v1/api-keys": ({"name": "k", "scopes": ["read"]}, "api_key", 1),
    "/v1/pools/p/alerts/test": (None, "delivery", 1),
    "/v1/pools/p/imports": ({"source": {"type": "text", "text": "code\nA-1\n"}}, "import", 1),
    "/v1/pools/p/assignments": ({"customer_id": "c"}, "assignment", 1),
    "/v1/pools/p/assignments/batch": ({"items": [{}, {"customer_id": "c"}]}, "assignment", 2),
    "/v1/events": ({"events": [{"customer_id": "c", "event_type": "e"}] * 2}, "event", 2),
    "/v1/render": (
        {"template": "{{ vouchers['p'].assign_available() }}", "channel": "email", "mode": "send"},
        "assignment",
        1,
    ),
}


async def let_a_day_pass(engine):
    """Make all replies that are kept older than they are kept for."""
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE kept_reply SET kept_at = kept_at - interval '25 hours'"))


async def rows(engine, table):
    async with transaction(engine) as connection:
        return (await connection.execute(text(f'SELECT count(*) FROM "{table}"'))).scalar_one()


@pytest.fixture
async def pool(client, engine):
    await fill(engine, "p", 30)
    await client.put("/v1/pools/p/alerts", json=HOOK)


@pytest.mark.parametrize("path", MAKES)
async def test_two_at_once_and_a_third_later_make_one(client, engine, pool, path):
    body, table, n = MAKES[path]
    before = await rows(engine, table)
    both = await asyncio.gather(*(client.post(path, json=body, headers=SAME) for _ in range(2)))
    third = await client.post(path, json=body, headers=SAME)
    assert all(reply.is_success for reply in (*both, third)), [reply.text for reply in both]
    assert await rows(engine, table) == before + n
    assert (await client.post(path, json=body, headers={"Idempotency-Key": "retry-2"})).status_code != 422


async def test_a_kept_reply_is_that_of_the_first_time(client, pool):
    first = await client.post("/v1/api-keys", json={"name": "k", "scopes": ["read"]}, headers=SAME)
    again = await client.post("/v1/api-keys", json={"name": "k", "scopes": ["read"]}, headers=SAME)
    assert (first.status_code, again.status_code, again.content) == (201, 201, first.content)
    for name in ("etag", "location", "content-type"):
        assert again.headers[name] == first.headers[name]
    assert (again.headers["idempotency-replayed"], "idempotency-replayed" in first.headers) == ("true", False)
    assert (await client.get(first.headers["location"])).json()["name"] == "k"


async def test_a_repeat_is_answered_also_where_its_source_would_be_refused_by_now(client, monkeypatch):
    first = await client.post("/v1/import-schedules", json=SCHEDULE, headers=SAME)

    async def refuse(*_):
        raise InvalidRequestError("The service may not go there.", [])

    monkeypatch.setattr(checking, "check_reach", refuse)
    again = await client.post("/v1/import-schedules", json=SCHEDULE, headers=SAME)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert (await client.post("/v1/import-schedules", json=SCHEDULE)).status_code == 422


async def test_a_secret_is_rotated_once(client, pool):
    made = (await client.post("/v1/api-keys", json={"name": "k", "scopes": ["read"]})).json()
    for path in ("/v1/pools/p/alerts/secret", f"/v1/api-keys/{made['id']}/rotate"):
        key = {"Idempotency-Key": path}
        first, again = [await client.post(path, headers=key) for _ in range(2)]
        assert (first.status_code, again.content) == (200, first.content)


async def test_what_changes_a_thing_is_done_once(client, engine, settings, pool):
    """What happened to the thing since is not undone by a repeat that comes late."""

    async def twice(path, meanwhile=None, **body):
        first = await client.post(path, headers={"Idempotency-Key": path}, **body)
        if meanwhile is not None:
            await meanwhile
        again = await client.post(path, headers={"Idempotency-Key": path}, **body)
        assert (first.status_code, again.status_code, again.content) == (200, 200, first.content), path
        assert again.headers["idempotency-replayed"] == "true"
        return first.json()

    given, held, other = [
        (await client.post("/v1/pools/p/assignments", json=body)).json()
        for body in ({}, {"lease_seconds": 60}, {})
    ]
    await twice(f"/v1/assignments/{held['id']}/confirm")
    await twice(f"/v1/assignments/{other['id']}/release", json={"reason": "not sent"})

    async def reinstated():
        async with transaction(engine) as connection:
            assert await transitions.reinstate(connection, [given["code"]]) == 1

    await twice(f"/v1/vouchers/{given['code']}/void", reinstated())
    assert (await client.get(f"/v1/vouchers/{given['code']}")).json()["status"] == "assigned"
    change = {"action": "void", "filter": {"pool": "p"}}
    asked = await client.post("/v1/bulk-changes", json=change)
    assert (await twice(f"{asked.headers['location']}/cancel"))["status"] == "cancelled"
    imported = await run_job(engine, settings, client, "code\nB-1\nB-2\n", "q")
    await twice(f"/v1/imports/{imported['id']}/accept-suspicious")
    assert (await twice(f"/v1/imports/{imported['id']}/undo"))["taken_back"] == 2
    await twice("/v1/redemption-mapping/replay")
    await twice("/v1/customers/c1/merge", json={"from": "c2"})
    headers = {"Idempotency-Key": "/v1/customers/c1/merge"}
    reply = await client.post("/v1/customers/c1/merge", json={"from": "c3"}, headers=headers)
    assert reply.json()["type"] == "/problems/idempotency-key-reused"
    file = {"file": ("c.csv", "id,n\nc1,1\n")}
    newer = client.patch("/v1/customers/c1", json={"properties": {"n": 2}})
    await twice("/v1/customers/imports", newer, files=file)
    assert (await client.get("/v1/customers/c1")).json()["properties"] == {"n": 2}


async def test_a_repeat_is_not_judged_anew(client, pool, monkeypatch):
    hook = {"url": "https://example.org/hook", "events": ["voucher.assigned"]}
    first = await client.post("/v1/webhooks", json=hook, headers=SAME)

    async def refusal(*_):
        return "it cannot be called any more"

    monkeypatch.setattr(hooks, "refusal", refusal)
    again = await client.post("/v1/webhooks", json=hook, headers=SAME)
    assert (first.status_code, again.status_code, again.content) == (201, 201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert (await client.post("/v1/webhooks", json=hook)).status_code == 422


async def test_another_request_with_the_key_is_refused(client, pool):
    await client.post("/v1/pools", json={"name": "a"}, headers=SAME)
    for path, body in (("/v1/pools", {"name": "b"}), ("/v1/pools/p/alerts/test", None)):
        reply = await client.post(path, json=body, headers=SAME)
        assert (reply.status_code, reply.json()["type"]) == (422, "/problems/idempotency-key-reused")
    file = {"file": ("c.csv", "code\nA-1\n")}
    imported = [
        await client.post("/v1/pools/p/imports", files=file, headers={"Idempotency-Key": "f"})
        for _ in range(2)
    ]
    assert imported[0].json()["id"] == imported[1].json()["id"]
    assert imported[1].headers["idempotency-replayed"] == "true"
    file = {"file": ("c.csv", "code\nA-2\n")}
    other = await client.post("/v1/pools/p/imports", files=file, headers={"Idempotency-Key": "f"})
    assert other.json()["type"] == "/problems/idempotency-key-reused"


async def test_of_two_requests_with_one_key_at_once_one_is_not_begun(client):
    for name in "abc":
        await client.patch(f"/v1/customers/{name}", json={"properties": {"name": name}})
    merges = [client.post("/v1/customers/a/merge", json={"from": name}, headers=SAME) for name in "bc"]
    replies = dict(zip("bc", await asyncio.gather(*merges), strict=True))
    (done,) = (name for name, reply in replies.items() if reply.is_success)
    (refused,) = set("bc") - {done}
    assert replies[refused].json()["type"] == "/problems/idempotency-key-reused"
    assert (await client.get(f"/v1/customers/{done}")).json()["id"] == "a"
    assert (await client.get(f"/v1/customers/{refused}")).json()["id"] == refused


async def test_what_was_broken_off_goes_on_with_its_key_alone(client, monkeypatch):
    async def broken(*_):
        raise RuntimeError

    for name in "abc":
        await client.patch(f"/v1/customers/{name}", json={"properties": {"name": name}})
    with monkeypatch.context() as patch:
        patch.setattr(merging, "merge", broken)
        reply = await client.post("/v1/customers/a/merge", json={"from": "b"}, headers=SAME)
        assert reply.status_code == 500
    for name, status in (("c", 422), ("b", 200)):
        reply = await client.post("/v1/customers/a/merge", json={"from": name}, headers=SAME)
        assert reply.status_code == status


async def test_what_comes_many_at_a_time_is_known_again_by_its_place(client, pool):
    batch = "/v1/pools/p/assignments/batch"
    first = (await client.post(batch, json={"items": [{}, {}]}, headers=SAME)).json()["items"]
    longer = (await client.post(batch, json={"items": [{}, {}, {}]}, headers=SAME)).json()
    assert [each["status"] for each in longer["items"]] == ["replayed", "replayed", "assigned"]
    assert [each["code"] for each in longer["items"][:2]] == [each["code"] for each in first]
    other = await client.post(batch, json={"items": [{}, {"customer_id": "c"}, {}, {}]}, headers=SAME)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert (await client.get("/v1/pools/p/counts")).json()["assigned"] == 3
    for names, statuses in (
        ("ab", ["accepted", "accepted"]),
        ("abc", ["duplicate", "duplicate", "accepted"]),
        ("ax", ["duplicate", "conflict"]),
    ):
        events = [{"customer_id": "c", "event_type": name} for name in names]
        reply = await client.post("/v1/events", json={"events": events}, headers=SAME)
        assert [each["status"] for each in reply.json()["items"]] == statuses


async def test_what_failed_may_be_tried_again_with_the_key(client, engine, pool):
    hold = {"campaign_id": "c", "count": 40}
    assert (await client.post("/v1/pools/p/holds", json=hold, headers=SAME)).status_code == 409
    assert (await client.post(f"/v1/imports/{uuid.UUID(int=1)}/undo", headers=SAME)).status_code == 404
    await fill(engine, "q", 1)
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE stock SET available = available + 20 WHERE slot = 1"))
    assert (await client.post("/v1/pools/p/holds", json=hold, headers=SAME)).status_code == 201


async def test_a_key_belongs_to_the_api_key_that_sent_it(client, engine, pool):
    other = "other-key-0123456789-0123456789-0123456789"
    await add_key(engine, other, "pools")
    await client.post("/v1/pools", json={"name": "a"}, headers=SAME)
    headers = SAME | {"Authorization": f"Bearer {other}"}
    assert (await client.post("/v1/pools", json={"name": "b"}, headers=headers)).status_code == 201


async def test_replies_are_kept_sealed_and_for_a_day(client, engine, pool):
    made = await client.post("/v1/api-keys", json={"name": "k", "scopes": ["read"]}, headers=SAME)
    async with transaction(engine) as connection:
        (sealed,) = (await connection.execute(text("SELECT sealed FROM kept_reply"))).scalars()
        assert made.json()["secret"].encode() not in bytes(sealed)
    await replies.forget(everywhere(engine))
    assert await rows(engine, "kept_reply") == 1
    await let_a_day_pass(engine)
    await replies.forget(everywhere(engine))
    assert await rows(engine, "kept_reply") == 0


@pytest.mark.parametrize(
    ("path", "bodies"),
    [
        ("/v1/pools", [{"json": {"name": name}} for name in "ab"]),
        ("/v1/customers/imports", [{"files": {"file": ("c.csv", f"id\n{name}\n")}} for name in "ab"]),
    ],
)
async def test_after_a_day_a_key_is_a_new_one_though_the_old_reply_is_not_deleted_yet(
    client, engine, path, bodies
):
    first, second = bodies
    assert (await client.post(path, headers=SAME, **first)).is_success
    assert (await client.post(path, headers=SAME, **second)).status_code == 422
    await let_a_day_pass(engine)
    done = await client.post(path, headers=SAME, **second)
    again = await client.post(path, headers=SAME, **second)
    assert (done.is_success, "idempotency-replayed" in done.headers) == (True, False), done.text
    assert (again.content, again.headers["idempotency-replayed"]) == (done.content, "true")


async def test_pages_link_to_the_next_one(client, engine):
    for name in "abc":
        await client.post("/v1/pools", json={"name": name})
    address = "/v1/pools?limit=1"
    pages = 1
    while "link" in (page := await client.get(address)).headers:
        pages += 1
        address, rel = page.headers["link"].split(">; ")
        address = address.removeprefix("<")
        assert rel == 'rel="next"'
        assert page.json()["next_cursor"] in address
    assert (pages, page.json()["items"][0]["name"], page.json()["next_cursor"]) == (3, "c", None)
