"""Where an import's bytes come from.

A database or a storage is fetched in a process of its own. That process finds no credentials of the service (its
environment and its home are empty), and its end does not depend on any library: it is ended when its time is over, or
when nobody wants the bytes any more. URLs are fetched by a process that finds as little, many at a time (`courier.py`);
they are left when their time is over, and a courier that does not answer is ended. The selections over the service's
own customers and events need the service's own database, and are made here.
"""

import atexit
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO

import orjson

import app
from app.domain.imports.errors import ImportCancelledError, UnreadableError
from app.domain.imports.sources import analysis, masking, secrets
from app.domain.imports.sources.couriers import Couriers
from app.domain.imports.sources.frames import BYTES, END, HEAD, UNWORDED
from app.domain.imports.stored import StoredSource
from app.platform.errors import DomainError
from app.platform.memory_file import memory_file
from app.platform.reachable import AddressForbiddenError
from app.platform.settings import Settings

MAY_BE_EMPTY = {"database", "analysis"}
"""Sources that rightly have no rows at times."""
LOOK_SECONDS = 0.5
"""How often it is asked whether the bytes are still wanted."""
READ = 1024**2
NEEDED = {"allowed_hosts", "import_folder", "fetch_seconds", "max_upload_bytes"}
"""Settings that the process is given; none is a secret."""
NOTHING_TO_FIND = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONPATH": str(Path(app.__path__[0]).parent),
    "PGPASSFILE": "/dev/null",
    "PGSERVICEFILE": "/dev/null",
    "NETRC": "/dev/null",
    "KRB5CCNAME": "FILE:/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "BOTO_CONFIG": "/dev/null",
    "NO_GCE_CHECK": "true",
}
"""The whole environment of the process, beside its home."""

COURIERS = Couriers(NOTHING_TO_FIND)
atexit.register(COURIERS.close)
MAX_SAID = 300
"""Characters of what a library says."""

Unwanted = Callable[[], bool]
unseal = secrets.unseal


def fetch(
    settings: Settings, source: StoredSource, unwanted: Unwanted = lambda: False, *, project: int
) -> Generator[bytes, None, None]:
    """Yield the bytes of a source, within the limits of size and time.

    Args:
        settings: of the service.
        source: whole, as it was given.
        unwanted: tells whether the bytes are wanted no more; it is asked twice a second.
        project: whose customers and events a selection is over.

    Raises:
        UnreadableError: it cannot be had, or not within the limits. The message holds no secret of it.
        AddressForbiddenError: it is where the service may not go.
        ImportCancelledError: it was wanted no more.
    """
    resolved = secrets.filled(source)
    here = source["type"] == "analysis"
    blocks = (
        analysis.fetch(settings, resolved, project) if here else _from_process(settings, resolved, unwanted)
    )
    try:
        with closing(blocks):
            yield from _limited(settings, blocks, unwanted)
    except DomainError as error:
        detail = masking.without(resolved, error.detail)
        raise type(error)(detail) from None


def _limited(settings: Settings, blocks: Iterator[bytes], unwanted: Unwanted) -> Iterator[bytes]:
    deadline = time.monotonic() + settings.fetch_seconds
    size = 0
    for block in blocks:
        size += len(block)
        if size > settings.max_upload_bytes:
            raise UnreadableError(f"The source is larger than {settings.max_upload_bytes} bytes.")
        _check(settings, deadline, unwanted)
        yield block


def _check(settings: Settings, deadline: float, unwanted: Unwanted) -> None:
    if time.monotonic() > deadline:
        raise UnreadableError(f"The source did not end within {settings.fetch_seconds:g} seconds.")
    if unwanted():
        raise ImportCancelledError("The import was cancelled.")


def _from_process(
    settings: Settings, source: StoredSource, unwanted: Unwanted
) -> Generator[bytes, None, None]:
    deadline = time.monotonic() + settings.fetch_seconds
    limits = settings.model_dump(mode="json", include=NEEDED)
    wanted = orjson.dumps({"settings": limits, "source": source})
    with COURIERS.fetch(wanted) if source["type"] == "url" else _process(wanted) as pipe:
        received = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                left = deadline - time.monotonic()
                if selector.select(max(0.0, min(LOOK_SECONDS, left))):
                    data = _read(pipe)
                    if not data:
                        raise UnreadableError(
                            "The source cannot be read: the process that fetched it has died."
                        )
                    received += data
                    for kind, frame in _frames(received):
                        if kind == END:
                            return
                        if kind != BYTES:
                            raise _error(source, orjson.loads(frame))
                        yield frame
                _check(settings, deadline, unwanted)


def _read(pipe: IO[bytes] | socket.socket) -> bytes:
    try:
        return os.read(pipe.fileno(), READ)
    except ConnectionError:
        return b""


def _frames(received: bytearray) -> Iterator[tuple[bytes, bytes]]:
    """Take the whole frames off what was received."""
    while len(received) >= HEAD.size:
        kind, length = HEAD.unpack_from(received)
        if len(received) < HEAD.size + length:
            return
        frame = bytes(received[HEAD.size : HEAD.size + length])
        del received[: HEAD.size + length]
        yield kind, frame


def _error(source: StoredSource, fault: dict[str, str]) -> DomainError:
    if fault["name"] == UNWORDED:
        said = masking.without(source, fault["detail"].strip().partition("\n")[0])[:MAX_SAID]
        return UnreadableError(f"The source cannot be read: {said.rstrip('.')}.")
    known = AddressForbiddenError if fault["name"] == AddressForbiddenError.name else UnreadableError
    return known(fault["detail"])


@contextmanager
def _process(wanted: bytes) -> Iterator[IO[bytes]]:
    """Start a process with what it is to fetch; give its output; end it, whatever it is doing."""
    with tempfile.TemporaryDirectory(prefix="vp-fetch-") as home, memory_file("source", wanted) as asked:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "app.domain.imports.sources.child"],
            stdin=asked,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a traceback could hold secrets
            env={**NOTHING_TO_FIND, "HOME": home},
            cwd=home,
            start_new_session=True,
        )
        try:
            if process.stdout is None:
                raise AssertionError("the process has an output")
            with process.stdout:
                yield process.stdout
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()
