"""What a file shows clearly is taken, what it does not show is asked, what is unlike the rest is set aside."""

import gzip
import io

import openpyxl
import pytest

from app.domain.imports.errors import ImportUndecidedError, UnreadableError
from app.domain.imports.merging import reading
from app.domain.imports.merging.reading import CHECKED_ROWS
from app.domain.imports.merging.rows import Sorter
from app.domain.imports.options import ImportOptions
from app.domain.imports.previews import look_at
from app.domain.imports.reader import table as tables
from app.domain.imports.reader.table import Format, open_table
from tests.domain.imports.made_files import read
from tests.domain.imports.packed import spreadsheet, zipped

CODES = ["A11B77X121", "B20C11Y482", "C99D35Z770", "D41E02W118"]
LINES = "\n".join(CODES) + "\n"
MANY = [f"{n * 7919 % 90 + 10}AB-{n * 104729 % 9000 + 1000}" for n in range(60)]


def encoded(text):
    return text if isinstance(text, bytes) else text.encode()


@pytest.mark.parametrize(
    "heading",
    [
        "Kortingscode", "Voucher number", "Code promo", "Кодпромо", "Serial no.", "Discount codes 2031",
        "15 % off codes", "Gutschein-Nr (neu)", "code", "CODE", "voucherCode", "Tegoedbon", "Lahjakortti", "kódy:",
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_heading_over_codes_is_no_code(heading, end):
    text = (heading + "\n" + LINES).replace("\n", end)
    assert read(encoded(text)) == (CODES, [])


@pytest.mark.parametrize(
    ("lines", "codes", "aside"),
    [
        (["HELLO", "HELLO20", "HELLO30"], ["HELLO20", "HELLO30"], ["HELLO"]),
        (["PROMO", "PROMO10", "PROMO20"], ["PROMO10", "PROMO20"], ["PROMO"]),
        (["Code", "HELLO", "HELLO20", "HELLO30", "HELLO40"], ["HELLO20", "HELLO30", "HELLO40"], ["HELLO"]),
        ([*CODES, "Total: 2,20"], CODES, ["Total: 2,20"]),
        ([*CODES, "Summe"], CODES, ["Summe"]),
        ([*CODES, "4 rows"], CODES, ["4 rows"]),
        (["Code", *CODES[:2], "Code", *CODES[2:]], CODES, ["Code"]),
        (["Code", *CODES[:2], "\ufeffCode", *CODES[2:]], CODES, ["Code"]),
        (["Code", *CODES[:2], "NULL", "N/A", "-", "#REF!", *CODES[2:]], CODES, ["NULL", "N/A", "-", "#REF!"]),
        ([*MANY, "31AB-10"], MANY, ["31AB-10"]),
        (["SUMMER", "WINTER", "SPRING"], ["SUMMER", "WINTER", "SPRING"], []),
        (["OZT82720", "CGT56133", "IGY06584"], ["OZT82720", "CGT56133", "IGY06584"], []),
        (["10OFF", "20OFF", "30OFF"], ["10OFF", "20OFF", "30OFF"], []),
        ([f"SAVE-{n}" for n in range(1, 120)], [f"SAVE-{n}" for n in range(1, 120)], []),
        ([*CODES[:2], f"{CODES[2]}   5", CODES[3]], [*CODES[:2], CODES[3]], [f"{CODES[2]}   5"]),
        (["code\tvalue", f"{CODES[0]}\t5", f"{CODES[1]}   5"], CODES[:1], [f"{CODES[1]}   5"]),
        (["+------------+", *CODES, "+------------+"], CODES, ["+------------+"]),
        (["code;value", "----;-----", *(f"{code};5" for code in CODES)], CODES, ["----"]),
        ([f"'{code}'," for code in CODES], CODES, []),
        (["Code", ",".join(CODES)], CODES, []),
        (["Gutscheincodes", ";".join(CODES)], CODES, []),
        (["code", "A1,5"], ["A1,5"], []),
    ],
)
def test_what_is_unlike_the_rest_is_set_aside_not_lost(lines, codes, aside):
    taken, told = read(encoded("\n".join(lines) + "\n"))
    assert (taken, sorted(told)) == (codes, sorted(aside))


@pytest.mark.parametrize("sign", ["#", "//", "--", "##"])
@pytest.mark.parametrize("heading", ["", "Code\n"])
def test_comments_may_be_more_than_the_codes(sign, heading):
    text = f"{sign} Codes of the spring sale\n{sign}\n{sign} made by the shop\n" * 3 + heading + LINES
    assert read(text.encode()) == (CODES, [])
    assert len(open_table(io.BytesIO(text.encode()), Format()).skipped) == 9


def test_comments_among_the_codes_are_set_aside_however_many():
    text = "".join(f"# batch {n}\n# of spring\n{code}\n" for n, code in enumerate(MANY))
    assert read(text.encode()) == (
        MANY,
        [remark for n in range(60) for remark in (f"# batch {n}", "# of spring")][2:],
    )
    one_shape = "Code\n" + "".join(f"# of spring\n{code}\n" for code in CODES)
    assert read(one_shape.encode()) == (CODES, ["# of spring"] * 4)


@pytest.mark.parametrize(
    "odd",
    [
        "ab\\cd",
        "'x'-1",
        "a  b",
        '="007"',
        "1.2E+15x",
        "12E+3x",
        "# 12",
        "A\u00adB",
        "A\u200bB",
        "x" * 256,
        "null",
    ],
)
@pytest.mark.parametrize(
    "others",
    [MANY, [f"{n:09}"[::-1] for n in range(20, 90)], [f"{n}" * (n % 3 + 1) for n in range(1000, 1060)]],
)
def test_one_odd_value_is_judged_alike_in_whatever_batch(odd, others, monkeypatch):
    """What is quick for batches of good codes finds nothing else than a look at each of them."""
    text = f'code\n{others[0]}\n"{odd.replace(chr(34), chr(34) * 2)}"\n' + "\n".join(others[1:]) + "\n"
    quick = read(text.encode(), column="code", has_header=True)
    monkeypatch.setattr(Sorter, "_all_plain", lambda *_: None)
    assert read(text.encode(), column="code", has_header=True) == quick


def test_codes_that_begin_with_a_sign_are_codes():
    codes = ["#A11B", "#C22D", "#E33F", "#G44H"]
    assert read("\n".join([*codes, "K55L"]).encode())[0][:4] == codes


def test_what_is_unlike_is_judged_by_the_whole_file_not_by_its_first_rows():
    first = [f"X-{n:04}" for n in range(1500)]
    later = [f"{n:05}/{n % 7}z" for n in range(20_000)]
    taken, told = read(encoded("\n".join([*first, *later, "Total: 21,500"]) + "\n"))
    assert (taken, told) == ([*first, *later], ["Total: 21,500"])


@pytest.mark.parametrize(
    ("text", "skipped"),
    [
        ("# made by shop\n# 2031-01-01\ncode;value\n{}", ["# made by shop", "# 2031-01-01"]),
        ("Vouchers of spring\n\ncode;value\n{}", ["Vouchers of spring"]),
        ("sep=;\ncode;value\n{}", ["sep=;"]),
        ("\ufeffsep=;\n\ncode;value\n{}", ["sep=;", ""]),
        ("\n\ncode;value\n{}", ["", ""]),
    ],
)
def test_what_stands_before_the_table_is_skipped_and_shown(text, skipped):
    content = text.format("".join(f"{code};5\n" for code in CODES)).encode()
    table = open_table(io.BytesIO(content), Format())
    assert [line.lstrip("\ufeff") for line in table.skipped] == skipped
    assert (table.header, read(content)) == (["code", "value"], (CODES, []))


def test_lines_count_from_the_top_of_the_file_whatever_is_skipped():
    content = b"Vouchers of spring\n\n# more\ncode,value\n" + b"A11B77X121,5\nB20C11Y482,5\nC\x01,5\n"
    table = open_table(io.BytesIO(content), Format())
    sorter = reading.sorter(table, {"column": "code"})
    assert [reject.line for batch in table.batches for reject in sorter.sort(batch).rejects] == [7]


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("code%value\n{0}%5\n{1}%10\n{2}%5\n{3}%5\n", "%"),
        ("Voucher code:Value\n{0}:5\n{1}:10\n{2}:5\n{3}:5\n", ":"),
        ("code^value\n{0}^5\n{1}^10\n{2}^5\n{3}^5\n", "^"),
        ("code        value\n{0}  5\n{1}  10\n{2}  5\n{3}  5\n", "  "),
        ("code;value;;\n{0};5;;\n{1};10;;\n{2};5;;\n{3};5;;\n", ";"),
        ("value;code\n1,50;{0}\n10,00;{1}\n1,25;{2}\n3,00;{3}\n", ";"),
        ("{0},{1},{2},{3}\n", ","),
        ("code, {0}, {1}, {2}, {3}", ","),
    ],
)
def test_delimiters_and_lists(text, delimiter):
    content = text.format(*CODES).encode()
    assert open_table(io.BytesIO(content), Format()).format.delimiter == delimiter
    assert read(content) == (CODES, [])


