"""The guide, page by page, as forms are sent."""

import re
import uuid

from sqlalchemy import text

from app.domain.changes import service as changes
from app.domain.rendering.renderers import RendererDiedError, Renderers
from app.platform.database import transaction
from tests.console.conftest import csrf, hidden
from tests.factories import fill


async def test_a_file_goes_through_the_wizard_and_is_sent_once(person):
    client = await person()
    token = await csrf(client)
    file = {"file": ("codes.csv", b"code;note\nA-1;x\nA-2;y\n")}
    page = await client.post(
        "/console/imports/new",
        data={"csrf": token, "pool": "spring", "type": "file", "go": "preview"},
        files=file,
    )
    assert page.status_code == 200, page.text
    assert "A-2" in page.text
    assert "Semicolon" in page.text
    assert "Not imported: note." in page.text
    page = await client.post("/console/imports/new", data=hidden(page.text) | {"go": "column"})
    assert "Not imported" not in page.text, "here it is chosen what comes with a code"
    assert 'type="radio" name="column" value="0" checked' in page.text
    page = await client.post(
        "/console/imports/new", data=hidden(page.text) | {"go": "schedule", "column": "0"}
    )
    assert "Run import" in page.text
    page = await client.post("/console/imports/new", data=hidden(page.text) | {"go": "import"})
    assert page.url.path.startswith("/console/imports/")
    assert "Import into spring" in page.text


async def test_a_name_with_a_space_is_told_beside_the_field_and_kept(person):
    client = await person()
    page = await client.post(
        "/console/imports/new",
        data={
            "csrf": await csrf(client),
            "pool": "10% off",
            "type": "text",
            "text": "code\nA",
            "go": "preview",
        },
    )
    assert page.status_code == 422
    assert "there is a space at character 4" in page.text
    assert 'value="10% off"' in page.text
    assert "code\nA" in page.text


async def test_a_source_that_reads_customers_is_for_keys_that_may(person, client):
    await client.patch("/v1/customers/c", json={"properties": {"card": "CARD-4711"}})
    for scopes, status in ((("pools",), 403), (("pools", "events"), 200)):
        browser = await person(*scopes)
        asked = {"csrf": await csrf(browser), "pool": "spring", "type": "analysis", "of": "customers"}
        page = await browser.post("/console/imports/new", data=asked | {"property": "card", "go": "preview"})
        assert (page.status_code, "CARD-4711" in page.text) == (status, status == 200)
        offered = (await browser.get("/console/imports/new")).text
        assert ("Analysis" in offered) == (status == 200)


async def test_a_pool_is_made_under_the_name_that_is_kept(person, client):
    browser = await person()
    text = {"type": "text", "text": "code\nA-1\nA-2", "go": "preview", "pool": "cafe\u0301"}
    page = await browser.post("/console/imports/new", data={"csrf": await csrf(browser), **text})
    form = hidden(page.text) | {"column": "0", "go": "import"}
    assert "Import into caf\u00e9" in (await browser.post("/console/imports/new", data=form)).text
    (made,) = (await client.get("/v1/imports")).json()["items"]
    assert made["pool"] == "caf\u00e9"


async def test_a_url_can_be_scheduled(person):
    client = await person()
    page = await client.post("/console/imports/new", data={
        "csrf": await csrf(client), "pool": "spring", "type": "url", "url_url": "ftp://x", "go": "preview",
    })  # fmt: skip
    assert page.status_code == 422
    assert "ftp://x" in page.text


async def test_a_voucher_is_found_redeemed_and_void(person, engine):
    await fill(engine, "spring", ["A-1", "A-2"])
    client = await person()
    token = await csrf(client)
    page = await client.get("/console/pools/spring", params={"code": "A-1"})
    assert "/console/vouchers/A-1" in page.text
    assert (await client.post("/console/vouchers/A-1/void", data={"csrf": token})).status_code == 422
    page = await client.post("/console/vouchers/A-1/void", data={"csrf": token, "sure": "yes"})
    assert "The code is void." in page.text
    page = await client.post(
        "/console/vouchers/A-2/redeem", data={"csrf": token, "sure": "yes", "customer_id": "c"}
    )
    assert "The code is redeemed." in page.text
    page = await client.post(
        "/console/vouchers/A-1/redeem", data={"csrf": token, "sure": "yes", "customer_id": "c"}
    )
    assert page.status_code == 409


