"""Two people edit one thing: whoever has not seen the other's edit is told (412), and nothing is lost."""

import asyncio
from itertools import product

import httpx
import pytest
from sqlalchemy import text

from app.domain.alerts import service as alerts
from app.domain.alerts.schemas import AlertsUpdate
from app.domain.customers import service as customers
from app.domain.customers.schemas import AggregateIn
from app.platform.database import transaction
from app.platform.settings import Settings
from app.platform.versions import Expected, PreconditionFailedError
from tests.factories import fill
from tests.waiting import until_somebody_waits

EMAILS = ["a@shop.test", "b@shop.test"]
SOURCE = {"type": "url", "url": "https://example.org/codes.csv"}


async def _pool(client):
    await client.post("/v1/pools", json={"name": "p"})
    return "/v1/pools/p"


async def _aggregate(client):
    await client.put("/v1/aggregates/last", json={"event_type": "e", "function": "count"})
    return "/v1/aggregates/last"


async def _mapping(client):
    await client.put("/v1/redemption-mapping", json={"mappings": []})
    return "/v1/redemption-mapping"


async def _alerts(client):
    await _pool(client)
    hook = {"thresholds": [5], "webhook_url": "https://example.org/hook"}
    await client.put("/v1/pools/p/alerts", json=hook)
    return "/v1/pools/p/alerts"


async def _schedule(client):
    body = {"pool": "p", "source": SOURCE, "cron": "0 6 * * *"}
    made = await client.post("/v1/import-schedules", json=body)
    assert made.headers["etag"], made.text
    return f"/v1/import-schedules/{made.json()['id']}"


async def _hold(client):
    made = await client.post("/v1/pools/stocked/holds", json={"campaign_id": "c", "count": 1})
    assert made.headers["etag"], made.text
    return f"/v1/pools/stocked/holds/{made.json()['id']}"


async def _webhook(client):
    body = {"url": "https://example.org/hook", "events": ["voucher.assigned"]}
    made = await client.post("/v1/webhooks", json=body)
    assert made.headers["etag"], made.text
    return f"/v1/webhooks/{made.json()['id']}"


async def _key(client):
    made = await client.post("/v1/api-keys", json={"name": "k", "scopes": ["read"]})
    assert made.headers["etag"]
    return f"/v1/api-keys/{made.json()['id']}"


def _mapped(name):
    return {"mappings": [{"event_type": "purchase", "property": name}]}


HOOK = {"thresholds": [7], "webhook_url": "https://example.org/hook"}
EDITS = {
    "pool": (_pool, "PATCH", "", [{"description": "one"}, {"description": "two"}]),
    "aggregate": (_aggregate, "PUT", "", [{"event_type": each, "function": "count"} for each in "ab"]),
    "mapping": (_mapping, "PUT", "", [_mapped("a"), _mapped("b")]),
    "alerts": (_alerts, "PUT", "", [HOOK, HOOK | {"thresholds": [8]}]),
    "schedule": (_schedule, "PATCH", "", [{"cron": "0 7 * * *"}, {"active": False}]),
    "hold": (_hold, "PATCH", "", [{"count": 2}, {"count": 3}]),
    "webhook": (_webhook, "PATCH", "", [{"events": ["voucher.voided"]}, {"events": ["pool.low"]}]),
    "key": (_key, "POST", "/rotate", [{"grace_seconds": 0}, {"grace_seconds": 0}]),
}


@pytest.fixture(autouse=True)
async def stocked(engine):
    await fill(engine, "stocked", 3)


KINDS = pytest.mark.parametrize("kind", EDITS)


async def edited(client, kind):
    """Make a thing; its path, its tag, and what edits it as often as there are bodies."""
    make, method, more, bodies = EDITS[kind]
    path = await make(client)

    def edit(n, tag):
        headers = {} if tag is None else {"If-Match": tag}
        return client.request(method, path + more, json=bodies[n], headers=headers)

    return path, (await client.get(path)).headers["etag"], edit


@KINDS
async def test_of_two_edits_from_one_version_the_second_is_refused(client, kind):
    path, tag, edit = await edited(client, kind)
    first = await edit(0, tag)
    assert first.status_code == 200, first.text
    now = (await client.get(path)).headers["etag"]
    assert first.headers["etag"] == now != tag
    second = await edit(1, tag)
    assert (second.status_code, second.json()["type"]) == (412, "/problems/precondition-failed")
    assert second.headers["etag"] == now
    assert (await client.get(path)).headers["etag"] == now, "nothing was changed"
    assert (await edit(1, f"W/{now}")).status_code == 412, "a weak tag matches nothing"
    assert (await edit(1, f'"no" , {now}')).status_code == 200
    assert (await edit(0, "*")).status_code == 200
    assert (await edit(1, None)).status_code == 200


