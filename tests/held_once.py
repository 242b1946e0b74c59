"""Whoever holds a connection of a pool asks for no second one of it: as many as it has might wait for each other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.platform import database, projects


def hold_once(patch: pytest.MonkeyPatch) -> None:
    """Refuse a transaction of a project's share within another one of the same pool, in the same task.

    A task that another one begins holds nothing of its own accord: it may go on when that one has long let go.
    """
    held: WeakKeyDictionary[asyncio.Task[object], list[object]] = WeakKeyDictionary()

    @asynccontextmanager
    async def in_share(engine: AsyncEngine) -> AsyncIterator[None]:
        task, pool = asyncio.current_task(), engine.sync_engine.pool
        assert task is not None
        pools = held.setdefault(task, [])
        assert pool not in pools, "a transaction within a transaction: see projects.beside"
        async with projects.in_share(engine):
            shared = engine.sync_engine.get_execution_options().get("share") is not None
            pools += [pool] * shared
            try:
                yield
            finally:
                pools[:] = [each for each in pools if each is not pool or not shared]

    patch.setattr(database, "in_share", in_share)
