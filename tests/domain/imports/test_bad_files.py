"""Files that cannot be imported: each says why, nothing of it is in the pool, and the next import goes on."""

import gzip
import io
import random
import zipfile
from contextlib import suppress

import openpyxl
import pytest

from app.domain.imports.errors import UnreadableError
from app.domain.imports.reader import decode, table, unpack
from app.domain.imports.reader.table import Format, open_table
from app.platform.settings import Settings, get_settings
from tests.domain.imports.imported import figures
from tests.domain.imports.packed import zipped

GOOD = "code\n" + "".join(f"GOOD-{n}\n" for n in range(30_000))
BAD = {
    "its encoding changes half-way": (
        "code\nÄ1\n".encode() + "Ä2\n".encode("cp1252") + b"A1\n",
        {},
        "Line 3 is not in utf-8: there is a byte 0xc4",
    ),
    "its encoding changes to UTF-8": (
        "code\nÄ1\n".encode("cp1252") + "Ä2\n".encode() + b"A1\n",
        {},
        "Line 2 is not in utf-8: there is a byte 0xc4",
    ),
    "its encoding changes to UTF-8 far from the start": (
        "Grüße\n".encode("cp1252") + GOOD.encode() * 10 + b"A1\nA2;" + "Köln;Ä1\n".encode(),
        {},
        "Line 300013 seems to be in utf-8, and what is before it in windows-1252",
    ),
    "its encoding changes far from the start": (
        GOOD.encode() * 10 + "Grüße\n".encode("cp1252") + b"A1\n",
        {},
        "is not in utf-8: there is a byte 0xfc",
    ),
    "a quote is never closed": (GOOD.encode() + b'"A1\nA2\nA3\n', {}, "opened in line 30002 is never closed"),
    "a quote is never closed, far from the end": (b'code\nA1\n"' + GOOD.encode(), {}, "Line 3 is no row"),
    "it is empty": (b"", {}, "The file is empty"),
    "it is blank": (b" \n\r\n\n", {}, "The file is empty"),
    "it is binary": (random.Random(1).randbytes(10_000), {}, "The file is binary"),
    "it has only a header": (b"code\n", {}, "no row below it"),
    "it is a zip of two files": (zipped(a="code\nA1", b="code\nB1"), {}, "holds 2 files (a, b)"),
    "it is a zip of nothing": (zipped(), {}, "holds 0 files"),
    "it is half a gzip": (
        gzip.compress(random.Random(1).randbytes(99_999).hex().encode())[:-9000],
        {},
        "packed, and damaged",
    ),
    "it is said to be UTF-16, and is not": (
        b"code\nA1\nA2\n",
        {"encoding": "utf-16"},
        "The text is not in utf-16: it does not begin with the byte order mark",
    ),
    "it is said to be UTF-32, and begins with the mark of UTF-8": (
        b"\xef\xbb\xbfcode\nA1\nA2\n",
        {"encoding": "utf_32"},
        "The text is not in utf_32",
    ),
    "more lines are skipped than it has": (
        b"code\nA1\nA2\n",
        {"skip_lines": "500"},
        "No row is left behind the 500 lines that are skipped",
    ),
    "it is half a zip": (zipped(a=GOOD)[:-30], {}, "zip file is damaged"),
    "it is a broken spreadsheet": (
        zipped(**{"xl/workbook.xml": "<nonsense"}),
        {},
        "spreadsheet cannot be read",
    ),
}


TOLD_AT_ONCE = BAD.keys() - {
    "its encoding changes to UTF-8 far from the start",
    "its encoding changes far from the start",
    "a quote is never closed",
}
"""The others are told by the import, once it has read so far."""


@pytest.mark.parametrize("name", BAD)
async def test_it_fails_whole_when(name, client, upload):
    content, options, says = BAD[name]
    reply = await upload(content, **options)
    if name in TOLD_AT_ONCE:
        assert (reply.status_code, reply.json()["type"]) == (422, "/problems/unreadable-source")
        assert says in reply.json()["detail"]
        assert (await client.get("/v1/imports")).json()["items"] == []
    else:
        done = reply.json()
        assert done["status"] == "failed"
        assert says in done["error"]
        assert figures(done) == (0, 0, 0, 0)
        assert (await client.get(f"/v1/imports/{done['id']}/rejects")).json()["items"] == []
    assert (await client.get("/v1/pools/p")).status_code == 404
    assert (await upload(b"code\nNEXT\n")).json()["imported"] == 1


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ("voucher", "no column 'voucher'; the columns are 'id', 'code'"),
        ("2", "There is no column '2'"),
    ],
)
async def test_a_column_that_is_not_there_is_refused_with_those_that_are(column, says, client, upload):
    reply = await upload(b"id,code\n1,A1\n", column=column)
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/import-undecided")
    assert says in reply.json()["detail"]
    assert [choice["name"] for choice in reply.json()["choices"]["column"]] == ["id", "code"]
    assert (await client.get("/v1/pools/p")).status_code == 404


