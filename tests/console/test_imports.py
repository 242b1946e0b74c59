"""The page of an import: what was set aside, what was left out, what is asked; accept, cancel and undo."""

import asyncio

from app.domain.imports import service
from app.domain.imports.merging import pipeline
from app.domain.imports.schemas import ImportOptions
from app.platform.database import transaction
from tests.console.conftest import csrf
from tests.domain.imports.test_runs import queue

FOOTED = "code;value\n" + "".join(f"SAVE-{n:04};{n}\n" for n in range(1000, 1060)) + "Total of all codes;60\n"


async def post(browser, import_id, what):
    return await browser.post(f"/console/imports/{import_id}/{what}", data={"csrf": await csrf(browser)})


async def test_what_was_set_aside_is_shown_and_accepted(person, engine, settings):
    import_id = await queue(engine, FOOTED)
    browser = await person()
    waiting = (await browser.get(f"/console/imports/{import_id}")).text
    assert "Cancel import" in waiting
    await asyncio.to_thread(pipeline.run, settings, import_id)
    page = (await browser.get(f"/console/imports/{import_id}")).text
    assert "Total of all codes" in page
    assert "were set aside" in page
    assert "Columns that were not imported: <bdi>value</bdi>" in page
    accepted = (await post(browser, import_id, "accept-suspicious")).text
    assert "The values that were set aside are imported." in accepted
    assert "Accept them" not in accepted
    undone = (await post(browser, import_id, "undo")).text
    assert "The codes that were still available are taken back." in undone


async def test_an_import_is_cancelled_once(person, engine):
    import_id = await queue(engine, FOOTED)
    browser = await person()
    assert "The import is cancelled." in (await post(browser, import_id, "cancel")).text
    again = await post(browser, import_id, "cancel")
    assert (again.status_code, "The import has ended" in again.text) == (409, True)


async def test_a_question_shows_what_may_be_answered_to_who_may_see_codes(person, engine, settings):
    async with transaction(engine) as connection:
        import_id = await service.from_file(
            connection,
            "p",
            "c.csv",
            service._InMemory("a,b\nA1B2,C3D4\nE5F6,G7H8\nI9J1,K2L3\n"),
            ImportOptions(),
        )
    await asyncio.to_thread(pipeline.run, settings, import_id)
    page = (await (await person()).get(f"/console/imports/{import_id}")).text
    assert "What to answer" in page
    assert "A1B2" in page
    reader = await person("read")
    withheld = (await reader.get(f"/console/imports/{import_id}")).text
    assert "A1B2" not in withheld
    assert "Withheld" in withheld
    assert "Accept them" not in withheld


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
