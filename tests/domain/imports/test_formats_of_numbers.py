"""Numbers of XLSX files come in as people see them: with the zeros and texts that their format puts around them."""

import io

import openpyxl
import pytest

from app.domain.imports.reader import formats
from app.domain.imports.reader.table import Format, open_table
from tests.domain.imports.imported import codes, figures
from tests.domain.imports.made_files import read


def book(columns, *, left=0):
    """Return a file in which each column has a heading and then numbers, each with its format."""
    workbook, file = openpyxl.Workbook(), io.BytesIO()
    for index, (heading, cells) in enumerate(columns.items(), 1 + left):
        workbook.active.cell(1, index, heading)
        for line, (value, shown_by) in enumerate(cells, 2):
            workbook.active.cell(line, index, value).number_format = shown_by
    workbook.save(file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("shown_by", "number", "shown"),
    [
        ("00000000", "12345", "00012345"),
        ("00000", "1234567", "1234567"),
        ('"GC-"0000', "7", "GC-0007"),
        ('0"-A"', "12", "12-A"),
        (r"000\-000\-0000", "17", "000-000-0017"),
        (r"000\-000", "1234567", "1234-567"),
        ("[$-407]00000;@", "99", "00099"),
        ("000 000", "123", "000 123"),
    ],
)
def test_a_format_of_digits_and_texts_is_shown(shown_by, number, shown):
    found = formats.shown_by(shown_by)
    assert found is not None
    assert found.of(number) == shown


@pytest.mark.parametrize(
    "other",
    [
        "General",
        "0",
        "0.00",
        "#,##0",
        "00.00",
        "yyyy-mm-dd",
        "0%",
        "0.00E+00",
        "[>9]00;0",
        "@",
        ";;;",
        '"x"',
        "0" * 256,
    ],
)
def test_other_formats_change_nothing(other):
    assert formats.shown_by(other) is None


async def test_codes_keep_their_zeros(client, upload):
    cells = [(1200345 + n * 7919, "0000000000") for n in range(12)]
    done = (await upload(book({"code": cells}), name="codes.xlsx")).json()
    assert figures(done) == (12, 12, 0, 0), done
    assert await codes(client) == {f"{value:010}" for value, _ in cells}


@pytest.mark.parametrize("left", [0, 3])
def test_each_cell_is_shown_by_its_own_format(left):
    mixed = [
        (11, "0000"),
        (12, "0000"),
        (13, "General"),
        ("14", "0000"),
        (15, '"A"0000'),
        (-16, "0000"),
        (1.5, "0000"),
    ]
    content = book({"code": [(n, "00") for n in range(7)], "value": mixed}, left=left)
    table = open_table(io.BytesIO(content), Format(has_header=True))
    rows = [row[-2:] for batch in table.batches for row in batch.rows]
    assert [row[0] for row in rows] == ["00", "01", "02", "03", "04", "05", "06"]
    assert [row[1] for row in rows] == ["0011", "0012", "13", "14", "A0015", "-16", "1.5"]


def test_the_format_of_an_empty_column_is_none_of_another():
    workbook, file = openpyxl.Workbook(), io.BytesIO()
    for line in range(1, 9):
        workbook.active.cell(line, 1).number_format = "0000000000"
        workbook.active.cell(line, 3, 12345 + line * 7919 if line > 1 else "code")
    workbook.save(file)
    assert read(file.getvalue())[0] == [str(12345 + line * 7919) for line in range(2, 9)]


def test_formulas_without_a_value_are_told_beside_them():
    cells = [(n * 7919 + 10**6, "00000000") for n in range(6)]
    assert read(book({"code": [*cells, ("=A1", "00000000")]})) == ([f"{n:08}" for n, _ in cells], ["=A1"])
