"""What forms are answered with: where a page that answers one leads, and what is said of what was typed."""

import re
from urllib.parse import quote, urlencode

import pytest

from app.platform.settings import Settings
from tests.console.conftest import CODES, csrf, marked
from tests.factories import fill


@pytest.fixture
async def browser(person, engine):
    await fill(engine, "spring", 60)
    browser = await person()
    browser.form = {"csrf": await csrf(browser)}
    return browser


async def test_a_page_that_answers_a_form_leads_on_as_the_page_itself(browser, client):
    page = await browser.post(
        "/console/pools/spring/holds", data=browser.form | {"campaign_id": "k", "count": "99"}
    )
    assert page.status_code == 409
    assert 'method="get" action="/console/pools/spring"' in page.text
    next_page = re.search(r'href="([^"]+)">Next page', page.text)[1]
    assert next_page.startswith("/console/pools/spring?cursor=")
    assert (await browser.get(next_page)).status_code == 200
    page = await browser.get("/console/pools/spring?status=available&done=hold-made")
    next_page = re.search(r'href="([^"]+)">Next page', page.text)[1].replace("&amp;", "&")
    assert "status=available" in next_page
    assert "The codes are held" in page.text
    assert "The codes are held" not in (await browser.get(next_page)).text
    rows = "".join(f"c-{n:02}\n" for n in range(60))
    page = await browser.post(
        "/console/customers",
        data=browser.form,
        files={"file": ("a.csv", b"customer_id\n" + rows.encode())},
    )
    next_page = re.search(r'href="([^"]+)">Next page', page.text)[1]
    assert "c-59" in (await browser.get(page.url.join(next_page))).text


PAGES = {
    "pools/spring/change?x=y": "pools/spring",
    "pools/spring/holds/00000000-0000-4000-8000-000000000000/delete": "pools/spring",
    "pools/spring/assignments/export": "pools/spring",
    "keys/00000000-0000-4000-8000-000000000000/rotate": "keys",
    "alerts/delete": "alerts",
    "vouchers/A%2FB/void": "vouchers/A%2FB",
    "customers/c%2Fnode/node": "customers/c%2Fnode",
    "logout": "pools",
}


async def test_the_address_of_a_form_leads_to_its_page(browser, engine):
    await fill(engine, "odd", ["A/B"])
    for address, page in PAGES.items():
        answer = await browser.get(f"/console/{address}")
        assert (answer.status_code, answer.url.raw_path.decode()) == (200, f"/console/{page}")


async def test_a_method_that_no_page_has_is_refused_as_such(browser):
    answer = await browser.put("/console/pools")
    assert (answer.status_code, "GET" in answer.headers["allow"]) == (405, True)


ALERTS = {"pool": "spring", "thresholds": "0", "webhook_url": "https://hooks.test/x"}
NUMBERS = (
    ("pools/spring/rule", "count_each", {"then": "same"}),
    ("pools/spring/rule", "days", {"count_each": "1", "then": "same"}),
    ("pools/spring/expiry", "expires_after_days", {}),
    ("pools/spring/holds", "count", {"campaign_id": "k"}),
    ("alerts", "thresholds", ALERTS),
    ("alerts", "expiring_within_days", ALERTS),
    ("changes", "count", {"action": "move", "pool": "spring", "to": "other"}),
)


@pytest.mark.parametrize("typed", ["9" * 5000, "\u00b2", "zwei"])
async def test_what_is_no_number_is_told_beside_its_field_and_kept(browser, typed):
    for address, field, form in NUMBERS:
        page = await browser.post(f"/console/{address}", data=browser.form | form | {field: typed})
        assert (page.status_code, marked(page)) == (422, [field]), address
        assert f'value="{typed}"' in page.text
        said = re.search(r'role="alert"><p><strong>.*?</strong> (.*?)</p>', page.text)[1]
        assert said.count("Input should") <= 1, "said once"


async def test_an_aggregate_of_no_name_is_refused_beside_the_field(browser):
    for name in (".", "..", "a\0b", "", "x" * 256):
        form = browser.form | {"name": name, "event_type": "e", "function": "count"}
        page = await browser.post("/console/aggregates", data=form)
        assert (page.status_code, marked(page)) == (422, ["name"])


