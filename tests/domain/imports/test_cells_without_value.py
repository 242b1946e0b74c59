"""Cells of spreadsheets that are errors, or formulas whose value was not saved, are told and never passed over."""

import io
import zipfile

import openpyxl
import pytest

from app.domain.imports.errors import UnreadableError
from app.domain.imports.merging import reading
from app.domain.imports.reader import cells
from app.domain.imports.reader.table import Format, open_table
from tests.domain.imports.made_files import read
from tests.domain.imports.old_spreadsheets import ERRORS, xls, xlsb
from tests.domain.imports.packed import spreadsheet

CODES = ["A11B77X121", "B20C11Y482", "C99D35Z770", "D41E02W118"]


def rejects_of(content, **options):
    table = open_table(io.BytesIO(content), Format())
    sorter = reading.sorter(table, {"column": "code", **options})
    return [
        (one.line, one.value, one.reason) for batch in table.batches for one in sorter.sort(batch).rejects
    ]


def rewritten(content, member, change):
    """Return a zip file with one member changed."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(file, "w") as after:
        for name in before.namelist():
            data = before.read(name)
            after.writestr(name, change(data.decode()) if name == member else data)
    return file.getvalue()


@pytest.mark.parametrize("error", ["#REF!", "#N/A", "#NAME?", "#DIV/0!", "#VALUE!"])
def test_errors_are_set_aside(error):
    content = spreadsheet(["code"], *([code] for code in CODES), [error])
    assert read(content) == (CODES, [error])


@pytest.mark.parametrize("written", [xls, xlsb])
@pytest.mark.parametrize("error", ERRORS)
def test_errors_are_set_aside_in_binary_spreadsheets(written, error):
    content = written(
        [["pin", "code"], *(["P1", code] for code in CODES), ["P2", error], ["P3", f"={error}"]]
    )
    assert read(content, column="code") == (CODES, [error, error])
    table = open_table(io.BytesIO(content), Format())
    lines = {line: row for batch in table.batches for line, row in zip(batch.lines, batch.rows, strict=True)}
    assert (lines[6], lines[7]) == (["P2", cells.BROKEN + error], ["P3", cells.BROKEN + error])


@pytest.mark.parametrize("written", [xls, xlsb])
def test_a_large_binary_spreadsheet_is_walked_to_its_end(written):
    codes = [f"L{n:05}-{n * 7919 % 99991:05}" for n in range(5000)]
    content = written([["code"], *([code] for code in codes), ["#REF!"]])
    assert read(content) == (codes, ["#REF!"])


@pytest.mark.parametrize("written", [xls, xlsb])
def test_a_binary_spreadsheet_that_is_cut_or_bent_ends(written):
    content = written([["code"], *([code] for code in CODES), ["#REF!"]])
    for place in range(0, len(content), len(content) // 9):
        for bent in (content[:place], content[:place] + b"\xfe" + content[place + 1 :]):
            try:
                read(bent)
            except UnreadableError:
                continue


def test_formulas_without_a_value_are_rejects_that_say_so():
    content = spreadsheet(
        ["code", "value"], *([code, 1] for code in CODES), ['=A2&"-1"', 1], [CODES[0] + "9", 1]
    )
    assert rejects_of(content) == [(6, '=A2&"-1"', "formula_without_value")]


@pytest.mark.parametrize("prefix", ["", "x:"])
@pytest.mark.parametrize("value", ["", "<{0}v/>", "<{0}v></{0}v>"])
@pytest.mark.parametrize("placed", [True, False])
def test_however_the_sheet_is_written(prefix, value, placed):
    def cell(place, inside, kind=""):
        where = f' r="{place}"' if placed else ""
        return f"<{prefix}c{where}{kind}>{inside}</{prefix}c>"

    def sheet(_):
        formula = f"<{prefix}f>B1&amp;2</{prefix}f>"
        texts = [
            cell(f"A{n}", f"<{prefix}is><{prefix}t>{text}</{prefix}t></{prefix}is>", ' t="inlineStr"')
            for n, text in enumerate(["code", *CODES], 1)
        ]
        texts += [
            cell("A6", formula + value.format(prefix)),
            cell("A7", f"{formula}<{prefix}v>77</{prefix}v>"),
        ]
        texts += [
            cell("A8", f"{formula}<{prefix}v></{prefix}v>", ' t="str"'),
            cell("A9", f"{formula}<{prefix}v>#REF!</{prefix}v>", ' t="e"'),
        ]
        rows = "".join(f"<{prefix}row>{text}</{prefix}row>" for text in texts)
        space = f"xmlns{':x' if prefix else ''}"
        return (
            f'<{prefix}worksheet {space}="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
            f"<{prefix}sheetData>{rows}</{prefix}sheetData></{prefix}worksheet>"
        )

    content = rewritten(spreadsheet(["code"]), "xl/worksheets/sheet1.xml", sheet)
    assert rejects_of(content) == [
        (6, "=B1&2", "formula_without_value")
    ]  # what is empty by its formula is blank
    assert read(content) == (CODES, ["=B1&2", "77", "#REF!"])


def test_cells_stand_in_their_column_wherever_the_sheet_begins():
    book = openpyxl.Workbook()
    page = book.active
    for place, value in {
        "C4": "value",
        "D4": "code",
        "C5": 1,
        "D5": "A1",
        "B6": "=C5",
        "D6": "#REF!",
        "D8": "=D5",
    }.items():
        page[place] = value
    file = io.BytesIO()
    book.save(file)
    table = open_table(io.BytesIO(file.getvalue()), Format())
    assert table.header == ["", "value", "code"]
    assert [
        (line, row) for batch in table.batches for line, row in zip(batch.lines, batch.rows, strict=True)
    ] == [
        (5, ["", "1", "A1"]),
        (6, [cells.UNSAVED + "=C5", "", cells.BROKEN + "#REF!"]),
        (8, ["", "", cells.UNSAVED + "=D5"]),
    ]


def test_lines_count_from_the_top_of_a_sheet_that_begins_further_down():
    book = openpyxl.Workbook()
    book.active["B3"], book.active["B4"], book.active["B5"] = "code", "A1", "x" * 300
    file = io.BytesIO()
    book.save(file)
    assert [line for line, _, _ in rejects_of(file.getvalue())] == [5]


def test_other_sheets_do_not_matter():
    book = openpyxl.Workbook()
    for row in [["code"], *([code] for code in CODES)]:
        book.active.append(row)
    book.create_sheet("other")["A3"] = "#REF!"
    file = io.BytesIO()
    book.save(file)
    assert read(file.getvalue(), sheet=0) == (CODES, [])


def test_open_document():
    office = "urn:oasis:names:tc:opendocument:xmlns"

    def cell(attributes="", text=""):
        inside = f"<table:table-cell {attributes}><text:p>{text}</text:p></table:table-cell>"
        return f"<table:table-row>{inside}</table:table-row>"

    body = "".join(cell('office:value-type="string"', text) for text in ["code", *CODES])
    body += cell(
        'table:formula="of:=[.B1]" office:value-type="string" office:string-value="" calcext:value-type="error"',
        "#REF!",
    )
    body += cell('table:formula="of:=[.A2]&amp;1"')
    content = (
        f'<office:document-content xmlns:office="{office}:office:1.0" xmlns:table="{office}:table:1.0"'
        f' xmlns:text="{office}:text:1.0" xmlns:calcext="urn:org:documentfoundation:calcext:1.0">'
        f"<office:body><office:spreadsheet><table:table table:name='S'>{body}</table:table></office:spreadsheet>"
        "</office:body></office:document-content>"
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", content)
        archive.writestr("META-INF/manifest.xml", "<m/>")
    assert read(file.getvalue()) == (CODES, ["=[.A2]&1", "#REF!"])


def test_a_sheet_that_was_never_calculated_is_refused(monkeypatch):
    monkeypatch.setattr(cells, "MAX_CELLS", 3)
    with pytest.raises(UnreadableError, match="let it calculate"):
        read(spreadsheet(["code"], *([f"=B{n}"] for n in range(4))))


def test_what_comes_with_a_code_is_no_error():
    content = spreadsheet(["code", "pin"], *([code, "P1"] for code in CODES), ["E55F16Q390", "#N/A"])
    assert rejects_of(content, attribute_columns=["pin"]) == [(6, "#N/A", "invalid_attribute")]
    assert rejects_of(content, expires_at_column="pin")[-1] == (6, "#N/A", "invalid_expires_at")


async def test_a_customer_gets_no_property_that_is_an_error(client):
    content = spreadsheet(["customer_id", "size"], ["anna", "L"], ["bert", "#REF!"], ["carl", "=A1"])
    reply = await client.post("/v1/customers/imports", files={"file": ("c.xlsx", content)})
    told = [(one["line"], one["reason"]) for one in reply.json()["rejects"]]
    assert told == [(n, "'size': an error, or a formula whose value was not saved") for n in (3, 4)]


def test_a_number_that_is_none_is_told():
    content = spreadsheet(["code"], *([code] for code in CODES), ["#REF!"])
    bent = rewritten(
        content, "xl/worksheets/sheet1.xml", lambda text: text.replace('<row r="6"', '<row r="six"')
    )
    with pytest.raises(UnreadableError, match="cannot be read"):
        read(bent)


@pytest.mark.parametrize(("place", "row"), [("ZZZZZZ6", "6"), ("A999999999", "999999999"), ("6", "6")])
def test_a_formula_beyond_the_sheet_takes_no_memory(place, row):
    content = spreadsheet(["code"], *([code] for code in CODES), ["=A1"])
    bent = rewritten(
        content,
        "xl/worksheets/sheet1.xml",
        lambda text: text.replace('<row r="6"', f'<row r="{row}"').replace('<c r="A6"', f'<c r="{place}"'),
    )
    with pytest.raises(UnreadableError, match="cannot be read"):
        read(bent)