async def test_a_void_is_taken_back_for_this_code_alone(person, client, engine, settings):
    await fill(engine, "spring", ["A-1", "A-2", "A-3"])
    given = (
        await client.post("/v1/pools/spring/assignments", json={"customer_id": "c", "code": "A-1"})
    ).json()
    browser = await person()
    sure = {"csrf": await csrf(browser), "sure": "yes"}
    for code in ("A-1", "A-2"):
        await browser.post(f"/console/vouchers/{code}/void", data=sure)
    unsure = await browser.post("/console/vouchers/A-1/reinstate", data=sure | {"sure": ""})
    assert (unsure.status_code, unsure.text.count('class="wrong"')) == (422, 1)
    page = await browser.post(
        "/console/vouchers/A-1/reinstate", data=sure | {"reinstate_reason": "typing error"}
    )
    assert "The change has begun" in page.text
    change_id = page.url.path.rpartition("/")[2]
    await changes.run(engine, uuid.UUID(change_id))
    page = await browser.get("/console/vouchers/A-1")
    assert "typing error" in page.text
    assert (await client.get(f"/v1/assignments/{given['id']}")).json()["status"] == "assigned"
    assert (await client.get("/v1/vouchers/A-2")).json()["status"] == "void"
    customer = await browser.get("/console/customers/c")
    assert "/console/vouchers/A-1" in customer.text
    assert "/console/customers/c" in page.text


async def test_a_reason_that_is_too_long_is_told_beside_its_field(person, engine):
    await fill(engine, "spring", ["A-1"])
    browser = await person()
    long = {"csrf": await csrf(browser), "sure": "yes", "void_reason": "x" * 1000}
    page = await browser.post("/console/vouchers/A-1/void", data=long)
    assert page.status_code == 422
    assert re.search(r'id="f-void_reason" [^>]*aria-invalid="true"', page.text)


async def test_a_preview_takes_no_code_and_a_test_takes_one(person, client, engine):
    await fill(engine, "spring", 3)
    browser = await person()
    page = await browser.get(
        "/console/personalization", params={"pool": "spring", "action": "assign_uncached"}
    )
    assert "assign_available(cached=false)" in page.text
    sent = {
        "csrf": await csrf(browser), "channel": "email", "customer_id": "c",
        "template": "Code {{ vouchers['spring'].assign_available() }}",
    }  # fmt: skip
    page = await browser.post("/console/personalization", data=sent | {"go": "preview"})
    assert "Code spring-" in page.text
    assert (await client.get("/v1/pools/spring/counts")).json()["available"] == 3
    page = await browser.post("/console/personalization", data=sent | {"go": "test"})
    assert (await client.get("/v1/pools/spring/counts")).json()["available"] == 2
    parts = {"subject": "For {{ 'a&b' }}", "template": "<b>{{ 'a&b' }}</b>", "go": "preview"}
    page = await browser.post("/console/personalization", data=sent | parts)
    assert "For a&amp;b" in page.text
    assert "&lt;b&gt;a&amp;amp;b&lt;/b&gt;" in page.text
    page = await browser.post("/console/personalization", data=sent | {"template": "a\n{{", "go": "preview"})
    assert page.status_code == 422
    assert "Line 2" in page.text


async def test_mapping_nodes_aggregates_and_erasure(person, client, engine):
    await fill(engine, "spring", 3)
    browser = await person()
    token = await csrf(browser)
    page = await browser.post(
        "/console/mapping", data={"csrf": token, "event_type": "purchase", "property": "voucher_code"}
    )
    assert "The mapping is saved" in page.text
    node = {"csrf": token, "node": "properties", "form": "m"}
    node["template"] = '{"voucher": {{ vouchers["spring"].assign_available() | json }}}'
    await browser.post("/console/customers/c/node", data=node | {"go": "preview"})
    assert (await client.get("/v1/pools/spring/counts")).json()["available"] == 3
    for _ in range(2):  # sent again, it takes no second code
        page = await browser.post("/console/customers/c/node", data=node | {"go": "run"})
    assert (await client.get("/v1/pools/spring/counts")).json()["available"] == 2
    code = (await client.get("/v1/customers/c")).json()["properties"]["voucher"]
    assert code in page.text
    event = {"customer_id": "c", "event_type": "purchase", "properties": {"voucher_code": code}}
    await client.post("/v1/events", json={"events": [event]})
    assert "Redeemed" in (await browser.get(f"/console/vouchers/{code}")).text
    page = await browser.post("/console/aggregates", data={
        "csrf": token, "name": "last", "function": "last", "event_type": "purchase", "property": "voucher_code",
    })  # fmt: skip
    assert "The aggregate is saved" in page.text
    assert code in (await browser.get("/console/aggregates", params={"customer_id": "c"})).text
    merge = {"csrf": token, "from": "cookie"}
    assert "Tick the box" in (await browser.post("/console/customers/c/merge", data=merge)).text
    page = await browser.post("/console/customers/c/merge", data=merge | {"sure": "yes"})
    assert "The two are one person now" in page.text
    tracked = {"customer_ids": {"registered": "c", "phone": "+420"}}
    await client.post("/track/v2/projects/default/customers", json=tracked)
    page = await browser.get("/console/customers/cookie")
    assert "Also known as" in page.text
    assert "Tracked as phone <code><bdi>+420</bdi></code>, registered <code><bdi>c</bdi></code>." in page.text
    page = await browser.post("/console/customers/c/erase", data={"csrf": token, "sure": "yes"})
    assert "The customer is erased" in page.text
    assert "purchase" not in (await browser.get("/console/customers/c")).text


