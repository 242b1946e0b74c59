"""The process of `vouchers serve` that does the jobs."""

import asyncio
import ctypes
import time
from collections.abc import Callable

from app.platform import logs
from app.platform.databases import unsealed
from app.platform.settings import get_settings
from app.server import collector, worker
from app.server.crew import Crew


def serve_jobs(  # type: ignore[explicit-any]  # what a process begins with
    beat: ctypes.c_double, sealed: bytes | None, begin: Callable[..., None]
) -> None:
    """Do the jobs in this process: those of the control database, and have those of all others done; or of one.

    Args:
        beat: the sign of life, shared with whoever keeps this process.
        sealed: URL of the one; None: it is the control database.
        begin: where the process for one begins.
    """
    settings = get_settings()
    logs.configure(settings.log_level)
    collector.collect_rarely()

    def alive() -> None:
        beat.value = time.monotonic()

    crew = Crew(settings, begin) if sealed is None else None
    asyncio.run(worker.work(unsealed(settings, sealed), alive, crew=crew, further=sealed is not None))
