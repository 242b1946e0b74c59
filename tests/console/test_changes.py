"""Many codes are changed at once from the console: first told, then done."""

import re

from app.domain.changes import service
from tests.console.conftest import csrf
from tests.factories import fill


async def test_a_campaign_is_taken_out_after_a_dry_run(person, client, engine):
    await fill(engine, "spring", 4)
    for _ in range(2):
        await client.post("/v1/pools/spring/assignments", json={"campaign_id": "k"})
    someone = await person()
    token = await csrf(someone)
    typed = {"csrf": token, "action": "void", "campaign_id": "k", "reason": "wrong <list>"}
    page = await someone.post("/console/changes", data=typed)
    change_id = re.search(r"/console/changes/([0-9a-f-]{36})", str(page.url))[1]
    await service.run(engine, change_id)
    page = await someone.get(f"/console/changes/{change_id}")
    assert "Change 2 codes" in page.text
    assert "wrong &lt;list&gt;" in page.text
    unsure = await someone.post(f"/console/changes/{change_id}/apply", data={"csrf": token})
    assert "Tick the box" in unsure.text
    for _ in range(2):
        page = await someone.post(f"/console/changes/{change_id}/apply", data={"csrf": token, "sure": "yes"})
    done_id = re.search(r"/console/changes/([0-9a-f-]{36})", str(page.url))[1]
    await service.run(engine, done_id)
    assert (await client.get("/v1/pools/spring/counts")).json()["void"] == 2
    assert len((await client.get("/v1/bulk-changes")).json()["items"]) == 2
    assert "Changed" in (await someone.get(f"/console/changes/{done_id}")).text
    assert f"/console/changes/{done_id}" in (await someone.get("/console/changes")).text


async def test_a_dry_run_is_done_once_by_whomever(person, client, engine):
    await fill(engine, "spring", 5)
    await fill(engine, "summer", 0)
    first, second = await person(), await person("pools")
    moved = {"action": "move", "filter": {"pool": "spring"}, "to": "summer", "count": 2, "dry_run": True}
    told = (await client.post("/v1/bulk-changes", json=moved)).json()["id"]
    await service.run(engine, told)
    assert "Change 2 codes" in (await second.get(f"/console/changes/{told}")).text
    led_to = []
    for someone in (first, second):
        form = {"csrf": await csrf(someone), "sure": "yes"}
        page = await someone.post(f"/console/changes/{told}/apply", data=form)
        led_to.append(page.url.path)
        await service.run(engine, page.url.path.rpartition("/")[2])
    assert led_to[0] == led_to[1]
    assert (await client.get("/v1/pools/summer/counts")).json()["available"] == 2
    changes = (await client.get("/v1/bulk-changes")).json()["items"]
    assert [change["dry_run"] for change in changes] == [False, True]
    shown = (await second.get(f"/console/changes/{told}")).text
    assert led_to[0] in shown
    assert "Change 2 codes" not in shown


async def test_what_says_too_little_is_shown_again(person, engine):
    await fill(engine, "spring", 1)
    someone = await person()
    token = await csrf(someone)
    page = await someone.post("/console/changes", data={"csrf": token, "action": "void"})
    assert page.status_code == 422
    assert "at least one of pool" in page.text
    typed = {"csrf": token, "action": "set_expiry", "pool": "spring"}
    page = await someone.post("/console/changes", data=typed)
    assert "Say when the codes expire" in page.text
    for expiry in ({"expires_at": "2030-01-01T00:00:00"}, {"never": "yes"}):
        page = await someone.post("/console/changes", data=typed | expiry)
        assert page.status_code == 200, page.text


EXPIRIES = {
    "2030-01-31T23:59:59-05:00": "2030-02-01T04:59:59Z",
    "2030-01-31T23:59:59+02:00": "2030-01-31T21:59:59Z",
    "2030-01-31T23:59:59Z": "2030-01-31T23:59:59Z",
    "2030-01-31 23:59:59": "2030-01-31T23:59:59Z",
}


async def test_an_expiry_is_in_utc_where_no_zone_is_named(person, client, engine):
    await fill(engine, "spring", 1)
    someone = await person()
    typed = {"csrf": await csrf(someone), "action": "set_expiry", "pool": "spring"}
    for text, meant in EXPIRIES.items():
        page = await someone.post("/console/changes", data=typed | {"expires_at": text})
        change = (await client.get(f"/v1/bulk-changes/{page.url.path.rpartition('/')[2]}")).json()
        assert change["expires_at"] == meant, text
    for text in ("2030-01-31", "soon"):
        page = await someone.post("/console/changes", data=typed | {"expires_at": text})
        assert (page.status_code, f'value="{text}"' in page.text) == (422, True)


async def test_a_reason_is_kept_from_the_page_of_a_code(person, client, engine):
    await fill(engine, "spring", ["A-1"])
    someone = await person()
    typed = {"csrf": await csrf(someone), "sure": "yes", "void_reason": "leaked"}
    page = await someone.post("/console/vouchers/A-1/void", data=typed)
    assert "leaked" in page.text


async def test_the_rules_of_a_pool_are_set_and_taken_away(person, client, engine):
    await fill(engine, "spring", 2)
    someone = await person()
    token = await csrf(someone)
    typed = {"csrf": token, "count_each": "1", "days": "30", "then": "refuse"}
    page = await someone.post("/console/pools/spring/rule", data=typed)
    assert "A customer gets 1 within 30 days, then an error." in page.text
    page = await someone.post("/console/pools/spring/rule", data=typed | {"count_each": "none"})
    assert page.status_code == 422
    await someone.post("/console/pools/spring/rule", data={"csrf": token, "count_each": ""})
    assert (await client.get("/v1/pools/spring")).json()["per_customer"] is None
    page = await someone.post(
        "/console/pools/spring/expiry", data={"csrf": token, "expires_after_days": "14"}
    )
    assert "A code ends 14 days after it was handed out, or earlier by itself." in page.text
    page = await someone.post("/console/pools/spring/expiry", data={"csrf": token, "expires_after_days": "0"})
    assert page.status_code == 422
    await someone.post("/console/pools/spring/expiry", data={"csrf": token, "expires_after_days": ""})
    assert (await client.get("/v1/pools/spring")).json()["expires_after_days"] is None


async def test_a_change_that_named_codes_or_customers_cannot_be_done_again(person, client, engine):
    await fill(engine, "spring", ["A-1"])
    someone = await person()
    form = {"csrf": await csrf(someone), "sure": "yes"}
    for chosen in ({"codes": ["A-1"]}, {"customer_ids": ["anna"]}):
        told = {"action": "void", "filter": chosen, "dry_run": True}
        change_id = (await client.post("/v1/bulk-changes", json=told)).json()["id"]
        page = await someone.post(f"/console/changes/{change_id}/apply", data=form)
        assert page.status_code == 422, page.text
    assert len((await client.get("/v1/bulk-changes")).json()["items"]) == 2
