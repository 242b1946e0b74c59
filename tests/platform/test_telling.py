"""Processes tell each other what changed, and after an outage they take nothing for told."""

import asyncio

from sqlalchemy import text

from app.platform import telling
from app.platform.database import transaction
from app.platform.projects import everywhere
from app.platform.telling import listen, tell

CHANNEL = "of_this_test"
END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN of_this_test'"


async def test_words_are_heard_once_committed_and_again_after_an_outage(engine, settings, monkeypatch):
    monkeypatch.setattr(telling, "PAUSE_SECONDS", 0.01)
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    listening = asyncio.create_task(listen(settings, CHANNEL, heard.put_nowait))
    try:
        assert await asyncio.wait_for(heard.get(), 20) is None  # it listens from now on
        async with engine.connect() as connection:
            await tell(connection, CHANNEL, "undone")
            await connection.rollback()
        async with transaction(engine) as connection:
            await tell(connection, CHANNEL, "first")
            assert heard.empty()
        assert await asyncio.wait_for(heard.get(), 20) == "first"
        async with transaction(everywhere(engine)) as connection:
            assert (await connection.execute(text(END))).all() == [(True,)]
        assert await asyncio.wait_for(heard.get(), 20) is None
        async with transaction(engine) as connection:
            await tell(connection, CHANNEL, "second")
        assert await asyncio.wait_for(heard.get(), 20) == "second"
    finally:
        listening.cancel()
        await asyncio.wait([listening])
