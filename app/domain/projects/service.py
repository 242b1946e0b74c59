"""The rules of projects: how they are made, renamed and given up; what is done in one from outside."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.access.audit import service as audit
from app.domain.access.audit.schemas import OF_SERVICE
from app.domain.access.keys import service as keys
from app.domain.access.scopes import Caller
from app.domain.projects import queries
from app.domain.projects.errors import (
    ProjectDeletingError,
    ProjectExistsError,
    ProjectNotFoundError,
    ProjectStaysError,
)
from app.domain.projects.schemas import ProjectRecord
from app.platform.databases import MAIN
from app.platform.errors import InvalidRequestError
from app.platform.jobs import enqueue
from app.platform.projects import DEFAULT
from app.platform.projects import inside as inside_project
from app.platform.settings import Settings
from app.platform.versions import Expected, check, version

TELL = "tell_project"
"""The task that tells the database that a project lives in what the control database says of it."""
DELETION = "delete_project"
"""The task that deletes what belonged to a project."""
LINGER_SECONDS = 10.0
"""How long a request may go on writing that was let in as the last one, while its key was still honoured."""
LATE = timedelta(hours=1)
"""After this what was let in before (an upload, a fetch) has written all that it will: then once more."""


async def create(
    connection: AsyncConnection, caller: Caller | None, name: str, database_id: int = MAIN
) -> ProjectRecord:
    """Make a project.

    Args:
        connection: to the control database, as that of all acts upon projects.
        caller: who does it.
        name: of the project.
        database_id: where it is to live (`databases.placing.choose`).

    Raises:
        ProjectExistsError: the name is taken.
    """
    project = await queries.add(connection, name, database_id)
    if project is None:
        raise ProjectExistsError(name)
    about = {} if database_id == MAIN else {"database": project.database}
    await _record(connection, caller, project, "project.created", name=name, **about)
    return project


async def get(connection: AsyncConnection, name: str) -> ProjectRecord:
    """Return a project.

    Raises:
        ProjectNotFoundError: there is none of this name.
    """
    project = await queries.by_name(connection, name)
    if project is None:
        raise ProjectNotFoundError(name)
    return project


async def list_page(connection: AsyncConnection, name: str | None, limit: int | None) -> list[ProjectRecord]:
    """Return projects by name, from the one behind `name` on; all of them without a limit."""
    return await queries.list_page(connection, name, limit)


def version_of(project: ProjectRecord) -> str:
    """Return the version of a project."""
    return version(project.name, project.created_at, project.deleting_since)


def settled_seconds(settings: Settings) -> float:
    """Return how long requests may write on that have not heard what became of a project; uploads may until `LATE`."""
    return settings.key_cache_seconds + LINGER_SECONDS


@asynccontextmanager
async def inside(connection: AsyncConnection, name: str) -> AsyncIterator[ProjectRecord]:
    """Let the block act in a project, which nobody deletes meanwhile: what is recorded, is recorded there.

    Raises:
        ProjectNotFoundError: there is none of this name.
        ProjectDeletingError: it is being deleted.
    """
    project = _standing(await queries.lock(connection, name, shared=True), name)
    async with inside_project(connection, project.id):
        yield project


async def rename(
    connection: AsyncConnection,
    caller: Caller | None,
    name: str,
    new_name: str,
    expected: Expected | None = None,
) -> ProjectRecord:
    """Give a project another name. Its keys and what it holds stay; paths of trackers bear the new name.

    Raises:
        ProjectNotFoundError: there is none of this name.
        ProjectDeletingError: it is being deleted.
        ProjectStaysError: it is the first one.
        ProjectExistsError: the new name is taken.
        PreconditionFailedError: it is not as expected.
    """
    project = _standing(await queries.lock(connection, name), name)
    check(expected, version_of(project))
    if new_name == name:
        return project
    _movable(project)
    if await queries.by_name(connection, new_name) is not None:
        raise ProjectExistsError(new_name)
    renamed = await queries.rename(connection, project.id, new_name)
    await keys.tell_changed(connection, project.id)
    await _record(connection, caller, project, "project.renamed", name=new_name, before=name)
    return renamed


async def delete(
    connection: AsyncConnection,
    caller: Caller | None,
    name: str,
    confirm: str,
    expected: Expected | None = None,
) -> ProjectRecord:
    """Begin to delete a project: its keys are refused from now on, and a job deletes all that belongs to it.

    Args:
        connection: of the acting transaction.
        caller: who does it.
        name: of the project.
        confirm: the name once more, from whoever wants it deleted.
        expected: the version that the caller has seen.

    Raises:
        ProjectNotFoundError: there is none of this name.
        InvalidRequestError: the name was not repeated.
        ProjectStaysError: it is the first one.
        PreconditionFailedError: it is not as expected.
    """
    project = await queries.lock(connection, name)
    if project is None:
        raise ProjectNotFoundError(name)
    if confirm != name:
        said = "repeat the name of the project that is to be deleted with all that it holds"
        raise InvalidRequestError(f"confirm: {said}", [{"loc": ["query", "confirm"], "msg": said}])
    _movable(project)
    check(expected, version_of(project))
    if project.deleting_since is not None:
        return project
    deleting = await queries.begin_deletion(connection, project.id)
    await keys.tell_changed(connection, project.id)
    await _record(connection, caller, project, "project.deleted", name=name)
    await enqueue(connection, DELETION, doomed=project.id)
    await enqueue(connection, DELETION, doomed=project.id, later=LATE)
    return deleting


def _standing(project: ProjectRecord | None, name: str) -> ProjectRecord:
    if project is None:
        raise ProjectNotFoundError(name)
    if project.deleting_since is not None:
        raise ProjectDeletingError(name)
    return project


def _movable(project: ProjectRecord) -> None:
    if project.id == DEFAULT:
        raise ProjectStaysError(project.name)


async def _record(
    connection: AsyncConnection, caller: Caller | None, project: ProjectRecord, action: str, **about: str
) -> None:
    """Note an act upon a project where its people see it; and where who acts is at home, for operators to see.

    A further database that the project lives in is told of it by a job.
    """
    await audit.record_at_home(connection, caller, f"{OF_SERVICE}{action.replace('.', '_')}", **about)
    async with inside_project(connection, project.id):
        await audit.record_at_home(connection, caller, action, **about)
    if project.database_id != MAIN:
        await enqueue(connection, TELL, of=project.id)
