"""`/v1/events`, `/v1/redemption-mapping` and `/v1/redemptions`."""

import uuid
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, status
from pydantic import TypeAdapter

from app.domain.access.scopes import Caller, Scope
from app.domain.redemptions import service
from app.domain.redemptions.schemas import Mappings, Outcome, RedemptionIn, RedemptionOut, ReplayOut
from app.domain.vouchers.errors import (
    AlreadyRedeemedError,
    VoucherExpiredError,
    VoucherNotFoundError,
    VoucherVoidError,
)
from app.platform.database import AnyRow
from app.schema.texts import Identifier
from app.web import pagination
from app.web.dependencies import Connection, Engine
from app.web.guard import requires
from app.web.problems import problems

router = APIRouter(prefix="/v1", tags=["redemptions"])
KEY = TypeAdapter(tuple[Outcome, datetime, uuid.UUID])
"""What the cursor of a list holds."""
Reader = Annotated[Caller, requires(Scope.POOLS, Scope.EVENTS, Scope.READ)]


@router.get("/redemption-mapping", response_model=Mappings)
async def get_mapping(connection: Connection, _: Reader) -> dict[str, Any]:
    """Which properties of which events hold codes."""
    return {"mappings": await service.mapping(connection)}


@router.put("/redemption-mapping", response_model=Mappings)
async def put_mapping(
    body: Mappings, connection: Connection, caller: Annotated[Caller, requires(Scope.POOLS)]
) -> dict[str, Any]:
    """Replace the mapping. A job then applies it to the events that are there."""
    await service.set_mapping(connection, caller, body.mappings)
    return {"mappings": await service.mapping(connection)}


@router.post("/redemption-mapping/replay", response_model=ReplayOut, dependencies=[requires(Scope.POOLS)])
async def replay(engine: Engine) -> dict[str, int]:
    """Apply the mapping to the events that are there, now; answers when it is done."""
    return await service.replay(engine)


@router.get("/redemptions", response_model=pagination.Page[RedemptionOut])
async def list_redemptions(
    connection: Connection,
    caller: Reader,
    issue: Annotated[
        Outcome | None, Query(description="Only with this outcome; any issue, if left out")
    ] = None,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
) -> dict[str, Any]:
    """What could not be matched and why, issue by issue, oldest first."""
    rows = await service.list_issues(connection, issue, pagination.decode(cursor, KEY), limit + 1)
    listed = pagination.page(rows, limit, lambda row: (row.outcome, row.created_at, row.id))
    listed["items"] = [_shown(row, caller) for row in listed["items"]]
    return listed


@router.post(
    "/vouchers/{code:path}/redemptions",
    status_code=status.HTTP_201_CREATED,
    response_model=RedemptionOut,
    responses=problems(VoucherNotFoundError, AlreadyRedeemedError, VoucherVoidError, VoucherExpiredError),
    dependencies=[requires(Scope.EVENTS)],
)
async def redeem(
    code: Annotated[Identifier, Path(description="The code")], body: RedemptionIn, connection: Connection
) -> AnyRow:
    """Redeem a code directly, without an event."""
    return await service.redeem(connection, code, body.customer_id, body.redeemed_at)


def _shown(row: AnyRow, caller: Caller) -> dict[str, Any]:
    return {**row._mapping, "code": row.code and caller.shown(row.code)}  # noqa: SLF001  (public, by convention)
