"""What the control database has to say to the further database that a project lives in; each can be said again."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.access.audit import service as audit
from app.domain.projects import queries
from app.domain.projects.service import DELETION, LATE
from app.platform.database import transaction
from app.platform.databases import MAIN, check_version, unsealed
from app.platform.engines import create_engine
from app.platform.jobs import enqueue
from app.platform.projects import of_project
from app.platform.settings import Settings


class NotGoneError(Exception):
    """A project is still being deleted where it lived."""


@asynccontextmanager
async def _at_home(
    engine: AsyncEngine, settings: Settings, project_id: int
) -> AsyncIterator[tuple[queries.Told, AsyncConnection] | None]:
    """Give what is to be told of a project, and a transaction in the further database that it lives in.

    None, where it is gone, or lives in the control database.
    """
    async with transaction(engine) as connection:
        told = await queries.told(connection, project_id)
    if told is None or told.database_id == MAIN:
        yield None
        return
    other = create_engine(unsealed(settings, told.url), 1, opened=check_version, tells_time=False)
    try:
        async with transaction(of_project(other, project_id)) as connection:
            yield told, connection
    finally:
        await other.dispose()


async def tell(engine: AsyncEngine, settings: Settings, project_id: int) -> None:
    """Let a further database have the row of a project that lives there, as it is."""
    async with _at_home(engine, settings, project_id) as home:
        if home is not None and home[0].deleting_since is None:
            await queries.put(home[1], home[0])


async def carry_audit(
    engine: AsyncEngine, settings: Settings, project_id: int, entry: Mapping[str, object]
) -> None:
    """Store an entry of the audit where its project lives."""
    async with _at_home(engine, settings, project_id) as home:
        if home is not None:
            await audit.put(home[1], entry)
            return
    bound = of_project(engine, project_id)
    async with transaction(bound) as connection:
        if await queries.stands(connection, project_id):  # it has moved to the control database since
            await audit.put(connection, entry)


async def delete(engine: AsyncEngine, settings: Settings, project_id: int) -> bool:
    """Have a project deleted where it lives, and forget it once nothing is left there.

    Returns:
        Whether that was for this to do: the project lives in a further database.

    Raises:
        NotGoneError: something is left; it is to be asked again.
    """
    async with _at_home(engine, settings, project_id) as home:
        if home is None:
            return False
        told, elsewhere = home
        gone = not await queries.is_there(elsewhere, project_id)
        gone = gone and not await queries.any_left(elsewhere, project_id)
        if not gone and not await queries.is_deleting(elsewhere, project_id):
            await queries.put(elsewhere, told)
            await enqueue(elsewhere, DELETION, doomed=project_id)
            await enqueue(elsewhere, DELETION, doomed=project_id, later=LATE)
    if not gone:
        raise NotGoneError
    async with transaction(of_project(engine, project_id)) as connection:
        await queries.remove(connection, project_id)
    return True
