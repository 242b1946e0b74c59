"""Projects, as far as connections know of them: whose rows a transaction sees.

Each row of a project bears its number, and row-level security shows a session the rows of the one that is set
(`app.project`), and lets it write no others. The service's sessions have the role SERVICE, which may not pass that by.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg.types.numeric import Int4
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.platform.connections import CHECKOUT_SECONDS, OF_PROJECT, SERVICE
from app.platform.errors import OverloadedError
from app.platform.seats import Seats

DEFAULT = 1
"""Id of the project `default`."""
OPTION = "project"
"""Execution option of an engine: the number of its project, or 0 for all."""
_SHARE, _BESIDE = "share", "beside"
KEPT_FOR_OTHERS = 2
"""Connections of a pool that no project has alone."""
SET = f"""SELECT set_config('role', '{SERVICE}', true), set_config('app.project', %(project)s, true),
    set_config('application_name', '{OF_PROJECT}' || %(project)s, true)"""
"""Sets it for a transaction, and the role: a session that a pooler lends us may have another one."""
SET_INSIDE = "SELECT set_config('app.project', %(project)s, true)"
"""Sets another one for a part of a transaction, which goes on being under way in its own."""
MOST_WAITING = 1000
"""Most acts of a project that wait for one; more are refused at once."""
_EVERYWHERE = 0


class ProjectUnsetError(RuntimeError):
    """A transaction was to be of a project, and nobody said of which: a fault of ours."""


def of_project(
    engine: AsyncEngine, project_id: int, share: Seats | None = None, beside: AsyncEngine | None = None
) -> AsyncEngine:
    """Return the engine of a project, with the same connections: what is done on it is done in that project.

    Args:
        engine: of the service.
        project_id: the project's.
        share: how many of the connections the project may have at a time; all, where there is none.
        beside: has the connections for a transaction within a transaction; the same ones, where there is none.
    """
    options = {OPTION: Int4(project_id), _SHARE: share}
    return engine.execution_options(**(options if beside is None else options | {_BESIDE: beside}))


def beside(engine: AsyncEngine) -> AsyncEngine:
    """Return an engine of the same project for a short transaction while one of `engine` is open.

    It has other connections, and who holds one of these waits for no further one: were they the same, those who hold
    all of them would wait for each other.
    """
    other: AsyncEngine | None = engine.sync_engine.get_execution_options().get(_BESIDE)
    return of_project(engine if other is None else other, project_of(engine))


def share_of(size: int, kept: int = KEPT_FOR_OTHERS) -> Seats:
    """Return a project's share of so many connections: others find one of those kept, whatever it waits for."""
    return Seats(max(1, size - kept), MOST_WAITING, CHECKOUT_SECONDS, OverloadedError)


@asynccontextmanager
async def in_share(engine: AsyncEngine) -> AsyncIterator[None]:
    """Keep to the project's share of connections for the block.

    Raises:
        OverloadedError: its requests had all of it for too long.
    """
    share: Seats | None = engine.sync_engine.get_execution_options().get(_SHARE)
    if share is None:
        yield
        return
    async with share.one():
        yield


def everywhere(engine: AsyncEngine) -> AsyncEngine:
    """Return the engine of the service itself, with the same connections: transactions see all projects."""
    return engine.execution_options(**{OPTION: _EVERYWHERE, _SHARE: None})


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
    project = project_of(connection)
    await connection.execution_options(**{OPTION: _EVERYWHERE})
    await connection.exec_driver_sql("SET LOCAL ROLE NONE")
    yield
    await connection.exec_driver_sql(f"SET LOCAL ROLE {SERVICE}")
    await connection.execution_options(**{OPTION: project})


@asynccontextmanager
async def inside(connection: AsyncConnection, project_id: int) -> AsyncIterator[None]:
    """Let the block act upon the rows of another project, in the transaction of one."""
    before = project_of(connection)
    await _act_in(connection, Int4(project_id))
    yield
    await _act_in(connection, before)


async def _act_in(connection: AsyncConnection, project: int) -> None:
    await connection.execution_options(**{OPTION: project})
    await connection.exec_driver_sql(SET_INSIDE, {"project": str(project)})


def enter(connection: Connection) -> None:
    """Show a transaction that begins the rows of its engine's project; without one, none that belongs to any."""
    project = connection.get_execution_options().get(OPTION)
    if project == _EVERYWHERE:
        connection.exec_driver_sql("SET LOCAL ROLE NONE")
    elif project is not None:
        connection.exec_driver_sql(SET, {"project": str(project)})


def _set_for(of: AsyncEngine | AsyncConnection) -> int | None:
    sync = of.sync_engine if isinstance(of, AsyncEngine) else of.sync_connection
    project: int | None = None if sync is None else sync.get_execution_options().get(OPTION)
    return project
