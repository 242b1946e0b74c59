"""What processes tell each other through the database: that something changed of which they may remember the old.

Nothing depends on being told: whoever remembers asks again after some seconds. Being told makes it milliseconds.
"""

import asyncio
from collections.abc import Callable

import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.platform.connections import LimitedConnection, connect
from app.platform.settings import Settings

PAUSE_SECONDS = 1.0
"""Between two tries to listen while the database is away."""
_TELL = text("SELECT pg_notify(:channel, :word)")


async def tell(connection: AsyncConnection, channel: str, word: str) -> None:
    """Tell all processes that listen to a channel, once the transaction of `connection` has committed."""
    await connection.execute(_TELL, {"channel": channel, "word": word})


async def listen(settings: Settings, channel: str, heard: Callable[[str | None], None]) -> None:
    """Call `heard` with each word that is told on a channel, until this is cancelled.

    It is called with None where words may have been missed: as it begins to listen, at first and after each outage.
    """
    while True:
        try:
            connection = await connect(settings, direct=True, autocommit=True, prepare_threshold=None)
            try:
                await _follow(connection, channel, heard)
            finally:
                connection.drop()
        except (psycopg.Error, OSError):
            await asyncio.sleep(PAUSE_SECONDS)


async def _follow(connection: LimitedConnection, channel: str, heard: Callable[[str | None], None]) -> None:
    await connection.execute(f"LISTEN {channel}")
    heard(None)
    while True:
        async for said in connection.notifies():
            heard(said.payload)
        await connection.execute("SELECT")  # it was silent for long: does it live?
