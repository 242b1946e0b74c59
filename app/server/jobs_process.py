"""The process of `vouchers serve` that does the jobs."""

import asyncio
import ctypes
import time

from app.platform import logs
from app.platform.settings import get_settings
from app.server import collector, worker


def serve_jobs(beat: ctypes.c_double) -> None:
    """Do the jobs in this process."""
    settings = get_settings()
    logs.configure(settings.log_level)
    collector.collect_rarely()

    def alive() -> None:
        beat.value = time.monotonic()

    asyncio.run(worker.work(settings, alive))
