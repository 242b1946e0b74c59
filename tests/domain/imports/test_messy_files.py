"""Ten files as people send them, each with the codes that it holds."""

import gzip
import io
from pathlib import Path

import pytest

from app.domain.imports.merging import rows
from app.domain.imports.reader import decode
from app.domain.imports.reader.table import Format, open_table
from tests.domain.imports.imported import codes, figures
from tests.domain.imports.packed import spreadsheet, zipped

FILES = sorted(path for path in (Path(__file__).parent / "files").iterdir() if path.suffix != ".codes")
ANY = Format()
FORMATS = {
    "iso8859_2_semicolon.csv": ("iso-8859-2", ";", '"', True, "Kód poukazu"),
    "line_breaks_and_ragged_rows.csv": ("utf-8", ",", '"', True, "promo_code"),
    "many_code_columns.csv": ("utf-8", "\t", '"', True, "Code"),
    "pipe_no_header.txt": ("utf-8", "|", '"', False, None),
    "single_column_old_mac_no_header.txt": ("utf-8", None, '"', False, None),
    "single_column_spaces_and_blanks.csv": ("utf-8", None, '"', True, "  codes "),
    "single_quotes.csv": ("utf-8", ",", "'", True, "voucher"),
    "utf16_tab.txt": ("utf-16", "\t", '"', True, "Coupon"),
    "utf8_bom_comma.csv": ("utf-8-sig", ",", '"', True, "Voucher Code"),
    "windows1252_semicolon.csv": ("windows-1252", ";", '"', True, "Gutschein-Code"),
}


def expected(path):
    return Path(f"{path}.codes").read_text(encoding="utf-8").splitlines()


def read(content, wanted=ANY, column=None):
    """The codes of a file, in its order."""
    table = open_table(io.BytesIO(content), wanted)
    index = table.column(column)
    sorter = rows.Sorter(index)
    batches = [sorter.sort(batch).shares for batch in table.batches]
    staged = [row.split("\t") for shares in batches for share in shares for row in share]
    return [code for _, code, _ in sorted(staged, key=lambda row: int(row[0]))]


def test_there_are_ten():
    assert sorted(FORMATS) == [path.name for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_its_format_is_found_out_and_its_codes_are_read(path):
    table = open_table(io.BytesIO(path.read_bytes()), Format())
    found = table.format
    name = table.header[table.suggested] if table.header else None
    assert (found.encoding, found.delimiter, found.quote, found.has_header, name) == FORMATS[path.name]
    assert read(path.read_bytes()) == expected(path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
async def test_preview_and_import_agree(client, upload, path):
    content = path.read_bytes()
    preview = (await client.post("/v1/imports/preview", files={"file": (path.name, content)})).json()
    suggested = next(column["index"] for column in preview["columns"] if column["suggested"])
    assert [row[suggested].strip() for row in preview["rows"]] == expected(path)[:5]
    done = (await upload(content)).json()
    assert figures(done) == (len(expected(path)), len(expected(path)), 0, 0), done
    assert await codes(client) == set(expected(path))


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(b"code\nA1\nA2\n", mtime=0),
        zipped(**{"codes.csv": "code\nA1\nA2\n", "__MACOSX/._codes.csv": "x", "folder/": ""}),
        spreadsheet(["customer", "voucher"], ["Zoë", "A1"], [], ["Max", "A2"]),
        "code\nA1\nA2\n".encode("utf-16-be"),
        "code\nA1\nA2".encode("utf-32"),
        b"code\r\nA1\r\n\r\nA2",
    ],
    ids=["gzip", "zip", "xlsx", "utf-16 without mark", "utf-32", "no last line break"],
)
def test_it_is_opened(content):
    assert read(content) == ["A1", "A2"]


def test_numbers_of_a_spreadsheet_are_codes_of_digits():
    assert read(spreadsheet(["code"], [1234567890], [12.5], ["0012"])) == ["1234567890", "12.5", "0012"]


def test_lines_of_a_spreadsheet_are_its_rows():
    table = open_table(io.BytesIO(spreadsheet(["code"], ["A1"], [None], ["A2"], ["x" * 300])), Format())
    (batch,) = table.batches
    assert rows.Sorter(0).sort(batch).rejects[0].line == 5


def test_what_is_found_out_may_be_overridden():
    content = "A1;x\nB2;y\n".encode("cp1252")
    assert read(content) == ["A1", "B2"]
    assert read(content, Format(has_header=True)) == ["B2"]
    assert read(content, Format(delimiter=","), 0) == ["A1;x", "B2;y"]
    assert read(b"'A1'\n'B2'\n", Format(quote="")) == ["'A1'", "'B2'"]


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_it_does_not_matter_where_a_file_is_cut_into_blocks(size, monkeypatch):
    path = next(path for path in FILES if path.name.startswith("line_breaks"))
    monkeypatch.setattr("app.domain.imports.reader.unpack.BLOCK", size)
    monkeypatch.setattr("app.domain.imports.reader.table.SAMPLE_BYTES", 200)
    monkeypatch.setattr("app.domain.imports.reader.batches.BATCH_ROWS", 3)
    assert read(
        path.read_bytes(), Format(delimiter=",", has_header=True, encoding="utf-8"), "promo_code"
    ) == expected(path)


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        ("Müller Straße Jäger", "cp1252", "windows-1252"),
        ("élève à la façade, reçu", "cp1252", "windows-1252"),
        ("señor año niño", "cp1252", "windows-1252"),
        ("Příliš žluťoučký kůň", "cp1250", "windows-1250"),
        ("Příliš žluťoučký kůň", "iso8859_2", "iso-8859-2"),
        ("Zażółć gęślą jaźń", "iso8859_2", "iso-8859-2"),
        ("Привет мир, это промокоды для магазина", "cp1251", "windows-1251"),
        ("plain", "ascii", "utf-8"),
        ("naïve \u2013 \u201cquotes\u201d", "utf-8", "utf-8"),
    ],
)
def test_encodings_are_told_apart_by_a_few_words(text, encoding, name):
    assert decode.detect(text.encode(encoding)) == name
