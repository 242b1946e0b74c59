"""The pools' list with its columns and orders, the keys' page, the mapping's spelling, lines for programs."""

import re

from sqlalchemy import text

from app.console.redemptions import REASONS
from app.domain.redemptions.schemas import Outcome
from tests.console.conftest import csrf
from tests.factories import KEY, fill


async def test_pools_tell_their_imports_and_alerts_and_are_sorted_page_by_page(
    person, client, engine, monkeypatch
):
    monkeypatch.setattr("app.console.pools.PAGE", 2)
    for name in ("b_pool", "a_pool", "c_pool"):
        await fill(engine, name, 3)
    await client.put("/v1/pools/a_pool/alerts", json={"thresholds": [5, 0], "webhook_url": "https://e.org/"})
    await client.put("/v1/pools/c_pool/alerts", json={"thresholds": [1], "webhook_url": "https://e.org/"})
    body = {"source": {"type": "text", "text": "code\nnew-1\n"}, "column": "code"}
    await client.post("/v1/pools/b_pool/imports", json=body)
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO import_schedule (pool, source, sealed, options, cron, timezone, active, next_run)"
                " VALUES ('c_pool', '{}', '', '{}', '0 6 * * *', 'UTC', true, '2031-05-06 06:00Z')"
            )
        )
    browser = await person()

    async def walk(sort):
        names, address = [], f"/console/pools?sort={sort}"
        while address:
            page = (await browser.get(address)).text
            names += re.findall(r"<bdi>(\w_pool)</bdi>", page)
            more = re.search(r'href="(\?[^"]*cursor[^"]*)">Next page', page)
            address = more and "/console/pools" + more[1].replace("&amp;", "&")
        return names

    by_name, made = ["a_pool", "b_pool", "c_pool"], ["b_pool", "a_pool", "c_pool"]
    assert await walk("name") == by_name
    assert await walk("name_desc") == by_name[::-1]
    assert await walk("oldest") == made
    assert await walk("newest") == made[::-1]
    assert await walk("nonsense") == by_name
    page = (await browser.get("/console/pools?sort=newest")).text + (
        await browser.get("/console/pools?search=b_pool")
    ).text
    assert "fallen</span>" in page
    assert "armed</span>" in page
    assert "queued</span>" in page
    assert "2031-05-06 06:00:00 UTC" in page


async def test_vouchers_are_found_by_customer_and_day_and_a_pool_tells_when_it_runs_out(
    person, client, engine
):
    await fill(engine, "spring", 9)
    codes = {}
    for customer in ("anna", "ben"):
        reply = await client.post("/v1/pools/spring/assignments", json={"customer_id": customer})
        codes[customer] = reply.json()["code"]
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE assignment SET assigned_at = '2026-03-05 23:00Z' WHERE customer_id = 'ben'")
        )
        await connection.execute(
            text("UPDATE voucher SET assigned_at = '2026-03-05 23:00Z' WHERE code = :code"),
            {"code": codes["ben"]},
        )
    browser = await person()

    async def found(query):
        page = await browser.get(f"/console/pools/spring?{query}")
        return page.status_code, {code for code in codes.values() if f">{code}<" in page.text}, page.text

    assert (await found("customer_id=anna"))[:2] == (200, {codes["anna"]})
    assert (await found("assigned_since=2026-03-05&assigned_until=2026-03-05"))[:2] == (200, {codes["ben"]})
    assert (await found("assigned_since=2026-03-06"))[:2] == (200, {codes["anna"]})
    assert (await found("customer_id=anna&status=redeemed"))[1] == set()
    assert "No voucher of this pool matches" in (await found("customer_id=nobody"))[2]
    status, _, page = await found("assigned_since=yesterday")
    assert (status, 'value="yesterday"' in page) == (422, True)
    assert re.search(r'out <time datetime="[^"]+">', (await browser.get("/console/pools")).text)


