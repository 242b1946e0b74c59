"""What a request has to pass before its body is read; and what every reply bears."""

import asyncio
import re

import httpx
import pytest
from fastapi.routing import APIRoute

from app.server.application import ROUTERS, with_hot_path
from app.web import doors
from tests.domain.imports.imported import run_job
from tests.factories import KEY, add_key, fill

READ = "read-key-0123456789-0123456789-0123456789"
JSON = {"content-type": "application/json"}
OPEN = {"/health/live", "/health/ready", "/problems/{name}"}


class Body:
    """A body that tells whether anybody read it."""

    def __init__(self, size):
        self.size, self.read = size, 0

    async def __aiter__(self):
        while self.read < self.size:
            self.read += 65536
            yield b" " * 65536


@pytest.fixture
def raw(app):
    """Speaks ASGI: nothing of the body is given before it is asked for."""

    async def raw(path, body, *, key, method="POST", query=b"", address="192.0.2.1"):
        messages, sent = aiter(body), []

        async def receive():
            try:
                return {"type": "http.request", "body": await anext(messages), "more_body": True}
            except StopAsyncIteration:
                return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            sent.append(message)

        headers = [(b"content-type", b"application/json"), (b"content-length", str(body.size).encode())]
        if key is not None:
            headers.append((b"authorization", f"Bearer {key}".encode()))
        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query,
            "headers": headers, "client": (address, 1), "server": ("test", 80), "scheme": "http",
            "root_path": "", "http_version": "1.1", "state": {},
        }  # fmt: skip
        await with_hot_path(app)(scope, receive, send)
        return sent[0]["status"]

    return raw


def bodies():
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, APIRoute) and route.methods & {"POST", "PUT", "PATCH"}:
                yield (
                    next(iter(route.methods)),
                    route.path.replace("{code:path}", "c").replace("{", "").replace("}", ""),
                )


def test_every_route_but_health_has_a_door():
    for router in ROUTERS:
        for route in doors.guarded(router).routes:
            if isinstance(route, APIRoute) and route.path not in OPEN:
                assert list(doors.checks_of(route.dependant)), route.path


async def test_no_body_is_read_without_a_key_or_a_scope(raw, engine):
    await add_key(engine, READ, "read")
    for n, (method, path) in enumerate(bodies()):
        address = f"192.0.2.{n}"  # who fails too often is refused for that
        for key, expected in ((None, 401), ("wrong", 401), (READ, 403)):
            body = Body(31 * 1024**2)
            assert await raw(path, body, key=key, method=method, address=address) == expected, path
            assert body.read == 0, path


async def test_a_body_is_as_large_as_its_route_needs(raw):
    body = Body(2 * 1024**2)
    assert await raw("/v1/pools", body, key=KEY) == 413
    assert body.read == 0
    assert await raw("/v1/pools/p/assignments", body := Body(2 * 1024**2), key=KEY) == 413
    assert body.read <= 2 * 65536
    assert await raw("/v1/events", Body(2 * 1024**2), key=KEY) == 422
    assert await raw("/v1/pools/p/move", Body(2 * 1024**2), key=KEY) == 422
    for node in ("properties", "events"):
        assert await raw(f"/v1/customers/c/{node}/render", body := Body(2 * 1024**2), key=KEY) == 413
        assert body.read <= 2 * 65536


def test_each_large_body_is_that_of_a_route():
    paths = {route.path for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)}
    assert paths >= doors.LARGE_BODIES


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"properties": ' + b'{"a":' * 65 + b"1" + b"}" * 66,
        b'{"properties": {"a": ' + b"1" * 5000 + b"}}",
        b'{"properties": {"a": 1e' + b"1" * 5000 + b"}}",
    ],
    ids=["unclosed", "deep", "digits", "exponent"],
)
async def test_json_has_bounds(client, body):
    reply = await client.patch("/v1/customers/c", content=body, headers=JSON)
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/invalid-request")


async def test_what_looks_deep_and_long_but_is_a_text_is_taken(client):
    properties = {"a": "[" * 200 + "{" * 200, "b": "1" * 5000, "c": '\\"[[[' * 100, "d": [{"e": [1]}] * 200}
    reply = await client.patch("/v1/customers/c", json={"properties": properties})
    assert reply.json()["properties"] == properties


async def test_others_are_answered_while_large_json_is_parsed(client):
    events = [
        {"customer_id": f"c-{n}", "event_type": "e", "properties": {"x": "y" * 900}} for n in range(1000)
    ]
    large = asyncio.create_task(client.post("/v1/events", json={"events": events}))
    while not large.done():
        assert (await client.get("/health/live")).status_code == 200
        await asyncio.sleep(0)
    assert large.result().status_code == 200


