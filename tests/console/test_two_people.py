"""Two people edit one thing in the console: the second is shown both, and what he typed is not lost."""

import asyncio
import re

from tests.console.conftest import csrf
from tests.factories import fill

HOOK = "https://example.org/theirs"


def version(page):
    return re.search(r'name="version" value="([^"]+)"', page.text)[1]


async def test_a_description_that_somebody_else_changed(person, engine):
    await fill(engine, "spring", 1)
    client = await person()
    form = {"csrf": await csrf(client), "version": version(await client.get("/console/pools/spring"))}
    first = await client.post("/console/pools/spring/change", data=form | {"description": "theirs"})
    assert "theirs" in first.text
    second = await client.post("/console/pools/spring/change", data=form | {"description": "mine"})
    assert second.status_code == 412
    assert "What is saved now" in second.text
    assert "theirs" in second.text
    assert 'value="mine"' in second.text
    assert "theirs" in (await client.get("/console/pools/spring")).text
    again = form | {"version": version(second), "description": "theirs and mine"}
    assert (await client.post("/console/pools/spring/change", data=again)).status_code == 200
    assert "theirs and mine" in (await client.get("/console/pools/spring")).text


async def test_alerts_that_somebody_else_changed_or_deleted(person, engine):
    await fill(engine, "spring", 10)
    client = await person()
    address, token = "/console/alerts?pool=spring", await csrf(client)
    hook = {"csrf": token, "pool": "spring", "webhook_url": "https://example.org/hook"}
    await client.post("/console/alerts", data=hook | {"thresholds": "3"})
    seen = version(await client.get(address))
    await client.post("/console/alerts", data=hook | {"thresholds": "4", "version": seen})
    mine = hook | {"thresholds": "5", "version": seen}
    second = await client.post("/console/alerts", data=mine)
    assert second.status_code == 412
    assert "<dd><bdi>4</bdi></dd>" in second.text
    assert 'value="5"' in second.text
    mine["sure"] = "yes"
    deleted = await client.post("/console/alerts/delete", data=mine)
    assert deleted.status_code == 412, "nobody deletes what he has not seen"
    await client.post("/console/alerts/delete", data=mine | {"version": version(deleted)})
    gone = await client.post("/console/alerts", data=mine)
    assert gone.status_code == 412
    assert 'value="5"' in gone.text
    assert 'name="version" value=""' in gone.text
    del mine["version"]
    await client.post("/console/alerts", data=mine)
    assert ">5</td>" in (await client.get(address)).text


async def test_first_alerts_that_somebody_else_set_meanwhile(person, engine):
    await fill(engine, "spring", 10)
    client = await person()
    address, token = "/console/alerts?pool=spring", await csrf(client)
    unseen = {"csrf": token, "pool": "spring", "version": "", "emails": ""}
    theirs = await client.post("/console/alerts", data=unseen | {"thresholds": "3", "webhook_url": HOOK})
    assert theirs.status_code == 200
    mistyped = unseen | {"thresholds": "few", "webhook_url": "https://example.org/mine"}
    again = await client.post("/console/alerts", data=mistyped)
    assert (again.status_code, 'name="version" value=""' in again.text) == (422, True)
    second = await client.post("/console/alerts", data=mistyped | {"thresholds": "5"})
    assert (second.status_code, HOOK in second.text) == (412, True)
    assert HOOK in (await client.get(address)).text
    mine = mistyped | {"thresholds": "5", "version": version(second)}
    await client.post("/console/alerts", data=mine)
    assert HOOK not in (await client.get(address)).text