@pytest.mark.parametrize("delimiter", [" ", "e", "\x01", "\U0001f600"])
def test_any_character_that_is_named_parts_columns(delimiter):
    text = "".join(f"{code}{delimiter}5\n" for code in ("A1B2", "C3D4", "F7G8", "H9J1"))
    table = open_table(io.BytesIO(text.encode()), Format(delimiter=delimiter, has_header=False))
    rows = [row for batch in table.batches for row in batch.rows]
    assert rows == [line.split(delimiter) for line in text.splitlines()]


def test_a_request_does_not_read_through_blank_lines_without_end():
    file = io.BytesIO(b"code\n" + b"\n" * 3 * 1024**2)
    table = open_table(file, Format())
    reading.check_rows(table, reading.sorter(table, {}))
    assert file.tell() < 3 * 1024**2


async def test_a_form_can_say_that_there_is_no_quote(client):
    file = {"file": ("codes.csv", b'code;size\n"A11;5\nA12;7\nA13;9\n')}
    refused = await client.post("/v1/pools/p/imports", files=file)
    assert "never closed" in refused.json()["detail"]
    shown = await client.post("/v1/imports/preview", files=file, data={"quote": "none"})
    assert shown.json()["rows"] == [['"A11', "5"], ["A12", "7"], ["A13", "9"]]


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_utf_16_that_is_named_needs_no_mark_where_the_order_of_its_bytes_shows(order):
    text = "code;value\r\n" + "".join(f"{code};5\r\n" for code in CODES)
    for content in (text.encode(order), ("\ufeff" + text).encode(order)):
        table = open_table(io.BytesIO(content), Format("utf-16"))
        assert table.header == ["code", "value"]
        assert [row[0] for row in table.sample] == CODES


