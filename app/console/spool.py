"""What was uploaded or pasted, kept on disk between the steps of an import (docs/decisions/0070)."""

import asyncio
import shutil
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from app.platform import disk
from app.platform.settings import Settings

KEEP_SECONDS = 24 * 60 * 60


def path_of(settings: Settings, name: str) -> Path:
    """Return where a spooled file lies; the name comes sealed, and is an id."""
    return settings.home / "uploads" / uuid.UUID(name).hex


async def keep(settings: Settings, file: BinaryIO) -> str:
    """Keep a file for a day; return the name under which it is found."""
    name = uuid.uuid4().hex
    await asyncio.to_thread(_keep, path_of(settings, name), file)
    return name


def _keep(path: Path, file: BinaryIO) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for old in path.parent.iterdir():
        with suppress(FileNotFoundError):  # another process has deleted it meanwhile
            if old.stat().st_mtime < time.time() - KEEP_SECONDS:  # noqa: TID251  (as the file system)
                old.unlink()
    disk.check_room(path.parent)
    path.touch(mode=0o600)
    with path.open("wb") as kept:
        shutil.copyfileobj(file, kept, 1024**2)


class Spooled:
    """A kept file, as an import reads an upload."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    async def read(self, size: int) -> bytes:
        """Return the next bytes, none at the end."""
        return await asyncio.to_thread(self._file.read, size)
