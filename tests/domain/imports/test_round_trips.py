"""What is exported is imported again as it was, whatever a code looks like."""

# ruff: noqa: RUF001  (full-width signs are what is tested)
import csv
import io
import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.imports.merging.rows import fault
from app.domain.imports.reader.unmarked import code_of
from app.schema.texts import clean_code, inert
from app.web import exports
from tests.domain.imports.imported import codes, figures, rejects
from tests.domain.imports.made_files import read

RUN_BY_SPREADSHEETS = "=+-@\t\r\n＝＋－＠"
HEADER = ["code", "pool", "status", "imported_at"]

storable = st.text(
    st.one_of(st.characters(), st.sampled_from("=+-@'\"\\;,|\t #＝-")),
    min_size=1,
    max_size=12,
).filter(lambda code: clean_code(code) == code and fault(code) is None)


@given(st.lists(storable, min_size=1, max_size=8, unique=True))
@settings(max_examples=300, deadline=None)
def test_every_code_that_can_be_stored_comes_back_from_an_export(stored):
    text = exports._csv([HEADER, *([code, "p", "available", None] for code in stored)])
    assert read(text) == (stored, [])


@given(storable)
@settings(max_examples=300, deadline=None)
def test_no_cell_is_run_by_a_spreadsheet_and_the_reader_takes_off_what_was_added(code):
    cell = inert(code)
    assert cell[0] not in RUN_BY_SPREADSHEETS
    assert code_of(cell) == code


@given(st.text(max_size=12))
def test_cleaning_twice_is_cleaning_once(text):
    once = clean_code(text)
    assert clean_code(once) == once
    assert not once or unicodedata.category(once[0]) not in {"Cf", "Zs", "Zl", "Zp"}


ODD = [
    "=1+1",
    "+48",
    "-5",
    "@a",
    "'b",
    "''c",
    "'d'",
    '="e"',
    "\\N",
    "a,b",
    'q"q',
    "ä ö",
    "＝x",
    "1E5",
    "NULL",
    "Total: 3",
]


async def test_a_pool_is_exported_and_imported_elsewhere(client, upload):
    file = io.StringIO()
    csv.writer(file).writerows([["code"], *([f"'{code}" if code[0] in "=+-@'" else code] for code in ODD)])
    done = (await upload(file.getvalue(), column="code", accept_suspicious="true")).json()
    assert await codes(client) == set(ODD), done
    exported = (await client.get("/v1/pools/p/export")).content
    assert (await client.delete("/v1/pools/p")).status_code == 204
    again = (await upload(exported, pool="elsewhere", accept_suspicious="true")).json()
    assert figures(again) == (len(ODD), len(ODD), 0, 0), again["error"] or exported
    assert await codes(client, "elsewhere") == set(ODD)


async def test_rejects_are_written_by_the_same_rule(client, upload):
    await upload(
        "code\n" + "".join(f"{code}\n" for code in ("'=X1", "'-X2", "''X3", "X4")),
        pool="first",
        accept_suspicious="true",
    )
    assert await codes(client, "first") == {"=X1", "-X2", "'X3", "X4"}
    done = (await upload("code\n'=X1\n'-X2\n''X3\nX4\n", accept_suspicious="true")).json()
    assert {item["value"] for item in await rejects(client, done)} == {"=X1", "-X2", "'X3", "X4"}
    url = f"/v1/imports/{done['id']}/rejects"
    text = (await client.get(url, headers={"Accept": "text/csv"})).text
    assert [row[1] for row in csv.reader(io.StringIO(text))][1:] == ["'=X1", "'-X2", "''X3", "X4"]


@pytest.mark.parametrize("around", ["\u00a0{}\u200b", " {}\t", "\ufeff{}"])
async def test_what_stands_around_a_code_unseen_does_not_count_in_events(around, client, upload):
    await upload("code\nAB-12\nAB-13\nAB-14\n")
    event = {
        "event_id": "e1",
        "customer_id": "c1",
        "event_type": "purchase",
        "properties": {"voucher_code": around.format("AB-12")},
    }
    await client.put(
        "/v1/redemption-mapping", json={"mappings": [{"event_type": "purchase", "property": "voucher_code"}]}
    )
    reply = await client.post("/v1/events", json={"events": [event]})
    assert reply.status_code == 200, reply.text
    assert (await client.get("/v1/vouchers/AB-12")).json()["status"] == "redeemed"
    assert (await client.get("/v1/redemptions")).json()["items"][0]["code"] == "AB-12"


@pytest.mark.parametrize("around", ["\u00a0{}\u200b", " {}\t", "\ufeff{}"])
async def test_nor_in_look_ups_and_uses(around, client, upload):
    await upload("code\nAB-12\nAB-13\nAB-14\n")
    written = quote(around.format("AB-12"), safe="")
    assert (await client.get(f"/v1/vouchers/{written}")).json()["code"] == "AB-12"
    given_ = await client.post("/v1/pools/p/assignments", json={"code": around.format("AB-13")})
    assert given_.json()["code"] == "AB-13"
    assert (await client.post(f"/v1/vouchers/{written}/redemptions", json={})).status_code == 201
    assert (await client.get("/v1/vouchers/AB-12")).json()["status"] == "redeemed"