@KINDS
async def test_of_two_edits_at_once_one_is_made_and_nothing_is_deleted_unseen(client, kind):
    path, tag, edit = await edited(client, kind)
    replies = await asyncio.gather(edit(0, tag), edit(1, tag))
    assert sorted(reply.status_code for reply in replies) == [200, 412]
    now = (await client.get(path)).headers["etag"]
    assert now == next(reply for reply in replies if reply.status_code == 200).headers["etag"]
    if kind != "mapping":
        assert (await client.delete(path, headers={"If-Match": tag})).status_code == 412
        assert (await client.get(path)).headers["etag"] == now
        assert (await client.delete(path, headers={"If-Match": now})).status_code == 204


async def test_what_is_no_tag_is_refused(client):
    path = await _pool(client)
    for bad in ("abc", '"', "", '"a" "b"', '*, "a"', "W/*", '"a\tb"', '"a" b'):
        reply = await client.patch(path, json={"description": "x"}, headers={"If-Match": bad})
        assert reply.status_code == 422
        assert reply.json()["errors"][0]["loc"] == ["header", "if-match"]
    assert (await client.get(path)).json()["description"] is None


async def test_several_headers_are_one_list(client):
    path = await _pool(client)
    tag = (await client.get(path)).headers["etag"]
    headers = [("If-Match", '"no"'), ("If-Match", tag)]
    reply = await client.patch(path, json={"description": "x"}, headers=headers)
    assert reply.status_code == 200


async def test_what_is_not_there_is_not_made(client):
    await _pool(client)
    cases = [("/v1/aggregates/none", EDITS["aggregate"][3][0]), ("/v1/pools/p/alerts", HOOK)]
    for (path, body), tag in product(cases, ["*", '"abc"']):
        reply = await client.put(path, json=body, headers={"If-Match": tag})
        assert (reply.status_code, "etag" in reply.headers) == (412, False)
        assert (await client.get(path)).status_code == 404


async def test_one_made_again_under_its_name_is_another(client):
    path = await _pool(client)
    tag = (await client.get(path)).headers["etag"]
    await client.delete(path)
    await _pool(client)
    assert (await client.patch(path, json={"description": "x"}, headers={"If-Match": tag})).status_code == 412


async def test_counts_and_runs_change_no_version(client, engine):
    path = await _alerts(client)
    schedule = await _schedule(client)
    before = [(await client.get(each)).headers["etag"] for each in ("/v1/pools/p", path, schedule)]
    file = {"file": ("c.csv", "code\nA-1\nA-2\n")}
    await client.post("/v1/pools/p/imports", files=file)
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE stock SET available = available + 3 WHERE slot = 0"))
        await connection.execute(text("UPDATE alert_threshold SET fell_at = now(), available = 3"))
        await connection.execute(text("UPDATE import_schedule SET error = 'x', next_run = now()"))
    after = [(await client.get(each)).headers["etag"] for each in ("/v1/pools/p", path, schedule)]
    assert after == before


async def test_a_new_password_of_a_source_is_a_new_version(client):
    def body(password):
        return SOURCE | {"url": f"https://me:{password}@example.org/codes.csv"}

    path = await _schedule(client)
    tags = set()
    for password in ("one", "two"):
        changed = await client.patch(path, json={"source": body(password)})
        assert changed.status_code == 200, changed.text
        tags.add(changed.headers["etag"])
    assert len(tags) == 2


async def test_a_key_that_may_only_read_gets_no_version_of_what_it_is_not_shown(app, client):
    path = await _schedule(client)
    made = await client.post("/v1/api-keys", json={"name": "r", "scopes": ["read"]})
    headers = {"Authorization": f"Bearer {made.json()['secret']}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test", headers=headers
    ) as reader:
        reply = await reader.get(path)
    assert (reply.status_code, "etag" in reply.headers) == (200, False)


NOT_THERE = Expected(frozenset({None}))
FIRST_SAVES = {
    "alerts": lambda connection, n: alerts.put(
        connection,
        None,
        Settings(),
        "stocked",
        AlertsUpdate(thresholds=[n], webhook_url=HOOK["webhook_url"]),
        NOT_THERE,
    ),
    "aggregate": lambda connection, n: customers.put_aggregate(
        connection, None, "last", AggregateIn(event_type=f"e{n}", function="count").model_dump(), NOT_THERE
    ),
}


@pytest.mark.parametrize("kind", FIRST_SAVES)
async def test_of_two_who_save_the_first_at_once_the_second_is_told_of_the_other(engine, kind):
    async def save(n):
        async with transaction(engine) as connection:
            return await FIRST_SAVES[kind](connection, n)

    async with transaction(engine) as connection:
        await FIRST_SAVES[kind](connection, 1)
        second = asyncio.create_task(save(2))
        await until_somebody_waits(engine)
    with pytest.raises(PreconditionFailedError):
        await second
