"""Projects, as far as connections know of them: whose rows a transaction sees.

Each row of a project bears its number, and row-level security shows a session the rows of the one that is set
(`app.project`), and lets it write no others. The service's sessions have the role SERVICE, which may not pass that by.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.platform.connections import CHECKOUT_SECONDS, SERVICE
from app.platform.errors import OverloadedError
from app.platform.places import Places

DEFAULT = 1
"""Id of the project `default`."""
_OPTION, _SHARE = "project", "share"
KEPT_FOR_OTHERS = 2
"""Connections of a pool that no project has alone."""
SET = f"SELECT set_config('role', '{SERVICE}', true), set_config('app.project', %s, true)"
"""Sets both for a transaction: a session that a pooler lends us may have another role."""
MOST_WAITING = 1000
"""Most acts of a project that wait for one; more are refused at once."""
_EVERYWHERE = 0


class ProjectUnsetError(RuntimeError):
    """A transaction was to be of a project, and nobody said of which: a fault of ours."""


def of_project(engine: AsyncEngine, project_id: int, share: Places | None = None) -> AsyncEngine:
    """Return the engine of a project, with the same connections: what is done on it is done in that project.

    Args:
        engine: of the service.
        project_id: the project's.
        share: how many of the connections the project may have at a time; all, where there is none.
    """
    return engine.execution_options(**{_OPTION: project_id, _SHARE: share})


def share_of(size: int, kept: int = KEPT_FOR_OTHERS) -> Places:
    """Return a project's share of so many connections: others find one of those kept, whatever it waits for."""
    return Places(max(1, size - kept), MOST_WAITING, CHECKOUT_SECONDS, OverloadedError)


@asynccontextmanager
async def in_share(engine: AsyncEngine) -> AsyncIterator[None]:
    """Keep to the project's share of connections for the block.

    Raises:
        OverloadedError: its requests had all of it for too long.
    """
    share: Places | None = engine.sync_engine.get_execution_options().get(_SHARE)
    if share is None:
        yield
        return
    async with share.one():
        yield


def everywhere(engine: AsyncEngine) -> AsyncEngine:
    """Return the engine of the service itself, with the same connections: transactions see all projects."""
    return engine.execution_options(**{_OPTION: _EVERYWHERE, _SHARE: None})


def project_of(of: AsyncEngine | AsyncConnection) -> int:
    """Return the project of an engine or of a connection.

    Raises:
        ProjectUnsetError: it has none.
    """
    project = _set_for(of)
    if not project:
        raise ProjectUnsetError
    return project


def is_bound(engine: AsyncEngine) -> bool:
    """Return whether an engine says which rows it sees: those of a project, or all."""
    return _set_for(engine) is not None


@asynccontextmanager
async def as_owner(connection: AsyncConnection) -> AsyncIterator[None]:
    """Let the block see all projects and all sessions, in the transaction of one project."""
    await connection.exec_driver_sql("SET LOCAL ROLE NONE")
    yield
    await connection.exec_driver_sql(f"SET LOCAL ROLE {SERVICE}")


def enter(connection: Connection) -> None:
    """Show a transaction that begins the rows of its engine's project; without one, none that belongs to any."""
    project = connection.get_execution_options().get(_OPTION)
    if project == _EVERYWHERE:
        connection.exec_driver_sql("SET LOCAL ROLE NONE")
    elif project is not None:
        connection.exec_driver_sql(SET, (str(project),))


def _set_for(of: AsyncEngine | AsyncConnection) -> int | None:
    sync = of.sync_engine if isinstance(of, AsyncEngine) else of.sync_connection
    project: int | None = None if sync is None else sync.get_execution_options().get(_OPTION)
    return project
