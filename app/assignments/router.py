"""`/v1/pools/{pool}/assignments` and `/v1/assignments`."""

import uuid
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Path, Response, status

from app.assignments import service
from app.assignments.schemas import (
    AssignmentCreate,
    AssignmentOut,
    BatchCreate,
    BatchOut,
    Given,
    LedgerRow,
)
from app.audit import service as audit
from app.auth.guard import requires
from app.auth.schemas import Caller, Scope
from app.dependencies import Connection, Engine, State
from app.errors import (
    AlreadyRedeemedError,
    AssignmentNotFoundError,
    AssignmentReleasedError,
    IdempotencyKeyReusedError,
    OverloadedError,
    PoolBusyError,
    PoolExhaustedError,
    PoolNotFoundError,
    VoucherVoidError,
)
from app.problems import problems
from app.texts import Identifier

router = APIRouter(prefix="/v1", tags=["assignments"], dependencies=[requires(Scope.ASSIGN)])
PoolPath = Annotated[str, Path(description="Name of the pool", examples=["spring_sale"])]
_FIRST = {"content-type": "application/json"}
_REPLAYED = {**_FIRST, "idempotency-replayed": "true"}
NO_VOUCHER = (PoolNotFoundError, PoolExhaustedError, PoolBusyError, OverloadedError)


@router.post(
    "/pools/{pool}/assignments",
    status_code=status.HTTP_201_CREATED,
    response_model=AssignmentOut,
    responses={
        200: {"model": AssignmentOut, "description": "A repeat: the assignment made the first time"},
        **problems(*NO_VOUCHER, IdempotencyKeyReusedError, AssignmentReleasedError),
    },
)
async def assign(
    pool: PoolPath,
    body: AssignmentCreate,
    state: State,
    idempotency_key: Annotated[
        Identifier | None, Header(description="The same key on the same pool gives the same code")
    ] = None,
) -> Response:
    """Hand out a code of the pool, drawn at random, to nobody else, ever.

    With an `Idempotency-Key`, or with a message id, a repeat is answered with the code of the first time.
    """
    return Response(*reply(await state.assigner.assign(pool, body.wish(pool, idempotency_key))))


@router.post("/pools/{pool}/assignments/batch", response_model=BatchOut, responses=problems(*NO_VOUCHER))
async def assign_batch(pool: PoolPath, body: BatchCreate, engine: Engine) -> dict[str, Any]:
    """Hand out up to 10,000 codes in one go; each item is answered by itself, or all or none with `atomic`."""
    wishes = [item.wish(pool, item.idempotency_key) for item in body.items]
    return await service.assign_many(engine, pool, wishes, atomic=body.atomic)


@router.get(
    "/assignments/{assignment_id}",
    response_model=AssignmentOut,
    responses=problems(AssignmentNotFoundError),
)
async def get_assignment(assignment_id: uuid.UUID, connection: Connection) -> Given:
    """One assignment."""
    return await service.get(connection, assignment_id)


@router.post(
    "/assignments/{assignment_id}/confirm",
    response_model=LedgerRow,
    responses=problems(AssignmentNotFoundError, AssignmentReleasedError, VoucherVoidError),
)
async def confirm(assignment_id: uuid.UUID, connection: Connection) -> Given:
    """Hand out what was reserved with `lease_seconds`, for good. Once more, it changes nothing."""
    return await service.confirm(connection, assignment_id)


@router.post(
    "/assignments/{assignment_id}/release",
    response_model=LedgerRow,
    responses=problems(AssignmentNotFoundError, AlreadyRedeemedError, VoucherVoidError),
)
async def release(
    assignment_id: uuid.UUID, connection: Connection, caller: Annotated[Caller, requires(Scope.ASSIGN)]
) -> Given:
    """Take an assignment back: its code is available again. Once more, it changes nothing."""
    released = await service.release(connection, assignment_id)
    await audit.record(
        connection, caller, "assignment.released", pool=released.pool, assignment_id=str(assignment_id)
    )
    return released


def reply(given: Given) -> tuple[bytes, int, dict[str, str]]:
    """An assignment as body, status and headers of the answer to who asked for it, for the first time or again."""
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
        },
        option=orjson.OPT_UTC_Z,
    )
    return (body, 200, _REPLAYED) if given.replayed else (body, 201, _FIRST)
