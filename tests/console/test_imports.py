"""The page of an import: what was set aside, what was left out, what is asked; accept, cancel and undo."""

import asyncio
import io
import uuid
from pathlib import Path

import openpyxl
import pytest
from sqlalchemy import text

from app.console import spool
from app.domain.imports import beginning
from app.domain.imports.merging import pipeline
from app.domain.imports.options import ImportOptions
from app.platform.database import transaction
from app.platform.projects import DEFAULT
from tests.console.conftest import NEW, csrf, hidden
from tests.domain.imports.imported import queue

FOOTED = "code;value\n" + "".join(f"SAVE-{n:04};{n}\n" for n in range(1000, 1060)) + "Total of all codes;60\n"


async def post(browser, import_id, what, **typed):
    form = {"csrf": await csrf(browser), **typed}
    return await browser.post(f"/console/imports/{import_id}/{what}", data=form)


async def test_what_was_set_aside_is_shown_and_accepted(person, engine, settings):
    import_id = await queue(engine, FOOTED)
    browser = await person()
    waiting = (await browser.get(f"/console/imports/{import_id}")).text
    assert "Cancel import" in waiting
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)
    page = (await browser.get(f"/console/imports/{import_id}")).text
    assert "Total of all codes" in page
    assert "Set aside, as unlike the rest: " in page
    assert "Columns that were not imported: <bdi>value</bdi>" in page
    accepted = (await post(browser, import_id, "accept-suspicious")).text
    assert "The values that were set aside are imported." in accepted
    assert "Accept them" not in accepted
    unsure = await post(browser, import_id, "undo")
    assert (unsure.status_code, "Tick the box" in unsure.text) == (422, True)
    undone = (await post(browser, import_id, "undo", sure="yes")).text
    assert "The codes that were still available are taken back." in undone


async def test_rejects_are_downloaded_as_the_api_gives_them_to_the_same_key(person, client, engine, settings):
    other, good = await queue(engine, "code\n=1+1\n", "other"), await queue(engine, "code\nA-1\n")
    bad = await queue(engine, "code\nA-2\n=1+1\n")
    for import_id in (other, good, bad):
        await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)
    address = f"/console/imports/{bad}/rejects"
    browser, reader = await person(), await person("read")
    for visitor, value in ((browser, "'=1+1"), (reader, "'=******")):
        assert f'href="{address}"' in (await visitor.get(f"/console/imports/{bad}")).text
        table = await visitor.get(address)
        assert table.headers["content-type"].startswith("text/csv")
        assert table.headers["content-disposition"] == f'attachment; filename="rejects-{bad}.csv"'
        assert f"\r\n3,{value}," in table.text
    as_api = await client.get(f"/v1/imports/{bad}/rejects", headers={"Accept": "text/csv"})
    assert (await browser.get(address)).text == as_api.text
    assert "/rejects" not in (await browser.get(f"/console/imports/{good}")).text
    assert (await browser.get(f"/console/imports/{uuid.uuid4()}/rejects")).status_code == 404


async def test_what_was_set_aside_and_cannot_be_accepted_has_no_button(person, engine, settings):
    rows = "code;who\n" + "".join(f"SAVE-{n:04};c{n}\n" for n in range(1000, 1060))
    both = await queue(engine, f"{rows}Total of all codes;\nN/A;dora\n", customer_id_column="who")
    given = await queue(engine, f"{rows}N/A;dora\n", "q", customer_id_column="who")
    for import_id in (both, given):
        await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)
    browser = await person()
    button, why = "Accept them as codes", "cannot be accepted: correct the file"
    page = (await browser.get(f"/console/imports/{both}")).text
    assert (button in page, why in page) == (True, False)
    page = (await post(browser, both, "accept-suspicious")).text
    assert "What was set aside is imported, but for codes that were given elsewhere." in page
    assert (button in page, why in page) == (False, True)
    page = (await browser.get(f"/console/imports/{given}")).text
    assert (button in page, why in page) == (False, True)


async def test_an_undo_tells_of_what_holds_keep_and_of_its_schedule(person, client, engine, settings):
    source = {"type": "url", "url": "https://files.example.org/c.csv"}
    schedule = {"pool": "p", "source": source, "cron": "0 3 * * *"}
    await client.post("/v1/import-schedules", json=schedule)
    import_id = await queue(engine, "code\nA-1\nA-2\nA-3\n")
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)
    async with transaction(engine) as connection:
        scheduled = text("UPDATE import SET schedule_id = (SELECT id FROM import_schedule)")
        await connection.execute(scheduled)
    await client.post("/v1/pools/p/holds", json={"campaign_id": "k", "count": 2})
    page = (await post(await person(), import_id, "undo", sure="yes")).text
    assert "but for those that campaigns hold. Its schedule is paused." in page
    assert (await client.get("/v1/pools/p/counts")).json()["available"] == 2


