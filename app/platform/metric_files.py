"""Files of metrics that a full disk cannot turn into a fault of the process.

The library maps its files into memory and leaves them sparse: a page that the disk has no room for kills whoever
touches it (SIGBUS), and again as soon as it has started anew. So room is taken before a page is touched. Where there is
none, the process goes on counting in memory of its own, which no other process sees.
"""

import os
from contextlib import suppress

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

FIRST_BYTES = 1 << 16
"""The size with which the library begins."""
_ENTRY = 64
"""More than an entry takes beside its key."""


def reserve_always() -> None:
    """Have every file that this process counts in hold its room before it is used."""
    if hasattr(os, "posix_fallocate") and hasattr(os, "memfd_create"):
        values.MmapedDict = ReservedFile  # type: ignore[attr-defined]


class ReservedFile(MmapedDict):
    """A file of metrics with room for all that is mapped of it."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        self._memory: int | None = None
        if not read_mode and not _reserve(filename, FIRST_BYTES):
            self._memory = os.memfd_create("metrics", os.MFD_CLOEXEC)
            filename = f"/proc/self/fd/{self._memory}"
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        grown = 2 * self._capacity
        if self._used + 4 * len(key) + _ENTRY > self._capacity and not _reserve(self._fname, grown):
            self._move_to_memory(grown)
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def _move_to_memory(self, size: int) -> None:
        """Go on with a copy in memory; what the file holds stays as the others see it."""
        memory = os.memfd_create("metrics", os.MFD_CLOEXEC)
        os.write(memory, self._m[: self._used])
        os.ftruncate(memory, size)
        before, positions = (self._f, self._memory), self._positions
        super().__init__(f"/proc/self/fd/{memory}")  # type: ignore[no-untyped-call]
        self._memory, self._positions = memory, positions
        before[0].close()
        if before[1] is not None:
            os.close(before[1])

    def close(self) -> None:
        """Close the file."""
        super().close()  # type: ignore[no-untyped-call]
        if self._memory is not None:
            with suppress(OSError):
                os.close(self._memory)
            self._memory = None


def _reserve(filename: str, size: int) -> bool:
    """Give a file so much room, unless it has it; return whether it has."""
    try:
        file = os.open(filename, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, size)
        finally:
            os.close(file)
    except OSError:
        return False
    return True
