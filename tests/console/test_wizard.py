"""*New import*: what is chosen comes as far as the import, and its first run and its schedule are one act."""

import asyncio
import re
import uuid

import pytest
from sqlalchemy import text

from app.domain.imports import beginning
from app.domain.imports.errors import UnreadableError
from app.domain.imports.merging import pipeline
from app.domain.imports.schedules import service
from app.platform.projects import DEFAULT
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


async def test_the_first_run_is_its_schedules_and_its_undo_pauses_that(filled, client, settings):
    browser, form = filled
    address = await imported(settings, await browser.post(NEW, data=form))
    (schedule,) = await schedules(client)
    assert schedule["last_import"]["status"] == "succeeded", schedule
    undone = (await client.post(f"/v1/imports/{address.path.rpartition('/')[2]}/undo")).json()
    assert (undone["taken_back"], undone["paused_schedule"]) == (1, schedule["id"])
    assert (await schedules(client))[0]["active"] is False


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


async def test_nor_does_one_whose_source_would_be_refused_by_now(filled, client, monkeypatch):
    browser, form = filled
    first = await browser.post(NEW, data=form)

    async def refuse(*_):
        raise UnreadableError("It has gone.")

    monkeypatch.setattr(service, "check_source", refuse)
    second = await browser.post(NEW, data=form)
    assert first.url == second.url, second.text
    assert len(await schedules(client)) == 1


@pytest.fixture
async def dated(person):
    """A browser, and the form with the columns of a text whose times are not in ISO 8601."""
    browser = await person()
    asked = {"csrf": await csrf(browser), "pool": "spring", "type": "text", "go": "preview"}
    page = await browser.post(NEW, data=asked | {"text": "code;until\nA-1;31.12.2096\nA-2;\n"})
    page = await browser.post(NEW, data=hidden(page.text) | {"go": "column"})
    return browser, hidden(page.text) | {"column": "0", "expires_at_column": "1"}


async def imported(settings, page):
    """The page of an import, once its job is done."""
    assert page.url.path.startswith("/console/imports/"), page.text
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, uuid.UUID(page.url.path.rpartition("/")[2]))
    return page.url


async def test_times_that_cannot_be_read_are_explained_and_read_once_their_format_is_given(
    dated, client, settings
):
    browser, form = dated
    address = await imported(settings, await browser.post(NEW, data=form | {"go": "import"}))
    page = (await browser.get(address)).text
    assert "invalid expires at" in page
    assert "import again with their date format, such as DD.MM.YYYY" in page
    times = {"date_format": "DD.MM.YYYY", "timezone": "Europe/Prague"}
    page = await browser.post(NEW, data=form | times | {"go": "run"})
    await imported(settings, await browser.post(NEW, data=hidden(page.text) | {"go": "import"}))
    assert (await client.get("/v1/vouchers/A-1")).json()["expires_at"] == "2096-12-31T23:00:00Z"


@pytest.mark.parametrize("go", ["schedule", "run", "dry", "import"])
@pytest.mark.parametrize(("field", "value"), [("date_format", "DD.MM"), ("timezone", "Mars/Olympus")])
async def test_a_format_or_zone_that_is_none_is_told_beside_its_field(dated, client, go, field, value):
    browser, form = dated
    page = await browser.post(NEW, data=form | {field: value, "go": go})
    assert page.status_code == 422
    assert re.search(rf'id="f-{field}" [^>]*value="{value}"[^>]*aria-invalid="true"', page.text)
    assert 'id="f-exp"' in page.text, "the step of the columns"
    assert (await client.get("/v1/imports")).json()["items"] == []
