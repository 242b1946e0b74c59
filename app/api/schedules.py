"""`/v1/import-schedules`."""

import uuid
from datetime import datetime

from fastapi import APIRouter, Response, status
from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.imports.schedules import service
from app.domain.imports.schedules.errors import ScheduleNotFoundError
from app.domain.imports.schedules.schemas import ScheduleCreate, ScheduleOut, ScheduleRecord, ScheduleUpdate
from app.platform.database import run_act
from app.platform.errors import InvalidRequestError
from app.platform.versions import PreconditionFailedError
from app.web import etag, pagination
from app.web.dependencies import Connection, Engine, Settings
from app.web.guard import Manager, Reader, permit_source
from app.web.headers import bearing
from app.web.idempotency import OnceIn
from app.web.problems import problems
from app.web.redaction import schedule_seen_by

router = APIRouter(prefix="/v1/import-schedules", tags=["imports"])
KEY = TypeAdapter(tuple[datetime, uuid.UUID])
"""What the cursor of a list holds."""


@router.post(
    "",
    response_model=ScheduleOut,
    status_code=status.HTTP_201_CREATED,
    responses=bearing(201, "ETag", "Location", "Idempotency-Replayed") | problems(InvalidRequestError),
)
async def create_import_schedule(
    body: ScheduleCreate,
    caller: Manager,
    engine: Engine,
    settings: Settings,
    response: Response,
    keyed: OnceIn,
) -> object:
    """Make a schedule: it repeats an import at the times of a cron expression.

    What a run would refuse is refused here: a host that the service may not go to, a file outside of the folder that
    imports may read, a secret that is not there or may not go to this host.
    """
    permit_source(caller, body.source)
    if (before := await keyed.before(engine)) is not None:
        return before
    await service.check_source(settings, body.source)

    async def create(connection: AsyncConnection) -> ScheduleRecord:
        schedule = await service.create(connection, caller, settings, body)
        etag.tag(response, service.version_of(schedule))
        response.headers["Location"] = f"/v1/import-schedules/{schedule.id}"
        return schedule

    async def act(connection: AsyncConnection) -> object:
        return await keyed.once_in(connection, lambda: create(connection))

    return await run_act(engine, act)


@router.get(
    "",
    response_model=pagination.Page[ScheduleOut],
)
async def list_import_schedules(
    connection: Connection, caller: Reader, limit: pagination.Limit = 100, cursor: pagination.Cursor = None
) -> pagination.Listed[ScheduleRecord]:
    """List the schedules, oldest first."""
    rows = await service.list_page(connection, pagination.decode(cursor, KEY), limit + 1)
    listed = pagination.page(rows, limit, lambda row: (row.created_at, row.id))
    return pagination.each(listed, lambda row: schedule_seen_by(caller, row))


@router.get(
    "/{schedule_id}",
    response_model=ScheduleOut,
    responses=bearing(200, "ETag") | problems(ScheduleNotFoundError),
)
async def get_import_schedule(
    schedule_id: uuid.UUID, connection: Connection, caller: Reader, response: Response
) -> ScheduleRecord:
    """Return a schedule with its next and its last run."""
    schedule = await service.get(connection, schedule_id)
    if caller.sees_codes:  # others see a part of what the version is made of
        etag.tag(response, service.version_of(schedule))
    return schedule_seen_by(caller, schedule)


@router.patch(
    "/{schedule_id}",
    response_model=ScheduleOut,
    responses=bearing(200, "ETag")
    | problems(ScheduleNotFoundError, InvalidRequestError, PreconditionFailedError),
)
async def update_import_schedule(
    schedule_id: uuid.UUID,
    body: ScheduleUpdate,
    caller: Manager,
    engine: Engine,
    settings: Settings,
    expected: etag.IfMatch,
    response: Response,
) -> ScheduleRecord:
    """Change a schedule, or pause it with `active`."""
    permit_source(caller, body.source)
    await service.check_source(settings, body.source)
    changed = await run_act(engine, service.update, caller, settings, schedule_id, body, expected)
    etag.tag(response, service.version_of(changed))
    return changed


@router.delete(
    "/{schedule_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(ScheduleNotFoundError, PreconditionFailedError),
)
async def delete_import_schedule(
    schedule_id: uuid.UUID, caller: Manager, connection: Connection, expected: etag.IfMatch
) -> None:
    """Delete a schedule; what it imported stays."""
    await service.delete(connection, caller, schedule_id, expected)
