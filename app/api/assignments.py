"""`/v1/pools/{pool}/assignments` and `/v1/assignments`."""

import uuid
from dataclasses import replace
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi import status as http
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter

from app.domain.access.scopes import Caller, Scope
from app.domain.assignments import service
from app.domain.assignments.assigner import Assigner
from app.domain.assignments.errors import (
    AssignmentNotFoundError,
    AssignmentReleasedError,
    CustomerLimitError,
    PoolBusyError,
    PoolExhaustedError,
    VoucherNotAvailableError,
)
from app.domain.assignments.schemas import (
    AssignmentCreate,
    AssignmentOut,
    BatchCreate,
    BatchItem,
    BatchOut,
    Filter,
    LedgerRow,
)
from app.domain.lifecycle.requests import AssignmentStatus, LedgerEntry
from app.domain.persons.ids import CustomerId
from app.domain.pools.errors import PoolNotFoundError
from app.domain.vouchers.errors import (
    AlreadyRedeemedError,
    VoucherExpiredError,
    VoucherNotFoundError,
    VoucherVoidError,
)
from app.platform.errors import (
    IdempotencyKeyReusedError,
    InvalidRequestError,
    OverloadedError,
)
from app.schema.texts import Identifier, Why
from app.schema.times import QueryTime
from app.web import exports, filters, idempotency, pagination, presence
from app.web.dependencies import Connection, Engine, held_for_project
from app.web.guard import permit, requires
from app.web.headers import HEADERS, bearing
from app.web.parameters import PoolPath
from app.web.problems import problems
from app.web.reading import ReadConnection, ReadsOfProject, exact

router = APIRouter(prefix="/v1", tags=["assignments"])
ASSIGN = [requires(Scope.ASSIGN)]
KEY = TypeAdapter(service.Key)
"""What the cursor of a list holds."""
FIRST = {"content-type": "application/json"}
REPLAYED = {**FIRST, "idempotency-replayed": "true"}
NO_VOUCHER = (PoolNotFoundError, PoolExhaustedError, CustomerLimitError, PoolBusyError, OverloadedError)
OTHER_THAN_BEFORE = (
    IdempotencyKeyReusedError,
    AssignmentReleasedError,
    VoucherVoidError,
    InvalidRequestError,
)
Reader = Annotated[Caller, requires(Scope.ASSIGN, Scope.POOLS, Scope.READ)]


def _filter(
    caller: Reader,
    pool: Annotated[filters.PoolName | None, Query(description="Only those from this pool")] = None,
    customer_id: Annotated[CustomerId | None, Query(description="Only those given to this customer")] = None,
    campaign_id: filters.Campaign = None,
    since: Annotated[QueryTime | None, Query(description="Only those assigned at this time or later")] = None,
    until: Annotated[QueryTime | None, Query(description="Only those assigned before this time")] = None,
    message_id: filters.Message = None,
    status: Annotated[AssignmentStatus | None, Query(description="That stand so")] = None,
    test: filters.Test = None,
    import_id: filters.ImportId = None,
    code_prefix: filters.CodePrefix = None,
    code_contains: filters.CodeContains = None,
    expires_before: filters.ExpiresBefore = None,
    expires_after: filters.ExpiresAfter = None,
) -> Filter:
    filters.permit_codes(caller, code_prefix, code_contains)
    return Filter(
        pool=pool,
        customer_id=customer_id,
        campaign_id=campaign_id,
        since=since,
        until=until,
        message_id=message_id,
        status=status,
        test=test,
        import_id=import_id,
        code_prefix=code_prefix,
        code_contains=code_contains,
        expires_before=expires_before,
        expires_after=expires_after,
    )


EXPORTED = {
    **exports.DESCRIBED[200],
    "headers": {
        "Data-Age": HEADERS["Data-Age"],
        "Complete-Until": {
            "description": "All before this time is in this export or an earlier one: the `since` of the next one",
            "schema": {"type": "string", "format": "date-time"},
        },
    },
}
FilterQuery = Annotated[Filter, Depends(_filter)]
KeyOfBatch = Annotated[
    Identifier | None,
    Header(
        alias=idempotency.NAME,
        description="An item without `message_id` and `idempotency_key` is known again by this key and its place: it"
        " gets the code of the first time, as `replayed`. If it says something else than then, the batch is refused",
    ),
]


