"""Room on disks: what callers send and fetch leaves some to others, such as the database."""

import errno
import os
import tempfile
from pathlib import Path

from app.platform.errors import OverloadedError

LOOK_BYTES = 16 * 1024**2
"""After so many bytes it is looked again how much room is left."""

RESERVE_BYTES, RESERVE_PART = 1024**3, 0.1
"""What is left for others: a gigabyte, or a tenth of a disk that is small."""

LEAST_BYTES = 16 * 1024**2
"""With less left a disk counts as full: PostgreSQL takes so much at once for its write-ahead log."""


class NoRoomError(OverloadedError):
    """There is too little room on a disk for what a request brings or asks for."""

    name, title = "no-room", "There is too little room on a disk"
    headers = {"Retry-After": "60"}  # noqa: RUF012  (as the base declares it)

    def __init__(self, said: str = "There is too little room on the disk for this; try again later.") -> None:
        super().__init__(said)


def is_full(error: BaseException) -> bool:
    """Tell whether an error is that a disk of this machine is full."""
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}


def check_room(place: int | str | Path, reserve: int = RESERVE_BYTES, wanted: int = 0) -> None:
    """Look how much room is left on the disk of an open file or of a folder, behind `wanted` bytes that are to come.

    Raises:
        NoRoomError: what is left is for others.
    """
    disk = os.statvfs(place)
    left = disk.f_bavail - wanted / disk.f_frsize
    if left < min(reserve / disk.f_frsize, RESERVE_PART * disk.f_blocks):
        raise NoRoomError


def check_disks(home: Path) -> list[str]:
    """Look at the disks of the service's home, its database's folder if it has one, and of temporary files.

    Return a warning for each that has room for what is small only.

    Raises:
        NoRoomError: one of them is full.
    """
    warnings = []
    for what, place in _places(home):
        try:
            check_room(place, LEAST_BYTES)
        except NoRoomError:
            raise NoRoomError(f"The disk of {what} is full.") from None
        try:
            check_room(place)
        except NoRoomError:
            warnings.append(f"The disk of {what} is nearly full: large uploads and exports are refused.")
    return warnings


def _places(home: Path) -> list[tuple[str, str]]:
    own = [folder for folder in (str(home / "data"), str(home)) if os.access(folder, os.F_OK)]
    try:
        temporary = tempfile.gettempdir()
    except FileNotFoundError:
        raise NoRoomError("Temporary files find no folder that can be written.") from None
    return [("the service's home", folder) for folder in own[:1]] + [("temporary files", temporary)]
