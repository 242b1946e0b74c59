"""`/v1/events`, `/v1/redemption-mapping` and `/v1/redemptions`."""

import uuid
from dataclasses import replace
from datetime import date, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response, status
from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.access.scopes import Caller, Scope
from app.domain.persons.ids import CustomerId
from app.domain.redemptions import service
from app.domain.redemptions.schemas import (
    Mappings,
    Outcome,
    RedemptionFilter,
    RedemptionIn,
    RedemptionOut,
    RedemptionRecord,
    ReplayOut,
)
from app.domain.vouchers.errors import (
    AlreadyRedeemedError,
    VoucherExpiredError,
    VoucherNotFoundError,
    VoucherVoidError,
)
from app.platform.database import run_act
from app.platform.errors import IdempotencyKeyReusedError
from app.platform.versions import PreconditionFailedError
from app.schema.times import QueryTime
from app.web import deprecation, etag, idempotency, pagination
from app.web.dependencies import Connection, Engine
from app.web.guard import requires
from app.web.headers import bearing
from app.web.parameters import CodePath
from app.web.problems import problems
from app.web.reading import ReadConnection

router = APIRouter(prefix="/v1", tags=["redemptions"])
KEY = TypeAdapter(tuple[Outcome, datetime, uuid.UUID])
"""What the cursor of a list holds."""
Reader = Annotated[Caller, requires(Scope.POOLS, Scope.EVENTS, Scope.READ)]
ISSUE = date(2026, 11, 26), date(2027, 6, 1)
"""Since when the parameter `issue` is deprecated, and when it goes."""


@router.get("/redemption-mapping", response_model=Mappings, responses=bearing(200, "ETag"))
async def get_redemption_mapping(connection: Connection, _: Reader, response: Response) -> dict[str, object]:
    """Return which properties of which events hold codes."""
    return await _mapping(connection, response)


@router.put(
    "/redemption-mapping",
    response_model=Mappings,
    responses=bearing(200, "ETag") | problems(PreconditionFailedError),
)
async def put_redemption_mapping(
    body: Mappings,
    connection: Connection,
    caller: Annotated[Caller, requires(Scope.POOLS)],
    expected: etag.IfMatch,
    response: Response,
) -> dict[str, object]:
    """Replace the mapping. A job then applies it to the stored events."""
    await service.set_mapping(connection, caller, body.mappings, expected)
    return await _mapping(connection, response)


@router.post(
    "/redemption-mapping/replay",
    response_model=ReplayOut,
    responses=bearing(200, "Idempotency-Replayed"),
    dependencies=[requires(Scope.POOLS)],
)
async def replay_redemption_mapping(engine: Engine, keyed: idempotency.OnceIn) -> object:
    """Apply the mapping to the stored events now; the reply comes when it is done."""
    return await keyed.once_done(engine, lambda: service.replay(engine))


@router.get(
    "/redemptions",
    response_model=pagination.Page[RedemptionOut],
    responses=bearing(200, "Data-Age", "Deprecation", "Sunset"),
)
async def list_redemptions(
    connection: ReadConnection,
    caller: Reader,
    response: Response,
    outcome: Annotated[
        Outcome | None, Query(description="Only with this outcome; any issue, if left out")
    ] = None,
    issue: Annotated[Outcome | None, Query(description="Former name of `outcome`", deprecated=True)] = None,
    customer_id: Annotated[CustomerId | None, Query(description="By this customer")] = None,
    since: Annotated[QueryTime | None, Query(description="Used then or later")] = None,
    until: Annotated[QueryTime | None, Query(description="Used before")] = None,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
) -> pagination.Listed[RedemptionRecord]:
    """List uses of codes and what came of each, outcome by outcome, oldest first.

    Without an outcome these are the issues: neither `redeemed` nor `cancelled`; of a customer, all. For a page at most
    3,000 are read: by time it may hold fewer than `limit`, even none, and go on all the same.
    """
    if issue is not None:
        deprecation.tell(response, *ISSUE)
    wanted = RedemptionFilter(outcome or issue, customer_id, since, until)
    key = pagination.decode(cursor, KEY)
    rows, go_on = await service.list_redemptions(connection, wanted, key, limit + 1)
    listed = pagination.page(rows, limit, lambda row: (row.outcome, row.created_at, row.id))
    if listed["next_cursor"] is None and go_on is not None:
        listed["next_cursor"] = pagination.encode(go_on)
    return pagination.each(listed, lambda row: replace(row, code=row.code and caller.shown(row.code)))


@router.post(
    "/vouchers/{code:code}/redemptions",
    status_code=status.HTTP_201_CREATED,
    response_model=RedemptionOut,
    responses={
        200: {
            "model": RedemptionOut,
            "description": "A repeat: the redemption of the first time",
            **bearing(200, "Idempotency-Replayed")[200],
        },
        **problems(
            VoucherNotFoundError,
            AlreadyRedeemedError,
            VoucherVoidError,
            VoucherExpiredError,
            IdempotencyKeyReusedError,
        ),
    },
)
async def redeem_voucher(
    code: CodePath,
    body: RedemptionIn,
    engine: Engine,
    response: Response,
    caller: Annotated[Caller, requires(Scope.EVENTS)],
    idempotency_key: idempotency.Key = None,
) -> RedemptionRecord:
    """Redeem a code directly, without an event."""
    key = None if idempotency_key is None else f"{caller.key_id} {idempotency_key}"
    redemption, replayed = await run_act(
        engine, service.redeem, code, body.customer_id, body.redeemed_at, key
    )
    if replayed:
        response.status_code = status.HTTP_200_OK
        response.headers["Idempotency-Replayed"] = "true"
    return redemption


async def _mapping(connection: AsyncConnection, response: Response) -> dict[str, object]:
    rows = await service.mapping(connection)
    etag.tag(response, service.version_of(rows))
    return {"mappings": rows}