async def test_an_import_is_cancelled_once(person, engine):
    import_id = await queue(engine, FOOTED)
    browser = await person()
    assert "The import is cancelled." in (await post(browser, import_id, "cancel")).text
    again = await post(browser, import_id, "cancel")
    assert (again.status_code, "The import has ended" in again.text) == (409, True)


async def test_a_question_shows_what_may_be_answered_to_who_may_see_codes(person, engine, settings):
    async with transaction(engine) as connection:
        import_id = await beginning.from_file(
            connection,
            "p",
            "c.csv",
            beginning.InMemory("a,b\nA1B2,C3D4\nE5F6,G7H8\nI9J1,K2L3\n"),
            ImportOptions(),
        )
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)
    page = (await (await person()).get(f"/console/imports/{import_id}")).text
    assert "What to answer" in page
    assert "A1B2" in page
    assert ("Choose the column: " in page, "`" in page) == (True, False)
    reader = await person("read")
    withheld = (await reader.get(f"/console/imports/{import_id}")).text
    assert "A1B2" not in withheld
    assert "Withheld" in withheld
    assert "Accept them" not in withheld


async def test_a_pool_that_is_not_there_is_named_and_not_linked(person, client, engine, settings):
    source = {"type": "url", "url": "https://files.example.org/c.csv"}
    schedule = {"pool": "p", "source": source, "cron": "0 3 * * *"}
    assert (await client.post("/v1/import-schedules", json=schedule)).status_code == 201
    browser = await person()
    link = 'href="/console/pools/p"'
    for dry_run in (True, False):
        import_id = await queue(engine, "code\nA-1\nA-2\n", dry_run=dry_run)
        await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)
        page = await browser.get(f"/console/imports/{import_id}")
        assert (page.status_code, "succeeded" in page.text, link in page.text) == (200, True, not dry_run)
        for address in ("imports", "schedules"):
            listed = (await browser.get(f"/console/{address}")).text
            assert ("<bdi>p</bdi>" in listed, link in listed) == (True, not dry_run), address


async def test_lines_to_skip_are_given_in_the_wizard(person):
    browser = await person()
    sent = {"csrf": await csrf(browser), "pool": "spring", "type": "text", "go": "preview"}
    sent["text"] = "codes of the shop\nyes\nA-11\nA-12\nA-13\n"
    page = (await browser.post("/console/imports/new", data=sent)).text
    source = page.split('name="source" value="')[1].split('"')[0]
    again = sent | {"source": source, "skip_lines": "2", "has_header": "no", "redo": "yes"}
    page = (await browser.post("/console/imports/new", data=again)).text
    assert "<li><bdi>codes of the shop</bdi></li>" in page
    assert 'name="skip_lines" type="number" min="0" max="10000" value="2"' in page
    assert "A-11" in page


async def test_the_wizard_lists_sheets_and_what_comes_with_a_code(person, client, settings):
    book = openpyxl.Workbook()
    book.active.title, other = "spring", book.create_sheet("autumn & co")
    for page, letter in ((book.active, "S"), (other, "A")):
        page.append(["code", "pin"])
        for n in range(5):
            page.append([f"{letter}{n}B{n * 7}", f"{n}{n}9"])
    file = io.BytesIO()
    book.save(file)
    browser = await person()
    sent = {"csrf": await csrf(browser), "pool": "sheets", "type": "file", "go": "preview"}
    page = (await browser.post(NEW, data=sent, files={"file": ("c.xlsx", file.getvalue())})).text
    assert "<option>spring</option><option>autumn &amp; co</option>" in page
    chosen = hidden(page) | {"sheet": "autumn & co", "go": "preview"}
    page = (await browser.post(NEW, data=chosen)).text
    assert "<option selected>autumn &amp; co</option>" in page  # and it can be changed
    page = (await browser.post(NEW, data=hidden(page) | {"sheet": "autumn & co", "go": "column"})).text
    assert "A0B0" in page
    page = (await browser.post(NEW, data=hidden(page) | {"column": "0", "attribute": "1", "go": "run"})).text
    ended = await browser.post(NEW, data=hidden(page) | {"go": "import"})
    assert ended.url.path.startswith("/console/imports/")
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, uuid.UUID(ended.url.path.rpartition("/")[2]))
    found = (await client.get("/v1/vouchers/A0B0")).json()
    assert (found["pool"], found["attributes"]) == ("sheets", {"pin": "009"})


ASKED = {
    "a;b\nA1B2C3;B1B2C3\nA4B5C6;B4B5C6\n": "Choose the column: ",
    "- apples\n- pears\n- nuts\n": "Choose the column if they are codes.",
    FOOTED: "They can be accepted after the import.",
    "codes of the shop\n\ncode;pin\nA-11;1\nA-12;2\nA-13;3\n": "Lines before the table are left out.",
}