async def test_a_node_that_ends_its_process_is_told_of_as_the_api_tells(person, monkeypatch):
    async def die(*_):
        raise RendererDiedError

    monkeypatch.setattr(Renderers, "render", die)
    browser = await person()
    node = {"csrf": await csrf(browser), "node": "properties", "template": "{}", "go": "run"}
    page = await browser.post("/console/customers/c/node", data=node)
    assert page.status_code == 422
    assert "The template takes too much time or memory; it was stopped." in page.text


async def test_alerts_holds_and_keys(person, engine):
    await fill(engine, "spring", 3)
    browser = await person()
    token = await csrf(browser)
    alert = {"csrf": token, "pool": "spring", "thresholds": "2, 0", "webhook_url": "https://hooks.test/x"}
    assert "whsec_" in (await browser.post("/console/alerts", data=alert)).text
    bad = await browser.post("/console/alerts", data=alert | {"thresholds": "few"})
    assert bad.status_code == 422
    assert 'value="few"' in bad.text
    page = await browser.post(
        "/console/pools/spring/holds", data={"csrf": token, "campaign_id": "k", "count": "9"}
    )
    assert page.status_code == 409
    page = await browser.post(
        "/console/pools/spring/holds", data={"csrf": token, "campaign_id": "k", "count": "2"}
    )
    assert "The codes are held" in page.text
    page = await browser.post("/console/keys", data={"csrf": token, "name": "shop", "scope_events": "yes"})
    assert "vp_" in page.text


async def test_a_webhook_of_alerts_that_is_told_nothing_any_more_is_shown_so_until_they_are_saved(
    person, client, engine
):
    await fill(engine, "spring", 3)
    browser = await person()
    alert = {
        "csrf": await csrf(browser),
        "pool": "spring",
        "thresholds": "0",
        "webhook_url": "https://e.org/",
    }
    await browser.post("/console/alerts", data=alert)
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE alert SET webhook_disabled_at = '2026-03-01 12:00Z'"))
    page = (await browser.get("/console/alerts?pool=spring")).text
    assert "answered 410 Gone" in page
    assert "2026-03-01 12:00:00 UTC" in page
    alert["version"] = re.search(r'name="version" value="([^"]+)"', page)[1]
    assert "410 Gone" not in (await browser.post("/console/alerts", data=alert)).text


async def test_webhooks(person, engine):
    await fill(engine, "spring", 3)
    browser = await person()
    token = await csrf(browser)
    hook = {"csrf": token, "url": "https://hooks.test/codes", "event_voucher.assigned": "yes"}
    wrong = await browser.post("/console/webhooks", data={"csrf": token, "url": hook["url"]})
    assert (wrong.status_code, 'value="https://hooks.test/codes"' in wrong.text) == (422, True)
    private = await browser.post("/console/webhooks", data=hook | {"url": "http://10.0.0.1/"})
    assert (private.status_code, "no public address" in private.text) == (422, True)
    made = await browser.post("/console/webhooks", data=hook | {"pools": "spring"})
    assert "whsec_" in made.text
    page = await browser.get("/console/webhooks")
    assert "whsec_" not in page.text
    address = re.search(r"/console/webhooks/[0-9a-f-]{36}", page.text)[0]
    assert (
        "A test message is on its way" in (await browser.post(f"{address}/test", data={"csrf": token})).text
    )
    assert "pending" in (await browser.get(address)).text
    unsure = await browser.post(f"{address}/rotate", data={"csrf": token})
    assert (unsure.status_code, "whsec_" in unsure.text) == (422, False)
    assert "whsec_" in (await browser.post(f"{address}/rotate", data={"csrf": token, "sure": "yes"})).text
    assert (await browser.post(f"{address}/enable", data={"csrf": token})).status_code == 200
    assert (await browser.post(f"{address}/delete", data={"csrf": token})).status_code == 422
    gone = await browser.post(f"{address}/delete", data={"csrf": token, "sure": "yes"})
    assert "The webhook is deleted" in gone.text


