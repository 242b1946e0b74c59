"""Times of a column end where they say: in a zone, and written as is said, never guessed."""

from datetime import UTC, date, datetime

import pytest

from app.domain.imports.reader import dates
from tests.domain.imports.packed import spreadsheet


async def expiries(client):
    items = (await client.get("/v1/pools/p/vouchers")).json()["items"]
    return [item["expires_at"] for item in sorted(items, key=lambda item: item["code"])]


@pytest.mark.parametrize(
    ("written", "options", "expected"),
    [
        ("2096-12-31", {}, "2097-01-01T00:00:00Z"),
        ("2096-12-31", {"timezone": "Europe/Prague"}, "2096-12-31T23:00:00Z"),
        ("2096-06-30", {"timezone": "Europe/Prague"}, "2096-06-30T22:00:00Z"),
        ("2096-06-30T12:00:00", {"timezone": "America/New_York"}, "2096-06-30T16:00:00Z"),
        ("2096-06-30T12:00:00Z", {"timezone": "America/New_York"}, "2096-06-30T12:00:00Z"),
        ("31.12.2096", {"date_format": "DD.MM.YYYY"}, "2097-01-01T00:00:00Z"),
        ("12/31/2096", {"date_format": "MM/DD/YYYY", "timezone": "Asia/Tokyo"}, "2096-12-31T15:00:00Z"),
        ("31.12.2096 08:30", {"date_format": "DD.MM.YYYY HH:mm"}, "2096-12-31T08:30:00Z"),
        ("31.12.2096", {"date_format": "%d.%m.%Y"}, "2097-01-01T00:00:00Z"),
        ("2096-31-12", {"date_format": "YYYY-DD-MM"}, "2097-01-01T00:00:00Z"),
        ("2096-12-11", {"date_format": "YYYY-DD-MM"}, "2096-11-13T00:00:00Z"),
    ],
)
async def test_a_time_is_read_as_it_is_said(client, upload, written, options, expected):
    done = await upload(f"code;until\nA-1;{written}\nA-2;{written}\n", expires_at_column="until", **options)
    assert done.json()["imported"] == 2, done.text
    assert await expiries(client) == [expected] * 2


async def test_what_is_written_otherwise_is_a_reject_and_nothing_is_guessed(client, upload):
    done = (await upload("code;until\nA-1;31.12.2096\nA-2;2096-12-31\n", expires_at_column="until")).json()
    assert (done["imported"], done["rejected_by"]["invalid"]) == (1, 1)
    assert "import again with their date format, such as DD.MM.YYYY (`date_format`)" in done["note"]
    body = "code;until\nB-1;12/31/2096\nB-2;31.12.2096\n"
    done = (await upload(body, expires_at_column="until", date_format="DD.MM.YYYY")).json()
    assert (done["imported"], done["rejected_by"]["invalid"]) == (1, 1)


@pytest.mark.parametrize("form", ["DD.MM.YYYY", "DD.MM.YYYY HH:mm", "YYYY-MM-DD HH:mm"])
async def test_date_cells_of_a_spreadsheet_are_read_beside_texts_in_a_format(client, upload, form):
    day, minute = date(2096, 6, 30), datetime.fromisoformat("2096-06-30T08:30")
    cells = {"A-1": day, "A-2": minute, "A-3": day.strftime(dates._format(form))}
    book = spreadsheet(["code", "until"], *map(list, cells.items()))
    told = {"expires_at_column": "until", "date_format": form, "timezone": "Europe/Prague"}
    done = (await upload(book, name="codes.xlsx", column="code", **told)).json()
    assert (done["imported"], done["rejected"]) == (3, 0), done
    begins = "HH" in form
    assert await expiries(client) == [
        "2096-06-30T22:00:00Z",
        "2096-06-30T06:30:00Z",
        "2096-06-29T22:00:00Z" if begins else "2096-06-30T22:00:00Z",
    ]


