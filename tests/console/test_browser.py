"""The console in a real browser: the guide from an empty service on, and each page looked at."""

import asyncio
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console.pictures import CHROMIUM, furnish, launch
from tests.factories import KEY
from tests.service import Service

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright for Python is not installed")
expect = sync_api.expect
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"there is no browser at {CHROMIUM}"),
]
AXE = Path(os.environ.get("VOUCHERS_TEST_AXE", "node_modules/axe-core/axe.min.js"))
PATHS = (
    "pools", "pools/spring_sale", "vouchers/spring_sale-000001", "imports", "imports/new", "schedules",
    "mapping", "personalization?pool=spring_sale&action=assign", "customers", "customers/c-1", "aggregates",
    "redemptions", "alerts?pool=spring_sale", "webhooks", "audit", "keys",
)  # fmt: skip
HIDDEN_FROM_READ = {"imports/new", "customers", "customers/c-1", "aggregates", "audit", "keys"}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(workers=1) as service:
        yield service


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


def sign_in(browser, service, key=KEY, **options):
    """A page of somebody who is signed in; what it complains of, and where else it asks, is noted."""
    page = browser.new_context(base_url=service.url, **options).new_page()
    page.complaints = []
    page.on("console", lambda said: page.complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on(
        "request",
        lambda sent: (
            None if sent.url.startswith((service.url, "data:")) else page.complaints.append(sent.url)
        ),
    )
    page.goto("/")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    return page


def button(page, name):
    return page.get_by_role("button", name=name, exact=True)


@pytest.mark.parametrize("scripted", [True, False])
def test_the_guide_from_an_empty_service_to_a_redeemed_code(browser, service, scripted):
    name = "walk_js" if scripted else "walk_plain"
    page = sign_in(browser, service, java_script_enabled=scripted)
    page.get_by_role("link", name="Imports", exact=True).click()
    page.get_by_role("link", name="New import").click()
    page.get_by_label("Pool", exact=True).fill(name)
    codes = "".join(f"{name}-{n};x\n" for n in range(20)).encode()
    page.set_input_files(
        "input[type=file]", {"name": "a.csv", "mimeType": "text/csv", "buffer": b"code;n\n" + codes}
    )
    button(page, "Preview").click()
    sync_api.expect(page.get_by_text(f"{name}-4")).to_be_visible()
    page.get_by_label("Delimiter").select_option(";")
    button(page, "Preview").click()
    button(page, "Next").click()
    if scripted:
        page.locator("#code-box").drag_to(page.locator("[data-column]").first)
    else:
        page.get_by_role("radio", name="code", exact=True).check()
    button(page, "Next").click()
    button(page, "Dry run").click()
    sync_api.expect(page.get_by_text("Would be imported")).to_be_visible()
    button(page, "Run import").click()
    for _ in range(40):
        if page.get_by_text("succeeded").count():
            break
        page.wait_for_timeout(250)
        page.reload()
    page.get_by_role("link", name="Show the pool").click()
    page.get_by_role("link", name="Mapping").click()
    page.get_by_label("Event type").fill("purchase")
    page.get_by_label("Property").fill("voucher_code")
    button(page, "Save mapping").click()
    page.goto(f"/console/personalization?pool={name}&action=assign")
    page.get_by_label("Customer").fill("ada")
    button(page, "Send test").click()
    shown = page.locator("section pre").first.inner_text()
    code = re.search(rf"{name}-\d+", shown)[0]
    event = {"customer_id": "ada", "event_type": "purchase", "properties": {"voucher_code": code}}
    sent = page.request.post(
        "/v1/events", data={"events": [event]}, headers={"Authorization": f"Bearer {KEY}"}
    )
    assert sent.ok
    page.goto(f"/console/vouchers/{code}")
    sync_api.expect(page.get_by_role("cell", name="Redeemed")).to_be_visible()
    assert page.complaints == []


@pytest.fixture(scope="module")
def furnished(service):
    # Playwright's own loop runs in this thread, so the pools are furnished in another.
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(furnish(service))).result()
    return service


def test_a_template_is_previewed_as_it_is_typed_and_no_code_is_taken(browser, service):
    page = sign_in(browser, service)
    make_pool(page, "typed")
    page.goto("/console/personalization")
    page.get_by_label("Template").fill("Hello {{ customer.nick }}")
    result = page.locator("#result")
    expect(result).to_contain_text("customer.nick")
    page.get_by_label("Template").fill("broken\n{{")
    expect(result).to_contain_text("Line 2")
    page.get_by_label("Template").fill("Count {{ vouchers['typed'].count_total() }}")
    expect(result).to_contain_text("Count 0")
    assert page.complaints == []


def test_two_people_edit_one_thing_and_the_second_is_shown_both(browser, service):
    page = sign_in(browser, service)
    make_pool(page, "shared")
    other = page.context.new_page()
    for each in (page, other):
        each.goto("/console/pools/shared")
    for each, text in ((page, "theirs"), (other, "mine")):
        each.get_by_label("Description").fill(text)
        button(each, "Save description").click()
    expect(other.get_by_role("note")).to_contain_text("theirs")
    expect(other.get_by_label("Description")).to_have_value("mine")
    button(other, "Save description").click()
    expect(other.get_by_role("status")).to_be_visible()


def test_a_double_click_sends_a_form_once(browser, service):
    page = sign_in(browser, service)
    sent = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    page.goto("/console/keys")
    page.get_by_label("Name").fill("double")
    page.get_by_label("read", exact=True).check()
    page.get_by_label("Name").evaluate(
        "it => { it.form.requestSubmit(); setTimeout(() => it.form.requestSubmit()) }"
    )
    expect(page.get_by_text("The key is shown once")).to_be_visible()
    assert len(sent) == 1
    assert page.complaints == []


