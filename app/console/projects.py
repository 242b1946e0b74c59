"""Projects, for an operator: made, renamed, deleted, and the keys of each. What is in them is not shown here."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.console.keys import issued, listed, rotated, typed_grace, typed_key
from app.console.once import once, sent_before
from app.console.pages import PAGE, check_sure, model, path, see, seen_version, show, wrong
from app.console.session import Keys, Visit, sent_by, shown_to
from app.domain.access.keys import service as keys
from app.domain.access.scopes import Scope
from app.domain.projects import service
from app.domain.projects.databases import service as databases
from app.domain.projects.databases.placing import choose
from app.domain.projects.schemas import ProjectCreate
from app.platform.database import run_act, transaction
from app.platform.errors import DomainError, InvalidRequestError
from app.platform.projects import DEFAULT
from app.schema.names import nfc
from app.web import pagination
from app.web.dependencies import ControlEngine
from app.web.parameters import ProjectPath

router = APIRouter(prefix="/projects")
Operator = Annotated[Visit, shown_to(Scope.OPERATOR)]
OperatorForm = Annotated[Visit, sent_by(Scope.OPERATOR)]
KEY = TypeAdapter(str)
OFFERED = list(Scope)


@router.get("")
async def page(visit: Operator, engine: ControlEngine) -> Response:
    """Show the projects, and a form for a new one."""
    return await _page(visit, engine)


@router.post("")
async def create(visit: OperatorForm, engine: ControlEngine) -> Response:
    """Make a project."""
    try:
        given = {"name": visit.text("name").strip(), "database": visit.given("database")}
        wanted = model(ProjectCreate, given)
        name = await sent_before(engine, visit)
        if name is None:
            database_id = await choose(engine, visit.settings, wanted.database)
            name = await run_act(engine, _made, visit, wanted.name, database_id)
    except DomainError as error:
        return await _page(visit, engine, error=error)
    return see("/projects" + path(name), "project-made")


async def _made(connection: AsyncConnection, visit: Visit, name: str, database_id: int) -> str:
    """Make a project; return its name."""
    return await once(
        connection,
        visit,
        lambda: service.create(connection, visit.caller, name, database_id),
        lambda made: made.name,
    )


@router.get("/{project}")
async def one(project: ProjectPath, visit: Operator, engine: ControlEngine) -> Response:
    """Show a project: its keys, and forms to rename and to delete it."""
    return await _one(visit, engine, project)


@router.post("/{project}/rename")
async def rename(project: ProjectPath, visit: OperatorForm, engine: ControlEngine) -> Response:
    """Give a project another name."""
    try:
        wanted = model(ProjectCreate, {"name": visit.text("new_name").strip()})
        name = await run_act(engine, _renamed, visit, project, wanted.name)
    except InvalidRequestError as error:
        return await _one(visit, engine, project, error=wrong("new_name", error.errors[0]["msg"]))
    except DomainError as error:
        return await _one(visit, engine, project, error=error)
    return see("/projects" + path(name), "project-renamed")


async def _renamed(connection: AsyncConnection, visit: Visit, project: str, name: str) -> str:
    """Give a project another name, where it still is as the form has it; return the name."""
    return await once(
        connection,
        visit,
        lambda: service.rename(connection, visit.caller, project, name, seen_version(visit)),
        lambda renamed: renamed.name,
    )


@router.post("/{project}/delete")
async def delete(project: ProjectPath, visit: OperatorForm, engine: ControlEngine, ring: Keys) -> Response:
    """Begin to delete a project, where its name was typed once more."""
    try:
        async with transaction(engine) as connection:
            confirm = nfc(visit.text("confirm").strip())
            deleting = await service.delete(connection, visit.caller, project, confirm)
    except DomainError as error:
        return await _one(visit, engine, project, error=error)
    ring.forget(deleting.id)
    return see("/projects", "project-deleted")


@router.post("/{project}/keys")
async def create_key(project: ProjectPath, visit: OperatorForm, engine: ControlEngine) -> Response:
    """Make a key of a project, and show its secret once."""
    try:
        wanted = typed_key(visit, OFFERED)
        async with transaction(engine) as connection, service.inside(connection, project) as of:
            secret = await issued(connection, visit, of.id, wanted)
    except DomainError as error:
        return await _one(visit, engine, project, error=error)
    return await _one(visit, engine, project, secret=secret)


@router.post("/{project}/keys/{key_id}/revoke")
async def revoke_key(
    project: ProjectPath, key_id: uuid.UUID, visit: OperatorForm, engine: ControlEngine
) -> Response:
    """Revoke a key of a project."""
    try:
        check_sure(visit, f"sure-{key_id}")
        async with transaction(engine) as connection, service.inside(connection, project) as of:
            await keys.revoke(connection, visit.caller, of.id, key_id)
    except DomainError as error:
        return await _one(visit, engine, project, error=error)
    return see("/projects" + path(project), "key-revoked")


@router.post("/{project}/keys/{key_id}/rotate")
async def rotate_key(
    project: ProjectPath, key_id: uuid.UUID, visit: OperatorForm, engine: ControlEngine
) -> Response:
    """Give a key of a project a new secret, and show it once."""
    try:
        grace = typed_grace(visit, key_id)
        async with transaction(engine) as connection, service.inside(connection, project) as of:
            secret = await rotated(connection, visit, of.id, key_id, grace)
    except DomainError as error:
        return await _one(visit, engine, project, error=error)
    return await _one(visit, engine, project, secret=secret)


async def _page(visit: Visit, engine: AsyncEngine, error: DomainError | None = None) -> Response:
    start = pagination.decode(visit.request.query_params.get("cursor"), KEY)
    async with transaction(engine) as connection:
        rows = await service.list_page(connection, start, PAGE + 1)
        places = await databases.list_all(connection)
    found = pagination.page(rows, PAGE, lambda row: row.name)
    open_ones = [row.name for row in places if row.draining_since is None]
    offered = [("", "The one with most room"), *((name, name) for name in open_ones)]
    return show(visit, "projects.html", error=error, databases=places, offered=offered, **found)


async def _one(
    visit: Visit, engine: AsyncEngine, name: str, error: DomainError | None = None, **about: object
) -> Response:
    async with transaction(engine) as connection:
        project = await service.get(connection, name)
        about |= await listed(connection, visit, project.id)
    at = "/console/projects" + path(project.name)
    return show(
        visit,
        "project.html",
        at,
        project=project,
        version=service.version_of(project),
        first=project.id == DEFAULT,
        base=f"{at}/keys",
        offered=OFFERED,
        error=error,
        **about,
    )