@pytest.mark.parametrize("encoding", ["idna", "punycode", "undefined", "base64", "klingon"])
async def test_what_encodes_no_files_is_no_encoding(encoding, client):
    file = {"file": ("codes.csv", b"code\nA1\n")}
    for path in ("/v1/imports/preview", "/v1/pools/p/imports", "/v1/customers/imports"):
        reply = await client.post(path, files=file, data={"encoding": encoding})
        assert reply.status_code == 422, reply.text
        assert f"there is no encoding '{encoding}'" in reply.json()["errors"][0]["msg"]


def test_a_line_without_end_is_given_up_before_it_fills_the_memory():
    read = []

    def endless():
        yield b"code\n"
        while True:
            read.append(64 * 1024)
            yield b"x" * 64 * 1024

    with pytest.raises(UnreadableError, match="Line 2 is longer"):
        list(decode.lines(endless(), "utf-8"))
    assert sum(read) < 2 * decode.MAX_LINE


# A pattern that may part a text in many ways tries them all: for each of these that took minutes, or for ever, and no
# other request of the process was answered meanwhile.
TRYING = {
    "comments of HTML": b"code\n" + b"<!-- -->" * 1000 + b"x\nA1\nA2\n",
    "an HTML page that is nothing but comments": b"<!-- -->" * 10_000 + b"x",
    "a page of inputs": b"<html>" + b"<input" * 150_000,
    "a long word without accents": b"a" * 900_000 + b" \xe9\n",
    "an address": b"code\n" + (b"a@" + b"." * 100_000 + b"@\n") * 3,
    "a link": b"code\n" + (b"www." + b"." * 100_000 + b" x\n") * 3,
    "a list": b"code\n" + (b'"(' + b"," * 100_000 + b'"\n') * 3,
    "a heading of many words": b"code;" + b"ab " * 40_000 + b"\n" + b"A1;b\nA2;c\n",
    "a sheet of formulas": zipped(
        **{"xl/workbook.xml": "<workbook/>", "xl/worksheets/sheet1.xml": b"<f " * 87_000, "content.xml": b""}
    ),
    "a sheet of cells": zipped(
        **{"mimetype": "", "content.xml": b"table:formula=" + b"<table:table-cell" * 15_000}
    ),
}


@pytest.mark.parametrize("name", TRYING)
def test_no_file_keeps_the_reader_trying(name):
    with suppress(UnreadableError):
        list(open_table(io.BytesIO(TRYING[name]), Format()).batches)


@pytest.mark.long
@pytest.mark.parametrize("pack", [gzip.compress, lambda content: zipped(bomb=content)], ids=["gzip", "zip"])
def test_a_bomb_is_not_unpacked(pack, monkeypatch):
    monkeypatch.setattr(unpack, "RATIO_COUNTS_FROM", 1024**2)
    bomb = pack(b"code\n" + b"AAAAAAAA\n" * 1_000_000)
    with pytest.raises(UnreadableError, match="unpacks to far more"):
        list(open_table(io.BytesIO(bomb), Format()).batches)


def test_a_spreadsheet_that_is_a_bomb_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(table, "MAX_UNPACKED_SPREADSHEET", 1024**2)
    bomb = zipped(**{"xl/workbook.xml": "", "xl/worksheets/sheet1.xml": b"0" * 2 * 1024**2})
    with pytest.raises(UnreadableError, match="unpacks to far more"):
        open_table(io.BytesIO(bomb), Format())


@pytest.mark.parametrize("name", ["codes.csv", "xl/workbook.xml"])
def test_a_zip_whose_places_and_names_are_none_is_damaged(name):
    content = zipped(**{name: "code\nA1\n"})
    end = content.rindex(b"PK\x05\x06")
    place = int.from_bytes(content[end + 16 : end + 20], "little")
    before_the_file = content[: end + 16] + (place + 1).to_bytes(4, "little") + content[end + 20 :]
    without_a_name = content[: place + 46] + b"\0" + content[place + 47 :]
    for damaged in (before_the_file, without_a_name):
        with pytest.raises(UnreadableError, match="damaged"):
            open_table(io.BytesIO(damaged), Format())