@pytest.mark.parametrize("content", ASKED)
async def test_what_is_asked_of_a_file_is_said_in_the_words_of_the_page(person, content):
    browser = await person()
    sent = {"csrf": await csrf(browser), "pool": "spring", "type": "file", "go": "preview"}
    page = await browser.post(NEW, data=sent, files={"file": ("c.csv", content.encode())})
    assert (ASKED[content] in page.text, "`" in page.text) == (True, False)


async def test_what_is_wrong_with_a_file_is_said_in_the_words_of_the_page(person):
    browser = await person()
    sent = {"csrf": await csrf(browser), "pool": "spring", "type": "file", "go": "preview"}
    mixed = "code\nÄ1\n".encode() + "Ä2\n".encode("cp1252") + b"A1\n"
    page = await browser.post(NEW, data=sent, files={"file": ("c.csv", mixed)})
    page = await browser.post(NEW, data=hidden(page.text) | {"column": "0", "go": "import"})
    assert (page.status_code, "Choose the right encoding" in page.text, "`" in page.text) == (
        422,
        True,
        False,
    )


async def test_whether_there_is_a_header_is_asked_where_it_can_be_answered(person):
    browser = await person()
    sent = {
        "csrf": await csrf(browser),
        "pool": "p",
        "type": "text",
        "text": "spring\nsummer\nautumn\nwinter\n",
    }
    page = await browser.post(NEW, data=sent | {"go": "preview"})
    assert (page.status_code, "Choose one under Header." in page.text) == (422, True)
    page = await browser.post(NEW, data=hidden(page.text) | {"has_header": "no", "go": "column"})
    assert (page.status_code, "Choose the column with the codes." in page.text) == (200, True)


async def test_codes_that_were_given_elsewhere_go_through_the_wizard(person, client, settings):
    browser = await person()
    text = "code;who;when\nG-1;anna;2026-03-01\nG-2;;\nG-3;ben;2026-03-02\n"
    sent = {"csrf": await csrf(browser), "pool": "moved", "type": "text", "go": "preview", "text": text}
    page = (await browser.post(NEW, data=sent)).text
    page = (await browser.post(NEW, data=hidden(page) | {"go": "column"})).text
    assert "Codes that were given in another system" in page
    chosen = {"column": "0", "customer_id_column": "1", "assigned_at_column": "2"}
    page = (await browser.post(NEW, data=hidden(page) | chosen | {"go": "run"})).text
    ended = await browser.post(NEW, data=hidden(page) | {"go": "import"})
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, uuid.UUID(ended.url.path.rpartition("/")[2]))
    assert (await client.get("/v1/vouchers/G-1")).json()["customer_id"] == "anna"


async def test_what_cannot_be_read_as_chosen_is_told_in_the_same_step(person):
    browser = await person()
    sent = {
        "csrf": await csrf(browser),
        "pool": "spring",
        "type": "text",
        "go": "preview",
        "text": "code\nä-1\n",
    }
    page = (await browser.post(NEW, data=sent)).text
    wrong = await browser.post(
        NEW, data=hidden(page) | {"encoding": "klingon", "go": "column", "redo": "yes"}
    )
    assert (wrong.status_code, "klingon" in wrong.text) == (422, True)


@pytest.mark.parametrize("number", ["\u00b2", "9" * 5000])
async def test_numbers_that_no_form_of_the_wizard_sends_are_no_answers(person, number):
    browser = await person()
    sent = {
        "csrf": await csrf(browser),
        "pool": "spring",
        "type": "text",
        "text": "a;b\nA-11;B-11\nA-12;B-12\n",
    }
    page = (await browser.post(NEW, data=sent | {"go": "preview"})).text
    wrong = {"column": number, "attribute": number, "customer_id_column": number, "go": "import"}
    answer = await browser.post(NEW, data=hidden(page) | wrong)
    assert (answer.status_code, "It cannot be told which column" in answer.text) == (422, True)


async def test_why_a_schedule_failed_is_withheld_from_who_may_see_no_codes(person, client, engine):
    source = {"type": "url", "url": "https://files.example.org/codes.csv"}
    body = {"pool": "p", "source": source, "cron": "0 3 * * *"}
    assert (await client.post("/v1/import-schedules", json=body)).status_code == 201
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE import_schedule SET error = 'Line 3 holds A1B2.'"))
    assert "A1B2" in (await (await person()).get("/console/schedules")).text
    withheld = (await (await person("read")).get("/console/schedules")).text
    assert ("A1B2" in withheld, "Withheld" in withheld) == (False, True)


async def test_an_old_file_that_another_process_deletes_first_hinders_no_upload(settings, monkeypatch):
    monkeypatch.setattr(Path, "iterdir", lambda path: iter([path / "gone"]))
    name = await spool.keep(settings, io.BytesIO(b"code\nA1\n"))
    assert spool.path_of(settings, name).read_bytes() == b"code\nA1\n"
