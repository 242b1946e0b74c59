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
)
from app.auth.guard import requires
from app.auth.schemas import Scope
from app.dependencies import Connection, Engine, State
from app.errors import (
    AssignmentNotFoundError,
    AssignmentReleasedError,
    IdempotencyKeyReusedError,
    OverloadedError,
    PoolBusyError,
    PoolExhaustedError,
    PoolNotFoundError,
)
from app.problems import problems
from app.texts import Identifier

router = APIRouter(prefix="/v1", tags=["assignments"], dependencies=[requires(Scope.ASSIGN)])
PoolPath = Annotated[str, Path(description="Name of the pool", examples=["spring_sale"])]
_SHOWN = tuple(AssignmentOut.model_fields)
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
    return reply(await state.assigner.assign(pool, body.wish(pool, idempotency_key)))


@router.post(
    "/pools/{pool}/assignments/batch", response_model=BatchOut, responses=problems(*NO_VOUCHER)
)
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


def reply(given: Given) -> Response:
    """An assignment as the response to the request that asked for it, for the first time or again."""
    content = orjson.dumps({name: getattr(given, name) for name in _SHOWN}, option=orjson.OPT_UTC_Z)
    if given.replayed:
        return Response(content, 200, {"Idempotency-Replayed": "true"}, media_type="application/json")
    return Response(content, 201, media_type="application/json")