@router.post(
    "/pools/{pool}/assignments",
    status_code=http.HTTP_201_CREATED,
    response_model=AssignmentOut,
    responses={
        200: {
            "model": AssignmentOut,
            "description": "A repeat: the assignment made the first time",
            **bearing(200, "Idempotency-Replayed")[200],
        },
        **problems(*NO_VOUCHER, *OTHER_THAN_BEFORE, VoucherNotFoundError, VoucherNotAvailableError),
    },
)
async def assign_voucher(
    pool: PoolPath,
    body: AssignmentCreate,
    assigner: Annotated[Assigner, held_for_project(Assigner)],
    engine: Engine,
    request: Request,
    caller: Annotated[Caller, requires(Scope.ASSIGN)],
    idempotency_key: idempotency.Key = None,
) -> Response:
    """Hand out a code of the pool, drawn at random; nobody else ever gets it.

    With an `Idempotency-Key`, or with a message id, a repeat is answered with the code of the first time. A message
    id is a key of its own: with both, the request is refused (422), so that one message never gets two codes.

    With `code` it is this one and no other, as a support desk gives it: that needs the scope `pools` too, for the reply
    tells whether there is such a code.
    """
    wanted = body.to_request(pool, idempotency_key, caller.key_id)
    if body.code is not None:
        permit(caller, Scope.POOLS)
        return Response(*reply(await service.assign_this(engine, caller, pool, wanted, body.code)))
    gone = presence.hung_up(presence.noted(request.scope))
    return Response(*reply(await assigner.assign(pool, wanted, gone)))


@router.post(
    "/pools/{pool}/assignments/batch",
    response_model=BatchOut,
    responses=problems(*NO_VOUCHER, *OTHER_THAN_BEFORE),
)
async def assign_vouchers(
    pool: PoolPath,
    body: BatchCreate,
    engine: Engine,
    request: Request,
    caller: Annotated[Caller, requires(Scope.ASSIGN)],
    idempotency_key: KeyOfBatch = None,
) -> Response:
    """Hand out up to 10,000 codes at once; each item has its own result, or with `atomic` all or none is handed out.

    Where an item has no key and no message id, none is handed out to a caller who has gone.
    """
    requests = [
        item.to_request(pool, item.idempotency_key or _key_of(item, index, idempotency_key), caller.key_id)
        for index, item in enumerate(body.items)
    ]
    still_there = presence.still_there(presence.noted(request.scope), lambda: request)
    result = await service.assign_many(engine, pool, requests, still_there, atomic=body.atomic)
    return Response(orjson.dumps(result, option=orjson.OPT_UTC_Z), headers=FIRST)


@router.get(
    "/assignments",
    response_model=pagination.Page[AssignmentOut],
    responses=bearing(200, "Data-Age") | problems(PoolNotFoundError),
)
async def list_assignments(
    wanted: FilterQuery,
    connection: ReadConnection,
    caller: Reader,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
) -> pagination.Listed[LedgerRow]:
    """List assignments, released ones included, oldest first; pool by pool, if none is named.

    For a page at most 3,000 rows are read: with several filters it may hold fewer than `limit`, even none, and go on
    all the same. The last page is the one without `next_cursor`. A customer or a campaign is found quickly, however
    many assignments there are; so is a time within a pool.
    """
    page = await service.list_page(connection, wanted, pagination.decode(cursor, KEY), limit + 1)
    listed = pagination.page(page.rows, limit, lambda row: (row.pool_id, row.assigned_at, row.id))
    if listed["next_cursor"] is None and page.go_on is not None:
        listed["next_cursor"] = pagination.encode(page.go_on)
    return pagination.each(listed, lambda row: _seen_by(caller, row))


