"""`GET /v1/assignments`: who got what, as pages and as an export."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, TypeAdapter

from app import exports, pagination
from app.assignments.schemas import LedgerRow
from app.audit import service as audit
from app.auth.guard import requires
from app.auth.schemas import Caller, Scope
from app.dependencies import Connection, Engine
from app.errors import PoolNotFoundError
from app.ledger import service
from app.ledger.schemas import Filter
from app.problems import problems
from app.texts import Identifier

router = APIRouter(prefix="/v1/assignments", tags=["assignments"])
KEY = TypeAdapter(service.Key)
"""What the cursor of a list holds."""
Reader = Annotated[Caller, requires(Scope.ASSIGN, Scope.POOLS, Scope.READ)]


def _filter(
    pool: Annotated[Identifier | None, Query(description="From this pool")] = None,
    customer_id: Annotated[Identifier | None, Query(description="To this customer")] = None,
    campaign_id: Annotated[Identifier | None, Query(description="In this campaign")] = None,
    since: Annotated[AwareDatetime | None, Query(description="Assigned then or later")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Assigned before")] = None,
) -> Filter:
    return Filter(pool, customer_id, campaign_id, since, until)


FilterQuery = Annotated[Filter, Depends(_filter)]


@router.get("", response_model=pagination.Page[LedgerRow], responses=problems(PoolNotFoundError))
async def list_assignments(
    wanted: FilterQuery,
    connection: Connection,
    caller: Reader,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
) -> dict[str, Any]:
    """Who got what: assignments, released ones included, oldest first; pool by pool, if none is named."""
    rows = await service.after(connection, wanted, pagination.decode(cursor, KEY), limit + 1)
    listed = pagination.page(rows, limit, lambda row: (row.pool_id, row.assigned_at, row.id))
    listed["items"] = [{**row._mapping, "code": caller.shown(row.code)} for row in listed["items"]]  # noqa: SLF001
    return listed


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={**exports.DESCRIBED, **problems(PoolNotFoundError)},
)
async def export_assignments(
    wanted: FilterQuery,
    connection: Connection,
    engine: Engine,
    caller: Annotated[Caller, requires(Scope.POOLS)],
    format: exports.FormatQuery = exports.Format.CSV,  # noqa: A002  (the name of the parameter)
) -> StreamingResponse:
    """All of them in one stream, of any length."""
    query = await service.matching(connection, wanted)
    await audit.record(connection, caller, "assignments.exported", pool=wanted.pool)
    return exports.response(engine, query, service.COLUMNS, format, "assignments")
