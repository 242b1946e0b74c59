"""SQL of import schedules."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import RowMapping, case, delete, func, insert, select, text, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.imports.schedules.schemas import LastImportRecord, ScheduleRecord
from app.platform import keyset, records
from app.platform.clock import clock
from app.schema.base import ImportStatus
from app.schema.imports import Import, ImportSchedule

LAST = (
    select(
        Import.id,
        Import.status,
        case((Import.status == ImportStatus.FAILED, Import.error)).label("error"),
        Import.created_at,
        Import.choices.is_not(None).label("asked"),
    )
    .where(Import.schedule_id == ImportSchedule.id)
    .order_by(Import.created_at.desc())
    .limit(1)
    .lateral("last")
)
SCHEDULES = select(
    ImportSchedule.id,
    ImportSchedule.pool,
    ImportSchedule.source,
    ImportSchedule.options,
    ImportSchedule.cron,
    ImportSchedule.timezone,
    ImportSchedule.active,
    ImportSchedule.next_run,
    ImportSchedule.error,
    ImportSchedule.created_at,
    func.encode(func.sha256(ImportSchedule.sealed), "hex").label("sealed_as"),  # another one with each source
    LAST.c.id.label("last_id"),
    LAST.c.status.label("last_status"),
    LAST.c.error.label("last_error"),
    LAST.c.created_at.label("last_created_at"),
).outerjoin(LAST, true())


@dataclass(frozen=True, slots=True)
class DueSchedule:
    """A schedule whose time has come."""

    id: uuid.UUID
    pool: str
    source: dict[str, object]
    sealed: bytes
    options: dict[str, object]
    cron: str
    timezone: str
    error: str | None


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A schedule whose last run has ended, and how."""

    id: uuid.UUID
    pool: str
    next_run: datetime | None
    failures: int
    gave_up_at: datetime | None
    last_id: uuid.UUID
    last_status: ImportStatus
    last_error: str | None
    last_asked: bool


async def add(connection: AsyncConnection, **values: object) -> uuid.UUID:
    """Store a schedule; return its id."""
    query = insert(ImportSchedule).values(**values).returning(ImportSchedule.id)
    return (await connection.execute(query)).scalar_one()


async def by_id(connection: AsyncConnection, schedule_id: uuid.UUID) -> ScheduleRecord | None:
    """Return one schedule, with its last import."""
    row = (
        (await connection.execute(SCHEDULES.where(ImportSchedule.id == schedule_id))).mappings().one_or_none()
    )
    return None if row is None else _record(row)


async def list_page(
    connection: AsyncConnection, key: tuple[datetime, uuid.UUID] | None, limit: int
) -> list[ScheduleRecord]:
    """Return schedules, the oldest first."""
    query = keyset.page(SCHEDULES, (ImportSchedule.created_at, ImportSchedule.id), key, limit)
    return [_record(row) for row in (await connection.execute(query)).mappings()]


def _record(row: RowMapping) -> ScheduleRecord:
    last = {name: row[f"last_{name}"] for name in ("id", "status", "error", "created_at")}
    values = {name: value for name, value in row.items() if not name.startswith("last_")}
    return ScheduleRecord(**values, last_import=None if last["id"] is None else LastImportRecord(**last))


async def change(connection: AsyncConnection, schedule_id: uuid.UUID, values: dict[str, object]) -> None:
    """Set some of its columns."""
    await connection.execute(update(ImportSchedule).where(ImportSchedule.id == schedule_id).values(**values))


async def remove(connection: AsyncConnection, schedule_id: uuid.UUID) -> bool:
    """Delete a schedule; its imports stay. False where there is none."""
    query = delete(ImportSchedule).where(ImportSchedule.id == schedule_id).returning(ImportSchedule.id)
    return (await connection.execute(query)).first() is not None


async def lock(connection: AsyncConnection, schedule_id: uuid.UUID) -> bool:
    """Lock a schedule against the clock; return False where there is none."""
    query = select(ImportSchedule.id).where(ImportSchedule.id == schedule_id).with_for_update()
    return (await connection.execute(query)).first() is not None


async def lock_due(
    connection: AsyncConnection, now: datetime, but: Collection[uuid.UUID]
) -> DueSchedule | None:
    """Return a schedule whose time has come, but for some, locked; what another sweep has locked is left to it."""
    query = (
        select(
            ImportSchedule.id,
            ImportSchedule.pool,
            ImportSchedule.source,
            ImportSchedule.sealed,
            ImportSchedule.options,
            ImportSchedule.cron,
            ImportSchedule.timezone,
            ImportSchedule.error,
        )
        .where(ImportSchedule.active, ImportSchedule.next_run <= now, ImportSchedule.id.not_in(but))
        .order_by(ImportSchedule.next_run)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return records.any_of(await connection.execute(query), DueSchedule)


DUE_IN = text("SELECT DISTINCT project_id FROM import_schedule WHERE active AND next_run <= :now")
ACTIVE = (
    "SELECT project_id, id AS key, judged FROM import_schedule WHERE (project_id, id) > {after} AND active"
)
ENDED = """EXISTS (
    SELECT FROM (
        SELECT id, status FROM import WHERE import.project_id = slice.project_id AND import.schedule_id = slice.key
        ORDER BY created_at DESC LIMIT 1
    ) AS last WHERE last.id IS DISTINCT FROM slice.judged AND last.status IN ('succeeded', 'failed')
)"""
"""SQL: whether the last run of a schedule has ended and was not judged yet."""


async def due_in(connection: AsyncConnection) -> Sequence[int]:
    """Return the projects in which the time of a schedule has come."""
    return (await connection.execute(DUE_IN, {"now": clock.now()})).scalars().all()


async def lock_ended(connection: AsyncConnection, but: Collection[uuid.UUID]) -> EndedRun | None:
    """Return a schedule whose last run has ended and was not judged yet, locked, with what became of it.

    Some may be left out.
    """
    query = (
        select(
            ImportSchedule.id,
            ImportSchedule.pool,
            ImportSchedule.next_run,
            ImportSchedule.failures,
            ImportSchedule.gave_up_at,
            LAST.c.id.label("last_id"),
            LAST.c.status.label("last_status"),
            LAST.c.error.label("last_error"),
            LAST.c.asked.label("last_asked"),
        )
        .join(LAST, true())
        .where(
            ImportSchedule.active,
            ImportSchedule.id.not_in(but),
            ImportSchedule.judged.is_distinct_from(LAST.c.id),
            LAST.c.status.in_([ImportStatus.SUCCEEDED, ImportStatus.FAILED]),
        )
        .limit(1)
        .with_for_update(of=ImportSchedule, skip_locked=True)
    )
    return records.any_of(await connection.execute(query), EndedRun)


async def active_of(connection: AsyncConnection, pool: str) -> Sequence[uuid.UUID]:
    """Return the schedules that go on importing into a pool."""
    query = select(ImportSchedule.id).where(ImportSchedule.pool == pool, ImportSchedule.active)
    return (await connection.execute(query.order_by(ImportSchedule.created_at))).scalars().all()


async def next_runs(connection: AsyncConnection, pools: Sequence[str]) -> dict[str, datetime]:
    """Return when the next run of a schedule of each of these pools is, where there is one."""
    query = (
        select(ImportSchedule.pool, func.min(ImportSchedule.next_run))
        .where(ImportSchedule.pool.in_(pools), ImportSchedule.active, ImportSchedule.next_run.is_not(None))
        .group_by(ImportSchedule.pool)
    )
    rows = await connection.execute(query)
    return {pool: at for pool, at in rows if at is not None}
