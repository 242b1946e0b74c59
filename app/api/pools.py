"""`/v1/pools`."""

from urllib.parse import quote

from fastapi import APIRouter, Response, status
from pydantic import TypeAdapter

from app.domain.access.scopes import Scope
from app.domain.alerts import service as alerts
from app.domain.imports.schedules import service as schedules
from app.domain.imports.schedules.errors import PoolHasSchedulesError
from app.domain.pools import service
from app.domain.pools.errors import PoolExistsError, PoolNotEmptyError, PoolNotFoundError
from app.domain.pools.schemas import Counts, PoolCounts, PoolCreate, PoolOut, PoolRecord, PoolUpdate
from app.platform.database import run_act
from app.platform.versions import PreconditionFailedError
from app.web import etag, pagination
from app.web.dependencies import Connection, Engine
from app.web.guard import Manager, requires
from app.web.headers import bearing
from app.web.idempotency import Once
from app.web.parameters import PoolPath
from app.web.problems import problems

router = APIRouter(prefix="/v1/pools", tags=["pools"])
KEY = TypeAdapter(str)
"""What the cursor of a list holds."""


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=PoolOut,
    responses=bearing(201, "ETag", "Location", "Idempotency-Replayed")
    | problems(PoolExistsError, PoolNotFoundError),
)
async def create_pool(
    body: PoolCreate, connection: Connection, caller: Manager, response: Response, keyed: Once
) -> object:
    """Make a pool; `like` another one with the settings of that."""

    async def create() -> PoolRecord:
        pool = await alerts.create_pool(connection, caller, body)
        etag.tag(response, service.version_of(pool))
        response.headers["Location"] = f"/v1/pools/{quote(pool.name, safe='')}"
        return pool

    return await keyed.once(create)


@router.get("", response_model=pagination.Page[PoolOut], dependencies=[requires(Scope.POOLS, Scope.READ)])
async def list_pools(
    connection: Connection, limit: pagination.Limit = 100, cursor: pagination.Cursor = None
) -> pagination.Listed[PoolRecord]:
    """List pools with their counts, by name."""
    rows = await service.list_page(connection, pagination.decode(cursor, KEY), limit + 1)
    return pagination.page(rows, limit, lambda pool: pool.name)


@router.get(
    "/{pool}",
    response_model=PoolOut,
    responses=bearing(200, "ETag") | problems(PoolNotFoundError),
    dependencies=[requires(Scope.POOLS, Scope.READ)],
)
async def get_pool(pool: PoolPath, connection: Connection, response: Response) -> PoolRecord:
    """Return one pool with its counts."""
    found = await service.get(connection, pool)
    etag.tag(response, service.version_of(found))
    return found


@router.get(
    "/{pool}/counts",
    response_model=Counts,
    responses=problems(PoolNotFoundError),
    dependencies=[requires(Scope.POOLS, Scope.READ, Scope.ASSIGN)],
)
async def get_pool_counts(pool: PoolPath, connection: Connection) -> PoolCounts:
    """Return the stock of a pool; it is kept, not counted: as fast for ten million vouchers as for ten."""
    return await service.counts(connection, pool)


@router.patch(
    "/{pool}",
    response_model=PoolOut,
    responses=bearing(200, "ETag") | problems(PoolNotFoundError, PreconditionFailedError),
    dependencies=[requires(Scope.POOLS)],
)
async def update_pool(
    pool: PoolPath,
    body: PoolUpdate,
    connection: Connection,
    caller: Manager,
    expected: etag.IfMatch,
    response: Response,
) -> PoolRecord:
    """Change a pool: its description, or its rules.

    `per_customer` says how many codes a customer gets, `expires_after_days` how long what is handed out from now
    on holds at the most.

    The rules hold from the reply on, for assignments, batches, messages and nodes, exactly, whatever races. A customer
    who has had as many codes gets the last one again, or 409 `customer-limit`.
    """
    changed = await service.change(connection, caller, pool, body, expected)
    etag.tag(response, service.version_of(changed))
    return changed


@router.delete(
    "/{pool}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(
        PoolNotFoundError,
        PoolNotEmptyError,
        PoolHasSchedulesError,
        PreconditionFailedError,
    ),
)
async def delete_pool(pool: PoolPath, engine: Engine, caller: Manager, expected: etag.IfMatch) -> None:
    """Delete a pool and its vouchers, where nothing of it was ever assigned or used.

    Its schedules must be gone or paused before.
    """
    await run_act(engine, schedules.delete_pool, caller, pool, expected)
