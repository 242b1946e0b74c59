"""Customers in the console: files of them, and what is told of one."""

import io
import re

import openpyxl

from tests.console.conftest import csrf


async def test_a_workbook_of_several_sheets_asks_for_the_sheet(person, client):
    book, file = openpyxl.Workbook(), io.BytesIO()
    book.active.title = "summer"
    for sheet in (book.active, book.create_sheet("winter")):
        sheet.append(["customer_id", "size"])
        sheet.append([f"{sheet.title}-1", "L"])
    book.save(file)
    browser = await person()
    form = {"csrf": await csrf(browser)}
    files = {"file": ("c.xlsx", file.getvalue())}
    page = await browser.post("/console/customers", data=form, files=files)
    assert page.status_code == 422
    assert re.search(r'id="f-sheet" [^>]*aria-invalid="true"', page.text)
    assert "Several sheets hold something. Choose the sheet: 0 " in page.text
    page = await browser.post("/console/customers", data=form | {"sheet": "winter"}, files=files)
    assert "1 rows imported" in page.text
    assert (await client.get("/v1/customers/winter-1")).json()["properties"] == {"size": "L"}
    assert (await client.get("/v1/customers/summer-1")).status_code == 404


async def test_aggregates_are_told_of_a_merged_customer_by_whichever_id(person, client):
    event = {"customer_id": "anna", "event_type": "visit", "properties": {"page": "spring-sale"}}
    await client.post("/v1/events", json={"events": [event]})
    wanted = {"event_type": "visit", "property": "page", "function": "last"}
    await client.put("/v1/aggregates/last_page", json=wanted)
    await client.post("/v1/customers/anna/merge", json={"from": "cookie-17"})
    browser = await person()
    for customer in ("anna", "cookie-17"):
        page = await browser.get("/console/aggregates", params={"customer_id": customer})
        assert "spring-sale" in page.text, customer


async def test_a_form_without_a_file_asks_for_one(person):
    browser = await person()
    page = await browser.post("/console/customers", data={"csrf": await csrf(browser)})
    assert (page.status_code, "Choose a file." in page.text) == (422, True)
