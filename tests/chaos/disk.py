"""A disk that can be full: a file system of its own, of which the test says how large it is."""

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Self

ROOM = "16g"


class Disk:
    """A file system in memory. It can be made as small as what is on it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vp-", dir="/tmp"))

    @classmethod
    def of(cls, path: Path) -> Self:
        """The disk that something lies directly on."""
        disk = cls.__new__(cls)
        disk.folder = path.parent
        assert disk.folder.is_mount()
        return disk

    def __enter__(self) -> Path:
        done = _mount("-t", "tmpfs", "-o", f"size={ROOM},mode=711", "tmpfs", str(self.folder))
        assert done, "this machine lets nobody mount a file system"
        return self.folder

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
        self.folder.rmdir()

    def fill(self) -> None:
        """Leave no room."""
        tries = (_mount("-o", f"remount,size={self._used()}", str(self.folder)) for _ in range(50))
        assert any(tries)  # a try fails where something was written meanwhile

    def _used(self) -> int:
        return shutil.disk_usage(self.folder).used

    def clear(self) -> None:
        """Leave all the room again."""
        assert _mount("-o", f"remount,size={ROOM}", str(self.folder))


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@cache
def can_mount() -> bool:
    """Tell whether a file system may be mounted here: only root may, and not in every container."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    folder = tempfile.mkdtemp(prefix="vp-")
    try:
        if not _mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", folder):
            return False
        subprocess.run(["umount", folder], check=True)
        return True
    finally:
        Path(folder).rmdir()