async def test_a_key_gets_an_end_and_a_new_secret_while_the_old_one_is_good_for_a_while(person, client):
    browser = await person()
    token = await csrf(browser)
    form = {"csrf": token, "name": "shop", "scope_read": "yes", "expires_at": "2099-01-31"}
    page = await browser.post("/console/keys", data=form)
    secret = re.search(r'id="secret">([^<]+)<', page.text)[1]
    key = (await client.get("/v1/api-keys")).json()["items"][-1]
    assert (key["name"], key["expires_at"]) == ("shop", "2099-01-31T23:59:59Z")
    for wrong in ({"expires_at": "2001-01-01"}, {"expires_at": "soon"}, {"name": ""}):
        assert (await browser.post("/console/keys", data=form | wrong)).status_code == 422
    address = f"/console/keys/{key['id']}/rotate"
    shown = (await browser.get("/console/keys")).text.partition(address)[2]
    seen = re.search(r'name="version" value="([^"]+)"', shown)[1]
    rotate = {"csrf": token, "grace_hours": "2", "version": seen}
    assert "Tick the box" in (await browser.post(address, data=rotate)).text
    for hours in ("", "-1", "1000", "x"):
        wrong = await browser.post(address, data=rotate | {"sure": "yes", "grace_hours": hours})
        assert wrong.status_code == 422, hours
    page = await browser.post(address, data=rotate | {"sure": "yes"})
    fresh = re.search(r'id="secret">([^<]+)<', page.text)[1]
    assert fresh not in {secret, KEY}
    for each in (secret, fresh):
        answer = await client.get("/v1/pools", headers={"Authorization": f"Bearer {each}"})
        assert answer.status_code == 200
    again = await browser.post(address, data=rotate | {"sure": "yes"})
    assert again.status_code == 412, "the form was made from the key as it was"


async def test_keys_are_shown_newest_first_page_by_page(person, client, monkeypatch):
    monkeypatch.setattr("app.console.keys.PAGE", 2)
    for name in ("first", "second", "third"):
        await client.post("/v1/api-keys", json={"name": name, "scopes": ["read"]})
    browser = await person("admin", "operator")
    for base in ("/console/keys", "/console/projects/default"):
        address, pages = base, []
        while address:
            page = (await browser.get(address)).text
            pages.append(re.findall(r'<th scope="row"><bdi>([^<]+)</bdi>', page))
            address = (re.findall(r'href="([^"]+)">Next page', page) or [None])[0]
            assert address is None or address.startswith(f"{base}?cursor=")
        assert pages == [["test", "third"], ["second", "first"], ["test"]], base


async def test_a_key_that_has_expired_is_shown_so_and_opens_nothing(person, client, engine):
    wanted = {"name": "old", "scopes": ["read"], "expires_at": "2099-01-31T00:00:00Z"}
    made = await client.post("/v1/api-keys", json=wanted)
    browser = await person()
    row = r"(?s)<bdi>old</bdi>.*?</tr>"
    assert "Rotate" in re.search(row, (await browser.get("/console/keys")).text)[0]
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE api_key SET expires_at = now() - interval '1 hour' WHERE name = 'old'")
        )
    shown = re.search(row, (await browser.get("/console/keys")).text)[0]
    assert ("expired</span>" in shown, "active" in shown, "Rotate" in shown) == (True, False, False)
    refused = await browser.post("/console/login", data={"api_key": made.json()["secret"]})
    assert (refused.status_code, "has expired, or was revoked" in refused.text) == (401, True)


async def test_effect_and_spelling_of_a_mapping_are_set_and_changed_in_place(person, client):
    browser = await person()
    token = await csrf(browser)
    for event_type in ("purchase", "refund"):
        form = {"csrf": token, "event_type": event_type, "property": "code", "normalise": "upper"}
        effect = "cancel" if event_type == "refund" else "redeem"
        assert (await browser.post("/console/mapping", data=form | {"effect": effect})).status_code == 200
    change = {"csrf": token, "event_type": "purchase", "property": "code", "effect": "redeem"}
    page = await browser.post("/console/mapping", data=change | {"normalise": ""})
    assert "In upper case" in page.text
    mapped = (await client.get("/v1/redemption-mapping")).json()["mappings"]
    assert [(each["event_type"], each["effect"], each["normalise"]) for each in mapped] == [
        ("purchase", "redeem", None),
        ("refund", "cancel", "upper"),
    ]
    assert (await browser.post("/console/mapping", data=change | {"effect": "x"})).status_code == 422


async def test_a_pool_shows_lines_for_programs_and_a_template_what_nobody_has_set(person, engine):
    await fill(engine, "p'ool", 2)
    browser = await person()
    page = (await browser.get("/console/pools/p'ool")).text
    assert "http://test/v1/pools/p%27ool/assignments" in page
    assert "$VOUCHERS_KEY" in page
    form = {
        "csrf": await csrf(browser),
        "channel": "sms",
        "template": "Hi {{ customer.nick }}",
        "go": "preview",
    }
    assert "<bdi>customer.nick</bdi>" in (await browser.post("/console/personalization", data=form)).text
    broken = (await browser.post("/console/personalization", data=form | {"template": "a\n{{"})).text
    result = broken.partition('id="result"')[2].partition("</section>")[0]
    assert "Line 2" in result