async def test_aggregates_that_are_set_and_deleted_stand_in_the_audit(browser, client):
    form = {"name": "a", "event_type": "e", "function": "count"}
    await browser.post("/console/aggregates", data=browser.form | form)
    await browser.post("/console/aggregates/delete", data=browser.form | {"aggregate": "a", "sure": "yes"})
    items = (await client.get("/v1/audit", params={"limit": 2})).json()["items"]
    assert [(entry["action"], entry["key_name"], entry["details"]) for entry in items] == [
        ("aggregate.deleted", "test", {"name": "a"}),
        ("aggregate.set", "test", {"name": "a"}),
    ]


async def test_a_pool_that_stays_is_told_with_the_number_of_its_vouchers(browser, client):
    await client.post("/v1/pools/spring/assignments", json={})
    page = await browser.post("/console/pools/spring/delete", data=browser.form)
    assert page.status_code == 409
    assert "its 60 vouchers" in page.text


async def test_what_cannot_be_undone_is_done_by_who_ticks_the_box(browser, client):
    source = {"type": "url", "url": "https://files.example.org/codes.csv"}
    schedule = {"pool": "spring", "source": source, "cron": "0 3 * * *"}
    made = (await client.post("/v1/import-schedules", json=schedule)).json()
    await client.put("/v1/aggregates/a", json={"event_type": "e", "function": "count"})
    await client.put("/v1/pools/spring/alerts", json={"thresholds": [0], "webhook_url": "https://e.org/"})
    seen = re.search(
        r'name="version" value="([^"]+)"', (await browser.get("/console/alerts?pool=spring")).text
    )
    for address, form, path in (
        (f"schedules/{made['id']}/delete", {}, f"/v1/import-schedules/{made['id']}"),
        ("aggregates/delete", {"aggregate": "a"}, "/v1/aggregates/a"),
        ("alerts/delete", {"pool": "spring", "version": seen[1]}, "/v1/pools/spring/alerts"),
    ):
        page = await browser.post(f"/console/{address}", data=browser.form | form)
        assert (page.status_code, page.text.count('class="wrong">Tick the box')) == (422, 1), address
        assert "<details open>" in page.text, address
        assert (await client.get(path)).status_code == 200, address
        page = await browser.post(f"/console/{address}", data=browser.form | form | {"sure": "yes"})
        assert (page.status_code, (await client.get(path)).status_code) == (200, 404), address


async def test_when_a_schedule_runs_is_changed_where_it_still_is_as_it_was_seen(browser, client):
    source = {"type": "url", "url": "https://files.example.org/codes.csv"}
    for cron in ("0 3 * * *", "0 4 * * *"):
        schedule = {"pool": "spring", "source": source, "cron": cron}
        made = (await client.post("/v1/import-schedules", json=schedule)).json()
    at, address = f"/v1/import-schedules/{made['id']}", f"/console/schedules/{made['id']}/times"

    def form_in(page):
        (form,) = re.findall(f'action="{address}">(.*?)</form>', page.text, re.DOTALL)
        return browser.form | {"version": re.search('name="version" value="([^"]+)"', form)[1]}, form

    seen, _ = form_in(await browser.get("/console/schedules"))
    times = {"cron": "0 5 * * 1-5", "timezone": "Europe/Prague", "form": "clicked twice"}
    for _ in range(2):
        page = await browser.post(address, data=seen | times)
    changed = (await client.get(at)).json()
    assert "The schedule is changed" in page.text
    assert (changed["cron"], changed["timezone"], changed["active"]) == ("0 5 * * 1-5", "Europe/Prague", True)
    page = await browser.post(address, data=seen | {"cron": "0 6 * * *"})  # somebody was faster
    assert (page.status_code, (await client.get(at)).json()["cron"]) == (412, "0 5 * * 1-5")
    again, form = form_in(page)
    assert 'value="0 6 * * *"' in form
    assert page.text.count('value="0 6 * * *"') == 1
    for bad in ({"cron": "at dawn today"}, {"cron": "0 5 * * *", "timezone": "Prague"}):
        page = await browser.post(address, data=again | bad)
        assert (page.status_code, page.text.count('aria-invalid="true"')) == (422, 1), bad
        assert form_in(page)[0] == again
    await browser.post(address, data=again | {"cron": "0 6 * * *", "timezone": ""})
    changed = (await client.get(at)).json()
    assert (changed["cron"], changed["timezone"]) == ("0 6 * * *", "UTC")


