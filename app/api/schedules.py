"""`/v1/import-schedules`."""

import uuid
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, status
from pydantic import TypeAdapter

from app.domain.access.scopes import Caller, Scope
from app.domain.imports.schedules import service
from app.domain.imports.schedules.errors import ScheduleNotFoundError
from app.domain.imports.schedules.schemas import ScheduleCreate, ScheduleOut, ScheduleUpdate
from app.platform.errors import InvalidRequestError
from app.web import pagination
from app.web.dependencies import Connection, Settings
from app.web.guard import permit_source, requires
from app.web.problems import problems
from app.web.redaction import import_seen_by

Reader = Annotated[Caller, requires(Scope.POOLS, Scope.READ)]
Writer = Annotated[Caller, requires(Scope.POOLS)]
router = APIRouter(prefix="/v1/import-schedules", tags=["imports"])
KEY = TypeAdapter(tuple[datetime, uuid.UUID])
"""What the cursor of a list holds."""


@router.post(
    "",
    response_model=ScheduleOut,
    status_code=status.HTTP_201_CREATED,
    responses=problems(InvalidRequestError),
)
async def create_import_schedule(
    body: ScheduleCreate, caller: Writer, connection: Connection, settings: Settings
) -> dict[str, Any]:
    """Repeat an import by the clock."""
    permit_source(caller, body.source)
    return await service.create(connection, caller, settings, body)


@router.get(
    "",
    response_model=pagination.Page[ScheduleOut],
)
async def list_import_schedules(
    connection: Connection, caller: Reader, limit: pagination.Limit = 100, cursor: pagination.Cursor = None
) -> pagination.Listed[dict[str, Any]]:
    """Schedules, the oldest first."""
    rows = await service.list_page(connection, pagination.decode(cursor, KEY), limit + 1)
    listed = pagination.page(rows, limit, lambda row: (row["created_at"], row["id"]))
    return pagination.each(listed, lambda row: import_seen_by(caller, row))


@router.get(
    "/{schedule_id}",
    response_model=ScheduleOut,
    responses=problems(ScheduleNotFoundError),
)
async def get_import_schedule(
    schedule_id: uuid.UUID, connection: Connection, caller: Reader
) -> dict[str, Any]:
    """A schedule, with its next and its last run."""
    return import_seen_by(caller, await service.get(connection, schedule_id))


@router.patch(
    "/{schedule_id}",
    response_model=ScheduleOut,
    responses=problems(ScheduleNotFoundError, InvalidRequestError),
)
async def update_import_schedule(
    schedule_id: uuid.UUID, body: ScheduleUpdate, caller: Writer, connection: Connection, settings: Settings
) -> dict[str, Any]:
    """Change a schedule, or pause it with `active`."""
    permit_source(caller, body.source)
    return await service.update(connection, caller, settings, schedule_id, body)


@router.delete(
    "/{schedule_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(ScheduleNotFoundError),
)
async def delete_import_schedule(schedule_id: uuid.UUID, caller: Writer, connection: Connection) -> None:
    """Delete a schedule; what it imported stays."""
    await service.delete(connection, caller, schedule_id)
