"""Whatever a key that may only read can get holds no code, however it is decoded."""

import base64
import binascii
import urllib.parse
from functools import partial

import httpx
import pytest

from app.domain.access.scopes import masked
from app.platform.database import transaction
from app.platform.settings import get_settings
from tests.factories import add_key, fill
from tests.worker import eventually, working

CODES = ["QX7RT-K2MPL-99WZB", "ZV4NH-B8TYC-31KQD", "LM5PW-R6GXA-72JFE", "HK9DB-T3ZVS-84NQC", "AB12"]
READ = "read-key-0123456789-0123456789-0123456789"
AS_READER = {"Authorization": f"Bearer {READ}"}
TRIPLES = (
    "/v1/imports/{import_id}",
    "/v1/imports/{import_id}/rejects",
    "/v1/imports/{import_id}/progress",
)


def texts_in(value):
    """Every text in a JSON value, names included."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from texts_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_in(inner)
    elif isinstance(value, str):
        yield value


def decoded(text):
    """The text, and what it says in the encodings that hide nothing."""
    yield text
    yield urllib.parse.unquote(text)
    for decode in (
        lambda: base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_"),
        lambda: base64.b32decode(text.upper() + "=" * (-len(text) % 8)),
        lambda: bytes.fromhex(text),
    ):
        try:
            raw = decode()
        except (ValueError, binascii.Error):
            continue
        yield raw.decode("latin-1")
        yield raw.decode("utf-16-le", "replace")


def tells(reply):
    """The codes of which more than a third stands in a reply."""
    said = [reply.text, *reply.headers.values(), str(reply.url.copy_with(raw_path=b"/"))]
    if "json" in reply.headers.get("content-type", ""):
        said += texts_in(reply.json())
    found = {reading for text in said for reading in decoded(text)}
    return [code for code in CODES if any(code[: max(4, len(code) // 3 + 1)] in reading for reading in found)]


@pytest.fixture
def settings(database_url, tmp_path, monkeypatch):
    """The settings of this test; jobs read theirs from the environment."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("VOUCHERS_LOG_LEVEL", "CRITICAL")
    monkeypatch.setenv("VOUCHERS_KEY_CACHE_SECONDS", "0")
    monkeypatch.setenv("VOUCHERS_IMPORT_FOLDER", str(tmp_path))
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


@pytest.fixture
async def shop(client, engine):
    """A service in which codes went everywhere that codes can go."""
    await add_key(engine, READ, "read")
    await fill(engine, "spring", CODES)
    await client.put(
        "/v1/redemption-mapping", json={"mappings": [{"event_type": "purchase", "property": "code"}]}
    )
    given = [
        (await client.post("/v1/pools/spring/assignments", json={"customer_id": f"c-{n}"})).json()
        for n in range(3)
    ]
    used, gone = given[0]["code"], given[1]["id"]
    event = {"customer_id": "c-0", "event_type": "purchase", "properties": {"code": used}}
    again = {"customer_id": "c-1", "event_type": "purchase", "properties": {"code": CODES[0] + "x"}}
    await client.post("/v1/events", json={"events": [event, event, again]})
    await client.post(f"/v1/assignments/{gone}/release")
    await client.put(
        "/v1/pools/spring/alerts", json={"thresholds": [5], "webhook_url": "https://hooks.test/x"}
    )
    imported = [
        # A file without a header, of which the first row is taken for one; and rows that were rejected.
        {"source": {"type": "text", "text": "\n".join(CODES)}, "has_header": True, "column": 0},
        {"source": {"type": "text", "text": "code\n" + "\n".join(CODES) + "\n"}, "column": "code"},
        {"source": {"type": "database", "url": "sqlite:///x.db", "query": f"SELECT '{CODES[0]}'"}},
        {"source": {"type": "analysis", "of": "events", "property": "p", "where": {"code": CODES[1]}}},
        {"source": {"type": "url", "url": f"https://files.test/{CODES[2]}.csv?code={CODES[2]}"}},
    ]
    ids = []
    for body in imported:
        reply = await client.post("/v1/pools/other/imports", json=body)
        assert reply.status_code == 202, reply.text
        ids.append(reply.json()["id"])
    schedule = {"pool": "other", "source": imported[2]["source"], "cron": "0 3 * * *", "column": CODES[1]}
    made = await client.post("/v1/import-schedules", json=schedule)
    assert made.status_code == 201
    async with transaction(engine) as connection:  # a run of it that failed and tells why
        said = f"The table has no column {CODES[1]}."
        await connection.exec_driver_sql(
            "UPDATE import SET schedule_id = %s, status = 'failed', error = %s WHERE id = %s",
            (made.json()["id"], said, ids[2]),
        )
        await connection.exec_driver_sql("UPDATE import_schedule SET error = %s", (said,))
    return ids


