"""`/health`, whether the process lives and whether it can work, and `/metrics`."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field
from sqlalchemy import text

from app.domain.access.scopes import Scope
from app.domain.pools import service as pools
from app.platform import metrics
from app.platform.database import autocommit
from app.platform.errors import DatabaseUnavailableError
from app.web.dependencies import Connection, Engine
from app.web.guard import requires
from app.web.problems import problems

router = APIRouter(tags=["operation"])
MAX_POOLS = 1000
"""Most pools whose stock is shown in the metrics: labels without end would choke the reader."""


class Health(BaseModel):
    """How the service is."""

    status: str = Field(description="`ok`", examples=["ok"])


@router.get("/health/live", response_model=Health)
async def live() -> dict[str, str]:
    """The process answers; restart it where it does not."""
    return {"status": "ok"}


@router.get("/health/ready", response_model=Health, responses=problems(DatabaseUnavailableError))
async def ready(engine: Engine) -> dict[str, str]:
    """The database answers too: send traffic. 503 where it does not."""
    async with autocommit(engine) as connection:
        await connection.execute(text("SELECT 1 FROM pool LIMIT 1"))
    return {"status": "ok"}


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format"}},
    dependencies=[requires(Scope.READ, Scope.POOLS)],
)
async def get_metrics(connection: Connection) -> Response:
    """Requests by route, sizes of the assigner's batches, stock of the pools."""
    stock = await pools.list_page(connection, None, MAX_POOLS)
    return Response(metrics.exposition(stock), media_type=CONTENT_TYPE_LATEST)
