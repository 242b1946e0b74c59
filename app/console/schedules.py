"""The imports that repeat."""

import uuid
from datetime import datetime

from fastapi import APIRouter, Response
from pydantic import TypeAdapter

from app.console.pages import PAGE, see, show
from app.console.session import ManagerForm, Reader
from app.domain.imports.schedules import service
from app.domain.imports.schedules.schemas import ScheduleUpdate
from app.domain.pools import service as pools
from app.web import pagination
from app.web.dependencies import Connection
from app.web.redaction import schedule_seen_by

router = APIRouter(prefix="/schedules")
KEY = TypeAdapter(tuple[datetime, uuid.UUID])


@router.get("")
async def list_schedules(visit: Reader, connection: Connection) -> Response:
    """Show the schedules."""
    start = pagination.decode(visit.request.query_params.get("cursor"), KEY)
    rows = await service.list_page(connection, start, PAGE + 1)
    listed = pagination.page(rows, PAGE, lambda row: (row.created_at, row.id))
    listed = pagination.each(listed, lambda row: schedule_seen_by(visit.caller, row))
    named = await pools.named(connection, {row.pool for row in listed["items"]})
    return show(visit, "schedules.html", pools=named, **listed)


@router.post("/{schedule_id}/active")
async def set_active(schedule_id: uuid.UUID, visit: ManagerForm, connection: Connection) -> Response:
    """Pause a schedule, or let it go on."""
    wanted = ScheduleUpdate(active=visit.text("active") == "yes")
    await service.update(connection, visit.caller, visit.settings, schedule_id, wanted)
    return see("/schedules", "schedule-changed")


@router.post("/{schedule_id}/delete")
async def delete(schedule_id: uuid.UUID, visit: ManagerForm, connection: Connection) -> Response:
    """Delete a schedule."""
    await service.delete(connection, visit.caller, schedule_id)
    return see("/schedules", "schedule-deleted")
