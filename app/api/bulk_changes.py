"""`/v1/bulk-changes`."""

import uuid

from anyio import to_thread
from fastapi import APIRouter, Request, Response, status
from pydantic import TypeAdapter

from app.domain.access.scopes import Scope
from app.domain.changes import codes, service
from app.domain.changes.errors import BulkChangeEndedError, BulkChangeNotFoundError
from app.domain.changes.schemas import (
    BulkChangeCreate,
    BulkChangeForm,
    BulkChangeOut,
    ChangeRecord,
    PoolMove,
)
from app.domain.imports.errors import ImportNotFoundError, ImportUndecidedError, UnreadableError
from app.domain.pools.errors import PoolNotFoundError
from app.platform.database import transaction
from app.platform.errors import (
    IdempotencyKeyReusedError,
    InvalidRequestError,
    PayloadTooLargeError,
    UnsupportedMediaTypeError,
)
from app.web import body, idempotency, openapi, pagination
from app.web.dependencies import Connection, Engine, Looking, Settings
from app.web.guard import Manager, requires
from app.web.headers import bearing
from app.web.parameters import PoolPath
from app.web.problems import problems

router = APIRouter(prefix="/v1/bulk-changes", tags=["vouchers"])
KEY = TypeAdapter(service.Key)
"""What the cursor of the list holds."""
Reader = [requires(Scope.POOLS, Scope.READ)]
REFUSED = (
    PoolNotFoundError,
    ImportNotFoundError,
    InvalidRequestError,
    IdempotencyKeyReusedError,
    ImportUndecidedError,
    UnreadableError,
    PayloadTooLargeError,
    UnsupportedMediaTypeError,
)
EXAMPLE = BulkChangeCreate.model_config["json_schema_extra"]["examples"][0]  # type: ignore[index]
BODIES = {
    "application/json": {
        "schema": openapi.body_of(BulkChangeCreate),
        "example": EXAMPLE,
    },
    body.FORM: {
        "schema": {
            "type": "object",
            "title": "BulkChangeForm",
            "description": "The same with a file of codes",
            "properties": {
                "file": {"type": "string", "format": "binary", "description": "The codes, as for an import"},
                **{
                    name: {"type": "string", "description": field.description or ""}
                    for name, field in BulkChangeForm.model_fields.items()
                },
            },
            "required": ["file", "action"],
        }
    },
}


@router.post(
    "",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=BulkChangeOut,
    responses=bearing(202, "Location", "Idempotency-Replayed") | problems(*REFUSED),
    openapi_extra={"requestBody": {"required": True, "content": BODIES}},
)
async def create_bulk_change(
    request: Request,
    response: Response,
    engine: Engine,
    settings: Settings,
    caller: Manager,
    idempotency_key: idempotency.Key = None,
) -> ChangeRecord:
    """Void or reinstate many vouchers, release what was given, change when codes expire, or move them to another pool.

    It is done by a job in small transactions, beside everything else; `Location` tells how far it is. Ask with
    `dry_run` first: it says what would be changed. A used code is never made available by it.
    """
    if body.is_form(request):
        async with body.form(request, settings.max_upload_bytes) as (file, fields):
            form = body.validated(BulkChangeForm, fields)
            digest = await to_thread.run_sync(body.digest_of, file.file)
            table, place = await to_thread.run_sync(codes.opened, file.file, form.column)
            async with transaction(engine) as connection:
                change, replayed = await service.begin(
                    connection,
                    caller,
                    form,
                    idempotency_key=idempotency_key,
                    digest=digest,
                    codes=codes.read(table, place),
                )
    else:
        wanted = await body.json(request, BulkChangeCreate)
        async with transaction(engine) as connection:
            change, replayed = await service.begin(
                connection, caller, wanted, idempotency_key=idempotency_key
            )
    response.headers["Location"] = f"/v1/bulk-changes/{change.id}"
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return change


moves = APIRouter(prefix="/v1/pools/{pool}/move", tags=["vouchers"])


@moves.post(
    "",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=BulkChangeOut,
    responses=bearing(202, "Location", "Idempotency-Replayed")
    | problems(PoolNotFoundError, ImportNotFoundError, IdempotencyKeyReusedError),
)
async def move_vouchers(
    pool: PoolPath,
    wanted: PoolMove,
    response: Response,
    engine: Engine,
    caller: Manager,
    idempotency_key: idempotency.Key = None,
) -> ChangeRecord:
    """Move available codes of the pool to another one, all or so many; what holds keep here stays.

    It is a bulk change: done by a job in small transactions beside everything else, and `Location` tells how far it is.
    """
    async with transaction(engine) as connection:
        change, replayed = await service.begin(
            connection, caller, wanted.of(pool), idempotency_key=idempotency_key
        )
    response.headers["Location"] = f"/v1/bulk-changes/{change.id}"
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return change


@router.get("", response_model=pagination.Page[BulkChangeOut], dependencies=Reader)
async def list_bulk_changes(
    connection: Connection, limit: pagination.Limit = 100, cursor: pagination.Cursor = None
) -> pagination.Listed[ChangeRecord]:
    """List changes of many vouchers, the newest first."""
    rows = await service.list_page(connection, pagination.decode(cursor, KEY), limit + 1)
    return pagination.page(rows, limit, lambda row: (row.created_at, row.id))


@router.get(
    "/{change_id}",
    response_model=BulkChangeOut,
    responses=problems(BulkChangeNotFoundError),
    dependencies=Reader,
)
async def get_bulk_change(change_id: uuid.UUID, connection: Looking) -> ChangeRecord:
    """Return a change of many vouchers: how far it is, and what happened."""
    return await service.get(connection, change_id)


@router.post(
    "/{change_id}/cancel",
    response_model=BulkChangeOut,
    responses=bearing(200, "Idempotency-Replayed") | problems(BulkChangeNotFoundError, BulkChangeEndedError),
)
async def cancel_bulk_change(
    change_id: uuid.UUID, connection: Connection, caller: Manager, keyed: idempotency.Once
) -> object:
    """Cancel a change that is queued or under way; what it has changed so far stays."""
    return await keyed.once(lambda: service.cancel(connection, caller, change_id))
