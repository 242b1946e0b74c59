"""`/v1/pools/{pool}/holds`."""

import uuid

from fastapi import APIRouter, Response, status
from pydantic import Field, TypeAdapter

from app.domain.access.scopes import Scope
from app.domain.holds import service
from app.domain.holds.errors import HoldExistsError, HoldNotFoundError, HoldTooLargeError
from app.domain.holds.schemas import HoldCreate, HoldOut, HoldRecord, HoldUpdate
from app.domain.pools.errors import PoolNotFoundError
from app.platform.errors import InvalidRequestError
from app.platform.versions import PreconditionFailedError
from app.web import etag, pagination
from app.web.dependencies import Connection
from app.web.guard import Manager, requires
from app.web.headers import bearing
from app.web.idempotency import Once
from app.web.parameters import PoolPath
from app.web.problems import problems

router = APIRouter(prefix="/v1/pools/{pool}/holds", tags=["holds"])
KEY = TypeAdapter(str)
"""What the cursor of the list holds."""


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=HoldOut,
    responses=bearing(201, "ETag", "Idempotency-Replayed")
    | problems(PoolNotFoundError, HoldTooLargeError, HoldExistsError),
)
async def create_hold(
    pool: PoolPath,
    body: HoldCreate,
    connection: Connection,
    caller: Manager,
    response: Response,
    keyed: Once,
) -> object:
    """Hold available codes for a campaign, all or none; 409 says how many are missing."""

    async def create() -> HoldRecord:
        hold = await service.create(connection, caller, pool, body.campaign_id, body.count, body.expires_at)
        etag.tag(response, service.version_of(hold))
        return hold

    return await keyed.once(create)


class HoldPage(pagination.Page[HoldOut]):
    """Holds of a pool, ordered by campaign."""

    free: int = Field(description="Available vouchers that are not held")


@router.get(
    "",
    response_model=HoldPage,
    responses=problems(PoolNotFoundError),
    dependencies=[requires(Scope.POOLS, Scope.READ)],
)
async def list_holds(
    pool: PoolPath, connection: Connection, limit: pagination.Limit = 100, cursor: pagination.Cursor = None
) -> object:
    """List the holds of a pool by campaign, and tell how many available codes are left for all others."""
    found = await service.of_pool(connection, pool, pagination.decode(cursor, KEY), limit + 1)
    return {**pagination.page(found.items, limit, lambda hold: hold.campaign_id), "free": found.free}


@router.get(
    "/{hold_id}",
    response_model=HoldOut,
    responses=bearing(200, "ETag") | problems(PoolNotFoundError, HoldNotFoundError),
    dependencies=[requires(Scope.POOLS, Scope.READ)],
)
async def get_hold(
    pool: PoolPath, hold_id: uuid.UUID, connection: Connection, response: Response
) -> HoldRecord:
    """Return one hold, and how much of it the campaign has drawn."""
    hold = await service.get(connection, pool, hold_id)
    etag.tag(response, service.version_of(hold))
    return hold


@router.patch(
    "/{hold_id}",
    response_model=HoldOut,
    responses=bearing(200, "ETag")
    | problems(
        PoolNotFoundError, HoldNotFoundError, HoldTooLargeError, InvalidRequestError, PreconditionFailedError
    ),
)
async def update_hold(
    pool: PoolPath,
    hold_id: uuid.UUID,
    body: HoldUpdate,
    connection: Connection,
    caller: Manager,
    expected: etag.IfMatch,
    response: Response,
) -> HoldRecord:
    """Hold more or fewer codes, or until another time, with nobody drawing them in between.

    `count` is that of all, with those that the campaign has drawn. Where it is to grow, all or none are held; 409 says
    how many are missing.
    """
    changed = await service.change(connection, caller, pool, hold_id, body, expected)
    etag.tag(response, service.version_of(changed))
    return changed


@router.delete(
    "/{hold_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(PoolNotFoundError, HoldNotFoundError, PreconditionFailedError),
)
async def delete_hold(
    pool: PoolPath, hold_id: uuid.UUID, connection: Connection, caller: Manager, expected: etag.IfMatch
) -> None:
    """Delete a hold: the codes that it still keeps are available to all."""
    await service.delete(connection, caller, pool, hold_id, expected)
