"""What is looked for: a code in whatever pool, and a pool's vouchers and assignments by campaign and import."""

import asyncio
import csv
import io
import re
from html import unescape
from urllib.parse import quote

import pytest

from app.domain.imports.merging import pipeline
from app.platform.projects import DEFAULT
from tests.console.conftest import CODES, csrf, marked
from tests.domain.imports.imported import queue
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


@pytest.fixture
async def given(client, engine, settings):
    """What two imports brought into `spring`, and two campaigns drew of it; codes by campaign, and the imports."""
    imports = []
    for letter in "AB":
        rows = "".join(f"{letter}-{n}\n" for n in range(1, 4))
        imports.append(await queue(engine, f"code\n{rows}", "spring"))
        await asyncio.to_thread(pipeline.run, settings, DEFAULT, imports[-1])
    codes = {}
    for campaign, code in (("may", "A-1"), ("may", "B-1"), ("june", "A-2")):
        body = {"customer_id": f"c-{code}", "campaign_id": campaign, "code": code}
        reply = await client.post("/v1/pools/spring/assignments", json=body)
        assert reply.status_code == 201, reply.text
        codes.setdefault(campaign, []).append(code)
    return codes, imports


def listed(page):
    return set(re.findall(r'href="/console/vouchers/([^"]+)"', page.text))


async def test_vouchers_of_a_pool_are_found_by_campaign_and_by_import(person, given):
    codes, (first, _) = given
    browser = await person()

    async def found(**asked):
        return await browser.get("/console/pools/spring", params=asked)

    assert listed(await found(campaign="may")) == set(codes["may"])
    assert listed(await found(import_id=first)) == {"A-1", "A-2", "A-3"}
    assert listed(await found(import_id=first, campaign="may")) == {"A-1"}
    assert listed(await found(import_id=first, status="available")) == {"A-3"}
    page = await found(campaign="july")
    assert "No voucher of this pool matches" in page.text
    assert len(re.findall('value="july"', page.text)) == 2, "its field and the export, not the form of holds"
    page = await found(import_id="the first")
    assert (page.status_code, marked(page), "assignments/export" in page.text) == (
        422,
        ["import_id"],
        False,
    )
    page = await browser.get(f"/console/imports/{first}")
    shown = re.search(r'href="([^"]+)">Show its vouchers', page.text)[1]
    assert listed(await browser.get(shown)) == {"A-1", "A-2", "A-3"}


async def test_assignments_are_exported_as_the_page_is_filtered(person, client, given):
    _, (first, _) = given
    ledger = (await client.get("/v1/assignments", params={"campaign_id": "june"})).json()["items"]
    await client.post(f"/v1/assignments/{ledger[0]['id']}/release")
    await client.post("/v1/vouchers/B-1/redemptions", json={})
    browser = await person()

    async def exported(**asked):
        page = (await browser.get("/console/pools/spring", params=asked)).text
        form = re.search(r'action="([^"]+/assignments/export)">(.*?)</form>', page)
        if form is None:
            return None
        typed = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', form[2]))
        table = await browser.post(form[1], data=typed)
        assert 'filename="assignments.csv"' in table.headers["content-disposition"]
        return {row["code"]: row["status"] for row in csv.DictReader(io.StringIO(table.text))}

    assert await exported() == {"A-1": "assigned", "B-1": "redeemed", "A-2": "released"}
    assert await exported(campaign="may") == {"A-1": "assigned", "B-1": "redeemed"}
    assert await exported(campaign="may", status="redeemed") == {"B-1": "redeemed"}
    assert await exported(import_id=first) == {"A-1": "assigned", "A-2": "released"}
    assert await exported(customer_id="c-B-1") == {"B-1": "redeemed"}
    assert await exported(assigned_until="2001-01-01") == {}
    for asked in ({"status": "available"}, {"code": "A-1"}):
        assert await exported(**asked) is None
        page = await browser.post(
            "/console/pools/spring/assignments/export", data={"csrf": await csrf(browser)} | asked
        )
        assert page.status_code == 422
    reader = await person("read", "assign")
    assert "assignments/export" not in (await reader.get("/console/pools/spring")).text
