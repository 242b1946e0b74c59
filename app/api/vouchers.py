"""`/v1/pools/{pool}/vouchers` and `/v1/vouchers`."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter

from app.domain.access.scopes import Caller
from app.domain.pools.errors import PoolNotFoundError
from app.domain.vouchers import service
from app.domain.vouchers.errors import AlreadyRedeemedError, VoucherNotFoundError
from app.domain.vouchers.schemas import Filter, VoucherOut, VoucherRecord, VoucherWithHistory
from app.schema.base import VoucherStatus
from app.schema.texts import Why
from app.schema.times import QueryTime
from app.web import exports, filters, pagination
from app.web.dependencies import Connection, Engine
from app.web.guard import Manager, Reader
from app.web.guessed_codes import Guesses
from app.web.headers import bearing
from app.web.idempotency import Once
from app.web.parameters import CodePath, PoolPath
from app.web.problems import problems
from app.web.reading import ReadConnection, ReadsOfProject, exact

router = APIRouter(tags=["vouchers"])
KEY = TypeAdapter(service.Key)
"""What the cursor of a list holds."""


def _filter(
    caller: Reader,
    status: Annotated[VoucherStatus | None, Query(description="Only those in this state")] = None,
    test: filters.Test = None,
    customer_id: filters.Customer = None,
    campaign_id: filters.Campaign = None,
    message_id: filters.Message = None,
    import_id: filters.ImportId = None,
    code_prefix: filters.CodePrefix = None,
    code_contains: filters.CodeContains = None,
    expires_before: filters.ExpiresBefore = None,
    expires_after: filters.ExpiresAfter = None,
    assigned_since: Annotated[
        QueryTime | None, Query(description="Only those assigned at this time or later")
    ] = None,
    assigned_until: Annotated[
        QueryTime | None, Query(description="Only those assigned before this time")
    ] = None,
) -> Filter:
    filters.permit_codes(caller, code_prefix, code_contains)
    return Filter(
        status=status,
        test=test,
        customer_id=customer_id,
        campaign_id=campaign_id,
        message_id=message_id,
        import_id=import_id,
        code_prefix=code_prefix,
        code_contains=code_contains,
        expires_before=expires_before,
        expires_after=expires_after,
        assigned_since=assigned_since,
        assigned_until=assigned_until,
    )


FilterQuery = Annotated[Filter, Depends(_filter)]


@router.get(
    "/v1/pools/{pool}/vouchers",
    response_model=pagination.Page[VoucherOut],
    responses=bearing(200, "Data-Age") | problems(PoolNotFoundError),
)
async def list_vouchers(
    pool: PoolPath,
    connection: ReadConnection,
    caller: Reader,
    wanted: FilterQuery,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
) -> pagination.Listed[VoucherRecord]:
    """List vouchers of a pool: state by state, or as the index goes that serves the filter.

    For a page at most 3,000 rows are read: with filters that few vouchers meet, a page may hold fewer than `limit`,
    even none, and go on all the same. The last page is the one without `next_cursor`. The filter by a customer, a
    campaign or the beginning of a code is quick whatever the pool's size.
    """
    found = await service.find(connection, pool, wanted, pagination.decode(cursor, KEY), limit)
    return {
        "items": [_seen_by(caller, row) for row in found.rows],
        "next_cursor": None if found.go_on is None else pagination.encode(found.go_on),
    }


@router.get(
    "/v1/pools/{pool}/export",
    response_class=StreamingResponse,
    responses={**exports.DESCRIBED, **problems(PoolNotFoundError)},
)
async def export_vouchers(
    pool: PoolPath,
    connection: Connection,
    engine: Engine,
    reads: ReadsOfProject,
    caller: Manager,
    wanted: FilterQuery,
    format: exports.FormatQuery = exports.Format.CSV,  # noqa: A002  (the name of the parameter)
) -> StreamingResponse:
    """Return all vouchers of a pool in one stream, of any length, or those that the filter lets pass."""
    query = await service.exported(connection, caller, pool, wanted)
    source = await exact(reads, connection, engine)
    return exports.response(source, query, service.EXPORTED, format, "vouchers")


@router.get(
    "/v1/vouchers/{code:code}",
    response_model=VoucherWithHistory,
    responses=problems(VoucherNotFoundError),
)
async def get_voucher(
    code: CodePath, connection: Connection, caller: Reader, guesses: Guesses
) -> VoucherRecord:
    """Return a voucher: its state, and all that happened to it.

    A key that may only read is refused for a minute once it has asked for 20 codes within one that are not there.
    """
    with guesses.of(caller):
        voucher = await service.get(connection, code)
    return _seen_by(caller, voucher)


@router.post(
    "/v1/vouchers/{code:code}/void",
    response_model=VoucherWithHistory,
    responses=bearing(200, "Idempotency-Replayed") | problems(VoucherNotFoundError, AlreadyRedeemedError),
)
async def void_voucher(
    code: CodePath, connection: Connection, caller: Manager, keyed: Once, body: Why | None = None
) -> object:
    """Void a code: it is not drawn any more, and a use of it is an issue. A void code stays void."""
    return await keyed.once(lambda: service.void(connection, caller, code, body.reason if body else None))


def _seen_by(caller: Caller, voucher: VoucherRecord) -> VoucherRecord:
    attributes = caller.shown_attributes(voucher.attributes)
    return replace(voucher, code=caller.shown(voucher.code), attributes=attributes)
