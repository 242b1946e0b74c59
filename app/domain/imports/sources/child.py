"""The process that fetches one database or storage: it owns nothing that could be found, and can be ended any time.

It is started with an empty home and next to no environment (`fetching.py`), so that no library finds credentials of
the service. On stdin comes the source with what limits it; on stdout go frames.
"""

import os
import resource
import signal
import sys
from contextlib import suppress

import orjson

from app.domain.imports.sources import kinds
from app.domain.imports.sources.frames import BYTES, END, FAULT, HEAD
from app.domain.imports.sources.limits import limits_of
from app.platform.errors import DomainError

MEMORY = 2 * 1024**3
"""Most address space: one row of a query may be of any size."""
GRACE_SECONDS = 5


def main() -> None:
    """Fetch what stdin says."""
    out = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no part of the source
    wanted = orjson.loads(sys.stdin.buffer.read())
    limits = limits_of(wanted["settings"])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.alarm(int(limits.fetch_seconds) + GRACE_SECONDS)  # where nobody is left to end this process
    with suppress(BrokenPipeError):
        try:
            for block in kinds.fetch(limits, wanted["source"]):
                _write(out, BYTES, block)
        except DomainError as error:
            _write(out, FAULT, orjson.dumps({"name": error.name, "detail": error.detail}))
        except MemoryError:
            said = "The source cannot be read: it takes too much memory."
            _write(out, FAULT, orjson.dumps({"name": "unreadable-source", "detail": said}))
        else:
            _write(out, END, b"")
    os._exit(0)  # threads of libraries are not waited for


def _write(out: int, kind: bytes, data: bytes) -> None:
    rest = memoryview(HEAD.pack(kind, len(data)) + data)
    while rest:
        rest = rest[os.write(out, rest) :]


if __name__ == "__main__":
    main()
