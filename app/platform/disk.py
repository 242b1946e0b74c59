"""Room on disks: what callers send and fetch leaves some to others, such as the database."""

import os
from pathlib import Path

from app.platform.errors import OverloadedError

LOOK_BYTES = 16 * 1024**2
"""After so many bytes it is looked again how much room is left."""

RESERVE_BYTES, RESERVE_PART = 1024**3, 0.1
"""What is left for others: a gigabyte, or a tenth of a disk that is small."""


class NoRoomError(OverloadedError):
    """A file would leave too little of the disk to others."""

    headers = {"Retry-After": "60"}  # noqa: RUF012  (as the base declares it)

    def __init__(self) -> None:
        super().__init__("There is too little room on the disk for a file of this size; try again later.")


def check_room(place: int | str | Path) -> None:
    """Look how much room is left on the disk of an open file or of a folder.

    Raises:
        NoRoomError: what is left is for others.
    """
    disk = os.statvfs(place)
    if disk.f_bavail < min(RESERVE_BYTES / disk.f_frsize, RESERVE_PART * disk.f_blocks):
        raise NoRoomError
