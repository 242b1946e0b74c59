"""A worker that runs jobs while a test goes on."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from app.platform.settings import Settings
from app.server.worker import work

PROJECT = Path(__file__).parent.parent
WORK = """
import asyncio
from app.server.worker import work
from app.platform.settings import Settings
asyncio.run(work(Settings()))
"""


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[None]:
    """A worker in this process. There can be one only: the job queue has one connector in a process."""
    task = asyncio.create_task(work(settings))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@contextmanager
def worker_process(settings: Settings) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker in a process of its own, which the test may kill."""
    environment = os.environ | {
        "DATABASE_URL": str(settings.database_url),
        "VOUCHERS_ALLOWED_HOSTS": ",".join(settings.allowed_hosts),
        "VOUCHERS_ALERT_RETRY_SECONDS": str(settings.alert_retry_seconds),
    }
    with subprocess.Popen([sys.executable, "-c", WORK], cwd=PROJECT, env=environment) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)


async def eventually(condition: Callable[[], Awaitable[Any] | Any], seconds: float = 20) -> Any:
    """What `condition` gives once it is true; the test fails when it is not in time."""
    async with asyncio.timeout(seconds):
        while True:
            result = condition()
            if isinstance(result, Awaitable):
                result = await result
            if result:
                return result
            await asyncio.sleep(0.02)
