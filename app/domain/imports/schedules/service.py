"""The rules of import schedules."""

import uuid
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.access.audit import service as audit
from app.domain.access.scopes import Caller
from app.domain.imports import service as imports
from app.domain.imports.schedules import queries
from app.domain.imports.schedules.clock import next_run
from app.domain.imports.schedules.errors import ScheduleNotFoundError
from app.domain.imports.schedules.schemas import ScheduleCreate, ScheduleUpdate
from app.domain.imports.schemas import ImportOptions, Options
from app.platform.errors import InvalidRequestError
from app.platform.settings import Settings

OVERLAP = "The run before has not ended; this one was left out."


async def create(
    connection: AsyncConnection, caller: Caller | None, settings: Settings, wanted: ScheduleCreate
) -> dict[str, Any]:
    """A new schedule.

    Raises:
        InvalidRequestError: the cron expression is none, or never fires.
    """
    shown, sealed = imports.sealed_source(settings, wanted.source)
    schedule_id = await queries.add(
        connection,
        pool=wanted.pool,
        source=shown,
        sealed=sealed,
        options=_options(wanted),
        cron=wanted.cron,
        timezone=wanted.timezone,
        active=wanted.active,
        next_run=_next(wanted.cron, wanted.timezone, active=wanted.active),
    )
    await audit.record(connection, caller, "schedule.created", pool=wanted.pool, schedule_id=str(schedule_id))
    return await get(connection, schedule_id)


async def get(connection: AsyncConnection, schedule_id: uuid.UUID) -> dict[str, Any]:
    """A schedule, with its last run.

    Raises:
        ScheduleNotFoundError: there is none of this id.
    """
    row = await queries.by_id(connection, schedule_id)
    if row is None:
        raise ScheduleNotFoundError(f"There is no import schedule {schedule_id}.")
    return _shown(row)


async def list_page(
    connection: AsyncConnection, key: tuple[datetime, uuid.UUID] | None, limit: int
) -> list[dict[str, Any]]:
    """Schedules, the oldest first."""
    return [_shown(row) for row in await queries.list_page(connection, key, limit)]


async def update(
    connection: AsyncConnection,
    caller: Caller | None,
    settings: Settings,
    schedule_id: uuid.UUID,
    wanted: ScheduleUpdate,
) -> dict[str, Any]:
    """Change a schedule; its next run follows."""
    await queries.lock(connection, schedule_id)
    before = await get(connection, schedule_id)
    values: dict[str, Any] = wanted.model_dump(include={"cron", "timezone", "active"}, exclude_none=True)
    if wanted.source is not None:
        values["source"], values["sealed"] = imports.sealed_source(settings, wanted.source)
    if wanted.options is not None:
        values["options"] = _options(wanted.options)
    cron, timezone, active = ({**before, **values}[name] for name in ("cron", "timezone", "active"))
    values |= {"next_run": _next(cron, timezone, active=active), "error": None}
    await queries.change(connection, schedule_id, values)
    await audit.record(
        connection,
        caller,
        "schedule.changed",
        pool=before["pool"],
        schedule_id=str(schedule_id),
        changed=sorted(wanted.model_fields_set),
    )
    return await get(connection, schedule_id)


async def delete(connection: AsyncConnection, caller: Caller | None, schedule_id: uuid.UUID) -> None:
    """Delete a schedule; what it imported stays."""
    schedule = await get(connection, schedule_id)
    await queries.remove(connection, schedule_id)
    await audit.record(
        connection, caller, "schedule.deleted", pool=schedule["pool"], schedule_id=str(schedule_id)
    )


async def begin_due(connection: AsyncConnection, now: datetime) -> bool:
    """Begin the run of one schedule that is due; whether there was one.

    The time of the next run is set in the same transaction, so a run begins once. Runs that were missed while
    nothing swept are made up for by this one.
    """
    due = await queries.lock_due(connection, now)
    if due is None:
        return False
    values: dict[str, Any] = {"next_run": next_run(due.cron, due.timezone, now), "error": None}
    if await queries.under_way(connection, due.id):
        values["error"] = OVERLAP
    else:
        try:
            options = ImportOptions.model_validate(due.options)
        except ValidationError as error:  # of an earlier release, which took what this one refuses
            values["error"] = str(InvalidRequestError.from_errors(error.errors()))
        else:
            import_id = await imports.from_sealed(
                connection, due.pool, due.source, due.sealed, options, due.id
            )
            await imports.begin(connection, import_id)
    await queries.change(connection, due.id, values)
    return True


def _next(cron: str, timezone: str, *, active: bool) -> datetime | None:
    try:
        following = next_run(cron, timezone, datetime.now(UTC))
    except ValueError as error:
        said = f"{error}."
        raise InvalidRequestError(said, [{"loc": ["body", "cron"], "msg": str(error)}]) from error
    return following if active else None


def _options(options: Options) -> dict[str, Any]:
    return options.model_dump(mode="json", include=set(Options.model_fields), exclude_none=True)


def _shown(row: Any) -> dict[str, Any]:
    values = row._asdict()
    last = {name: values.pop(f"last_{name}") for name in ("id", "status", "error", "created_at")}
    return {**values, "last_import": last if last["id"] is not None else None}
