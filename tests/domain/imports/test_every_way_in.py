"""Every kind of file by every way in: upload, URL, storage and command line; preview and import."""

import asyncio
import gzip
import io
import zipfile

import pytest

from app.cli import import_file as command
from app.domain.imports.errors import UnreadableError
from app.domain.imports.reader.table import Format, open_table
from app.platform.projects import DEFAULT
from tests.domain.imports.imported import codes, figures
from tests.domain.imports.old_spreadsheets import ods, xls
from tests.domain.imports.packed import spreadsheet, zipped
from tests.domain.imports.servers import http_server

ROWS = [["code", "value"], ["A-11", "5"], ["A-12", "5"], ["A-13", "7"]]
CSV = "".join(";".join(row) + "\n" for row in ROWS).encode()
KINDS = {
    "csv": CSV,
    "utf-16": CSV.decode().encode("utf-16"),
    "gzip": gzip.compress(CSV),
    "zip": zipped(**{"codes.csv": CSV}),
    "xlsx": spreadsheet(*ROWS),
    "xls": xls(ROWS),
    "ods": ods(ROWS),
    "gzip of xlsx": gzip.compress(spreadsheet(*ROWS)),
    "zip of xls": zipped(**{"codes.xls": xls(ROWS)}),
}
WAYS = ("upload", "url", "storage", "command line")


@pytest.fixture
def server():
    with http_server() as server:
        yield server


async def through(way, content, client, settings, server, tmp_path, fetch, upload):
    """Preview and import a file; the columns that the preview shows, and the figures."""
    if way == "upload":
        shown = await client.post("/v1/imports/preview", files={"file": ("codes", content)})
        return shown, (await upload(content)).json()
    if way == "command line":
        path = tmp_path / "codes"
        path.write_bytes(content)
        assert await asyncio.to_thread(command.run, settings, DEFAULT, "p", path, {}) == 0
        return None, (await client.get("/v1/imports")).json()["items"][0]
    if way == "url":
        server.content = content
        source = {"type": "url", "url": f"http://127.0.0.1:{server.server_port}/codes"}
    else:
        (tmp_path / "files" / "codes").write_bytes(content)
        source = {"type": "storage", "url": "file:codes"}
    shown = await client.post("/v1/imports/preview", json={"source": source})
    return shown, (await fetch(source)).json()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_file_comes_in_by_every_way(
    kind, way, client, settings, server, tmp_path, fetch, upload
):
    shown, done = await through(way, KINDS[kind], client, settings, server, tmp_path, fetch, upload)
    if shown is not None:
        assert shown.status_code == 200, shown.text
        assert shown.json()["header"] == ["code", "value"]
        assert [column["suggested"] for column in shown.json()["columns"]] == [True, False]
    assert figures(done) == (3, 3, 0, 0), done
    assert done["columns_not_imported"] == ["value"]
    assert await codes(client) == {"A-11", "A-12", "A-13"}


def test_a_word_document_is_no_spreadsheet():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("word/document.xml", "<w/>")
    file.seek(0)
    with pytest.raises(UnreadableError, match="a Word document"):
        open_table(file, Format())
