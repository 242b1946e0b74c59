"""An import's raw bytes in the database, in pieces of one size: any place in them is found at once."""

import hashlib
import io
import uuid
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from psycopg import Connection
from psycopg.rows import TupleRow

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK_BYTES = 1024**2
"""Bytes of each chunk but the last."""

READ = """
SELECT data FROM import_chunk WHERE project_id = %(project)s AND import_id = %(id)s AND number = %(number)s
"""
FORGET = "DELETE FROM import_chunk WHERE project_id = %(project)s AND import_id = %(id)s"
WRITE = """
INSERT INTO import_chunk (project_id, import_id, number, data)
VALUES (%(project)s, %(id)s, %(number)s, %(data)b)
"""


def cut(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in chunks."""
    rest = bytearray()
    for block in blocks:
        rest += block
        while len(rest) >= BLOCK_BYTES:
            yield bytes(rest[:BLOCK_BYTES])
            del rest[:BLOCK_BYTES]
    if rest:
        yield bytes(rest)


def forget(connection: Connection[TupleRow], import_id: uuid.UUID) -> None:
    """Delete the bytes of an import."""
    connection.execute(FORGET, {"id": import_id})


def write(connection: Connection[TupleRow], import_id: uuid.UUID, blocks: Iterable[bytes]) -> tuple[int, str]:
    """Store the bytes of an import; return how many they are, and their SHA-256."""
    size, digest = 0, hashlib.sha256()
    for number, data in enumerate(cut(blocks)):
        connection.execute(WRITE, {"id": import_id, "number": number, "data": data})
        digest.update(data)
        size += len(data)
    return size, digest.hexdigest()


class ChunkFile(io.RawIOBase):
    """The bytes of an import as a file, of which one chunk at a time is in memory."""

    def __init__(self, connection: Connection[TupleRow], import_id: uuid.UUID, size: int) -> None:
        self._connection = connection
        self._import_id = import_id
        self._size = size
        self.place = 0
        self._number, self._data = -1, b""

    def readable(self) -> bool:
        """Return true: it is only read."""
        return True

    def seekable(self) -> bool:
        """Return true: archives are read from their end."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, and return it."""
        self.place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self._size}[whence]
        return self.place

    def tell(self) -> int:
        """Return the place."""
        return self.place

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read the next bytes of the chunk at this place; return how many."""
        number, start = divmod(self.place, BLOCK_BYTES)
        if self.place >= self._size:
            return 0
        if number != self._number:
            with self._connection.cursor(binary=True) as cursor:
                row = cursor.execute(READ, {"id": self._import_id, "number": number}).fetchone()
            self._number, self._data = number, bytes(row[0]) if row else b""
        target = memoryview(buffer).cast("B")
        piece = self._data[start : start + len(target)]
        target[: len(piece)] = piece
        self.place += len(piece)
        return len(piece)