async def _hold_is_changed(browser, client, page, address):
    """Change the hold of two codes, and at last as it was but without an end."""

    def form_in(page):
        (form,) = re.findall(f'action="{address}">(.*?)</form>', page.text, re.DOTALL)
        filled = dict(re.findall(r'name="(version|held_\w+)" (?:type="\w+" )?value="([^"]*)"', form))
        return browser.form | filled, re.findall(r'name="(\w+)" [^>]*aria-invalid="true"', page.text)

    seen, _ = form_in(page)
    assert (seen["held_count"], seen["held_until"]) == ("2", "2099-01-31")
    for typed, status, field in (
        ({"held_count": "99"}, 409, []),
        ({"held_count": "0"}, 422, ["held_count"]),
        ({"held_count": ""}, 422, ["held_count"]),
        ({"held_until": "2001-01-01"}, 422, ["held_until"]),
    ):
        page = await browser.post(address, data=seen | typed)
        assert (page.status_code, form_in(page)) == (status, (seen | typed, field)), typed
    for _ in range(2):
        page = await browser.post(address, data=seen | {"held_count": "3", "form": "twice"})
        assert (page.status_code, "The hold is changed." in page.text) == (200, True)
    assert "2099-01-31 23:59:59 UTC" in page.text
    page = await browser.post(address, data=seen | {"held_count": "4"})
    assert (page.status_code, "What is saved now" in page.text) == (412, False), "the pool is as it was"
    seen, _ = form_in(page)
    await browser.post(address, data=seen | {"held_count": "2", "held_until": ""})
    (held,) = (await client.get("/v1/pools/spring/holds")).json()["items"]
    assert (held["count"], held["expires_at"]) == (2, None)


async def test_codes_are_held_until_the_end_of_a_day_and_given_back_by_who_ticks_the_box(browser, client):
    holds = "/console/pools/spring/holds"
    form = browser.form | {"campaign_id": "k", "count": "2"}
    for typed in ("2001-01-01", "soon"):
        page = await browser.post(holds, data=form | {"expires_at": typed})
        assert (page.status_code, marked(page)) == (422, ["expires_at"])
        assert f'value="{typed}"' in page.text
    page = await browser.post(holds, data=form | {"expires_at": "2099-01-31"})
    assert "2099-01-31 23:59:59 UTC" in page.text
    (held,) = (await client.get("/v1/pools/spring/holds")).json()["items"]
    assert held["expires_at"] == "2099-01-31T23:59:59Z"
    await _hold_is_changed(browser, client, page, f"{holds}/{held['id']}/change")
    page = await browser.post(f"{holds}/{held['id']}/delete", data=browser.form)
    assert (page.status_code, page.text.count('class="wrong">Tick the box')) == (422, 1)
    assert "<details open><summary>Give back" in page.text
    assert (await client.get("/v1/pools/spring/holds")).json()["free"] == 58
    sure = browser.form | {"form": "f", "sure": "yes"}
    for _ in range(2):
        page = await browser.post(f"{holds}/{held['id']}/delete", data=sure)
        assert (page.status_code, "The hold is deleted." in page.text) == (200, True)
    assert (await client.get("/v1/pools/spring/holds")).json() == {
        "items": [],
        "next_cursor": None,
        "free": 60,
    }
    page = await browser.post(f"{holds}/{held['id']}/delete", data=sure | {"form": "other"})
    assert (page.status_code, "There is no such hold." in page.text) == (404, True)


async def test_an_error_is_shown_without_what_was_done_before_it(browser):
    page = await browser.post("/console/mapping?done=mapping-changed", data=browser.form | {"event_type": ""})
    assert page.status_code == 422
    assert "The mapping is saved" not in page.text


