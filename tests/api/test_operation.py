"""What operators and readers of the API page see."""

import re

import httpx
from sqlalchemy import text

from app.platform.projects import of_project
from app.platform.settings import Settings
from app.server.application import create_app
from tests.factories import KEY, add_key, add_projects, fill


async def test_metrics_tell_requests_batches_and_stock(client, engine):
    await fill(engine, "p", 5)
    await client.post("/v1/pools/p/assignments", json={})
    shown = (await client.get("/metrics")).text
    assert 'vouchers_stock{pool="p",project="default",state="available"} 4.0' in shown
    assert re.search(
        r'http_server_request_duration_seconds_count\{http_request_method="POST",'
        r'http_response_status_code="201",http_route="/v1/pools/{pool}/assignments"\} \d',
        shown,
    )
    assert "vouchers_assign_batch_size_count" in shown


async def test_metrics_show_each_project_its_own_and_the_service_to_few(client, engine):
    await fill(engine, "ours", 1)
    (other,) = await add_projects(engine, "other")
    await fill(of_project(engine, other), "theirs", 2)
    await add_key(engine, "o" * 40, "read", project_id=other)
    await add_key(engine, "s" * 40, "operator")

    async def shown(key):
        return (await client.get("/metrics", headers={"Authorization": f"Bearer {key}"})).text

    ours, theirs, service = [await shown(key) for key in (KEY, "o" * 40, "s" * 40)]
    assert 'vouchers_stock{pool="theirs",project="other",state="available"} 2.0' in theirs
    assert ("ours" in ours, "theirs" in ours) == (True, False)
    assert ("ours" in theirs, "vouchers_jobs_waiting" in theirs, "http_server" in theirs) == (False,) * 3
    assert ("ours" in service, "theirs" in service, "vouchers_jobs_waiting" in service) == (
        False,
        False,
        True,
    )


async def test_health_and_docs_need_no_key_and_no_outside_host(client):
    del client.headers["Authorization"]
    for path in ("/health/live", "/health/ready", "/docs", "/openapi.json"):
        assert (await client.get(path)).status_code == 200, path
    page = (await client.get("/docs")).text
    used = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert used
    for address in used:
        assert address.startswith("/"), address
        assert (await client.get(address)).status_code == 200


async def test_every_field_is_described(client):
    spec = (await client.get("/openapi.json")).json()
    for name, schema in spec["components"]["schemas"].items():
        for field, about in schema.get("properties", {}).items():
            told = "description" in about or "const" in about  # a constant tells one kind from another
            assert told or name in {"HTTPValidationError", "ValidationError"}, f"{name}.{field}"


async def test_without_a_key_everything_else_is_401_and_with_the_wrong_scope_403(client, engine):
    await add_key(engine, "r" * 40, "read")
    paths = [
        ("GET", "/v1/pools"),
        ("POST", "/v1/pools"),
        ("POST", "/v1/pools/p/assignments"),
        ("GET", "/metrics"),
    ]
    for method, path in paths:
        bare = await client.request(method, path, headers={"Authorization": ""}, json={})
        assert (bare.status_code, bare.json()["type"]) == (401, "/problems/unauthenticated"), path
        assert bare.headers["WWW-Authenticate"] == "Bearer"
        wrong = await client.request(method, path, headers={"Authorization": f"Bearer {'z' * 40}"}, json={})
        assert wrong.status_code == 401
    reader = {"Authorization": f"Bearer {'r' * 40}"}
    for path, body in (("/v1/pools", {"name": "p"}), ("/v1/pools/p/assignments", {})):
        refused = await client.post(path, json=body, headers=reader)
        assert (refused.status_code, refused.json()["type"]) == (403, "/problems/forbidden"), path


async def test_a_key_that_may_only_read_sees_codes_masked(client, engine):
    await add_key(engine, "r" * 40, "read")
    await fill(engine, "p", ["SECRET-1"])
    reader = {"Authorization": f"Bearer {'r' * 40}"}
    listed = (await client.get("/v1/pools/p/vouchers", headers=reader)).json()["items"]
    assert [item["code"] for item in listed] == ["SE******"]


async def test_keys_are_kept_as_digests_only(client, connection):
    rows = (await connection.execute(text("SELECT api_key::text AS kept FROM api_key"))).scalars().all()
    assert rows
    assert not any(KEY in row for row in rows)


async def test_errors_of_the_framework_are_problems_too(client):
    for reply, name in (
        (await client.get("/nowhere"), "not-found"),
        (await client.put("/v1/pools"), "method-not-allowed"),
        (
            await client.post("/v1/pools", content="{", headers={"Content-Type": "application/json"}),
            "invalid-request",
        ),
        (await client.post("/v1/pools", content="name=p"), "unsupported-media-type"),
        (await client.post("/v1/pools", json={"name": "p", "colour": "red"}), "invalid-request"),
        (await client.post("/v1/pools", json={"name": "p", "description": "a\x00b"}), "invalid-request"),
    ):
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["type"] == f"/problems/{name}"
        assert reply.json()["instance"].startswith("/")


async def test_a_reply_bears_the_request_id_that_it_was_given_or_a_new_one(client):
    given = await client.get("/health/live", headers={"X-Request-ID": "abc-1"})
    assert given.headers["X-Request-ID"] == "abc-1"
    assert (await client.get("/health/live")).headers["X-Request-ID"]


async def test_a_database_that_is_gone_is_a_503_that_says_so():
    settings = Settings(DATABASE_URL="postgresql://127.0.0.1:1/none", log_level="CRITICAL")
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            reply = await client.get("/health/ready")
            assert reply.status_code == 503
            assert reply.json()["type"] == "/problems/database-unavailable"
            assert reply.headers["Retry-After"]
            assert (await client.get("/health/live")).status_code == 200
