"""What a file is packed in: gzip, a zip of one file, a spreadsheet, or nothing."""

import gzip
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, BinaryIO

from app.domain.imports.errors import UnreadableError
from app.domain.imports.reader import cells, compound, formats
from app.domain.imports.reader.kinds import ADVICE

BLOCK = 256 * 1024
MAX_RATIO = 200
"""Times that content may be larger than what it was packed in; lists of codes reach some 10."""
RATIO_COUNTS_FROM = 64 * 1024**2
"""Bytes below which the ratio does not matter."""

SPREADSHEET, PLAIN = "spreadsheet", "plain"
_DAMAGED = (
    *(OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError),
    *(ValueError, LookupError, OverflowError, struct.error),
)
"""What reading a packed file raises that is damaged, packed in a way of its own, or needs a password. The second ones
come of places, lengths and names that are none: the library does not look at all of them."""
_WORKBOOKS = {"xl/workbook.xml", "xl/workbook.bin"}


def kind_of(file: BinaryIO) -> str:
    """Return whether a file is a spreadsheet, or plain once it is unpacked."""
    start = file.read(8)
    file.seek(0)
    if start == compound.BEGINNING:
        return SPREADSHEET
    if start.startswith(b"PK\x03\x04"):
        with _archive(file) as archive:
            names = set(archive.namelist())
        file.seek(0)
        _refuse_document(names)
        return SPREADSHEET if names & _WORKBOOKS or {"content.xml", "mimetype"} <= names else PLAIN
    return PLAIN


def is_spreadsheet(start: bytes) -> bool:
    """Return whether what was unpacked begins as a spreadsheet does."""
    return start.startswith(compound.BEGINNING) or (
        start.startswith(b"PK\x03\x04")
        and (b"xl/" in start or b"opendocument.spreadsheet" in start or b"[Content_Types].xml" in start)
    )


def _refuse_document(names: set[str]) -> None:
    for name, kind in (("word/document.xml", "a Word document"), ("ppt/presentation.xml", "a presentation")):
        if name in names:
            raise UnreadableError(f"The file is {kind}, not a list of codes. {ADVICE}")


def unpacked(file: BinaryIO, limit: int) -> Iterator[bytes]:
    """Yield the content of a file in blocks, at most `limit` bytes of it.

    Raises:
        UnreadableError: it is damaged, holds several files, needs a password or is too large.
    """
    start = file.read(4)
    file.seek(0)
    try:
        if start.startswith(b"\x1f\x8b"):
            yield from _bounded(gzip.GzipFile(fileobj=file, mode="rb"), _size(file), limit)
        elif start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            with _archive(file) as archive, archive.open(_only_member(archive)) as member:
                yield from _bounded(member, _size(file), limit)
        else:
            while block := file.read(BLOCK):
                yield block
    except _DAMAGED as error:
        raise UnreadableError(f"The file is packed, and damaged: {error}.") from error


def check_spreadsheet(file: BinaryIO, limit: int) -> set[str]:
    """Unpack a spreadsheet once, member by member, to know that it fits into `limit` bytes.

    Return the members in which may be what `cells` and `formats` have to look for.
    """
    doubtful: set[str] = set()
    if not zipfile.is_zipfile(file):
        return doubtful
    try:
        _look_through(file, limit, doubtful)
    except _DAMAGED as error:
        raise UnreadableError(f"The spreadsheet is damaged, or needs a password: {error}.") from error
    file.seek(0)
    return doubtful


def _look_through(file: BinaryIO, left: int, doubtful: set[str]) -> None:
    with _archive(file) as archive:
        for info in archive.infolist():
            end = b""
            with archive.open(info) as member:
                for block in _bounded(member, _size(file), left):
                    left -= len(block)
                    name, piece = info.filename, end + block
                    if name not in doubtful and (
                        cells.may_hold(name, piece) or formats.may_hold(name, piece)
                    ):
                        doubtful.add(name)
                    end = block[-cells.OVERLAP :]


def _bounded(packed: IO[bytes] | gzip.GzipFile, size: int, limit: int) -> Iterator[bytes]:
    total = 0
    while block := packed.read(BLOCK):
        total += len(block)
        if total > limit or (total > RATIO_COUNTS_FROM and total > size * MAX_RATIO):
            raise UnreadableError(
                f"The file unpacks to far more than it should: over {total // 1024**2} MiB from {size} bytes."
            )
        yield block


def _archive(file: BinaryIO) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except _DAMAGED as error:
        raise UnreadableError(f"The zip file is damaged: {error}.") from error


def _only_member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = [
        info for info in archive.infolist() if not info.is_dir() and not info.filename.startswith("__MACOSX/")
    ]
    if len(members) != 1:
        names = ", ".join(info.filename for info in members[:5])
        raise UnreadableError(
            f"The zip file holds {len(members)} files ({names}); send one that holds a single file."
        )
    if members[0].flag_bits & 1:
        raise UnreadableError("The zip file needs a password; send it without one.")
    return members[0]


def _size(file: BinaryIO) -> int:
    place = file.tell()
    size = file.seek(0, 2)
    file.seek(place)
    return size
