"""No page or form works without session, token and scope; what is hostile is shown as text."""

import httpx
import pytest
from fastapi.routing import APIRoute, APIRouter

from app.console import session
from app.console.application import PAGES
from app.console.session import COOKIE
from app.web.failed_keys import FAILURES_PER_MINUTE
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
                    for name in ("{pool}", "{project}", "{code:id}", "{customer_id:id}"):
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
        f"/console/keys/{ids[1]}/revoke", data={"csrf": await csrf(admin), "sure": "yes"}
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


async def test_who_guesses_keys_at_the_sign_in_is_stopped(person, client):
    guesser = await person()
    for n in range(FAILURES_PER_MINUTE):
        answer = await guesser.post("/console/login", data={"api_key": f"guess-{n}"})
        assert answer.status_code == 401
    answer = await guesser.post("/console/login", data={"api_key": "guess"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    stranger = await client.get("/v1/pools", headers={"Authorization": "Bearer of-nobody"})
    assert stranger.status_code == 429, "guesses count wherever they are made"
    assert (await guesser.get("/console/pools")).status_code == 200, "who is signed in goes on"


async def test_a_strangers_form_is_small_and_from_here(client):
    large = {"api_key": KEY, "next": "x" * 70_000}
    for origin, status in (("http://test", 413), ("http://evil.test", 403)):
        answer = await client.post("/console/login", data=large, headers={"Origin": origin})
        assert answer.status_code == status
    for form in (
        {"data": {"api_key": KEY} | {f"f{n}": "" for n in range(10)}},
        {"data": {"api_key": KEY}, "files": {"f": b""}},
    ):
        answer = await client.post("/console/login", headers={"Origin": "http://test"}, **form)
        assert answer.status_code == 422


STRANGE = ("unicode_escape", "undefined", "idna", "rot13", "utf-7", "no-such-charset")


@pytest.mark.parametrize("charset", STRANGE)
async def test_a_form_in_a_strange_charset_is_no_fault_of_the_service(client, charset):
    fields = {"api_key": "x", "next": "\\ud800"}
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
        for name, text in fields.items()
    ]
    headers = {"Origin": "http://test", "Content-Type": f"multipart/form-data; boundary=b; charset={charset}"}
    answer = await client.post("/console/login", content="".join([*parts, "--b--\r\n"]), headers=headers)
    assert answer.status_code in {401, 422}, answer.text
    answer = await client.post("/v1/imports/preview", content="".join([*parts, "--b--\r\n"]), headers=headers)
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("strange", ["http://[", "http://[x]:y", "\xff", "://", "null"])
async def test_headers_that_are_no_addresses_are_no_fault_of_the_service(client, strange):
    for sent in ({"Origin": strange}, {"Origin": "http://test", "Host": strange}):
        headers = [(name, value.encode("latin-1")) for name, value in sent.items()]
        answer = await client.post("/console/login", data={"api_key": KEY}, headers=headers)
        assert answer.status_code == 403, answer.text
    headers = [("Referer", strange.encode("latin-1"))]
    assert (await client.post("/console/personalization", headers=headers)).status_code == 303


async def test_a_session_sends_no_more_requests_than_its_key_may(app, client):
    limited = {"name": "few", "scopes": ["read"], "requests_per_minute": 3}
    secret = (await client.post("/v1/api-keys", json=limited)).json()["secret"]
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as browser:
        browser.headers["Origin"] = "http://test"
        await browser.post("/console/login", data={"api_key": secret})
        answers = [await browser.get("/console/pools") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[-1].headers["retry-after"]


async def test_the_sign_in_leads_back_to_what_was_asked_for(person, engine):
    await fill(engine, "spring", ["A/B?50%"])
    client = await person()
    for wanted in (
        "/console/vouchers/A%2FB%3F50%25",
        "/console/pools/spring?status=void&code=",
        "/console/pools?search=http://a/b",
    ):
        client.cookies.clear()
        sign_in = await client.get(wanted)
        assert sign_in.url.path == "/console/login"
        page = await client.post("/console/login", data={"api_key": KEY, "next": sign_in.url.params["next"]})
        assert (page.status_code, page.url.raw_path.decode()) == (200, wanted)


async def test_an_address_in_a_query_leads_nobody_elsewhere(client):
    for wanted, seen in (
        ("/console/pools?search=http://a.test/b", "/console/pools?search=http://a.test/b"),
        ("//evil.test/console/", "/console/"),
        ("http://evil.test/console/", "/console/"),
        ("/console//evil.test/", "/console/"),
    ):
        form = {"api_key": KEY, "next": wanted}
        answer = await client.post("/console/login", data=form, headers={"Origin": "http://test"})
        assert answer.headers["location"] == seen


async def test_a_form_of_a_session_that_ended_is_told_of_and_leads_back_to_its_page(person):
    client = await person("assign")
    client.cookies.clear()
    answer = await client.post(
        "/console/personalization", headers={"Referer": "http://test/console/personalization?pool=p"}
    )
    assert "what you sent was not done" in answer.text
    assert answer.url.params["next"] == "/console/personalization?pool=p"
    answer = await client.post("/console/personalization")
    assert answer.url.params["next"] == ""


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


async def test_a_session_goes_on_while_it_is_used(person, monkeypatch):
    client = await person()
    before = client.cookies[COOKIE]
    assert "set-cookie" not in (await client.get("/console/pools")).headers
    monkeypatch.setattr(session, "RENEW_SECONDS", -1)
    token = await csrf(client)
    assert client.cookies[COOKIE] != before
    assert await csrf(client) == token, "what is open in another tab stays good"


async def test_a_fault_is_shown_with_the_headers_of_every_page(person, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    client = await person()
    monkeypatch.setattr("app.console.redemptions.show", broken)
    page = await client.get("/console/redemptions")
    assert (page.status_code, "fault of the service" in page.text) == (500, True)
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


async def test_a_form_that_is_too_large_is_told_so(person, settings, monkeypatch):
    client = await person("pools")
    form = {"csrf": await csrf(client), "pool": "p", "type": "file", "go": "preview"}
    monkeypatch.setattr(settings, "max_upload_bytes", 1000)
    page = await client.post("/console/imports/new", data=form, files={"file": b"code\n" * 1000})
    assert (page.status_code, "1000 bytes at most" in page.text) == (413, True)


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
