"""`/v1/audit`."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import TypeAdapter

from app.domain.access.audit import service
from app.domain.access.audit.schemas import AuditEntryOut, AuditRecord, Filter
from app.domain.access.scopes import Caller, Scope
from app.platform.errors import InvalidRequestError
from app.schema.texts import Identifier
from app.schema.times import QueryTime
from app.web import filters, pagination
from app.web.guard import requires
from app.web.headers import bearing
from app.web.problems import problems
from app.web.reading import ReadConnection

router = APIRouter(prefix="/v1/audit", tags=["audit"])
KEY = TypeAdapter(int)
"""What the cursor of a list holds."""


@router.get(
    "",
    response_model=pagination.Page[AuditEntryOut],
    responses=bearing(200, "Data-Age") | problems(InvalidRequestError),
)
async def list_audit_entries(
    connection: ReadConnection,
    caller: Annotated[Caller, requires(Scope.ADMIN)],
    action: Annotated[
        Identifier | None, Query(description="Only this action, such as `pool.deleted`")
    ] = None,
    pool: Annotated[filters.PoolName | None, Query(description="Only what was done to this pool")] = None,
    since: Annotated[QueryTime | None, Query(description="Only entries at this time or later")] = None,
    until: Annotated[QueryTime | None, Query(description="Only entries before this time")] = None,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
) -> pagination.Listed[AuditRecord]:
    """List who did what, newest first."""
    wanted = Filter(action, pool, since, until, of_service=caller.may(Scope.OPERATOR))
    rows = await service.list_page(connection, wanted, pagination.decode(cursor, KEY), limit + 1)
    return pagination.page(rows, limit, lambda row: row.id)
