"""Files that are on no disk."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO


@contextmanager
def memory_file(name: str, content: bytes) -> Iterator[IO[bytes]]:
    """Open a file with a content, at its beginning; it is on no disk, where the system has such files."""
    with (
        os.fdopen(os.memfd_create(name, os.MFD_CLOEXEC), "w+b")
        if sys.platform == "linux"
        else tempfile.TemporaryFile()
    ) as file:
        file.write(content)
        file.flush()
        file.seek(0)
        yield file
