"""Projects, by API: their whole life, who may do what, and that two of them never meet."""

import asyncio
import re

import httpx
import pytest
from sqlalchemy import text

from app.api import projects
from app.domain.lifecycle import check
from app.domain.projects import deletion
from app.domain.projects.databases.errors import DatabaseDrainingError
from app.platform.database import transaction
from tests.factories import add_key, fill
from tests.shops import client_of, furnish, shops

OPERATOR = "operator-0123456789-0123456789-0123456789"
MAKE = {"name": "shop"}
ADMIN = {"name": "first", "scopes": ["admin"]}


@pytest.fixture
async def operator(app, engine):
    await add_key(engine, OPERATOR, "operator")
    async with client_of(app, OPERATOR) as client:
        yield client


def problem(reply):
    return reply.status_code, reply.json()["type"].removeprefix("/problems/")


async def open_shop(operator, app, called, **body):
    assert (await operator.post("/v1/projects", json={"name": called})).status_code == 201
    key = await operator.post(f"/v1/projects/{called}/api-keys", json=ADMIN | body)
    assert key.status_code == 201, key.text
    return client_of(app, key.json()["secret"])


async def test_a_project_that_is_made_is_told_again_where_no_other_could_be_made(operator, monkeypatch):
    first = await operator.post("/v1/projects", json=MAKE, headers={"Idempotency-Key": "k"})

    async def choose(*_):
        raise DatabaseDrainingError("main")

    monkeypatch.setattr(projects, "choose", choose)
    again = await operator.post("/v1/projects", json=MAKE, headers={"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code, again.content) == (201, 201, first.content)
    assert problem(await operator.post("/v1/projects", json={"name": "other"})) == (409, "database-draining")


async def test_the_life_of_a_project(operator, app, engine):
    made = await operator.post("/v1/projects", json=MAKE)
    assert (made.status_code, made.headers["location"]) == (201, "/v1/projects/shop")
    about = {"created_at": made.json()["created_at"], "deleting_since": None, "database": "main"}
    assert made.json() == {"name": "shop"} | about
    read = await operator.get("/v1/projects/shop")
    assert (read.json(), read.headers["etag"]) == (made.json(), made.headers["etag"])
    assert [each["name"] for each in (await operator.get("/v1/projects")).json()["items"]] == [
        "default",
        "shop",
    ]
    assert problem(await operator.post("/v1/projects", json=MAKE)) == (409, "project-exists")

    key = (await operator.post("/v1/projects/shop/api-keys", json=ADMIN)).json()
    async with client_of(app, key["secret"]) as shop:
        assert (await shop.get("/v1/pools")).json()["items"] == []
        assert (await shop.post("/v1/pools", json={"name": "p"})).status_code == 201
        assert [each["id"] for each in (await shop.get("/v1/api-keys")).json()["items"]] == [key["id"]]

        stale = {"If-Match": '"0"'}
        renamed = await operator.patch("/v1/projects/shop", json={"name": "store"}, headers=stale)
        assert problem(renamed) == (412, "precondition-failed")
        taken = await operator.patch("/v1/projects/shop", json={"name": "default"})
        assert problem(taken) == (409, "project-exists")
        seen = {"If-Match": read.headers["etag"]}
        renamed = await operator.patch("/v1/projects/shop", json={"name": "store"}, headers=seen)
        assert (renamed.json()["name"], renamed.headers["etag"] != read.headers["etag"]) == ("store", True)
        assert problem(await operator.get("/v1/projects/shop")) == (404, "project-not-found")
        assert [each["name"] for each in (await shop.get("/v1/pools")).json()["items"]] == ["p"]

        for confirm in ("", "?confirm=shop"):
            reply = await operator.delete(f"/v1/projects/store{confirm}")
            assert (problem(reply), reply.json()["errors"][0]["loc"]) == (
                (422, "invalid-request"),
                ["query", "confirm"],
            )
        gone = [await operator.delete("/v1/projects/store?confirm=store") for _ in range(2)]
        assert [reply.status_code for reply in gone] == [202, 202]
        assert gone[0].json() == gone[1].json()
        assert gone[0].json()["deleting_since"] is not None
        assert (await shop.get("/v1/pools")).status_code == 401
    deleting = (409, "project-deleting")
    assert problem(await operator.post("/v1/projects/store/api-keys", json=ADMIN)) == deleting
    assert problem(await operator.patch("/v1/projects/store", json={"name": "x"})) == deleting
    assert problem(await operator.post("/v1/projects", json={"name": "store"})) == (409, "project-exists")
    async with transaction(engine) as connection:
        find = text("SELECT args FROM procrastinate_jobs WHERE task_name = 'delete_project' ORDER BY id")
        job, once_more = (await connection.execute(find)).scalars().all()
        assert job == once_more
    await deletion.run(engine, job["doomed"], 0)
    for method, path in (("GET", ""), ("GET", "/api-keys"), ("DELETE", "?confirm=store")):
        reply = await operator.request(method, f"/v1/projects/store{path}")
        assert problem(reply) == (404, "project-not-found")
    assert (await operator.post("/v1/projects", json={"name": "store"})).status_code == 201


async def test_keys_of_a_project_are_made_rotated_and_revoked_by_an_operator(operator, app):
    async with await open_shop(operator, app, "shop", name="a") as shop:
        path = "/v1/projects/shop/api-keys"
        once = {"Idempotency-Key": "k"}
        made = [await operator.post(path, json=ADMIN, headers=once) for _ in range(2)]
        assert made[0].json() == made[1].json()
        key = made[0].json()
        one = await operator.get(made[0].headers["location"])
        assert (one.json()["name"], one.headers["etag"]) == ("first", made[0].headers["etag"])
        await shop.get("/v1/pools")
        listed = (await operator.get(path)).json()["items"]
        assert listed == (await shop.get("/v1/api-keys")).json()["items"]
        assert [each["name"] for each in listed] == ["a", "first"]
        rotated = await operator.post(f"{path}/{key['id']}/rotate", json={"grace_seconds": 0})
        async with client_of(app, key["secret"]) as old, client_of(app, rotated.json()["secret"]) as new:
            assert [(await each.get("/v1/pools")).status_code for each in (old, new)] == [401, 200]
            assert (await operator.delete(f"{path}/{key['id']}")).status_code == 204
            assert (await new.get("/v1/pools")).status_code == 401
        acts = [each["action"] for each in (await shop.get("/v1/audit")).json()["items"]]
    assert acts == [
        "api_key.revoked",
        "api_key.rotated",
        "api_key.created",
        "api_key.created",
        "project.created",
    ]


async def test_a_key_is_found_in_its_own_project_only(operator, app, client):
    async with await open_shop(operator, app, "a") as a, await open_shop(operator, app, "b") as b:
        (foreign,) = (await b.get("/v1/api-keys")).json()["items"]
        path = f"/v1/api-keys/{foreign['id']}"
        asked = [
            *[await each.get(path) for each in (a, client)],
            *[await each.post(f"{path}/rotate") for each in (a, client)],
            *[await each.delete(path) for each in (a, client)],
            await operator.get(f"/v1/projects/a/api-keys/{foreign['id']}"),
            await operator.post(f"/v1/projects/a/api-keys/{foreign['id']}/rotate"),
            await operator.delete(f"/v1/projects/a/api-keys/{foreign['id']}"),
        ]
        assert {problem(reply) for reply in asked} == {(404, "api-key-not-found")}
        assert (await b.get(path)).json()["revoked_at"] is None


async def test_the_first_project_stays(operator):
    for reply in (
        await operator.patch("/v1/projects/default", json={"name": "x"}),
        await operator.delete("/v1/projects/default?confirm=default"),
    ):
        assert problem(reply) == (409, "project-stays")
    assert (await operator.patch("/v1/projects/default", json={"name": "default"})).status_code == 200


async def test_a_name_that_cannot_be_is_refused(operator):
    for name in ("", "a b", "a/b", ".", "..", "a\u200bb", "a\x00b", "x" * 101, None, 1):
        assert (await operator.post("/v1/projects", json={"name": name})).status_code == 422, name
        assert (await operator.patch("/v1/projects/default", json={"name": name})).status_code == 422, name


async def test_a_name_of_any_letters_works_everywhere(operator, app):
    name = "caf\u00e9?&#%+\u65e5\u672c"
    made = await operator.post("/v1/projects", json={"name": "cafe\u0301?&#%+\u65e5\u672c"})
    assert made.json()["name"] == name
    elsewhere = await operator.post("/v1/projects", json={"name": "there", "database": "cafe\u0301"})
    assert (elsewhere.status_code, elsewhere.json()["database"]) == (404, "caf\u00e9")
    path = made.headers["location"]
    key = (await operator.post(f"{path}/api-keys", json=ADMIN)).json()
    async with client_of(app, key["secret"]) as shop:
        tracked = path.removeprefix("/v1")
        for written in (tracked, tracked.replace("%C3%A9", "e%CC%81")):
            body = {"customer_ids": {"cookie": "k"}, "event_type": "visit"}
            reply = await shop.post(f"/track/v2{written}/customers/events", json=body)
            assert (reply.status_code, reply.json()) == (200, {"success": True})
    confirmed = await operator.delete(path, params={"confirm": "cafe\u0301?&#%+\u65e5\u672c"})
    assert confirmed.status_code == 202


async def test_of_two_who_take_a_name_at_once_one_gets_it(operator):
    replies = await asyncio.gather(*(operator.post("/v1/projects", json=MAKE) for _ in range(4)))
    assert sorted(reply.status_code for reply in replies) == [201, 409, 409, 409]
    await operator.post("/v1/projects", json={"name": "other"})
    replies = await asyncio.gather(
        *(operator.patch(f"/v1/projects/{name}", json={"name": "one"}) for name in ("shop", "other"))
    )
    assert sorted(reply.status_code for reply in replies) == [200, 409], [reply.text for reply in replies]


async def test_pages_of_projects_follow_each_other(operator):
    for name in ("c", "a", "b"):
        await operator.post("/v1/projects", json={"name": name})
    names, cursor = [], {}
    while cursor is not None:
        page = (await operator.get("/v1/projects", params={"limit": 2} | cursor)).json()
        names += [each["name"] for each in page["items"]]
        cursor = page["next_cursor"] and {"cursor": page["next_cursor"]}
    assert names == ["a", "b", "c", "default"]


async def test_an_operator_is_let_in_nowhere_else_and_nobody_else_here(operator, client):
    """Every operation of the document, by its path: with the wrong key none is more than refused."""
    document = (await client.get("/openapi.json")).json()
    walked = 0
    for path, methods in document["paths"].items():
        place = re.sub(r"{\w+_id}", "00000000-0000-4000-8000-000000000000", path)
        for method, operation in methods.items():
            if operation["security"]:
                who = client if path.startswith("/v1/projects") else operator
                reply = await who.request(method, re.sub(r"[{}]", "", place), json={})
                allowed = 200 if path == "/metrics" else 403  # the figures of the service, and no stock
                assert reply.status_code == allowed, (method, place, reply.text)
                assert "vouchers_stock{" not in reply.text
                walked += 1
    assert walked > 95


async def test_what_an_operator_did_stands_in_the_project_and_for_operators(operator, app, client, engine):
    async with await open_shop(operator, app, "shop") as shop:
        (theirs,) = [
            each
            for each in (await shop.get("/v1/audit")).json()["items"]
            if each["action"] == "api_key.created"
        ]
        assert theirs["key_name"] == "test"
        await operator.patch("/v1/projects/shop", json={"name": "store"})
        theirs = (await shop.get("/v1/audit")).json()["items"]
        assert [each["action"] for each in theirs] == [
            "project.renamed",
            "api_key.created",
            "project.created",
        ]
        await operator.delete("/v1/projects/store?confirm=store")
    assert (await client.get("/v1/audit")).json()["items"] == [], (
        "an admin does not learn which projects there are"
    )
    await add_key(engine, "o" * 40, "admin", "operator")
    async with client_of(app, "o" * 40) as both:
        ours = (await both.get("/v1/audit")).json()["items"]
    assert [(each["action"], each["details"]) for each in ours] == [
        ("service.project_deleted", {"name": "store"}),
        ("service.project_renamed", {"name": "store", "before": "shop"}),
        ("service.project_created", {"name": "shop"}),
    ]


async def test_a_tracker_names_the_project_of_its_key(operator, app, client):
    event = {"customer_ids": {"registered": "c"}, "event_type": "visit", "timestamp": 1.5}
    asked = (
        ("customers", {"customer_ids": {"registered": "c"}, "properties": {}}),
        ("customers/events", event),
        ("batch", {"commands": [{"name": "customers/events", "data": event}]}),
        ("system/time", None),
    )
    async with await open_shop(operator, app, "shop") as shop:
        for who, own, other in ((shop, "shop", "default"), (client, "default", "shop")):
            for path, body in asked:
                reply = await who.post(f"/track/v2/projects/{own}/{path}", json=body)
                assert (reply.status_code, reply.json()["success"]) == (200, True), reply.text
                for missing in (other, "nobody", own.upper()):
                    reply = await who.post(f"/track/v2/projects/{missing}/{path}", json=body)
                    assert (reply.status_code, reply.json()["success"]) == (404, False), reply.text
                    assert "Invalid project id" in reply.json()["errors"][0]
            assert len((await who.get("/v1/customers/c/events")).json()["items"]) == 1


async def test_two_projects_with_the_same_names_codes_and_keys_do_not_meet(app, engine):
    """All that callers name is the same in both; each has its own, and what one does the other does not feel."""
    async with shops(app, engine, "a", "b") as both:
        ids = [await furnish(shop, "x") for shop in both]
        same = {"pool", "code_prefix", "customer_id", "campaign_id", "message_id", "name"}
        for name in ids[0].keys() - same - {"code"}:
            assert ids[0][name] != ids[1][name] or name == "assignment_id", name
        a, b = (shop.client for shop in both)
        used = [(await client.get("/v1/redemptions?outcome=redeemed")).json()["items"] for client in (a, b)]
        assert [[each["outcome"] for each in mine] for mine in used] == [["redeemed"], ["redeemed"]]

        path = "/v1/pools/x_pool/assignments"
        message = {"customer_id": "x_customer", "campaign_id": "x_campaign", "message_id": "x_message"}
        for client, mine in zip((a, b), ids, strict=True):
            again = await client.post(path, json=message)
            assert (again.status_code, again.json()["code"]) == (200, mine["code"])
            once = {"Idempotency-Key": "x_same"}
            again = await client.post(path, json={"customer_id": "x_customer"}, headers=once)
            assert (again.status_code, again.json()["id"]) == (200, mine["keyed"])

        before = await told(b)
        code = ids[0]["code"]  # b has it too; which of b's was given may be one that was used here
        assert (await a.post(f"/v1/vouchers/{code}/void", json={})).is_success
        assert (await a.delete("/v1/customers/x_customer")).json()["customers"] == 1
        assert (await a.delete("/v1/pools/x_pools")).status_code == 204
        assert (await a.put("/v1/redemption-mapping", json={"mappings": []})).is_success
        assert await told(b) == before
        event = {"event_id": "x_event", "customer_id": "x_customer", "event_type": "visit"}
        replies = [(await client.post("/v1/events", json={"events": [event]})).json() for client in (a, b)]
        assert [reply["items"][0]["status"] for reply in replies][1] == "conflict"
        for shop in both:
            async with transaction(shop.engine) as connection:
                assert await check.violations(connection) == []


async def told(client):
    """What a shop sees of itself."""
    paths = (
        "pools",
        "pools/x_pool/vouchers",
        "customers",
        "customers/x_customer/events",
        "redemptions?outcome=redeemed",
    )
    more = ("assignments", "aggregates", "redemption-mapping", "webhooks", "imports", "bulk-changes", "audit")
    return {path: (await client.get(f"/v1/{path}")).json() for path in paths + more}


async def test_a_page_goes_on_in_the_project_of_the_key_whoever_made_the_cursor(app, engine):
    async with shops(app, engine, "a", "b") as (a, b):
        for shop in (a, b):
            for n in range(4):
                await fill(shop.engine, f"{shop.name}{n}", 0)
        cursor = (await a.client.get("/v1/pools?limit=1")).json()["next_cursor"]
        items = (await b.client.get("/v1/pools", params={"cursor": cursor})).json()["items"]
        assert [each["name"] for each in items] == ["b0", "b1", "b2", "b3"]


async def test_an_idempotency_key_of_another_key_is_nobody_elses(app, engine):
    async with shops(app, engine, "a", "b") as (a, b):
        body, once = {"name": "p"}, {"Idempotency-Key": "one"}
        replies = [await shop.client.post("/v1/pools", json=body, headers=once) for shop in (a, b, a)]
        assert [reply.status_code for reply in replies] == [201, 201, 201]
        assert ["idempotency-replayed" in reply.headers for reply in replies] == [False, False, True]


async def test_a_key_without_a_project_that_stands_is_refused_by_every_way(app, engine, operator):
    async with shops(app, engine, "a") as (a,):
        await fill(a.engine, "p", 5)
        await operator.delete("/v1/projects/a?confirm=a")
        for method, path, body in (
            ("POST", "/v1/pools/p/assignments", {}),
            ("POST", "/v1/events", {"events": []}),
            ("POST", "/v1/render", {"template": "x", "channel": "email"}),
            (
                "POST",
                "/track/v2/projects/a/customers/events",
                {"customer_ids": {"cookie": "k"}, "event_type": "v"},
            ),
            ("GET", "/v1/pools", None),
        ):
            assert (await a.client.request(method, path, json=body)).status_code == 401, path
        headers = {"Origin": "http://test"}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test", headers=headers
        ) as browser:
            answer = await browser.post("/console/login", data={"api_key": a.secret})
            assert answer.status_code == 401
