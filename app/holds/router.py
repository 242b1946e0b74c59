"""`/v1/pools/{pool}/holds`."""

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Path, status

from app.auth.guard import requires
from app.auth.schemas import Scope
from app.dependencies import Connection
from app.errors import HoldExistsError, HoldNotFoundError, HoldTooLargeError, PoolNotFoundError
from app.holds import service
from app.holds.schemas import HoldCreate, HoldList, HoldOut
from app.problems import problems

router = APIRouter(prefix="/v1/pools/{pool}/holds", tags=["holds"])
PoolPath = Annotated[str, Path(description="Name of the pool", examples=["spring_sale"])]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=HoldOut,
    responses=problems(PoolNotFoundError, HoldTooLargeError, HoldExistsError),
    dependencies=[requires(Scope.POOLS)],
)
async def create_hold(pool: PoolPath, body: HoldCreate, connection: Connection) -> dict[str, Any]:
    """Set available codes aside for a campaign's draws, all or none: 409 says how many are missing."""
    return await service.create(connection, pool, body.campaign_id, body.count, body.expires_at)


@router.get(
    "",
    response_model=HoldList,
    responses=problems(PoolNotFoundError),
    dependencies=[requires(Scope.POOLS, Scope.READ)],
)
async def list_holds(pool: PoolPath, connection: Connection) -> dict[str, Any]:
    """The holds of a pool, and how many available codes are left for all others."""
    return await service.of_pool(connection, pool)


@router.delete(
    "/{hold_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(PoolNotFoundError, HoldNotFoundError),
    dependencies=[requires(Scope.POOLS)],
)
async def delete_hold(pool: PoolPath, hold_id: uuid.UUID, connection: Connection) -> None:
    """Give back what the hold still keeps."""
    await service.delete(connection, pool, hold_id)