def test_an_import_is_followed_again_after_its_stream_broke_off(browser, service):
    page = sign_in(browser, service)
    followed = []

    def stream(route):
        followed.append(route.request.url)
        status = "running" if len(followed) == 1 else "succeeded"
        event = f'retry: 10\nevent: progress\ndata: {{"status": "{status}", "rows": {len(followed)}}}\n\n'
        route.fulfill(content_type="text/event-stream", body=event)

    running = '<div data-follow="/console/followed"><progress></progress><span data-rows></span></div>'
    script = '<script src="/console/static/console.js" defer></script>'
    page.route("**/console/followed", stream)
    page.route(
        "**/console/import", lambda route: route.fulfill(content_type="text/html", body=running + script)
    )
    page.goto("/console/import")
    for _ in range(200):
        if len(followed) > 1:
            return
        page.wait_for_timeout(50)
    pytest.fail("nobody followed it again")


MEGABYTES = int(os.environ.get("VOUCHERS_TEST_UPLOAD", "3"))
"""Size of the file that is uploaded; 100 take half a minute."""


def test_a_large_file_uploads_with_progress_and_is_sent_once(browser, service, tmp_path):
    file = tmp_path / "large.csv"
    with file.open("w") as out:
        out.write("code,text\n")
        out.writelines(f"LARGE-{n:07},{'x' * 90}\n" for n in range(MEGABYTES * 10_050))
    assert file.stat().st_size > MEGABYTES * 1_000_000
    page = sign_in(browser, service)
    sent = []
    page.on(
        "request",
        lambda request: (
            sent.append(request.url)
            if int(request.headers.get("content-length", "0")) > MEGABYTES * 1_000_000
            else None
        ),
    )
    page.add_init_script(
        "addEventListener('DOMContentLoaded', () => { const bar = document.querySelector('form[data-upload] progress');"
        " if (bar) new MutationObserver(() => { window.seen = (window.seen || 0) + 1; })"
        ".observe(bar, {attributes: true}); })"
    )
    page.goto("/console/imports/new")
    page.get_by_label("Pool", exact=True).fill("large")
    page.locator("input[type=file]").set_input_files(file)
    button(page, "Preview").click()
    page.get_by_text("LARGE-0000000").wait_for(timeout=120_000)
    assert page.evaluate("window.seen") > 1
    assert len(sent) <= 1


def test_an_upload_that_broke_off_is_told_and_can_be_sent_again(browser, service):
    page = sign_in(browser, service)
    page.goto("/console/imports/new")
    page.route("**/console/imports/new", lambda route: route.abort(), times=1)
    page.get_by_label("Pool", exact=True).fill("broken_off")
    rows = b"code\n" + b"".join(b"B-%07d\n" % n for n in range(120_000))
    page.set_input_files("input[type=file]", {"name": "a.csv", "mimeType": "text/csv", "buffer": rows})
    button(page, "Preview").click()
    expect(page.get_by_text("The upload broke off")).to_be_visible()
    page.wait_for_timeout(1000)  # nearer together, it is a double click
    button(page, "Preview").click()
    expect(page.get_by_text("B-0000000")).to_be_visible(timeout=30_000)


def test_who_chooses_by_keyboard_how_a_file_is_read_stays_in_the_field(browser, service):
    page = sign_in(browser, service)
    page.goto("/console/imports/new")
    page.get_by_label("Pool", exact=True).fill("by_keyboard")
    page.get_by_label("Pasted text").check()
    page.get_by_label("Codes", exact=True).fill("code;pin\nA-1;2\nA-2;3")
    button(page, "Preview").click()
    page.get_by_label("Delimiter").focus()
    with page.expect_navigation():
        page.keyboard.press("ArrowDown")
    expect(page.get_by_label("Delimiter")).to_have_value(",")
    expect(page.get_by_label("Delimiter")).to_be_focused()


def make_pool(page, name):
    page.goto("/console/pools")
    page.get_by_text("Make an empty pool").click()
    page.get_by_label("Pool", exact=True).fill(name)
    button(page, "Make pool").click()
    page.wait_for_url(f"**/console/pools/{name}*")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_page_is_quiet_fits_a_narrow_screen_and_is_accessible(browser, furnished, scheme):
    page = sign_in(
        browser, furnished, viewport={"width": 360, "height": 800}, color_scheme=scheme, bypass_csp=True
    )
    if not AXE.exists() and os.environ.get("CI"):
        pytest.fail(f"axe-core is not at {AXE}")
    found = {}
    for path in PATHS:
        answer = page.goto(f"/console/{path}")
        assert answer.status == 200, path
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        if AXE.exists():
            page.add_script_tag(path=AXE)
            for violation in page.evaluate("axe.run()")["violations"]:
                found[path, violation["id"]] = violation["nodes"][0]["html"][:200]
    assert found == {}
    assert page.complaints == []


def test_each_page_with_a_read_key(browser, furnished):
    made = furnished.run("api-key", "create", "--name", "reader", "--scope", "read")
    key = re.search(r"vp_\S+", made.stdout)[0]
    page = sign_in(browser, furnished, key)
    for path in PATHS:
        hidden = path in HIDDEN_FROM_READ or path.startswith(("personalization", "alerts", "webhooks"))
        assert page.goto(f"/console/{path}").status == (403 if hidden else 200), path
        assert page.locator("main form[method=post]").count() == 0, path
    page.goto("/console/pools/spring_sale")
    assert "spring_sale-000001" not in page.content()


def test_each_page_without_a_session(browser, service):
    page = browser.new_context(base_url=service.url).new_page()
    for path in PATHS:
        page.goto(f"/console/{path}")
        assert page.url.startswith(f"{service.url}/console/login"), path
