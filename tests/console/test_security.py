"""No page or form works without session, token and scope; what is hostile is shown as text."""

import pytest
from fastapi.routing import APIRoute, APIRouter

from app.console import session
from app.console.application import PAGES
from app.console.session import COOKIE
from tests.console.conftest import csrf
from tests.factories import KEY, fill

OPEN = {("/login", "GET"), ("/login", "POST")}


def routes():
    """Every route of the console that is not open, with something in place of its parameters."""
    for page in PAGES:
        router: APIRouter = page.router
        for route in router.routes:
            assert isinstance(route, APIRoute)
            for method in route.methods:
                if (route.path, method) not in OPEN:
                    path = route.path.replace("{import_id}", ID).replace("{schedule_id}", ID)
                    path = (
                        path.replace("{assignment_id}", ID)
                        .replace("{hold_id}", ID)
                        .replace("{key_id}", ID)
                        .replace("{change_id}", ID)
                    )
                    path = path.replace("{webhook_id}", ID)
                    for name in ("{pool}", "{project}", "{code:path}", "{customer_id:path}"):
                        path = path.replace(name, "spring")
                    yield method, f"/console{path}"


ID = "00000000-0000-4000-8000-000000000000"
ROUTES = sorted(set(routes()))


def test_there_are_routes_to_walk():
    assert len(ROUTES) > 45


async def test_no_route_works_without_a_session(client):
    client.headers["Origin"] = "http://test"
    for method, path in ROUTES:
        answer = await client.request(method, path)
        assert answer.status_code == 303, (method, path)
        assert answer.headers["location"].startswith("/console/login"), (method, path)


async def test_no_form_works_without_token_or_from_elsewhere(person):
    client = await person()
    token = await csrf(client)
    for method, path in ROUTES:
        if method == "POST":
            without = await client.post(path, data={"x": "y"})
            foreign = await client.post(path, data={"csrf": token}, headers={"Origin": "http://evil.test"})
            opaque = await client.post(path, data={"csrf": token}, headers={"Origin": "null"})
            assert {each.status_code for each in (without, foreign, opaque)} == {403}, path


async def test_a_read_key_sees_and_changes_nothing(person, engine):
    (code,) = await fill(engine, "spring", ["SECRET-CODE"])
    client = await person("read")
    token = await csrf(client)
    for method, path in ROUTES:
        if method == "POST" and path != "/console/logout":
            answer = await client.post(path, data={"csrf": token, "sure": "yes"})
            assert answer.status_code == 403, path
    page = await client.get("/console/pools/spring")
    assert page.status_code == 200
    assert code not in page.text
    assert (await client.get("/console/keys")).status_code == 403
    assert (await client.get("/console/customers")).status_code == 403


async def test_a_session_dies_with_its_key(person, client, engine):
    other = await person("pools")
    admin = await person()
    page = await admin.get("/console/keys")
    assert page.status_code == 200
    ids = [part.split("/revoke")[0] for part in page.text.split("/console/keys/")[1:]]
    answer = await admin.post(
        f"/console/keys/{ids[-1]}/revoke", data={"csrf": await csrf(admin), "sure": "yes"}
    )
    assert answer.status_code == 200
    assert (await other.get("/console/pools")).url.path == "/console/login"


async def test_signing_out_and_wrong_keys_end_at_the_sign_in(person):
    client = await person()
    assert client.cookies[COOKIE]
    answer = await client.post("/console/logout", data={"csrf": await csrf(client)})
    assert "You are signed out" in answer.text
    assert COOKIE not in client.cookies
    refused = await client.post("/console/login", data={"api_key": "of-nobody"})
    assert refused.status_code == 401
    away = await client.post("/console/login", data={"api_key": KEY, "next": "//evil.test/"})
    assert away.url.host == "test"


async def test_a_session_ends_after_idle_time(person, monkeypatch):
    client = await person()
    monkeypatch.setattr(session, "IDLE_SECONDS", -1)
    assert (await client.get("/console/pools")).url.path == "/console/login"


async def test_the_cookie_and_the_headers_are_strict(client):
    answer = await client.post(
        "https://test/console/login", data={"api_key": KEY}, headers={"Origin": "https://test"}
    )
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" in cookie
    assert KEY not in cookie
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"


HOSTILE = ("<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "\u202eabc{{7*7}}", "x" * 200)


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_hostile_content_is_shown_as_text(person, client, engine, hostile):
    pool = hostile.replace(" ", "_").replace("/", "|").replace("\u202e", "")[:100]
    await fill(engine, pool, [hostile])
    await client.post(
        "/v1/events",
        json={"events": [{"customer_id": hostile, "event_type": hostile, "properties": {hostile: hostile}}]},
    )
    await client.patch("/v1/customers/c", json={"properties": {hostile: hostile * 50}})
    await client.put("/v1/redemption-mapping", json={"mappings": [{"event_type": hostile, "property": "p"}]})
    await client.put(
        "/v1/aggregates/a", json={"event_type": hostile, "function": "count", "where": {hostile: hostile}}
    )
    browser = await person()
    for path in (
        "pools", "imports", "mapping", "customers", "customers/c", "aggregates?customer_id=c", "audit", "keys",
        "redemptions", "alerts", "webhooks", "personalization", "schedules",
    ):  # fmt: skip
        page = await browser.get(f"/console/{path}")
        assert page.status_code == 200, path
        assert "<script>alert" not in page.text, path
        assert "<img" not in page.text, path
    for path in ("pools", "alerts", "personalization"):
        page = await browser.get(
            f"/console/{path}", params={"pool": pool, "search": hostile, "action": "assign"}
        )
        assert page.status_code == 200, path
        assert "<script>alert" not in page.text, path
        assert "<img" not in page.text, path
