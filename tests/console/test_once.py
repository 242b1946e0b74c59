"""A form that is sent again, by a second click or a page that is loaded anew, is obeyed once."""

import asyncio
import re

import pytest

from app.platform import hooks
from tests.console.conftest import csrf
from tests.factories import fill

RULE = {"count_each": "1", "days": "", "then": "same"}
ALERTS = {"pool": "spring", "thresholds": "2, 0", "webhook_url": "https://hooks.test/x"}


@pytest.fixture
async def send(person, engine):
    """Sends the same form twice; all is of the pool `spring`."""
    await fill(engine, "spring", [f"A-{n}" for n in range(9)])
    browser = await person()
    token = await csrf(browser)

    async def send(path, *, form="f", **typed):
        data = {"csrf": token, "form": form, **typed}
        return [await browser.post(f"/console/{path}", data=data) for _ in range(2)]

    send.browser = browser
    return send


async def test_what_is_made_by_a_form_is_made_once(send, client):
    version = re.search(
        r'name="version" value="([^"]+)"', (await send.browser.get("/console/pools/spring")).text
    )
    for path, typed in (
        ("pools", {"name": "new"}),
        ("pools/spring/change", {"version": version[1], "description": "d"}),
        ("pools/spring/holds", {"campaign_id": "k", "count": "2"}),
        ("pools/spring/rule", RULE),
        ("vouchers/A-0/redeem", {"sure": "yes"}),
        ("vouchers/A-1/void", {"sure": "yes"}),
    ):
        first, second = await send(path, **typed)
        assert (first.status_code, second.status_code, second.url) == (200, 200, first.url), path
    assert (await client.get("/v1/pools/spring/holds")).json()["free"] == 5
    audit = (await client.get("/v1/audit")).json()["items"]
    assert [each["action"] for each in audit].count("pool.changed") == 2


async def test_a_secret_is_made_once_and_shown_each_time(send, client):
    for path, typed in (
        ("keys", {"name": "shop", "scope_events": "yes"}),
        ("alerts", ALERTS),
        ("webhooks", {"url": "https://hooks.test/codes", "event_voucher.assigned": "yes"}),
    ):
        shown = [re.search(r'id="secret">([^<]+)<', page.text)[1] for page in await send(path, **typed)]
        assert shown[0] == shown[1], path
    keys = (await client.get("/v1/api-keys")).json()["items"]
    (made,) = (key for key in keys if key["name"] == "shop")
    assert len((await client.get("/v1/webhooks")).json()["items"]) == 1
    page = await send.browser.get("/console/keys")
    version = re.search(rf"{made['id']}/rotate.*?name=\"version\" value=\"([^\"]+)\"", page.text)[1]
    rotated = await send(f"keys/{made['id']}/rotate", sure="yes", grace_hours="1", version=version)
    assert len({re.search(r'id="secret">([^<]+)<', page.text)[1] for page in rotated}) == 1


async def test_a_test_is_sent_once_and_a_dry_run_begun_once(send, client):
    await send("alerts", **ALERTS)
    hook = (
        await client.post("/v1/webhooks", json={"url": ALERTS["webhook_url"], "events": ["pool.low"]})
    ).json()
    for path, typed, listed in (
        ("alerts/test", {"pool": "spring"}, "/v1/pools/spring/alerts/deliveries"),
        (f"webhooks/{hook['id']}/test", {}, f"/v1/webhooks/{hook['id']}/deliveries"),
        ("changes", {"action": "void", "pool": "spring"}, "/v1/bulk-changes"),
    ):
        for form, n in (("f", 1), ("another", 2)):
            first, second = await send(path, form=form, **typed)
            assert (first.status_code, second.status_code, second.url) == (200, 200, first.url), path
            assert len((await client.get(listed)).json()["items"]) == n, path


async def test_an_import_is_begun_once(send, client):
    token = await csrf(send.browser)
    page = await send.browser.post(
        "/console/imports/new",
        data={"csrf": token, "pool": "more", "type": "text", "text": "code\nB-1\nB-2", "go": "preview"},
    )
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page.text))
    form = hidden | {"column": "0", "go": "import"}
    first, second = await asyncio.gather(
        *(send.browser.post("/console/imports/new", data=form) for _ in range(2))
    )
    assert first.url == second.url
    assert len((await client.get("/v1/imports", params={"pool": "more"})).json()["items"]) == 1


async def test_a_code_is_given_once_for_each_form_as_it_is_filled_in(send, client):
    async def left():
        return (await client.get("/v1/pools/spring/counts")).json()["available"]

    node = "customers/c/node"
    drawn = '"v": {{ vouchers["spring"].assign_available(cached=false) | json }}'
    for path, typed in (
        (
            "personalization",
            {"template": "{{ vouchers['spring'].assign_available() }}", "channel": "sms", "go": "test"},
        ),
        (node, {"node": "properties", "go": "run", "template": f"{{{drawn}}}"}),
        (
            node,
            {"node": "events", "go": "run", "template": f'{{"event_type": "v", "properties": {{{drawn}}}}}'},
        ),
    ):
        before = await left()
        pages = await send(path, **typed)
        assert [page.status_code for page in pages] == [200, 200], path
        assert await left() == before - 1, path
        await send(path, form="another", **typed)
        assert await left() == before - 2, path


async def test_each_form_of_a_page_bears_a_name_of_its_own(send):
    pages = [(await send.browser.get("/console/pools/spring")).text for _ in range(2)]
    names = re.findall(r'name="form" value="([^"]+)"', "".join(pages))
    assert len(names) == len(set(names)) > 8


async def test_what_a_form_has_made_is_shown_again_though_its_address_cannot_be_called_any_more(
    send, client, monkeypatch
):
    async def refusal(*_):
        return "it cannot be called"

    hook = {"url": "https://hooks.test/codes", "event_voucher.assigned": "yes"}
    for path, typed in (("alerts", ALERTS), ("webhooks", hook)):
        first, _ = await send(path, **typed)
        with monkeypatch.context() as patch:
            patch.setattr(hooks, "refusal", refusal)
            again, _ = await send(path, **typed)
            other, _ = await send(path, form="other", **typed)
        secrets = [re.search(r'id="secret">([^<]+)<', page.text)[1] for page in (first, again)]
        assert secrets[0] == secrets[1], path
        assert other.status_code == 422, path
