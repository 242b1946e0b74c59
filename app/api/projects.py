"""`/v1/projects`: the projects of the service, and the keys of each. What is in them, an operator does not see."""

import uuid
from dataclasses import asdict
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Response, status
from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.api_keys import KEY as KEYS_KEY
from app.domain.access.keys import service as keys
from app.domain.access.keys.errors import ApiKeyNotFoundError
from app.domain.access.keys.ring import KeyRing
from app.domain.access.keys.schemas import (
    ApiKeyCreate,
    ApiKeyOut,
    ApiKeyRecord,
    ApiKeyRotate,
    ApiKeyWithSecret,
)
from app.domain.access.scopes import Caller, Scope
from app.domain.projects import service
from app.domain.projects.databases.errors import DatabaseDrainingError, DatabaseNotFoundError
from app.domain.projects.databases.placing import choose
from app.domain.projects.errors import (
    ProjectDeletingError,
    ProjectExistsError,
    ProjectNotFoundError,
    ProjectStaysError,
)
from app.domain.projects.schemas import ProjectCreate, ProjectOut, ProjectRecord, ProjectUpdate
from app.platform.database import run_act, transaction
from app.platform.errors import InvalidRequestError
from app.platform.versions import PreconditionFailedError
from app.schema.names import nfc
from app.web import etag, pagination
from app.web.dependencies import ControlConnection, ControlEngine, Settings, held
from app.web.guard import requires
from app.web.headers import bearing
from app.web.idempotency import OnceAtControl, OnceIn
from app.web.parameters import ProjectPath
from app.web.problems import problems

router = APIRouter(prefix="/v1/projects", tags=["projects"])
KEY = TypeAdapter(str)
"""What the cursor of a list holds."""
Operator = Annotated[Caller, requires(Scope.OPERATOR)]


def _path(project: str) -> str:
    return f"/v1/projects/{quote(project, safe='')}"


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=ProjectOut,
    responses=bearing(201, "ETag", "Location", "Idempotency-Replayed")
    | problems(ProjectExistsError, DatabaseNotFoundError, DatabaseDrainingError),
)
async def create_project(
    body: ProjectCreate,
    engine: ControlEngine,
    settings: Settings,
    caller: Operator,
    response: Response,
    keyed: OnceIn,
) -> object:
    """Make a project: a shop with pools, customers, events, mapping and keys of its own."""
    if (before := await keyed.before(engine)) is not None:
        return before
    database_id = await choose(engine, settings, body.database)
    async with transaction(engine) as connection:

        async def create() -> ProjectRecord:
            project = await service.create(connection, caller, body.name, database_id)
            etag.tag(response, service.version_of(project))
            response.headers["Location"] = _path(project.name)
            return project

        return await keyed.once_in(connection, create)


@router.get("", response_model=pagination.Page[ProjectOut], responses=problems(InvalidRequestError))
async def list_projects(
    connection: ControlConnection,
    _caller: Operator,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
) -> pagination.Listed[ProjectRecord]:
    """List the projects, by name."""
    rows = await service.list_page(connection, pagination.decode(cursor, KEY), limit + 1)
    return pagination.page(rows, limit, lambda project: project.name)


@router.get(
    "/{project}", response_model=ProjectOut, responses=bearing(200, "ETag") | problems(ProjectNotFoundError)
)
async def get_project(
    project: ProjectPath, connection: ControlConnection, _caller: Operator, response: Response
) -> ProjectRecord:
    """Return one project; one that is being deleted too, until nothing is left of it."""
    found = await service.get(connection, project)
    etag.tag(response, service.version_of(found))
    return found


@router.patch(
    "/{project}",
    response_model=ProjectOut,
    responses=bearing(200, "ETag")
    | problems(
        ProjectNotFoundError,
        ProjectExistsError,
        ProjectStaysError,
        ProjectDeletingError,
        PreconditionFailedError,
    ),
)
async def update_project(
    project: ProjectPath,
    body: ProjectUpdate,
    engine: ControlEngine,
    caller: Operator,
    expected: etag.IfMatch,
    response: Response,
) -> ProjectRecord:
    """Give a project another name. Its keys stay; trackers' paths bear the new name within seconds."""

    async def act(connection: AsyncConnection) -> ProjectRecord:
        return await service.rename(connection, caller, project, body.name, expected)

    renamed = await run_act(engine, act)
    etag.tag(response, service.version_of(renamed))
    return renamed


