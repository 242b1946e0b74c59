"""What is looked for: a code, in whatever pool or in one."""

import re
from html import unescape
from urllib.parse import quote

from tests.console.conftest import CODES, marked
from tests.factories import fill


async def find(browser, code):
    return await browser.get("/console/pools", params={"code": code})


async def test_a_whole_code_leads_to_its_page_whatever_its_pool_and_its_letters(person, engine):
    await fill(engine, "spring", ["PLAIN-1"])
    await fill(engine, "odd", CODES)
    browser = await person()
    assert "Find a code" in (await browser.get("/console/pools")).text
    for code in ("PLAIN-1", *CODES):
        for typed in (code, f" {code}\t", f"\ufeff{code}\u200b"):
            page = await find(browser, typed)
            address = "/console/vouchers/" + quote(code, safe="")
            assert (page.status_code, page.url.raw_path.decode()) == (200, address), typed


async def test_a_code_that_is_in_no_pool_is_told_so_above_the_pools_and_stays_in_its_field(
    person, engine, monkeypatch
):
    monkeypatch.setattr("app.console.pools.PAGE", 1)
    for name in ("autumn", "spring"):
        await fill(engine, name, 1)
    browser = await person()
    page = await find(browser, "spring-1/x")
    assert page.status_code == 404
    assert "No pool holds this code." in page.text
    assert 'value="spring-1/x"' in page.text
    assert "<bdi>autumn</bdi>" in page.text
    assert "<details open>" not in page.text, "of the form for a new pool"
    following = await browser.get(
        page.url.join(unescape(re.search(r'href="([^"]+)">Next page', page.text)[1]))
    )
    assert (following.status_code, "<bdi>spring</bdi>" in following.text) == (200, True)
    for typed in ("a\0b", "..", "x" * 256):
        page = await find(browser, typed)
        assert (page.status_code, marked(page)) == (422, ["code"]), typed


async def test_only_who_sees_codes_finds_one(person, engine):
    await fill(engine, "spring", ["SECRET-1"])
    reader = await person("read")
    assert "Find a code" not in (await reader.get("/console/pools")).text
    for code in ("SECRET-1", "NONE"):
        assert (await find(reader, code)).status_code == 403, "nor learns whether there is one"
    for scopes in (("pools",), ("read", "events")):
        page = await find(await person(*scopes), "SECRET-1")
        assert (page.status_code, page.url.path) == (200, "/console/vouchers/SECRET-1")


async def test_the_search_of_a_pool_reads_a_code_alike(person, engine):
    await fill(engine, "spring", ["A/B", "C-1"])
    browser = await person()
    page = await browser.get("/console/pools/spring", params={"code": "\u200bA/B\ufeff"})
    assert ("/vouchers/A%2FB" in page.text, "/vouchers/C-1" in page.text) == (True, False)
    page = await browser.get("/console/pools/spring", params={"code": "a\0b"})
    assert (page.status_code, marked(page)) == (422, ["code"])