def test_an_encrypted_zip_says_so():
    file = io.BytesIO(zipped(a="code\nA1"))
    content = bytearray(file.getvalue())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    with pytest.raises(UnreadableError, match="password"):
        open_table(io.BytesIO(bytes(content)), Format())
    assert zipfile.is_zipfile(io.BytesIO(bytes(content)))


async def test_rows_of_differing_width_are_told_line_by_line(client, upload):
    done = (await upload("a;code\n1;A1\n2\n3;A3;more;and more\n", column="code")).json()
    assert figures(done) == (3, 2, 0, 1)
    (item,) = (await client.get(f"/v1/imports/{done['id']}/rejects")).json()["items"]
    assert (item["line"], item["reason"]) == (3, "too_few_columns")


async def test_an_upload_that_is_too_large_is_refused(app, client, monkeypatch):
    monkeypatch.setenv("VOUCHERS_MAX_UPLOAD_BYTES", "1000")
    get_settings.cache_clear()
    app.state.held[Settings] = get_settings()
    reply = await client.post("/v1/pools/p/imports", files={"file": ("c.csv", b"x" * 2000)})
    assert (reply.status_code, reply.json()["type"]) == (413, "/problems/payload-too-large")

    async def unannounced():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="c"\r\n\r\n'
        for _ in range(100):
            yield b"x" * 100
        yield b"\r\n--b--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    reply = await client.post("/v1/pools/p/imports", content=unannounced(), headers=headers)
    assert (reply.status_code, reply.json()["type"]) == (413, "/problems/payload-too-large")
    assert (await client.get("/v1/pools/p")).status_code == 404


@pytest.mark.parametrize(
    ("request_", "status", "says"),
    [
        ({"content": b"code\nA1", "headers": {"Content-Type": "text/csv"}}, 415, "multipart/form-data"),
        ({"content": b"{nonsense", "headers": {"Content-Type": "application/json"}}, 422, "not JSON"),
        ({"json": {}}, 422, "source"),
        ({"json": {"source": {"type": "fax"}}}, 422, "source"),
        ({"json": {"source": {"type": "text", "text": "A1"}, "colum": 1}}, 422, "colum"),
        ({"json": {"source": {"type": "url", "url": "ftp://example.org/x"}}}, 422, "url"),
        ({"json": {"source": {"type": "text", "text": "A1"}, "delimiter": ",,"}}, 422, "delimiter"),
        (
            {"json": {"source": {"type": "url", "url": "http://${env:DATABASE_URL}/"}}},
            422,
            "VOUCHERS_SOURCE_",
        ),
        (
            {"json": {"source": {"type": "text", "text": "A1"}, "encoding": "klingon"}},
            422,
            "no encoding 'klingon'",
        ),
        (
            {"files": {"file": ("c.csv", b"code")}, "data": {"encoding": "rot13"}},
            422,
            "no encoding 'rot13'",
        ),
        ({"json": {"source": {"type": "text", "text": "A1"}, "expires_at": "soon"}}, 422, "expires_at"),
        ({"data": {"column": "code"}, "files": {"other": ("c.csv", b"code")}}, 422, "no file"),
        ({"files": {"file": ("c.csv", b"code")}, "data": {"has_header": "perhaps"}}, 422, "has_header"),
        ({"files": {"file": ("c.csv", b"code")}, "data": {"nonsense": "1"}}, 422, "nonsense"),
        ({"content": b"nonsense", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 422, ""),
        ({"content": b"nonsense", "headers": {"Content-Type": "multipart/form-data"}}, 422, "cannot be read"),
    ],
)
async def test_a_request_that_says_nothing_sensible_is_refused(client, request_, status, says):
    reply = await client.post("/v1/pools/p/imports", **request_)
    assert reply.status_code == status, reply.text
    assert says in reply.json()["detail"]
    assert (await client.get("/v1/pools/p")).status_code == 404


async def test_a_bad_pool_name_is_refused(client):
    reply = await client.post("/v1/pools/a%20b/imports", files={"file": ("c.csv", b"code\nA1\n")})
    assert reply.status_code == 422
    assert "a space" in reply.json()["detail"]


async def test_a_preview_of_an_unreadable_file_is_a_problem(client):
    reply = await client.post("/v1/imports/preview", files={"file": ("c.csv", b"")})
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/unreadable-source")


@pytest.mark.parametrize("place", ["XFD1048576", "ZZ1048576"])
async def test_a_cell_at_the_other_end_of_the_sheet_harms_nobody(place, client, upload):
    book, file = openpyxl.Workbook(), io.BytesIO()
    book.active["A1"], book.active[place] = "code", "A11B77X121"
    book.save(file)
    reply = await upload(file.getvalue())
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/unreadable-source")
    assert "takes too much memory" in reply.json()["detail"]
