"""`/v1/pools/{pool}/assignments` and `/v1/assignments`."""

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Response, status

from app.assignments import identity, service
from app.assignments.schemas import (
    AssignmentCreate,
    AssignmentOut,
    BatchCreate,
    BatchOut,
    Given,
    LedgerRow,
    Wish,
)
from app.auth.guard import requires
from app.auth.schemas import Scope
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
    response: Response,
    state: State,
    idempotency_key: Annotated[
        Identifier | None, Header(description="The same key on the same pool gives the same code")
    ] = None,
) -> Given:
    """Hand out a code of the pool, drawn at random, to nobody else, ever.

    With an `Idempotency-Key`, or with a message id, a repeat is answered with the code of the first time.
    """
    given = await state.assigner.assign(pool, wish(pool, body, idempotency_key))
    if given.replayed:
        response.status_code = status.HTTP_200_OK
        response.headers["Idempotency-Replayed"] = "true"
    return given


@router.post(
    "/pools/{pool}/assignments/batch", response_model=BatchOut, responses=problems(*NO_VOUCHER)
)
async def assign_batch(pool: PoolPath, body: BatchCreate, engine: Engine) -> dict[str, Any]:
    """Hand out up to 10,000 codes in one go; each item is answered by itself, or all or none with `atomic`."""
    wishes = [wish(pool, item, item.idempotency_key) for item in body.items]
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
async def release(assignment_id: uuid.UUID, connection: Connection) -> Given:
    """Take an assignment back: its code is available again. Once more, it changes nothing."""
    return await service.release(connection, assignment_id)


def wish(pool: str, body: AssignmentCreate, key: str | None) -> Wish:
    """What a request asks for, with the id that makes it the same when it comes again."""
    if key is not None:
        wish_id = identity.of_key(pool, key)
    elif body.message_id is not None:
        wish_id = identity.of_message(body.message_id, body.customer_id, pool, 0)
    else:
        wish_id = uuid.uuid4()
    return Wish(
        wish_id,
        body.customer_id,
        body.campaign_id,
        body.message_id,
        test=body.test,
        lease_seconds=body.lease_seconds,
    )
