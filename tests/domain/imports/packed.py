"""Files that are packed, or spreadsheets."""

import io
import zipfile

import openpyxl


def zipped(**files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def spreadsheet(*lines):
    workbook, file = openpyxl.Workbook(), io.BytesIO()
    for line in lines:
        workbook.active.append(line)
    workbook.save(file)
    return file.getvalue()
