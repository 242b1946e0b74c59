"""The courier of this process (`courier.py`): started when it is needed, replaced when it dies or does not answer."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from app.domain.imports.errors import UnreadableError
from app.domain.imports.sources.frames import BEGUN, HEAD

ANSWER_SECONDS = 30.0
"""How long a courier may take to begin, its own start included; then it is ended."""
BEGIN = (
    "import os, sys; os.nice(5); sys.modules['click'] = None; "  # httpx brings a command line of 6 MiB
    "from app.domain.imports.sources.courier import main; main()"
)


@dataclass(slots=True)
class _Running:
    """A courier, and the socket on which it is asked."""

    process: "subprocess.Popen[bytes]"
    control: socket.socket

    def end(self) -> None:
        """End it, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        self.control.close()


class Couriers:
    """At most one courier at a time.

    Args:
        environment: the whole of what it finds.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._lock = threading.Lock()
        self._now: _Running | None = None

    @contextmanager
    def fetch(self, wanted: bytes) -> Iterator[socket.socket]:
        """Have a courier fetch what is wanted; give the socket on which the frames come. To close it ends the fetch.

        Raises:
            UnreadableError: no courier could be had.
        """
        for _ in ("the one that is there, which may be about to leave", "a new one"):
            ours, theirs = socket.socketpair()
            try:
                with theirs:
                    asked = self._ask(theirs)
                if self._has_begun(ours, wanted):
                    yield ours
                    return
            finally:
                ours.close()
            self._replace(asked)
        raise UnreadableError("The source cannot be read: there is no process to fetch it.")

    def close(self) -> None:
        """End the courier."""
        if self._now is not None:
            self._replace(self._now)

    def _ask(self, theirs: socket.socket) -> _Running:
        """Hand a socket over to the courier, where it takes one; return which courier that is."""
        with self._lock:
            if self._now is None:
                self._now = self._start()
            with suppress(OSError):  # it has left: nothing will come on the socket
                socket.send_fds(self._now.control, [b"F"], [theirs.fileno()])
            return self._now

    def _has_begun(self, ours: socket.socket, wanted: bytes) -> bool:
        """Say what is wanted, and wait for the answer."""
        ours.settimeout(ANSWER_SECONDS)
        try:
            ours.sendall(HEAD.pack(BEGUN, len(wanted)) + wanted)
            begun = len(ours.recv(HEAD.size, socket.MSG_WAITALL)) == HEAD.size
        except OSError:
            return False
        ours.settimeout(None)
        return begun

    def _replace(self, lost: _Running) -> None:
        """End a courier that has left, or does not answer; the next one to ask starts another."""
        with self._lock:
            if self._now is lost:
                self._now = None
                lost.end()

    def _start(self) -> _Running:
        control, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(  # noqa: S603  (no shell; a fixed text)
                [sys.executable, "-P", "-c", BEGIN],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # a traceback could hold secrets
                env={**self._environment, "HOME": "/nonexistent", "MALLOC_ARENA_MAX": "2"},
                cwd="/",
                start_new_session=True,
            )
        control.settimeout(ANSWER_SECONDS)
        return _Running(process, control)
