"""`/v1/pools/{pool}/vouchers` and `/v1/vouchers`."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter

from app.domain.access.scopes import Caller, Scope
from app.domain.pools.errors import PoolNotFoundError
from app.domain.vouchers import service
from app.domain.vouchers.errors import AlreadyRedeemedError, VoucherNotFoundError
from app.domain.vouchers.schemas import VoucherOut, VoucherRecord, VoucherWithHistory
from app.schema.base import VoucherStatus
from app.schema.texts import Identifier, Why
from app.web import exports, pagination
from app.web.dependencies import Connection, Engine
from app.web.guard import requires
from app.web.parameters import PoolPath
from app.web.problems import problems

router = APIRouter(tags=["vouchers"])
KEY = TypeAdapter(service.Key)
"""What the cursor of a list holds."""
Code = Annotated[Identifier, Path(description="The code")]
Reader = Annotated[Caller, requires(Scope.POOLS, Scope.READ)]
Manager = Annotated[Caller, requires(Scope.POOLS)]


@router.get(
    "/v1/pools/{pool}/vouchers",
    response_model=pagination.Page[VoucherOut],
    responses=problems(PoolNotFoundError),
)
async def list_vouchers(
    pool: PoolPath,
    connection: Connection,
    caller: Reader,
    status: Annotated[VoucherStatus | None, Query(description="Only those in this state")] = None,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
) -> pagination.Listed[VoucherRecord]:
    """List vouchers of a pool, state by state."""
    rows = await service.list_page(connection, pool, status, pagination.decode(cursor, KEY), limit + 1)
    listed = pagination.page(rows, limit, lambda row: (row.status, row.draw_key, row.code))
    return pagination.each(listed, lambda row: replace(row, code=caller.shown(row.code)))


@router.get(
    "/v1/pools/{pool}/export",
    response_class=StreamingResponse,
    responses={**exports.DESCRIBED, **problems(PoolNotFoundError)},
)
async def export_vouchers(
    pool: PoolPath,
    connection: Connection,
    engine: Engine,
    caller: Manager,
    status: Annotated[VoucherStatus | None, Query(description="Only those in this state")] = None,
    format: exports.FormatQuery = exports.Format.CSV,  # noqa: A002  (the name of the parameter)
) -> StreamingResponse:
    """Return all vouchers of a pool in one stream, of any length."""
    query = await service.exported(connection, caller, pool, status)
    return exports.response(engine, query, service.EXPORTED, format, "vouchers")


@router.get(
    "/v1/vouchers/{code:code}",
    response_model=VoucherWithHistory,
    responses=problems(VoucherNotFoundError),
)
async def get_voucher(code: Code, connection: Connection, caller: Reader) -> VoucherRecord:
    """Return a voucher: its state, and all that happened to it."""
    voucher = await service.get(connection, code)
    return replace(voucher, code=caller.shown(voucher.code))


@router.post(
    "/v1/vouchers/{code:code}/void",
    response_model=VoucherWithHistory,
    responses=problems(VoucherNotFoundError, AlreadyRedeemedError),
)
async def void_voucher(
    code: Code, connection: Connection, caller: Manager, body: Why | None = None
) -> VoucherRecord:
    """Void a code: it is not drawn any more, and a use of it is an issue. A void code stays void."""
    return await service.void(connection, caller, code, body.reason if body else None)