async def test_what_looks_like_a_date_cell_and_may_be_a_text_in_the_format_is_not_read_as_one(upload):
    body = "code;until\nA-1;2096-31-12\nA-2;2096-12-31\n"
    done = (await upload(body, expires_at_column="until", date_format="YYYY-DD-MM")).json()
    assert (done["imported"], done["rejected_by"]["invalid"]) == (1, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"timezone": "Mars"},
        {"timezone": "../etc"},
        {"date_format": "MM/DD"},
        {"date_format": "DD.MM.YYYY DD"},
    ],
)
async def test_a_format_or_zone_that_is_none_is_refused(upload, options):
    assert (
        await upload("code;until\nA-1;2096-12-31\n", expires_at_column="until", **options)
    ).status_code == 422


@pytest.mark.parametrize(
    ("written", "options", "expected"),
    [
        ("2096-12-31", {}, "2097-01-01T00:00:00Z"),
        ("2096-06-30", {"timezone": "Europe/Prague"}, "2096-06-30T22:00:00Z"),
        ("2096-06-30T12:00", {"timezone": "America/New_York"}, "2096-06-30T16:00:00Z"),
        ("2096-06-30T12:00:00Z", {"timezone": "America/New_York"}, "2096-06-30T12:00:00Z"),
    ],
)
async def test_a_fixed_expiry_may_be_a_day_alone(client, upload, written, options, expected):
    assert (await upload("code\nA-1\nA-2\n", expires_at=written, **options)).json()["imported"] == 2
    assert await expiries(client) == [expected] * 2


@pytest.mark.parametrize(
    ("written", "zone"),
    [
        ("2096-12-32", "UTC"),
        ("2096-12-31", "Mars"),
        ("9999-12-31", "UTC"),
        ("2096-12-31T12:00", ""),
        ("31.12.2096", "UTC"),
    ],
)
async def test_a_fixed_expiry_that_is_none_is_refused(upload, written, zone):
    assert (
        await upload("code\nA-1\n", expires_at=written, **({"timezone": zone} if zone else {}))
    ).status_code == 422


async def test_a_day_that_is_out_of_bounds_says_so(client):
    reply = await client.post(
        "/v1/pools/p/imports", files={"file": ("c.csv", b"code\nA-1\n")}, data={"expires_at": "9999-12-31"}
    )
    assert reply.json()["errors"] == [
        {"loc": ["body", "expires_at"], "msg": "a time lies between 1970 and 9999"}
    ]


async def test_a_schedule_keeps_the_end_of_the_day(client):
    body = {"pool": "p", "source": {"type": "url", "url": "https://example.org/c"}, "cron": "0 6 * * *"}
    body |= {"expires_at": "2096-06-30", "timezone": "Europe/Prague"}
    made = (await client.post("/v1/import-schedules", json=body)).json()
    assert datetime.fromisoformat(made["options"]["expires_at"]) == datetime(2096, 6, 30, 22, tzinfo=UTC)
    url = f"/v1/import-schedules/{made['id']}"
    moved = (await client.patch(url, json={"expires_at": "2096-07-31"})).json()
    assert datetime.fromisoformat(moved["options"]["expires_at"]) == datetime(2096, 7, 31, 22, tzinfo=UTC)
    elsewhere = {"expires_at": "2096-07-31", "timezone": "America/New_York"}
    moved = (await client.patch(url, json=elsewhere)).json()
    assert datetime.fromisoformat(moved["options"]["expires_at"]) == datetime(2096, 8, 1, 4, tzinfo=UTC)
    anew = {"options": {"expires_at": "2096-06-30"}, "timezone": "Europe/Prague"}
    moved = (await client.patch(url, json=anew)).json()
    assert datetime.fromisoformat(moved["options"]["expires_at"]) == datetime(2096, 6, 30, 22, tzinfo=UTC)
    moved = (await client.patch(url, json={"expires_at": "2096-08-01T00:00:00Z"})).json()
    assert datetime.fromisoformat(moved["options"]["expires_at"]) == datetime(2096, 8, 1, tzinfo=UTC)
    assert "expires_at" not in (await client.patch(url, json={"expires_at": None})).json()["options"]


async def test_a_row_that_is_rejected_for_its_code_is_said_nothing_of_times(upload):
    done = (await upload("code;until\nA-1;2096-12-31\n;2096-12-31\n", expires_at_column="until")).json()
    assert (done["rejected_by"]["invalid"], done["note"]) == (1, None)