async def test_rules_of_a_pool_that_somebody_else_changed(person, client, engine):
    await fill(engine, "spring", 1)
    browser = await person()
    form = {"csrf": await csrf(browser), "version": version(await browser.get("/console/pools/spring"))}
    await client.patch("/v1/pools/spring", json={"per_customer": {"count": 2, "days": 7}})
    wrong = {"count_each": "1", "days": "none", "then": "same"}
    page = await browser.post("/console/pools/spring/rule", data=form | wrong)
    assert (page.status_code, version(page)) == (422, form["version"]), "what was seen, not what is there now"
    for address, typed in (("rule", wrong | {"days": ""}), ("expiry", {"expires_after_days": "14"})):
        second = await browser.post(f"/console/pools/spring/{address}", data=form | typed)
        assert (second.status_code, "<dt>Within days</dt><dd><bdi>7</bdi></dd>" in second.text) == (412, True)
        pool = (await client.get("/v1/pools/spring")).json()
        assert (pool["per_customer"]["count"], pool["expires_after_days"]) == (2, None)
    seen = {"version": version(second), "expires_after_days": "14"}
    assert (await browser.post("/console/pools/spring/expiry", data=form | seen)).status_code == 200


async def test_an_aggregate_is_not_replaced_unseen(person, client):
    browser = await person()
    theirs = {"event_type": "e", "function": "count", "where": {"tags": ["a"]}, "match": "contains"}
    await client.put("/v1/aggregates/a", json=theirs)
    page = await browser.get("/console/aggregates")
    assert "Lists and objects hold at least these</span>" in page.text
    token = await csrf(browser)
    mine = {"csrf": token, "form": "f", "version": "", "name": "a", "event_type": "e2", "function": "count"}
    for _ in range(2):
        second = await browser.post("/console/aggregates", data=mine)
        assert (second.status_code, "<dd><bdi>Lists and objects hold" in second.text) == (412, True)
    assert (await client.get("/v1/aggregates/a")).json() == theirs | {"name": "a", "property": None}
    seen = re.search(r'action="/console/aggregates">.*?name="version" value="([^"]+)"', second.text)[1]
    mine |= {"version": seen, "where": '{"tags": ["b"]}', "match": "contains"}
    for _ in range(2):  # a second click is obeyed once
        assert (await browser.post("/console/aggregates", data=mine)).status_code == 200
    now = (await client.get("/v1/aggregates/a")).json()
    assert (now["event_type"], now["match"]) == ("e2", "contains")
    gone = {"csrf": token, "aggregate": "a", "version": seen, "sure": "yes"}
    assert (await browser.post("/console/aggregates/delete", data=gone)).status_code == 412
    assert (await client.get("/v1/aggregates/a")).status_code == 200


async def test_two_people_map_at_once_and_both_are_kept(person, client):
    browser = await person()
    token = await csrf(browser)
    forms = [{"csrf": token, "event_type": "purchase", "property": f"p{n}"} for n in range(4)]
    await asyncio.gather(*(browser.post("/console/mapping", data=form) for form in forms))
    mapped = (await client.get("/v1/redemption-mapping")).json()["mappings"]
    assert [each["property"] for each in mapped] == ["p0", "p1", "p2", "p3"]


async def test_a_webhook_that_somebody_else_changed(person, client):
    body = {"url": "https://hooks.test/codes", "events": ["voucher.assigned"]}
    hook = (await client.post("/v1/webhooks", json=body)).json()
    api, address = f"/v1/webhooks/{hook['id']}", f"/console/webhooks/{hook['id']}"
    browser = await person()
    form = {"csrf": await csrf(browser), "version": version(await browser.get(address))}
    await client.patch(api, json={"url": HOOK})
    mine = form | {
        "url": "https://hooks.test/mine",
        "event_pool.low": "yes",
        "all_pools": "yes",
        "sure": "yes",
    }
    second = await browser.post(f"{address}/change", data=mine)
    assert second.status_code == 412
    assert HOOK in second.text
    assert 'value="https://hooks.test/mine"' in second.text
    deleted = await browser.post(f"{address}/delete", data=mine)
    assert deleted.status_code == 412, "nobody deletes what he has not seen"
    again = await browser.post(f"{address}/change", data=mine | {"version": version(second)})
    assert "The webhook is changed" in again.text
    assert (await client.get(api)).json()["events"] == ["pool.low"]