@router.delete(
    "/{project}",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=ProjectOut,
    responses=bearing(202, "ETag", "Location")
    | problems(InvalidRequestError, ProjectNotFoundError, ProjectStaysError, PreconditionFailedError),
)
async def delete_project(
    project: ProjectPath,
    engine: ControlEngine,
    ring: Annotated[KeyRing, held(KeyRing)],
    caller: Operator,
    expected: etag.IfMatch,
    response: Response,
    confirm: Annotated[str, Query(description="The name of the project once more", max_length=1000)],
) -> ProjectRecord:
    """Delete a project with all that it holds: pools, codes, assignments, customers, events, keys, audit.

    Its keys are refused from the reply on (by other processes within seconds). A job deletes the rest; when nothing is
    left, the project is not found any more.
    """
    async with transaction(engine) as connection:
        deleting = await service.delete(connection, caller, project, nfc(confirm), expected)
    ring.forget(deleting.id)
    etag.tag(response, service.version_of(deleting))
    response.headers["Location"] = _path(project)
    return deleting


@router.post(
    "/{project}/api-keys",
    status_code=status.HTTP_201_CREATED,
    response_model=ApiKeyWithSecret,
    responses=bearing(201, "ETag", "Location", "Idempotency-Replayed")
    | problems(InvalidRequestError, ProjectNotFoundError, ProjectDeletingError),
)
async def create_project_api_key(
    project: ProjectPath,
    body: ApiKeyCreate,
    connection: ControlConnection,
    caller: Operator,
    response: Response,
    keyed: OnceAtControl,
) -> object:
    """Make a key of a project. Its secret is in this reply and nowhere else."""

    async def create() -> dict[str, object]:
        async with service.inside(connection, project) as of:
            key, secret = await keys.issue(
                connection,
                caller,
                of.id,
                body.name,
                body.scopes,
                expires_at=body.expires_at,
                requests_per_minute=body.requests_per_minute,
            )
        etag.tag(response, keys.version_of(key))
        response.headers["Location"] = f"{_path(project)}/api-keys/{key.id}"
        return {**asdict(key), "secret": secret}

    return await keyed.once(create)


@router.get(
    "/{project}/api-keys",
    response_model=pagination.Page[ApiKeyOut],
    responses=problems(InvalidRequestError, ProjectNotFoundError),
)
async def list_project_api_keys(
    project: ProjectPath,
    connection: ControlConnection,
    _caller: Operator,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
) -> pagination.Listed[ApiKeyRecord]:
    """List the keys of a project, revoked ones included, oldest first."""
    of = await service.get(connection, project)
    rows = await keys.list_page(connection, of.id, pagination.decode(cursor, KEYS_KEY), limit + 1)
    return pagination.page(rows, limit, lambda row: (row.created_at, row.id))


@router.get(
    "/{project}/api-keys/{key_id}",
    response_model=ApiKeyOut,
    responses=bearing(200, "ETag") | problems(ProjectNotFoundError, ApiKeyNotFoundError),
)
async def get_project_api_key(
    project: ProjectPath,
    key_id: uuid.UUID,
    connection: ControlConnection,
    _caller: Operator,
    response: Response,
) -> ApiKeyRecord:
    """Return one key of a project, without its secret; a revoked one too."""
    of = await service.get(connection, project)
    key = await keys.get(connection, of.id, key_id)
    etag.tag(response, keys.version_of(key))
    return key


@router.post(
    "/{project}/api-keys/{key_id}/rotate",
    response_model=ApiKeyWithSecret,
    responses=bearing(200, "ETag", "Idempotency-Replayed")
    | problems(
        InvalidRequestError,
        ProjectNotFoundError,
        ProjectDeletingError,
        ApiKeyNotFoundError,
        PreconditionFailedError,
    ),
)
async def rotate_project_api_key(
    project: ProjectPath,
    key_id: uuid.UUID,
    connection: ControlConnection,
    caller: Operator,
    expected: etag.IfMatch,
    response: Response,
    keyed: OnceAtControl,
    body: ApiKeyRotate | None = None,
) -> object:
    """Give a key of a project a new secret; the old one is good for another `grace_seconds`. The id stays.

    Of two rotations within that time the second ends the secret from before the first at once.
    """
    wanted = body or ApiKeyRotate()

    async def rotate() -> dict[str, object]:
        async with service.inside(connection, project) as of:
            key, secret = await keys.rotate(connection, caller, of.id, key_id, wanted.grace_seconds, expected)
        etag.tag(response, keys.version_of(key))
        return {**asdict(key), "secret": secret}

    return await keyed.once(rotate)


@router.delete(
    "/{project}/api-keys/{key_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(
        ProjectNotFoundError, ProjectDeletingError, ApiKeyNotFoundError, PreconditionFailedError
    ),
)
async def revoke_project_api_key(
    project: ProjectPath,
    key_id: uuid.UUID,
    connection: ControlConnection,
    caller: Operator,
    expected: etag.IfMatch,
) -> None:
    """Revoke a key of a project: it stops working within seconds."""
    async with service.inside(connection, project) as of:
        if not await keys.revoke(connection, caller, of.id, key_id, expected):
            raise ApiKeyNotFoundError(f"There is no active API key {key_id}.")
