"""The imports that repeat."""

import uuid
from datetime import datetime

from fastapi import APIRouter, Response
from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncConnection

from app.console.once import once
from app.console.pages import PAGE, check_sure, model, see, seen_version, show, version_shown
from app.console.session import ManagerForm, Reader, Visit
from app.domain.imports.schedules import service
from app.domain.imports.schedules.schemas import ScheduleUpdate
from app.domain.pools import service as pools
from app.platform.database import transaction
from app.platform.errors import DomainError
from app.web import pagination
from app.web.dependencies import Connection, Engine
from app.web.redaction import schedule_seen_by

router = APIRouter(prefix="/schedules")
KEY = TypeAdapter(tuple[datetime, uuid.UUID])


@router.get("")
async def list_schedules(visit: Reader, connection: Connection) -> Response:
    """Show the schedules."""
    return await _list(visit, connection)


@router.post("/{schedule_id}/active")
async def set_active(schedule_id: uuid.UUID, visit: ManagerForm, connection: Connection) -> Response:
    """Pause a schedule, or let it go on."""
    wanted = ScheduleUpdate(active=visit.text("active") == "yes")
    await service.update(connection, visit.caller, visit.settings, schedule_id, wanted)
    return see("/schedules", "schedule-changed")


@router.post("/{schedule_id}/times")
async def set_times(schedule_id: uuid.UUID, visit: ManagerForm, engine: Engine) -> Response:
    """Change when a schedule runs, where it still is as the form has it."""
    try:
        times = {"cron": visit.text("cron"), "timezone": visit.given("timezone") or "UTC"}
        wanted = model(ScheduleUpdate, times)
        async with transaction(engine) as connection:
            await once(
                connection,
                visit,
                lambda: service.update(
                    connection, visit.caller, visit.settings, schedule_id, wanted, seen_version(visit)
                ),
                lambda changed: str(changed.id),
            )
    except DomainError as error:
        async with transaction(engine) as connection:
            return await _list(visit, connection, error, schedule_id)
    return see("/schedules", "schedule-changed")


@router.post("/{schedule_id}/delete")
async def delete(schedule_id: uuid.UUID, visit: ManagerForm, connection: Connection) -> Response:
    """Delete a schedule."""
    try:
        check_sure(visit, f"sure-{schedule_id}")
    except DomainError as error:
        return await _list(visit, connection, error)
    await service.delete(connection, visit.caller, schedule_id)
    return see("/schedules", "schedule-deleted")


async def _list(
    visit: Visit,
    connection: AsyncConnection,
    error: DomainError | None = None,
    changed: uuid.UUID | None = None,
) -> Response:
    """Show the schedules; of the one that was to be changed, what was typed."""
    start = pagination.decode(visit.request.query_params.get("cursor"), KEY)
    rows = await service.list_page(connection, start, PAGE + 1)
    listed = pagination.page(rows, PAGE, lambda row: (row.created_at, row.id))
    versions = {row.id: service.version_of(row) for row in listed["items"]}
    if changed in versions:
        versions[changed] = version_shown(visit, error, versions[changed])
    listed = pagination.each(listed, lambda row: schedule_seen_by(visit.caller, row))
    named = await pools.named(connection, {row.pool for row in listed["items"]})
    about = listed | {"pools": named, "versions": versions, "changed": changed}
    return show(visit, "schedules.html", "/console/schedules", error=error, **about)
