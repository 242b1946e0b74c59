"""Small spreadsheets in formats that no library here writes: ODS, XLS (BIFF8 in a compound file) and XLSB."""

import io
import struct
import zipfile
from xml.sax.saxutils import escape

SECTOR = 512
ERRORS = {"#NULL!": 0, "#DIV/0!": 7, "#VALUE!": 15, "#REF!": 23, "#NAME?": 29, "#NUM!": 36, "#N/A": 42}
FREE, END, FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


def ods(rows):
    """An OpenDocument spreadsheet of texts."""
    cells = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{escape(cell)}</text:p></table:table-cell>'
            for cell in row
        )
        + "</table:table-row>"
        for row in rows
    )
    content = (
        '<?xml version="1.0" encoding="UTF-8"?><office:document-content'
        ' xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"'
        ' xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"'
        ' xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" office:version="1.2"><office:body>'
        f'<office:spreadsheet><table:table table:name="Sheet1">{cells}</table:table></office:spreadsheet>'
        "</office:body></office:document-content>"
    )
    manifest = (
        '<?xml version="1.0"?><manifest:manifest'
        ' xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>'
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", content)
        archive.writestr("META-INF/manifest.xml", manifest)
    return file.getvalue()


def xlsb(rows):
    """A binary spreadsheet of texts; `#N/A` and the like are errors, `=#N/A` is the error of a formula."""
    space = "http://schemas.openxmlformats.org/package/2006"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    name = _wide("rId1") + _wide("Sheet1")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("[Content_Types].xml", f'<Types xmlns="{space}/content-types"/>')
        sheets = _record_b(143, b"") + _record_b(156, struct.pack("<II", 0, 1) + name) + _record_b(144, b"")
        book = _record_b(131, b"") + sheets + _record_b(157, bytes(26)) + _record_b(132, b"")
        archive.writestr("xl/workbook.bin", book)
        archive.writestr(
            "xl/_rels/workbook.bin.rels",
            f'<Relationships xmlns="{space}/relationships"><Relationship Id="rId1" Type="{office}/worksheet"'
            ' Target="worksheets/sheet1.bin"/></Relationships>',
        )
        archive.writestr("xl/worksheets/sheet1.bin", _sheet_b(rows))
    return file.getvalue()


def _sheet_b(rows):
    last = max(map(len, rows)) - 1
    sheet = _record_b(129, b"") + _record_b(148, struct.pack("<IIII", 0, len(rows) - 1, 0, last))
    sheet += _record_b(145, b"")
    for number, row in enumerate(rows):
        sheet += _record_b(0, struct.pack("<IIHH", number, 0, 300, 0) + bytes(5))
        for place, cell in enumerate(row):
            where = struct.pack("<II", place, 0)
            if cell in ERRORS:
                sheet += _record_b(3, where + bytes([ERRORS[cell]]))
            elif cell[:1] == "=":
                sheet += _record_b(11, where + bytes([ERRORS[cell[1:]]]) + struct.pack("<HII", 0, 0, 0))
            else:
                sheet += _record_b(6, where + _wide(cell))
    return sheet + _record_b(146, b"") + _record_b(130, b"")


def _wide(text):
    return struct.pack("<I", len(text)) + text.encode("utf-16-le")


def _record_b(kind, data):
    head = bytes([kind]) if kind < 128 else bytes([kind & 127 | 128, kind >> 7])
    size = len(data)
    while size > 127:
        head += bytes([size & 127 | 128])
        size >>= 7
    return head + bytes([size]) + data


def xls(rows):
    """A spreadsheet as Excel 97 wrote it; what is an error is as in `xlsb`."""
    stream = _workbook(rows).ljust(4096, b"\0")  # shorter streams are kept elsewhere
    stream += bytes(-len(stream) % SECTOR)
    sectors = len(stream) // SECTOR
    tables = (sectors + 1) // 126 + 1
    chain = [*range(1, sectors), END, END, *[FAT] * tables]  # the stream, the directory, and this table
    table = struct.pack(f"<{len(chain)}I", *chain).ljust(SECTOR * tables, b"\xff")
    directory = _entry("Root Entry", 5, child=1, start=END, size=0)
    directory += _entry("Workbook", 2, child=FREE, start=0, size=len(stream)) + bytes(2 * 128)
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    header += struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<IIIIIIIII", 0, tables, sectors, 0, 4096, END, 0, END, 0)
    places = range(sectors + 1, sectors + 1 + tables)
    header += struct.pack(f"<{tables}I", *places).ljust(436, b"\xff")
    return header + stream + directory + table


def _entry(name, kind, child, start, size):
    text = (name + "\0").encode("utf-16-le")
    entry = text.ljust(64, b"\0") + struct.pack("<HBBIII", len(text), kind, 1, FREE, FREE, child)
    return entry + bytes(36) + struct.pack("<IQ", start, size)


def _workbook(rows):
    sheet = _record(0x809, struct.pack("<HHHHII", 0x600, 0x10, 0, 0, 0, 0))
    sheet += _record(0x200, struct.pack("<IIHHH", 0, len(rows), 0, max(map(len, rows)), 0))
    for number, row in enumerate(rows):
        for place, cell in enumerate(row):
            sheet += _cell(struct.pack("<HHH", number, place, 0), cell)
    sheet += _record(0x0A, b"")
    begin = _record(0x809, struct.pack("<HHHHII", 0x600, 5, 0, 0, 0, 0)) + _record(
        0x42, struct.pack("<H", 1200)
    )
    name = struct.pack("<BB", 6, 0) + b"Sheet1"
    size = len(begin) + 4 + 6 + len(name) + 4
    return begin + _record(0x85, struct.pack("<IH", size, 0) + name) + _record(0x0A, b"") + sheet


def _cell(where, cell):
    if cell in ERRORS:
        return _record(0x205, where + bytes([ERRORS[cell], 1]))
    if cell[:1] == "=":
        result = bytes([2, 0, ERRORS[cell[1:]], 0, 0, 0]) + b"\xff\xff"
        return _record(0x06, where + result + struct.pack("<HIH", 0, 0, 0))
    return _record(0x204, where + struct.pack("<HB", len(cell), 1) + cell.encode("utf-16-le"))


def _record(kind, data):
    return struct.pack("<HH", kind, len(data)) + data
