"""A stream of a compound file ([MS-CFB]), in which old spreadsheets are kept: a small file system of sectors."""

import struct
from collections.abc import Sequence
from struct import unpack_from

BEGINNING = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

_ENTRY = 128
_REGULAR = 0xFFFFFFFA
"""Sectors have numbers up to here; what is above says that there is none."""
_IN_HEADER = 109
"""Sectors of the table that the header itself names."""
_SMALL = 64
"""Bytes of a sector of the small streams, which lie together in the stream of the root."""


def stream_of(content: bytes, names: Sequence[str]) -> bytes:
    """Return the stream that has one of these names, the first that is there; nothing where none can be followed."""
    try:
        return _stream_of(content, names)
    except (IndexError, ValueError, struct.error):
        return b""


def _stream_of(content: bytes, names: Sequence[str]) -> bytes:
    size = 1 << min(unpack_from("<H", content, 30)[0], 12)
    sectors = memoryview(content)[size:]
    table = _numbers(b"".join(_sector(sectors, one, size) for one in _of_table(content, sectors, size)))
    folder = _chain(sectors, table, unpack_from("<I", content, 48)[0], size)
    begin, length = _entry(folder, names)
    if length >= unpack_from("<I", content, 56)[0]:
        return _chain(sectors, table, begin, size)[:length]
    small = _chain(sectors, table, unpack_from("<I", folder, 116)[0], size)
    small_table = _numbers(_chain(sectors, table, unpack_from("<I", content, 60)[0], size))
    return _chain(memoryview(small), small_table, begin, _SMALL)[:length]


def _entry(folder: bytes, names: Sequence[str]) -> tuple[int, int]:
    """Return where a stream begins and how long it is."""
    found: dict[str, tuple[int, int]] = {}
    for at in range(0, len(folder) - _ENTRY + 1, _ENTRY):
        length = min(unpack_from("<H", folder, at + 64)[0], 64)
        name = folder[at : at + max(length - 2, 0)].decode("utf-16-le", "replace")
        found.setdefault(name.casefold(), unpack_from("<II", folder, at + 116))
    for name in names:
        if name.casefold() in found:
            return found[name.casefold()]
    raise ValueError("no such stream")


def _of_table(content: bytes, sectors: memoryview, size: int) -> list[int]:
    """Return the sectors that hold the table: what the header names, then what a chain of lists names."""
    named = list(_numbers(content[76 : 76 + 4 * _IN_HEADER]))
    following = unpack_from("<I", content, 68)[0]
    while following < _REGULAR and len(named) * size <= len(content):
        *more, following = _numbers(bytes(_sector(sectors, following, size)))
        named += more
    return [one for one in named if one < _REGULAR]


def _chain(sectors: memoryview, table: Sequence[int], begin: int, size: int) -> bytes:
    pieces: list[memoryview] = []
    while begin < _REGULAR:
        pieces.append(_sector(sectors, begin, size))
        if len(pieces) > len(table):
            raise ValueError("a chain of sectors comes round")
        begin = table[begin]
    return b"".join(pieces)


def _sector(sectors: memoryview, number: int, size: int) -> memoryview:
    return sectors[number * size : (number + 1) * size]


def _numbers(data: bytes) -> tuple[int, ...]:
    return unpack_from(f"<{len(data) // 4}I", data)