@pytest.mark.parametrize("below", [["0", "0", "0"], ["no", "yes", "no"], ["TRUE", "FALSE", "FALSE"]])
@pytest.mark.parametrize("heading", ["used", "active"])
def test_a_heading_over_answers_is_none_of_them(heading, below):
    rows = "".join(f"{code};{answer}\n" for code, answer in zip(CODES, below, strict=False))
    assert open_table(io.BytesIO(f"code;{heading}\n{rows}".encode()), Format()).header == ["code", heading]
    assert open_table(io.BytesIO(f"ZZ11;yes\n{rows}".encode()), Format()).header is None


def test_a_comma_inside_a_code_is_part_of_it():
    assert read(b"code;value\nAB,12;5\nCD,34;5\nEF,56;7\n") == (["AB,12", "CD,34", "EF,56"], [])


@pytest.mark.parametrize(
    "text",
    [
        "Serial;PIN\nAB11-2233;9911\nAB11-2244;8812\nAB11-2255;7713\n",
        "A1B2C3D4;X9Y8Z7W6\nB1B2C3D4;Y9Y8Z7W6\nC1B2C3D4;Z9Y8Z7W6\n",
        "code;voucher code;voucher code 2\nAB1;BC2;CD3\nAB2;BC3;CD4\n",
        "id;codes\n1;[111, 112]\n2;[113, 114]\n3;[115, 116]\n",
        "e-mail\nanna@example.org\nben@example.org\n",
        "2031-01-01\n2031-01-02\n2031-01-03\n",
        "https://example.org/1\nhttps://example.org/2\n",
        "percent\npercent\npercent\npercent\n",
        "name;percent\nAnna Meyer;5\nBen Smith;5\nZoe Miller;5\n",
        "Dear customers, we are glad to tell you.\nOur shop will be open again.\nCome and see us there soon.\n",
    ],
)
def test_a_column_that_the_file_does_not_show_is_asked(text):
    with pytest.raises(ImportUndecidedError) as asked:
        read(text.encode())
    assert asked.value.extra["choices"]["column"][0]["first_values"]


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("unit;voucher;amount\npercent;A1B2;5\npercent;C3D4;5\npercent;E5F6;5\n", 1),
        ("amount;date;mail;name;link;A\n5;2031-01-01;a@example.org;Anna Meyer;https://example.org;K7-1\n" * 1
         + "6;2031-01-02;b@example.org;Ben Meyer;https://example.org;K7-2\n", 5),
        ("code;pin;value\nA1B2;1111;5\nC3D4;2222;5\nE5F6;3333;5\n", 0),
        ("customer id;voucher\nC-1;A1B2\nC-2;C3D4\nC-3;E5F6\n", 1),
    ],
)  # fmt: skip
def test_a_column_that_the_file_shows_is_taken(text, column):
    assert open_table(io.BytesIO(text.encode()), Format()).suggested == column