async def ended(client, import_id):
    """Whether an import is over."""
    return (await client.get(f"/v1/imports/{import_id}")).json()["status"] in {"succeeded", "failed"}


def readable(app):
    """The GET routes that need no more in their path than what `shop` has."""
    values = {"pool": "spring", "code": urllib.parse.quote(CODES[0])}
    for path, methods in app.openapi()["paths"].items():
        if "get" in methods and not path.startswith("/v1/imports/{"):
            yield path.format_map(type("Any", (dict,), {"__missing__": lambda *_: "none"})(values))


async def pages(client, path):
    """Every page of a list, one item each, or the one reply of what is no list."""
    cursor = None
    for _ in range(20):
        query = {"limit": 1} if cursor is None else {"limit": 1, "cursor": cursor}
        reply = await client.get(path, params=query, headers=AS_READER)
        if reply.status_code == 422:  # no list
            reply = await client.get(path, headers=AS_READER)
        yield reply
        if reply.status_code != 200 or "json" not in reply.headers.get("content-type", ""):
            return
        cursor = reply.json().get("next_cursor")
        if cursor is None:
            return


async def test_no_reply_to_a_read_key_tells_a_code(app, client, settings, shop):
    async with working(settings):
        for id_ in shop:
            await eventually(partial(ended, client, id_))
    paths = [*readable(app), *(path.format(import_id=id_) for path in TRIPLES for id_ in shop)]
    answered = 0
    for path in paths:
        async for reply in pages(client, path):
            if reply.status_code == 200:
                answered += 1
            if CODES[0] in path:
                continue  # it was in the question: masked in the body, as the next test shows
            assert not tells(reply), (path, reply.text)
    assert answered > 30


async def test_a_voucher_that_a_read_key_names_is_masked_in_the_reply(client, shop):
    reply = await client.get(f"/v1/vouchers/{CODES[0]}", headers=AS_READER)
    assert reply.json()["code"] == "QX******"


async def test_errors_tell_a_read_key_no_code(client, shop):
    for path in ("/v1/pools/spring/vouchers", "/v1/assignments", "/v1/imports", "/v1/redemptions"):
        first = (await client.get(path, params={"limit": 1}, headers=AS_READER)).json()
        cursor = first["next_cursor"]
        if cursor is None:
            continue
        for wrong in (cursor[:-2], cursor + "AA", cursor[::-1], "AAAA" + cursor):
            reply = await client.get(path, params={"cursor": wrong}, headers=AS_READER)
            assert reply.status_code == 422
            assert not tells(reply)


async def test_a_read_key_finds_no_code_by_guessing(client, app, engine):
    await add_key(engine, READ, "read")
    await fill(engine, "spring", CODES)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers={"Origin": "http://test"}, follow_redirects=True
    ) as browser:
        await browser.post("/console/login", data={"api_key": READ})
        for n in range(10):
            page = await browser.get("/console/pools/spring", params={"code": f"guess-{n}"})
            assert "No voucher of this pool matches" in page.text
            assert (await client.get(f"/v1/vouchers/guess-{n}", headers=AS_READER)).status_code == 404
            assert (await client.get(f"/v1/vouchers/{CODES[0]}", headers=AS_READER)).status_code == (
                429 if n == 9 else 200
            )
        for address in ("/console/pools/spring?code=x", f"/console/vouchers/{CODES[0]}"):
            assert (await browser.get(address)).status_code == 429
        assert (await browser.get("/console/pools/spring")).status_code == 200
    refused = await client.get(f"/v1/vouchers/{CODES[0]}", headers=AS_READER)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    for _ in range(21):
        assert (await client.get("/v1/vouchers/guess")).status_code == 404, (
            "who sees codes has no need to guess"
        )


@pytest.mark.parametrize("length", range(1, 60))
def test_a_mask_never_shows_more_than_a_third(length):
    shown = masked("x" * length).rstrip("*")
    assert len(shown) <= length / 3