async def test_pools_of_a_webhook_are_named_with_commas_between_or_within(person, client):
    for name in ("a,b", "c", "d", "e,"):
        await client.post("/v1/pools", json={"name": name})
    browser = await person()
    hook = {"csrf": await csrf(browser), "url": "https://hooks.test/codes", "event_voucher.assigned": "yes"}
    for typed, named in (
        ("a,b", ["a,b"]),
        ("c, d", ["c", "d"]),
        ("a,b, c,d", ["a,b", "c", "d"]),
        ("e, c", ["c", "e,"]),
    ):
        page = await browser.post("/console/webhooks", data=hook | {"pools": typed})
        assert "whsec_" in page.text, typed
        hooks = (await client.get("/v1/webhooks")).json()["items"]
        assert named in [each["pools"] for each in hooks], typed
    page = await browser.post("/console/webhooks", data=hook | {"pools": "c,x"})
    assert (page.status_code, 'value="c,x"' in page.text) == (404, True)


async def test_a_webhook_is_changed(person, client):
    for name in ("a,b", "c"):
        await client.post("/v1/pools", json={"name": name})
    body = {"url": "https://hooks.test/codes", "events": ["voucher.assigned"], "pools": ["a,b"]}
    made = await client.post("/v1/webhooks", json=body)
    assert made.status_code == 201, made.text
    hook = made.json()
    api, address = f"/v1/webhooks/{hook['id']}", f"/console/webhooks/{hook['id']}"
    browser = await person()

    async def change(**typed):
        page = (await browser.get(address)).text
        version = re.search(r'name="version" value="([^"]+)"', page)[1]
        form = {
            "csrf": await csrf(browser),
            "version": version,
            "url": body["url"],
            "event_voucher.voided": "yes",
        }
        reply = await browser.post(f"{address}/change", data=form | typed)
        stored = (await client.get(api)).json()
        return reply, (stored["url"], stored["events"], stored["pools"])

    page, stored = await change(pools="a,b")
    assert "The webhook is changed" in page.text
    assert stored == (body["url"], ["voucher.voided"], ["a,b"])
    page, stored = await change(pools="c", url="https://hooks.test/new")
    assert stored == ("https://hooks.test/new", ["voucher.voided"], ["c"])
    for typed, status, said in (
        ({"pools": "c", "all_pools": "yes"}, 422, "not both"),
        ({"pools": ""}, 422, "Name pools"),
        ({"pools": "none"}, 404, "none"),
        ({"pools": "c", "url": "http://10.0.0.1/"}, 422, "no public address"),
        ({"pools": "c", "event_voucher.voided": ""}, 422, "at least one event"),
    ):
        page, left = await change(**typed)
        assert (page.status_code, said in page.text, left) == (status, True, stored), typed
        assert f'name="pools" type="text" value="{typed["pools"]}"' in page.text, "what was typed is there"
    page, stored = await change(pools="", all_pools="yes")
    assert stored == (body["url"], ["voucher.voided"], None)


async def test_a_pool_does_not_come_back_by_its_schedule(person, client):
    """As the API has it: the rule is the domain's."""
    await client.post("/v1/pools", json={"name": "p"})
    source = {"type": "url", "url": "https://files.example.org/codes.csv"}
    made = await client.post(
        "/v1/import-schedules", json={"pool": "p", "source": source, "cron": "0 3 * * *"}
    )
    schedule = f"/v1/import-schedules/{made.json()['id']}"
    browser = await person()
    sure = {"csrf": await csrf(browser), "sure": "yes"}
    refused = await browser.post("/console/pools/p/delete", data=sure)
    assert (refused.status_code, "would bring pool" in refused.text) == (409, True)
    assert (await client.get("/v1/pools/p")).status_code == 200
    await client.patch(schedule, json={"active": False})
    assert "The pool is deleted" in (await browser.post("/console/pools/p/delete", data=sure)).text
