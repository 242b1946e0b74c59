"""*New import* of a source that can repeat: its first run and its schedule are one act."""

import pytest
from sqlalchemy import text

from app.domain.imports import beginning
from app.domain.imports.errors import UnreadableError
from tests.console.conftest import NEW, csrf, hidden

REPEAT = {"column": "0", "every": "day", "at": "06:30", "timezone": "Europe/Prague", "go": "import"}


@pytest.fixture
async def filled(person, client):
    """A browser, and the form by which an import begins that repeats each day."""
    await client.patch("/v1/customers/c", json={"properties": {"card": "CARD-4711"}})
    browser = await person()
    asked = {"csrf": await csrf(browser), "pool": "spring", "type": "analysis", "of": "customers"}
    page = await browser.post(NEW, data=asked | {"property": "card", "go": "preview"})
    return browser, hidden(page.text) | REPEAT


async def schedules(client):
    return (await client.get("/v1/import-schedules")).json()["items"]


async def test_the_first_run_reads_days_in_the_zone_of_its_schedule(filled, client, connection):
    browser, form = filled
    page = await browser.post(NEW, data=form)
    assert page.url.path.startswith("/console/imports/"), page.text
    (schedule,) = await schedules(client)
    (first,) = (await connection.execute(text("SELECT options FROM import"))).scalars()
    zones = (schedule["timezone"], schedule["options"]["timezone"], first["timezone"])
    assert zones == ("Europe/Prague",) * 3


async def test_a_first_run_that_cannot_begin_leaves_no_schedule(filled, client, monkeypatch):
    browser, form = filled

    async def refuse(*_):
        raise UnreadableError("It has gone.")

    with monkeypatch.context() as patched:
        patched.setattr(beginning, "begin_from_source", refuse)
        page = await browser.post(NEW, data=form)
    assert (page.status_code, "Nothing is stored yet" in page.text) == (422, True)
    assert await schedules(client) == []
    again = await browser.post(NEW, data=hidden(page.text) | {"go": "import"})
    assert again.url.path.startswith("/console/imports/"), again.text
    assert len(await schedules(client)) == 1


async def test_a_form_that_is_sent_twice_makes_one_schedule(filled, client):
    browser, form = filled
    first, second = [await browser.post(NEW, data=form) for _ in range(2)]
    assert first.url == second.url
    assert len(await schedules(client)) == 1
