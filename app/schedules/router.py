"""`/v1/import-schedules`."""

import uuid
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, status
from pydantic import TypeAdapter

from app import pagination
from app.audit import service as audit
from app.auth.guard import requires
from app.auth.schemas import Caller, Scope
from app.dependencies import Connection, State
from app.errors import InvalidRequestError, ScheduleNotFoundError
from app.problems import problems
from app.schedules import service
from app.schedules.schemas import ScheduleCreate, ScheduleOut, ScheduleUpdate

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
async def create_schedule(
    body: ScheduleCreate, caller: Writer, connection: Connection, state: State
) -> dict[str, Any]:
    """Repeat an import by the clock."""
    made = await service.create(connection, state.settings, body)
    await audit.record(connection, caller, "schedule.created", pool=made["pool"], schedule_id=str(made["id"]))
    return made


@router.get(
    "",
    response_model=pagination.Page[ScheduleOut],
    dependencies=[requires(Scope.POOLS, Scope.READ)],
)
async def list_schedules(
    connection: Connection, limit: pagination.Limit = 100, cursor: pagination.Cursor = None
) -> dict[str, Any]:
    """Schedules, the oldest first."""
    rows = await service.after(connection, pagination.decode(cursor, KEY), limit + 1)
    return pagination.page(rows, limit, lambda row: (row["created_at"], row["id"]))


@router.get(
    "/{schedule_id}",
    response_model=ScheduleOut,
    responses=problems(ScheduleNotFoundError),
    dependencies=[requires(Scope.POOLS, Scope.READ)],
)
async def get_schedule(schedule_id: uuid.UUID, connection: Connection) -> dict[str, Any]:
    """A schedule, with its next and its last run."""
    return await service.get(connection, schedule_id)


@router.patch(
    "/{schedule_id}",
    response_model=ScheduleOut,
    responses=problems(ScheduleNotFoundError, InvalidRequestError),
)
async def update_schedule(
    schedule_id: uuid.UUID, body: ScheduleUpdate, caller: Writer, connection: Connection, state: State
) -> dict[str, Any]:
    """Change a schedule, or pause it with `active`."""
    changed = await service.update(connection, state.settings, schedule_id, body)
    what = sorted(body.model_fields_set)
    await audit.record(
        connection,
        caller,
        "schedule.changed",
        pool=changed["pool"],
        schedule_id=str(schedule_id),
        changed=what,
    )
    return changed


@router.delete(
    "/{schedule_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(ScheduleNotFoundError),
)
async def delete_schedule(schedule_id: uuid.UUID, caller: Writer, connection: Connection) -> None:
    """Delete a schedule; what it imported stays."""
    pool = (await service.get(connection, schedule_id))["pool"]
    await service.delete(connection, schedule_id)
    await audit.record(connection, caller, "schedule.deleted", pool=pool, schedule_id=str(schedule_id))
