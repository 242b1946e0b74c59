"""`/health`, whether the process lives and whether it can work, and `/metrics`."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from app.api import service_figures
from app.api.readiness import Readiness
from app.domain.access.scopes import OF_METRICS, Caller, Scope
from app.domain.imports import service as imports
from app.domain.pools import service as pools
from app.domain.rendering.renderers import RendererUnavailableError
from app.platform import metrics
from app.platform.databases import MAIN, Databases
from app.platform.disk import NoRoomError
from app.platform.errors import DatabaseUnavailableError
from app.platform.stopping import StoppingError
from app.web.dependencies import held
from app.web.guard import requires
from app.web.headers import bearing
from app.web.problems import problems
from app.web.reading import ReadConnection

router = APIRouter(tags=["operation"])
MAX_POOLS = 1000
"""Most pools whose stock is shown in the metrics: labels without end would choke the reader."""


class Health(BaseModel):
    """How the service is."""

    status: str = Field(description="`ok`", examples=["ok"])
    warnings: list[str] = Field(description="What is not as it should be, though requests are served")


@router.get("/health/live", response_model=Health)
async def check_liveness() -> dict[str, object]:
    """Return that the process answers. Restart it where this does not answer."""
    return {"status": "ok", "warnings": []}


@router.get(
    "/health/ready",
    response_model=Health,
    responses=problems(DatabaseUnavailableError, NoRoomError, RendererUnavailableError, StoppingError),
)
async def check_readiness(readiness: Annotated[Readiness, held(Readiness)]) -> dict[str, object]:
    """Return whether an assign, a render and an import would be served; 503 where they would not: send no traffic."""
    return {"status": "ok", "warnings": await readiness.check()}


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "content": {"text/plain": {}},
            "description": "Prometheus' text format",
            **bearing(200, "Data-Age")[200],
        }
    },
)
async def get_metrics(
    connection: ReadConnection,
    caller: Annotated[Caller, requires(*OF_METRICS)],
    databases: Annotated[Databases, held(Databases)],
) -> Response:
    """Return requests, stock, draws, messages, imports, uses, jobs, deliveries, connections, processes.

    Stock and imports are those of the key's project; what the service does for all of them, only keys of `default`
    and operators see, for each database that the service has.
    """
    stock, readings = [], []
    if caller.may(Scope.READ, Scope.POOLS):
        found = await pools.list_page(connection, None, MAX_POOLS + 1)
        stock = [(pool.name, asdict(pool.counts)) for pool in found]
        readings = await imports.state(connection)
    if caller.sees_service:
        here = connection if caller.database_id == MAIN else None
        readings = [*await service_figures.readings(databases, here), *readings]
    shown = metrics.exposition(caller.project, stock, MAX_POOLS, readings, of_service=caller.sees_service)
    return Response(shown, media_type=CONTENT_TYPE_LATEST)