async def test_a_schedule_tells_a_read_key_no_more_than_the_api(person, client, engine):
    source = {"type": "url", "url": "https://files.example.org/codes.csv"}
    body = {"pool": "p", "source": source, "cron": "0 3 * * *"}
    await client.post("/v1/import-schedules", json=body)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE import_schedule SET error = 'No column SECRET-1.'"))
    assert "SECRET-1" in (await (await person()).get("/console/schedules")).text
    withheld = (await (await person("read")).get("/console/schedules")).text
    assert "SECRET-1" not in withheld
    assert "Withheld" in withheld


async def test_a_search_goes_on_where_a_page_has_found_nothing_yet(person, client, engine, monkeypatch):
    await fill(engine, "spring", 4)
    codes = [(await client.post("/v1/pools/spring/assignments", json={})).json()["code"] for _ in range(4)]
    await client.post(f"/v1/vouchers/{codes[-1]}/redemptions", json={})
    monkeypatch.setattr("app.platform.keyset.MOST_READ", 2)
    browser = await person()
    page = await browser.get("/console/pools/spring?status=redeemed&assigned_since=2000-01-01")
    assert "there are more to look at" in page.text
    assert "No voucher of this pool matches" not in page.text
    following = re.search(r'href="([^"]+)">Next page', page.text)[1].replace("&amp;", "&")
    assert codes[-1] in (await browser.get(following)).text


async def test_all_codes_of_a_customer_are_shown_page_by_page(person, client, engine, monkeypatch):
    monkeypatch.setattr("app.console.customers.PAGE", 2)
    await fill(engine, "spring", 3)
    given = [
        (await client.post("/v1/pools/spring/assignments", json={"customer_id": "a/b"})).json()["code"]
        for _ in range(3)
    ]
    await client.post(f"/v1/vouchers/{given[2]}/redemptions", json={})
    browser = await person()
    page = await browser.get("/console/customers/a%2Fb")
    assert [code in page.text for code in given] == [True, True, False]
    following = re.search(r'href="([^"]+)">Next page', page.text)[1]
    page = await browser.get(following)
    assert [code in page.text for code in given] == [False, False, True]
    assert "redeemed</span>" in page.text
    assert "Next page" not in page.text


async def test_a_pool_is_looked_for_in_whatever_form_its_name_is_typed(person, client):
    await client.post("/v1/pools", json={"name": "caf\u00e9_spring"})
    browser = await person()
    page = await browser.get("/console/pools", params={"search": "cafe\u0301"})
    assert "<bdi>caf\u00e9_spring</bdi>" in page.text


async def test_uses_that_could_not_be_matched_are_those_and_no_others(person, client, engine):
    assert set(REASONS) == set(Outcome) - {Outcome.REDEEMED, Outcome.CANCELLED}
    await fill(engine, "spring", ["A-1"])
    mapped = [{"event_type": "buy", "property": "code"}]
    mapped += [{"event_type": "refund", "property": "code", "effect": "cancel"}]
    await client.put("/v1/redemption-mapping", json={"mappings": mapped})
    await client.post("/v1/pools/spring/assignments", json={"customer_id": "anna"})
    browser = await person()

    async def track(event_type, customer_id):
        event = {"event_type": event_type, "customer_id": customer_id, "properties": {"code": "A-1"}}
        reply = await client.post("/v1/events", json={"events": [event]})
        return reply.json()["items"][0]["redemption"]

    assert [await track(event, "anna") for event in ("buy", "refund")] == ["redeemed", "cancelled"]
    assert "every use was matched" in (await browser.get("/console/redemptions")).text
    assert "None." in (await browser.get("/console/mapping")).text
    assert (await client.get("/v1/redemptions")).json()["items"] == []
    assert await track("refund", "ben") == "not_redeemed"
    linked = re.findall(r'href="(/console/redemptions\?[^"]+)"', (await browser.get("/console/mapping")).text)
    assert linked == ["/console/redemptions?issue=not_redeemed"]
    page = (await browser.get(linked[0])).text
    assert '<option value="not_redeemed" selected>not redeemed (1)' in page
    assert "no use of the code to take back" in page
    page = (await browser.get("/console/redemptions?issue=void")).text
    assert ("every use was matched" in page, "No use has this reason." in page) == (False, True)
    for odd in ("cancelled", "nonsense"):
        page = (await browser.get(f"/console/redemptions?issue={odd}")).text
        assert ("None" in page, "not redeemed (1)" in page) == (False, True)