async def test_the_choice_of_a_pool_stays_beside_the_template(browser):
    page = await browser.post(
        "/console/personalization?pool=spring&action=count_total",
        data=browser.form | {"template": "x", "channel": "sms", "go": "preview"},
    )
    assert 'name="pool" list="pools" value="spring"' in page.text
    assert 'value="count_total" selected' in page.text


async def test_a_link_fills_in_nothing_that_a_form_would_save(browser, client):
    await client.post("/v1/pools/spring/assignments", json={"customer_id": "c"})
    filled = "webhook_url url pools name description like where event_type property to reason template from value count"
    filled += " emails thresholds campaign_id expires_after_days count_each days new_name customer_id cron"
    query = dict.fromkeys(filled.split(), "strange") | {
        "action": "move",
        "scope_admin": "yes",
        "then": "refuse",
    }
    for page in (
        "alerts?pool=spring", "webhooks?", "keys?", "pools?", "pools/spring?", "aggregates?", "changes?", "mapping?",
        "customers?", "customers/c?", "schedules?", "imports/new?",
    ):  # fmt: skip
        shown = (await browser.get(f"/console/{page}&{urlencode(query)}")).text
        forms = "".join(
            re.findall(r"<form(?![^>]*/export\")[^>]*method=\"post\".*?</form>", shown, re.DOTALL)
        )
        assert not re.search(r'strange|value="(move|refuse)" selected|value="yes" checked', forms), page
    changes = (await browser.get("/console/changes?pool=spring")).text
    assert 'name="pool" type="text" value="spring"' in changes, "as the page of a pool links to it"


async def test_a_code_of_any_letters_is_opened_and_changed(browser, client, engine):
    await fill(engine, "odd", CODES)
    page = await browser.get("/console/pools/odd")
    addresses = re.findall(r'href="(/console/vouchers/[^"]+)"', page.text)
    assert len(addresses) == len(CODES)
    sure = browser.form | {"sure": "yes"}
    for _ in addresses:
        given = (await client.post("/v1/pools/odd/assignments", json={})).json()
        address = "/console/vouchers/" + quote(given["code"], safe="")
        assert address in addresses
        for act in (f"release/{given['id']}", "redeem"):
            page = await browser.post(f"{address}/{act}", data=sure)
            assert (page.status_code, page.url.raw_path.partition(b"?")[0].decode()) == (200, address)
    await fill(engine, "voided", ["A/B/C"])
    assert "The code is void." in (await browser.post("/console/vouchers/A%2FB%2FC/void", data=sure)).text


async def test_no_form_makes_a_customer_that_the_api_would_not(browser, client):
    for name in ("..", ".", "x" * 256, "a\0b"):
        address = f"/console/customers/{quote(name, safe='').replace('.', '%2E')}"
        for act in (
            {"name": "a", "value": "b"},
            {"template": "{}", "go": "run"},
            {"from": "c", "sure": "yes"},
        ):
            where = {"name": "change", "template": "node", "from": "merge"}[next(iter(act))]
            page = await browser.post(f"{address}/{where}", data=browser.form | act)
            assert page.status_code == 422, (name, where)
        page = await browser.post("/console/customers/open", data=browser.form | {"customer_id": name})
        assert (page.status_code, marked(page)) == (422, ["customer_id"])
    assert (await client.get("/v1/customers")).json()["items"] == []


async def test_ids_and_names_are_read_as_the_api_reads_them(browser, client, engine, monkeypatch):
    monkeypatch.setattr("app.domain.persons.ids.get_settings", lambda: Settings(customer_ids="lowercase"))
    page = await browser.post("/console/customers/open", data=browser.form | {"customer_id": "Ada"})
    assert page.url.path == "/console/customers/ada"
    await browser.post("/console/customers/ADA/change", data=browser.form | {"name": "n", "value": "v"})
    assert (await client.get("/v1/customers/ada")).json()["properties"] == {"n": "v"}
    await fill(engine, "caf\u00e9", ["C-1"])
    for address in ("pools/cafe%CC%81", "alerts?pool=cafe%CC%81"):
        assert (await browser.get(f"/console/{address}")).status_code == 200, address
    page = await browser.get("/console/pools/a%2Fb")
    assert "named &#39;a/b&#39;" in page.text
