"""Whether this process can serve: an assign, a render and an import."""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from psycopg import errors as pg
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.rendering.renderers import Renderers
from app.platform.database import autocommit
from app.platform.disk import check_disks
from app.platform.driver_pool import DriverPool
from app.platform.errors import DatabaseUnavailableError
from app.platform.migrations import older_versions
from app.platform.stopping import StoppingError, stopping

REMEMBER_SECONDS = 0.5
"""How long an answer holds: who asks often costs the database nothing."""
WORKER_SECONDS = 15
"""A worker silent for so long is taken for gone."""
_STATE = """
SELECT (SELECT max(version_num) FROM alembic_version) AS version,
    EXISTS (SELECT FROM procrastinate_workers WHERE last_heartbeat > now() - make_interval(secs => :seconds)) AS worker
"""


@dataclass(slots=True)
class Readiness:
    """The state of one process, asked for at most every half second."""

    engine: AsyncEngine
    direct: DriverPool
    renderers: Renderers
    home: Path
    _until: float = 0.0
    _error: Exception | None = None
    _warnings: list[str] = field(default_factory=list)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _older: frozenset[str] | None = None

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
        warnings = await asyncio.to_thread(check_disks, self.home)
        async with self.direct.connection() as connection:
            await connection.execute("SELECT FROM project LIMIT 1")
        try:
            async with autocommit(self.engine) as engine_connection:
                state = (await engine_connection.execute(text(_STATE), {"seconds": WORKER_SECONDS})).one()
        except ProgrammingError as error:
            if isinstance(error.orig, pg.UndefinedTable):
                raise DatabaseUnavailableError("The database is not migrated yet.") from None
            raise
        if self._older is None:
            self._older = older_versions()
        if state.version is None or state.version in self._older:
            raise DatabaseUnavailableError("The database is not migrated to this release yet.")
        await self.renderers.check()
        return warnings if state.worker else ["No worker is alive: imports and other jobs wait.", *warnings]
