"""Whether this process can serve: an assign, a render and an import."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from psycopg import errors as pg
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.api.answers import in_time
from app.domain.rendering.renderers import Renderers
from app.platform import jobs
from app.platform.database import autocommit
from app.platform.databases import VERSION, Database, Databases, is_behind
from app.platform.disk import NoRoomError, check_disks
from app.platform.errors import DatabaseUnavailableError
from app.platform.stopping import StoppingError, stopping

REMEMBER_SECONDS = 0.5
"""How long an answer holds: who asks often costs the database nothing."""
DISK_SECONDS = 2.0
"""Longest wait for a disk to tell how much room it has."""


@dataclass(slots=True)
class Readiness:
    """The state of one process, asked for at most every half second."""

    databases: Databases
    renderers: Renderers
    home: Path
    _until: float = 0.0
    _error: Exception | None = None
    _warnings: list[str] = field(default_factory=list)
    _look: asyncio.Task[list[str]] | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def check(self) -> list[str]:
        """Return what is not as it should be, though requests are served.

        Raises:
            Exception: an assign, a render or an import would not be served.
        """
        if not stopping.ready:
            raise StoppingError
        async with self._lock:
            if time.monotonic() >= self._until:
                self._error, self._warnings = None, []
                try:
                    self._warnings = await self._ask()
                except Exception as error:  # noqa: BLE001  (it is raised below, for each who asks)
                    self._error = error
                self._until = time.monotonic() + REMEMBER_SECONDS
        if self._error is not None:
            raise self._error.with_traceback(None)
        return self._warnings

    async def _ask(self) -> list[str]:
        warnings = await self._ask_disks()
        further = self.databases.further()
        if further:
            warnings += await self._warnings_of(further)
        else:
            warnings += await self._ask_main()
        await self.renderers.check()
        return warnings

    async def _ask_disks(self) -> list[str]:
        """Return what is nearly full, by one look at a time: a disk that hangs holds up one thread.

        Raises:
            NoRoomError: a disk is full, or does not answer.
        """
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(asyncio.to_thread(check_disks, self.home))
        try:
            async with asyncio.timeout(DISK_SECONDS):
                return await asyncio.shield(self._look)
        except TimeoutError:
            raise NoRoomError("A disk does not answer.") from None

    async def _warnings_of(self, further: Sequence[Database]) -> list[str]:
        """Return which databases do not answer, asked side by side: projects in the others are served.

        Raises:
            DatabaseUnavailableError: none of them does.
        """
        asked = (in_time(self._ask_main()), *(in_time(_ask(database)) for database in further))
        found = await asyncio.gather(*asked)
        names = ("main", *(database.name for database in further))
        silent = [name for name, said in zip(names, found, strict=True) if said is None]
        if len(silent) == len(names):
            raise DatabaseUnavailableError("No database answers.")
        lost = [f"Database {name} does not serve: projects there are refused." for name in silent]
        return [*lost, *(found[0] or [])]

    async def _ask_main(self) -> list[str]:
        main = self.databases.main
        async with main.direct.connection() as connection:
            await connection.execute("SELECT FROM project LIMIT 1")
        try:
            async with autocommit(main.engine) as engine_connection:
                version = await engine_connection.scalar(text(VERSION))
                alive = await jobs.workers_alive(engine_connection)
        except ProgrammingError as error:
            if isinstance(error.orig, pg.UndefinedTable):
                raise DatabaseUnavailableError("The database is not migrated yet.") from None
            raise
        if is_behind(version):
            raise DatabaseUnavailableError("The database is not migrated to this release yet.")
        return [] if alive else ["No worker is alive: imports and other jobs wait."]


async def _ask(database: Database) -> list[str]:
    async with database.direct.connection() as connection:
        await connection.execute("SELECT FROM project LIMIT 1")
    return []