def test_a_header_that_cannot_be_told_is_asked():
    with pytest.raises(ImportUndecidedError) as asked:
        read(b"apfel\nbirne\nkirsche\npflaume\n")
    assert [choice["has_header"] for choice in asked.value.extra["choices"]["has_header"]] == [True, False]


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ('="000123"', "000123"),
        ("'000123", "000123"),
        ("\u00a0 000123\u200b", "000123"),
        ("\ufeff000123\u2060\u00ad", "000123"),
        ("\u3000000123\u2003", "000123"),
        ("'=1+1", "=1+1"),
        ("''quoted", "'quoted"),
    ],
)
def test_marks_of_spreadsheets_and_what_nobody_sees_go(cell, code):
    quoted = '"' + cell.replace('"', '""') + '"'
    taken, told = read(f"code\n{quoted}\n000124\n000125\n".encode())
    assert code in taken + told
    assert len(taken + told) == 3


@pytest.mark.parametrize("inside", ["\u200b", "\u00a0", "\ufeff", "\u202e"])
def test_what_nobody_sees_inside_a_code_is_a_reject(inside):
    taken, told = read(f"code\nAB{inside}12\nAB-34\nAB-56\n".encode())
    assert (taken, told) == (["AB-34", "AB-56"], [f"AB{inside}12"])


def test_codes_that_end_in_what_nobody_sees_are_text():
    assert read(("\u200b\n".join(MANY[:40]) + "\u200b\n").encode()) == (MANY[:40], [])


def test_numbers_of_more_than_15_digits_are_no_codes():
    content = spreadsheet(
        ["code"], [70357195000000133], [70357195000000135], [70357195000000136], ["A-1"], [123456789012345]
    )
    table = open_table(io.BytesIO(content), Format())
    sorter = reading.sorter(table, {"column": "code"})
    rejects = [reject for batch in table.batches for reject in sorter.sort(batch).rejects]
    assert [(reject.line, reject.reason) for reject in rejects] == [
        (n, "more_than_15_digits") for n in (2, 3, 4)
    ]


@pytest.mark.parametrize("code", ["1.23457E+15", "1,23457E+15", "7E+16"])
def test_codes_that_a_spreadsheet_destroyed_fail_the_import(code):
    with pytest.raises(UnreadableError, match="spreadsheet has turned a long code into a rounded number"):
        read(f'code;value\n"{code}";5\n"{code}";5\nA-1;6\n'.encode())


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<!DOCTYPE html>\n<html><body>no codes</body></html>", "an HTML page"),
        (b'<html><form><input type="password"></form></html>', "a login page"),
        (b'{"error": "not found"}', "JSON"),
        (b'[{"code": "A1"}, {"code": "A2"}]', "JSON"),
        (b'<?xml version="1.0"?><rss><channel/></rss>', "an XML document"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "a PDF document"),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), "a picture"),
        (gzip.compress(gzip.compress(LINES.encode(), mtime=0), mtime=0), "packed twice"),
        (zipped(inner=zipped(codes=LINES)), "packed twice"),
        (gzip.compress(zipped(codes=LINES), mtime=0), "packed twice"),
        (b"x" * 2 * 1024**2, "Line 1 is no row"),
        (b"Return-Path: <a@example.org>\nReceived: from x\n", "an e-mail"),
        (b"-- vouchers\nINSERT INTO v (code) VALUES\n('A1', 5),\n('A2', 5);\n", "SQL"),
        (b"COPY public.v (code, value) FROM stdin;\nA1\t5\nA2\t5\n", "SQL"),
        (b'"code;value"\n"A1B2;5"\n"C3D4;5"\n', "stands in quotes as a whole"),
        (b'"code,value,""note"""\n"A1B2,5,""x"""\n"C3D4,5,""y"""\n', "stands in quotes as a whole"),
    ],
)
def test_what_is_no_list_is_refused_by_what_it_is(content, kind):
    with pytest.raises(UnreadableError, match=kind):
        read(content)