@router.get(
    "/assignments/export",
    response_class=StreamingResponse,
    responses={200: EXPORTED, **problems(PoolNotFoundError)},
)
async def export_assignments(
    wanted: FilterQuery,
    connection: Connection,
    engine: Engine,
    reads: ReadsOfProject,
    caller: Annotated[Caller, requires(Scope.POOLS)],
    format: exports.FormatQuery = exports.Format.CSV,  # noqa: A002  (the name of the parameter)
    changes: Annotated[
        bool, Query(description="With `since`: also what was assigned before, and changed since then")
    ] = True,
) -> StreamingResponse:
    """Export all assignments in one stream, of any length; with `since`, those that are new or have changed since then.

    An export ends where all is known to be committed, which its header `Complete-Until` tells. The next one with that
    as `since` goes on from there: each assignment is in exactly one of them, and once more, as it stands then, in each
    in whose time it changed (confirmed, released, lapsed, redeemed, cancelled, voided).
    """
    made = await service.exported(connection, engine, caller, wanted, changes=changes)
    source = await exact(reads, connection, engine)
    headers = {"Complete-Until": made.complete_until.isoformat().replace("+00:00", "Z")}
    return exports.response(source, made.query, service.LEDGER_COLUMNS, format, "assignments", headers)


@router.get(
    "/assignments/{assignment_id}",
    response_model=AssignmentOut,
    responses=problems(AssignmentNotFoundError),
    dependencies=ASSIGN,
)
async def get_assignment(assignment_id: uuid.UUID, connection: Connection) -> LedgerEntry:
    """Get one assignment."""
    return await service.get(connection, assignment_id)


@router.post(
    "/assignments/{assignment_id}/confirm",
    response_model=AssignmentOut,
    responses=bearing(200, "Idempotency-Replayed")
    | problems(AssignmentNotFoundError, AssignmentReleasedError, VoucherVoidError, VoucherExpiredError),
    dependencies=ASSIGN,
)
async def confirm_assignment(
    assignment_id: uuid.UUID, connection: Connection, keyed: idempotency.Once
) -> object:
    """Confirm what was reserved with `lease_seconds`: it is handed out for good. A repeat changes nothing."""
    return await keyed.once(lambda: service.confirm(connection, assignment_id))


@router.post(
    "/assignments/{assignment_id}/release",
    response_model=AssignmentOut,
    responses=bearing(200, "Idempotency-Replayed")
    | problems(AssignmentNotFoundError, AlreadyRedeemedError, VoucherVoidError),
)
async def release_assignment(
    assignment_id: uuid.UUID,
    connection: Connection,
    caller: Annotated[Caller, requires(Scope.ASSIGN)],
    keyed: idempotency.Once,
    body: Why | None = None,
) -> object:
    """Take an assignment back: its code is available again, unless a use of it is known. A repeat changes nothing."""
    reason = body.reason if body else None
    return await keyed.once(lambda: service.release(connection, caller, assignment_id, reason))


def _key_of(item: BatchItem, index: int, key: str | None) -> str | None:
    """Return the key of an item that has none, made of the batch's; no single request can send such a one."""
    return None if key is None or item.message_id is not None else f"{key}\n{index}"


def _seen_by(caller: Caller, row: LedgerRow) -> LedgerRow:
    return replace(row, code=caller.shown(row.code), attributes=caller.shown_attributes(row.attributes))


def reply(given: LedgerEntry) -> tuple[bytes, int, dict[str, str]]:
    """Return an assignment as body, status and headers of the answer to who asked for it, now or again."""
    body = orjson.dumps(
        {
            "id": given.id,
            "pool": given.pool,
            "code": given.code,
            "customer_id": given.customer_id,
            "campaign_id": given.campaign_id,
            "message_id": given.message_id,
            "test": given.test,
            "assigned_at": given.assigned_at,
            "status": given.status,
            "lease_until": given.lease_until,
            "released_at": given.released_at,
            "expires_at": given.expires_at,
            "attributes": given.attributes,
        },
        option=orjson.OPT_UTC_Z,
    )
    return (body, 200, REPLAYED) if given.replayed else (body, 201, FIRST)
