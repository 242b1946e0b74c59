"""Where a process of `vouchers serve` begins: only what it is for is loaded into it."""

import ctypes
import multiprocessing
import os
import signal
import socket
import sys
import threading
from multiprocessing.connection import wait

UNUSED = ("pydantic.v1", "pygments", "rich", "watchfiles")
"""What libraries load wherever it is installed: httpx for a command line, structlog for coloured tracebacks, uvicorn to
reload, and FastAPI to refuse models of the version before."""


def begin_web(
    beat: ctypes.c_double, own: int, held: list[socket.socket], beats: ctypes.Array[ctypes.c_double]
) -> None:
    """Answer HTTP in this process, on its own of the sockets."""
    _begin()
    from app.server.web_process import serve_web  # noqa: PLC0415  (it loads what answers HTTP)

    serve_web(beat, own, held, beats)


def begin_jobs(beat: ctypes.c_double, sealed: bytes | None = None) -> None:
    """Do the jobs in this process: those of the control database, or of the one whose sealed URL is given."""
    _begin()
    from app.server.jobs_process import serve_jobs  # noqa: PLC0415  (it loads what does the jobs)

    serve_jobs(beat, sealed, begin_jobs)


def _begin() -> None:
    _end_with_parent()
    for name in UNUSED:  # their import fails, as if they were not installed: 6 MiB less
        sys.modules[name] = None  # type: ignore[assignment]  # the documented way


def _end_with_parent() -> None:
    """End this process when the supervisor is gone, even by SIGKILL: nobody would look after it."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGINT)  # no drain: the port is to be free for the next one

    threading.Thread(target=watch, daemon=True).start()