def test_signs_that_part_columns_elsewhere_may_be_part_of_codes_in_quotes():
    assert read(b'"code"\n"A1;2"\n"B1;2"\n"C1;2"\n')[0] == ["A1;2", "B1;2", "C1;2"]


@pytest.mark.parametrize(
    "text",
    [
        'note, code\nx, "A1B2"\n"y, z", "C3D4"\nx, "F7G8"\n',
        'code, note\n"A1B2", "x, y"\n"C3D4", "x, y"\n"F7G8", "x"\n',
        'code\n "A1B2"\n "C3D4"\n "F7G8"\n',
        "code;note\n 'A1B2'; 'x'\n 'C3D4'; 'y;z'\n 'F7G8'; 'x'\n",
    ],
)
def test_blanks_before_a_quote_are_none_of_the_code(text):
    options = {"quote": "'"} if "'" in text else {}
    table = open_table(io.BytesIO(text.encode()), Format(**options))
    place = table.column("code")
    assert [row[place] for batch in table.batches for row in batch.rows] == ["A1B2", "C3D4", "F7G8"]
    assert table.header is not None
    assert "note" in table.header or table.header == ["code"]


def test_codes_in_braces_or_brackets_are_still_codes():
    assert read(b"code\n{A1}\n{B2}\n{C3}\n", column="code")[0] == ["{A1}", "{B2}", "{C3}"]


@pytest.mark.parametrize("mark", ["{}. ", "{}) ", "- ", "• ", "* "])
def test_lines_with_a_number_or_a_sign_in_front_are_asked_about(mark):
    text = "".join(f"{mark.format(n)}{code}\n" for n, code in enumerate(MANY, 1))
    with pytest.raises(ImportUndecidedError, match="begin with a number or a sign"):
        read(text.encode())
    assert len(read(text.encode(), column=0)[0]) == len(MANY)


def book(**sheets):
    """A workbook of these sheets; one whose name begins with `hidden` is hidden."""
    workbook, file = openpyxl.Workbook(), io.BytesIO()
    workbook.remove(workbook.active)
    for name, lines in sheets.items():
        sheet = workbook.create_sheet(name)
        sheet.sheet_state = "hidden" if name.startswith("hidden") else "visible"
        for line in lines:
            sheet.append([line])
    workbook.active = len(sheets) - 1
    workbook.save(file)
    return file.getvalue()


@pytest.mark.parametrize("others", [{"hidden": ["x1", "x2"]}, {"empty": []}, {"hidden": ["x1"], "empty": []}])
def test_hidden_and_empty_sheets_are_left_out(others):
    assert read(book(**others, Codes=["code", *CODES])) == (CODES, [])


def test_several_sheets_are_asked_about_and_one_is_named():
    content = book(Codes=["code", *CODES], More=["code", "Z1", "Z2"])
    with pytest.raises(ImportUndecidedError, match="Several sheets hold something") as asked:
        read(content)
    assert asked.value.extra["choices"]["sheet"] == [
        {"index": 0, "name": "Codes", "first_row": ["code"]},
        {"index": 1, "name": "More", "first_row": ["code"]},
    ]
    assert read(content, sheet="More")[0] == ["Z1", "Z2"]
    assert read(content, sheet=0)[0] == CODES
    with pytest.raises(ImportUndecidedError, match="no sheet 'Else'; the sheets are 'Codes', 'More'"):
        read(content, sheet="Else")
    assert read(book(hidden=["code", *CODES], Codes=["code", "Z1"]), sheet="hidden")[0] == CODES


def test_ten_thousand_rows_are_looked_at_before_a_file_is_stored():
    lines = [f"CODE-{n * 7919 % 90_000 + 10_000}" for n in range(CHECKED_ROWS)]
    lines[-1] = "1.23457E+15"
    with pytest.raises(UnreadableError, match=f"Line {CHECKED_ROWS} holds '1.23457E\\+15'"):
        look_at(io.BytesIO("\n".join(lines).encode()), ImportOptions(has_header=False))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("cell", ["é", "é" * 300], ids=["short", "long"])
def test_the_first_lines_are_the_same_however_long_they_are(cell, end, encoding):
    text = "".join(f"{n}{cell}{end}" for n in range(1500))
    assert tables._sample_lines(text.encode(encoding)[: tables.SAMPLE_BYTES], encoding) == [
        f"{n}{cell}{end}" for n in range(1000)
    ]
