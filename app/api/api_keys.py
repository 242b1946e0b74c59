"""`/v1/api-keys`."""

import uuid
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Response, status
from pydantic import TypeAdapter

from app.domain.access.keys import service
from app.domain.access.keys.errors import ApiKeyNotFoundError, ScopeBeyondError
from app.domain.access.keys.schemas import (
    ApiKeyCreate,
    ApiKeyOut,
    ApiKeyRecord,
    ApiKeyRotate,
    ApiKeyWithSecret,
)
from app.domain.access.scopes import Caller, Scope
from app.platform.errors import InvalidRequestError
from app.platform.versions import PreconditionFailedError
from app.web import etag, pagination
from app.web.dependencies import ControlConnection
from app.web.guard import requires
from app.web.headers import bearing
from app.web.idempotency import OnceAtControl
from app.web.problems import problems

router = APIRouter(prefix="/v1/api-keys", tags=["access"])
KEY = TypeAdapter(tuple[datetime, uuid.UUID])
"""What the cursor of a list holds."""
Admin = Annotated[Caller, requires(Scope.ADMIN)]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=ApiKeyWithSecret,
    responses=bearing(201, "ETag", "Location", "Idempotency-Replayed")
    | problems(InvalidRequestError, ScopeBeyondError),
)
async def create_api_key(
    body: ApiKeyCreate, connection: ControlConnection, caller: Admin, response: Response, keyed: OnceAtControl
) -> object:
    """Make a key. Its secret is in this reply and nowhere else.

    With an `Idempotency-Key` the reply is kept for a day, encrypted, to answer the same request again.
    """

    async def create() -> dict[str, object]:
        key, secret = await service.issue(
            connection,
            caller,
            caller.project_id,
            body.name,
            body.scopes,
            expires_at=body.expires_at,
            requests_per_minute=body.requests_per_minute,
        )
        etag.tag(response, service.version_of(key))
        response.headers["Location"] = f"/v1/api-keys/{key.id}"
        return {**asdict(key), "secret": secret}

    return await keyed.once(create)


@router.get("", response_model=pagination.Page[ApiKeyOut], responses=problems(InvalidRequestError))
async def list_api_keys(
    connection: ControlConnection,
    caller: Admin,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
) -> pagination.Listed[ApiKeyRecord]:
    """List the keys of the project, revoked ones included, oldest first."""
    rows = await service.list_page(connection, caller.project_id, pagination.decode(cursor, KEY), limit + 1)
    return pagination.page(rows, limit, lambda row: (row.created_at, row.id))


@router.get(
    "/{key_id}", response_model=ApiKeyOut, responses=bearing(200, "ETag") | problems(ApiKeyNotFoundError)
)
async def get_api_key(
    key_id: uuid.UUID, connection: ControlConnection, caller: Admin, response: Response
) -> ApiKeyRecord:
    """Return one key, without its secret; a revoked one too."""
    key = await service.get(connection, caller.project_id, key_id)
    etag.tag(response, service.version_of(key))
    return key


@router.post(
    "/{key_id}/rotate",
    response_model=ApiKeyWithSecret,
    responses=bearing(200, "ETag", "Idempotency-Replayed")
    | problems(ApiKeyNotFoundError, InvalidRequestError, ScopeBeyondError, PreconditionFailedError),
)
async def rotate_api_key(
    key_id: uuid.UUID,
    connection: ControlConnection,
    caller: Admin,
    expected: etag.IfMatch,
    response: Response,
    keyed: OnceAtControl,
    body: ApiKeyRotate | None = None,
) -> object:
    """Give a key a new secret; the old one is good for another `grace_seconds`. The id stays.

    Of two rotations within that time the second ends the secret from before the first at once.
    """
    wanted = body or ApiKeyRotate()

    async def rotate() -> dict[str, object]:
        key, secret = await service.rotate(
            connection, caller, caller.project_id, key_id, wanted.grace_seconds, expected
        )
        etag.tag(response, service.version_of(key))
        return {**asdict(key), "secret": secret}

    return await keyed.once(rotate)


@router.delete(
    "/{key_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(ApiKeyNotFoundError, ScopeBeyondError, PreconditionFailedError),
)
async def revoke_api_key(
    key_id: uuid.UUID, connection: ControlConnection, caller: Admin, expected: etag.IfMatch
) -> None:
    """Revoke a key: it stops working within seconds."""
    if not await service.revoke(connection, caller, caller.project_id, key_id, expected):
        raise ApiKeyNotFoundError(f"There is no active API key {key_id}.")
