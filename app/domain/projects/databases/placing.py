"""Where projects are put: what each database tells of itself, which gets a new project, and which should give some."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from psycopg import Error as PsycopgError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.projects.databases import queries
from app.domain.projects.databases.balancing import Load
from app.domain.projects.databases.errors import DatabaseDrainingError, DatabaseNotFoundError
from app.domain.projects.databases.schemas import DatabaseRecord, DatabaseState
from app.platform.database import transaction
from app.platform.databases import unsealed
from app.platform.engines import create_engine
from app.platform.errors import DomainError
from app.platform.projects import everywhere
from app.platform.settings import Settings

Told = TypeVar("Told")
STATE_SECONDS = 2.0
"""Longest wait for what a database tells of itself."""
UNREACHABLE = (SQLAlchemyError, PsycopgError, OSError, DomainError, TimeoutError)
"""What is raised where a database does not answer, or its URL cannot be opened."""


async def states(settings: Settings, rows: Sequence[DatabaseRecord]) -> list[DatabaseState | None]:
    """Return how each database is, asked side by side; None where one does not tell in time."""
    return await asyncio.gather(*(_asked(settings, row, queries.state) for row in rows))


async def loads(engine: AsyncEngine, settings: Settings) -> dict[str, Load]:
    """Return what each database holds, by name; those that do not answer are left out.

    Args:
        engine: on the control database.
        settings: of this process.
    """
    async with transaction(engine) as connection:
        rows = await queries.list_all(connection)
        projects = {row.id: await queries.projects_of(connection, row.id) for row in rows}
    found = await asyncio.gather(*(_asked(settings, row, queries.vouchers_of) for row in rows))
    return {
        row.name: Load(
            {name: counts.get(project_id, 0) for project_id, name in projects[row.id].items()},
            row.draining_since is not None,
        )
        for row, counts in zip(rows, found, strict=True)
        if counts is not None
    }


async def _asked(
    settings: Settings, row: DatabaseRecord, ask: Callable[[AsyncConnection], Awaitable[Told]]
) -> Told | None:
    try:
        engine = create_engine(unsealed(settings, row.url), 1, tells_time=False)
    except DomainError:
        return None
    try:
        async with asyncio.timeout(STATE_SECONDS), transaction(everywhere(engine)) as connection:
            return await ask(connection)
    except UNREACHABLE:
        return None
    finally:
        await engine.dispose()


async def choose(engine: AsyncEngine, settings: Settings, name: str | None) -> int:
    """Return the database for a new project: the one that is named, else the smallest of those that answer.

    Args:
        engine: on the control database.
        settings: of this process.
        name: of the database, if one is wanted.

    Raises:
        DatabaseNotFoundError: none of this name was added.
        DatabaseDrainingError: no new project is put there, or into any.
    """
    async with transaction(engine) as connection:
        rows = await queries.list_all(connection)
    if name is not None:
        named = next((row for row in rows if row.name == name), None)
        if named is None:
            raise DatabaseNotFoundError(name)
        if named.draining_since is not None:
            raise DatabaseDrainingError(name)
        return named.id
    rows = [row for row in rows if row.draining_since is None]
    if len(rows) > 1:
        found = zip(await states(settings, rows), rows, strict=True)
        sizes = [(state.bytes, row.id) for state, row in found if state is not None]
        if sizes:
            return min(sizes)[1]
    if not rows:
        raise DatabaseDrainingError("main")
    return rows[0].id
