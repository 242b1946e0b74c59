"""Columns as callers name them: by what their headings say, or by index, which forms send as text."""

import io
import sqlite3

import pytest

from app.domain.imports.errors import ImportUndecidedError
from app.domain.imports.merging import reading
from app.domain.imports.reader.table import Format, open_table
from tests.domain.imports.imported import codes, figures
from tests.domain.imports.packed import spreadsheet

ROWS = range(1, 13)
CODES = {f"AB-{n:04}" for n in ROWS}
USED = "code,used\n" + "".join(f"AB-{n:04},0\n" for n in ROWS)
NUMBERED = "nr,code\n" + "".join(f"{n},AB-{n:04}\n" for n in ROWS)
TWICE = "code,code,value,value\n" + "".join(f"AB-{n:04},CD-{n:04},{n + 100},{n + 200}\n" for n in ROWS)


def opened(content):
    return open_table(io.BytesIO(content.encode()), Format(has_header=True))


@pytest.mark.parametrize(("content", "column"), [(USED, "0"), (NUMBERED, "1")])
async def test_an_index_in_a_form_is_no_heading_that_a_row_holds_by_chance(client, upload, content, column):
    done = (await upload(content, column=column)).json()
    assert figures(done) == (12, 12, 0, 0), done
    assert await codes(client) == CODES


async def test_a_number_is_the_name_of_a_column_where_the_header_says_so(client, upload):
    content = "2031,1\n" + "".join(f"AB-{n:04},CD-{n:04}\n" for n in ROWS)
    assert figures((await upload(content, column="2031")).json()) == (12, 12, 0, 0)
    assert await codes(client) == CODES
    assert (await upload(content, pool="q", column="1", has_header="true")).json()["imported"] == 12
    assert await codes(client, "q") == {f"CD-{n:04}" for n in ROWS}


async def test_two_columns_of_the_name_that_is_given_are_asked_about(client, upload):
    reply = await upload(TWICE, column="code")
    assert reply.json()["type"] == "/problems/import-undecided", reply.text
    assert "2 columns are named 'code'" in reply.json()["detail"]
    assert [choice["index"] for choice in reply.json()["choices"]["column"]] == [0, 1, 2, 3]
    assert figures((await upload(TWICE, column="1")).json()) == (12, 12, 0, 0)
    assert await codes(client) == {f"CD-{n:04}" for n in ROWS}


def test_a_number_that_two_columns_are_named_is_an_index_so_that_the_question_can_be_answered():
    table = opened("1;1\n" + "".join(f"AB-{n:04};CD-{n:04}\n" for n in ROWS))
    assert table.column("1") == 1
    with pytest.raises(ImportUndecidedError, match="no column '2'"):
        table.column("2")


async def test_attributes_of_one_name_are_both_kept(client, upload):
    done = (await upload(TWICE, column="0", attribute_columns="[2, 3]")).json()
    assert figures(done) == (12, 12, 0, 0), done
    voucher = (await client.get("/v1/vouchers/AB-0001")).json()
    assert voucher["attributes"] == {"value (2)": "101", "value (3)": "201"}


def test_a_column_that_is_named_twice_is_one_attribute():
    table = opened(USED)
    assert [*reading.attributes(table, {"attribute_columns": ["used", 1]})] == [("used", 1)]


async def test_headings_that_the_database_cannot_keep_are_shown_as_far_as_they_can(client, upload):
    text = "code,pi\x00n,x\x00\n" + "".join(f"AB-{n:04},{n},{n + 100}\n" for n in ROWS)
    done = (await upload(text, column="code", attribute_columns="1")).json()
    assert figures(done) == (12, 12, 0, 0), done
    assert done["columns_not_imported"] == ["x\N{REPLACEMENT CHARACTER}"]
    attributes = (await client.get("/v1/vouchers/AB-0001")).json()["attributes"]
    assert attributes == {"pi\N{REPLACEMENT CHARACTER}n": "1"}


async def test_a_heading_that_is_a_formula_without_a_value_hinders_no_import(client, upload):
    done = (await upload(spreadsheet(["code", "=A1"], *([code, "x"] for code in sorted(CODES))))).json()
    assert figures(done) == (12, 12, 0, 0), done
    assert done["columns_not_imported"] == ["=A1"]


async def test_a_question_about_values_that_the_database_cannot_keep_is_kept(client, fetch, tmp_path):
    (tmp_path / "files" / "codes").write_bytes(b"a,b\nAB\x0011-1,CD11-1\nAB11-2,CD11-2\nAB11-3,CD11-3\n")
    reply = await fetch({"type": "storage", "url": "file:codes"})
    assert reply.json()["type"] == "/problems/import-undecided", reply.text
    assert reply.json()["choices"]["column"][0]["first_values"][0] == "AB\N{REPLACEMENT CHARACTER}11-1"


@pytest.mark.parametrize("heading", ["code", "voucher code", "# code"])
@pytest.mark.parametrize("first", ["X", "# x"])
async def test_no_row_of_a_query_is_taken_for_a_line_before_the_table(
    client, fetch, tmp_path, heading, first
):
    with sqlite3.connect(tmp_path / "files" / "shop.db") as shop:
        shop.execute("CREATE TABLE coupon (code)")
        shop.executemany("INSERT INTO coupon VALUES (?)", [(first,), *((code,) for code in sorted(CODES))])
    shop.close()
    source = {"type": "database", "url": "sqlite:///shop.db"}
    query = {"query": f'SELECT code AS "{heading}" FROM coupon ORDER BY rowid'}
    done = (await fetch(source | query, accept_suspicious=True)).json()
    assert figures(done) == (13, 13, 0, 0), done
    assert await codes(client) == CODES | {first}


async def test_a_value_of_a_query_is_no_heading(fetch, tmp_path):
    with sqlite3.connect(tmp_path / "files" / "shop.db") as shop:
        shop.execute("CREATE TABLE coupon (code)")
        shop.executemany("INSERT INTO coupon VALUES (?)", [(code,) for code in sorted(CODES)])
    shop.close()
    source = {"type": "database", "url": "sqlite:///shop.db", "query": "SELECT code FROM coupon"}
    reply = await fetch(source, column="AB-0001")
    assert reply.json()["type"] == "/problems/import-undecided", reply.text
    assert "the columns are 'code'" in reply.json()["detail"]