async def test_a_body_is_refused_where_none_is_read(client, engine):
    await add_key(engine, "o" * 40, "admin", "operator")
    headers = {"Authorization": f"Bearer {'o' * 40}"}
    walked = 0
    for path, methods in (await client.get("/openapi.json")).json()["paths"].items():
        place = re.sub(r"{\w+_id}", "00000000-0000-4000-8000-000000000000", path)
        place = re.sub(r"[{}]", "", place)
        for method in methods.keys() & {"post", "put", "patch", "delete"}:
            if "requestBody" in methods[method] or path.startswith("/track/"):
                continue
            walked += 1
            reply = await client.request(method, place, headers=headers, json={"dry_run": True})
            assert (reply.status_code, reply.json()["errors"][0]["loc"]) == (422, ["body"]), (method, path)
            for nothing in (b"", b" { }\n", b"null"):
                reply = await client.request(method, place, headers=headers | JSON, content=nothing)
                assert ["body"] not in [each["loc"] for each in reply.json().get("errors", [])], path
    assert walked > 15


async def test_what_is_asked_of_an_undo_in_vain_is_not_undone(client, engine, settings):
    imported = await run_job(engine, settings, client, "code\nB-1\nB-2\n", "q")
    place = f"/v1/imports/{imported['id']}/undo"
    for more in ({"json": {"dry_run": True}}, {"content": b" " * 2 * 1024**2}):
        assert (await client.post(place, **more)).status_code == 422
    assert (await client.get("/v1/pools/q/counts")).json()["available"] == 2


async def test_an_unknown_parameter_is_refused_with_the_nearest_name(client):
    for path, near in (
        ("/v1/pools?limt=3", "limit"),
        ("/v1/pools/p?x=1", None),
        ("/v1/assignments?costumer_id=c", "customer_id"),
        ("/v1/pools/p/export?fromat=csv", "format"),
        ("/v1/api-keys?crusor=x", "cursor"),
    ):
        reply = await client.get(path)
        assert reply.status_code == 422
        assert near is None or f"did you mean '{near}'" in reply.json()["detail"]


async def test_no_reply_is_stored_or_guessed_at(client, engine):
    await fill(engine, "p", 3)
    code = (await client.post("/v1/pools/p/assignments", json={})).json()["code"]
    for method, path in (
        ("POST", "/v1/pools/p/assignments"), ("GET", "/v1/pools/p/vouchers"), ("GET", "/v1/pools/p/export"),
        ("GET", f"/v1/vouchers/{code}"), ("GET", "/v1/assignments"), ("GET", "/v1/nothing"), ("GET", "/docs"),
    ):  # fmt: skip
        reply = await client.request(method, path, json={} if method == "POST" else None)
        assert reply.headers["cache-control"] == "no-store", path
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["x-frame-options"] == "DENY"
        assert "strict-transport-security" not in reply.headers


async def test_behind_tls_browsers_are_told_to_stay(app):
    transport = httpx.ASGITransport(with_hot_path(app))
    async with httpx.AsyncClient(transport=transport, base_url="https://test") as client:
        assert "strict-transport-security" in (await client.get("/health/live")).headers


async def test_a_redirect_does_not_lead_where_the_host_header_says(client):
    reply = await client.get("/v1/pools/", headers={"Host": "elsewhere.test"})
    assert reply.status_code == 307
    assert reply.headers["location"] == "/v1/pools"


async def test_a_pool_has_no_name_that_deceives(client):
    for name in (".", "..", "a\u202eb", "a\u200bb", "a\u00adb", "a\ufe0fb", "\u3164", "a\ufeff"):
        assert (await client.post("/v1/pools", json={"name": name})).status_code == 422, ascii(name)


async def test_names_that_look_alike_are_one(client, engine):
    composed, parts = "caf\u00e9", "cafe\u0301"
    assert (await client.post("/v1/pools", json={"name": parts})).json()["name"] == composed
    assert (await client.post("/v1/pools", json={"name": composed})).status_code == 409
    assert (await client.get(f"/v1/pools/{parts}")).status_code == 200
    await fill(engine, composed, 2)
    reply = await client.post(f"/v1/pools/{parts}/assignments", json={"campaign_id": parts})
    assert (reply.status_code, reply.json()["campaign_id"]) == (201, composed)


async def test_a_campaign_has_no_name_that_deceives(client, engine):
    await fill(engine, "p", 2)
    reply = await client.post("/v1/pools/p/assignments", json={"campaign_id": "spring\u202e"})
    assert reply.status_code == 422
