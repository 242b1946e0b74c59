"""`/v1/pools/{pool}/forecast` and `/v1/pools/{pool}/history`."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import TypeAdapter

from app.domain.access.scopes import Scope
from app.domain.forecast import service
from app.domain.forecast.schemas import Forecast, ForecastOut, HistoryRow, HourRecord
from app.domain.pools.errors import PoolNotFoundError
from app.platform.errors import InvalidRequestError
from app.web import pagination
from app.web.dependencies import Connection
from app.web.guard import requires
from app.web.parameters import PoolPath
from app.web.problems import problems

router = APIRouter(
    prefix="/v1/pools/{pool}", tags=["forecast"], dependencies=[requires(Scope.POOLS, Scope.READ)]
)
KEY = TypeAdapter(datetime)
"""What the cursor of a list holds."""


@router.get("/forecast", response_model=ForecastOut, responses=problems(PoolNotFoundError))
async def get_pool_forecast(pool: PoolPath, connection: Connection) -> Forecast:
    """Return how fast codes went over the last hour, day and week, and when the pool runs out at each rate."""
    return await service.forecast(connection, pool)


@router.get(
    "/history",
    response_model=pagination.Page[HistoryRow],
    responses=problems(PoolNotFoundError, InvalidRequestError),
)
async def get_pool_history(
    pool: PoolPath,
    connection: Connection,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
) -> pagination.Listed[HourRecord]:
    """Return the stock of a pool hour by hour, newest first, for 90 days."""
    rows = await service.history(connection, pool, pagination.decode(cursor, KEY), limit + 1)
    return pagination.page(rows, limit, lambda row: row.hour)
