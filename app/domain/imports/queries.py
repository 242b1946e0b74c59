"""SQL of imports as requests see them; that of the job is in `merge.py` and `pipeline.py`."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, exists, false, func, insert, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.imports.schemas import IgnoredRecord, ImportRecord, LastImport, RejectRecord
from app.domain.lifecycle.stock import HELD
from app.platform import jobs, keyset, records
from app.schema.base import ImportStatus
from app.schema.imports import Import, ImportChunk, ImportIgnored, ImportReject, ImportSchedule

ENDED = [ImportStatus.SUCCEEDED, ImportStatus.FAILED]
STAGE = case(
    (Import.status.in_(ENDED), "ended"),
    (Import.status == ImportStatus.QUEUED, "waiting"),
    (Import.size.is_(None), "fetching"),
    (Import.total.is_(None), "reading"),
    else_="merging",
)
TIMES = ["invalid_expires_at", "invalid_valid_from", "invalid_assigned_at", "invalid_redeemed_at"]
LOOKED_AT = 100
"""Rejects of an import of which it is told whether they are for a time: a format that is wrong shows in the first."""
_FIRST = (
    select(ImportReject.reason)
    .where(ImportReject.import_id == Import.id)
    .order_by(ImportReject.line)
    .limit(LOOKED_AT)
    .correlate(Import)
    .subquery()
)
UNREAD_TIMES = case((Import.invalid > 0, exists().where(_FIRST.c.reason.in_(TIMES))), else_=false())
TELLS_PAST = or_(
    *(
        Import.options[name].astext.is_not(None)
        for name in ("customer_id_column", "assigned_at_column", "redeemed_at_column")
    )
)
Key = tuple[datetime, uuid.UUID]
"""Where a page of imports ends."""
COLUMNS = (
    Import.id,
    Import.pool,
    Import.status,
    Import.dry_run,
    Import.source,
    Import.schedule_id,
    (
        Import.imported
        + Import.ignored
        + Import.in_other_pool
        + Import.invalid
        + Import.suspicious
        + Import.conflicting
    ).label("rows"),
    Import.imported,
    Import.ignored,
    Import.in_other_pool,
    (Import.invalid + Import.conflicting).label("invalid"),
    Import.suspicious,
    UNREAD_TIMES.label("unread_times"),
    TELLS_PAST.label("tells_past"),
    Import.scheduled,
    Import.columns_not_imported,
    Import.choices,
    Import.undone,
    func.coalesce(Import.size, Import.fetched).label("fetched"),
    STAGE.label("stage"),
    Import.progress,
    Import.sha256,
    Import.repeats,
    case((Import.status.in_(ENDED), Import.error)).label("error"),
    case((Import.status.not_in(ENDED), Import.error)).label("waits"),
    Import.created_at,
    Import.started_at,
    Import.finished_at,
)


@dataclass(frozen=True, slots=True)
class LockedImport:
    """What an undo and an acceptance have to know of an import."""

    pool: str
    pool_id: int | None
    status: ImportStatus
    dry_run: bool
    imported: int
    suspicious: int
    undone: int


async def add(connection: AsyncConnection, **values: object) -> None:
    """Add an import."""
    await connection.execute(insert(Import).values(**values))


async def add_chunk(connection: AsyncConnection, import_id: uuid.UUID, number: int, data: bytes) -> None:
    """Add a piece of its bytes."""
    await connection.execute(insert(ImportChunk).values(import_id=import_id, number=number, data=data))


async def stored(connection: AsyncConnection, import_id: uuid.UUID, size: int, sha256: str) -> None:
    """Note that all of its bytes are there, and an earlier import of the same ones into the same pool."""
    pool_id = select(Import.pool_id).where(Import.id == import_id).scalar_subquery()
    repeats = (
        select(Import.id)
        .where(
            Import.pool_id == pool_id,
            Import.sha256 == sha256,
            Import.status == ImportStatus.SUCCEEDED,
            ~Import.dry_run,
        )
        .order_by(Import.created_at)
        .limit(1)
    )
    earlier = (await connection.execute(repeats)).scalar_one_or_none()
    query = update(Import).where(Import.id == import_id).values(size=size, sha256=sha256, repeats=earlier)
    await connection.execute(query)


async def by_id(connection: AsyncConnection, import_id: uuid.UUID) -> ImportRecord | None:
    """Return one import."""
    query = select(*COLUMNS).where(Import.id == import_id)
    return records.any_of(await connection.execute(query), ImportRecord)


async def list_page(
    connection: AsyncConnection, pool: str | None, schedule_id: uuid.UUID | None, key: Key | None, limit: int
) -> list[ImportRecord]:
    """Return imports, the newest first."""
    query = select(*COLUMNS)
    if pool is not None:
        query = query.where(Import.pool == pool)
    if schedule_id is not None:
        query = query.where(Import.schedule_id == schedule_id)
    query = keyset.page(query, (Import.created_at, Import.id), key, limit, newest_first=True)
    return records.all_of(await connection.execute(query), ImportRecord)


LAST_OF_POOLS = text("""
SELECT pool.id AS pool_id, last.id, last.status, last.created_at
FROM unnest(CAST(:ids AS bigint[])) AS pool (id), LATERAL (
    SELECT id, status, created_at FROM import
    WHERE project_id = :project AND pool_id = pool.id AND NOT dry_run
    ORDER BY created_at DESC LIMIT 1
) AS last
""")


async def last_of_pools(connection: AsyncConnection, pool_ids: Sequence[int]) -> list[LastImport]:
    """Return the last import of each of these pools that has one."""
    rows = await connection.execute(LAST_OF_POOLS, {"ids": list(pool_ids)})
    return records.all_of(rows, LastImport)


async def list_rejects(
    connection: AsyncConnection, import_id: uuid.UUID, line: int, limit: int
) -> list[RejectRecord]:
    """Return rejects of an import, by line."""
    query = (
        select(ImportReject.line, ImportReject.value, ImportReject.reason, ImportReject.other_pool)
        .where(ImportReject.import_id == import_id, ImportReject.line > line)
        .order_by(ImportReject.line)
        .limit(limit)
    )
    return records.all_of(await connection.execute(query), RejectRecord)


async def list_ignored(
    connection: AsyncConnection, import_id: uuid.UUID, line: int, limit: int
) -> list[IgnoredRecord]:
    """Return ignored rows of an import, by line."""
    query = (
        select(ImportIgnored.line, ImportIgnored.code)
        .where(ImportIgnored.import_id == import_id, ImportIgnored.line > line)
        .order_by(ImportIgnored.line)
        .limit(limit)
    )
    return records.all_of(await connection.execute(query), IgnoredRecord)


async def lock(connection: AsyncConnection, import_id: uuid.UUID) -> LockedImport | None:
    """Lock an import, and return it: of two undos the second waits for the first."""
    query = (
        select(
            Import.pool,
            Import.pool_id,
            Import.status,
            Import.dry_run,
            Import.imported,
            Import.suspicious,
            Import.undone,
        )
        .where(Import.id == import_id)
        .with_for_update()
    )
    return records.any_of(await connection.execute(query), LockedImport)


_NOT_ENDED = text("""
SELECT count(*) AS n, EXTRACT(epoch FROM now() - min(created_at))::float AS age
FROM import WHERE project_id = :project AND status IN ('queued', 'running')
""")


async def not_ended(connection: AsyncConnection) -> tuple[int, float]:
    """Return how many imports have not ended, and for how many seconds the oldest is there."""
    row = (await connection.execute(_NOT_ENDED)).one()
    return row.n, row.age or 0.0


_LEFT = jobs.left_behind("import", "import_id")
LEFT_IN = text(f"SELECT DISTINCT project_id FROM import WHERE {_LEFT}")  # noqa: S608  (made of constants)
"""Projects in which imports may have been left behind."""
# Who runs it holds its first share (merging/pipeline.py).
_LEFT_BEHIND = text(f"""
SELECT id, size IS NULL AS fetched FROM import
WHERE project_id = :project AND {_LEFT} AND pg_try_advisory_xact_lock(hashtextextended(id::text, 0))
""")  # noqa: S608  (made of constants)


async def left_behind(connection: AsyncConnection) -> list[tuple[uuid.UUID, bool]]:
    """Return imports that have not ended and that nobody runs, each with whether its source has to be fetched."""
    return [(row.id, row.fetched) for row in await connection.execute(_LEFT_BEHIND)]


# As who makes, ends or draws from a hold locks it: what is counted stays true.
LOCK_POOL = text("""
SELECT pool.id FROM pool JOIN import ON import.project_id = :project AND import.pool_id = pool.id
WHERE pool.project_id = :project AND import.id = :id FOR NO KEY UPDATE OF pool
""")
FREE = text(f"""
SELECT (SELECT sum(available)::bigint FROM stock WHERE project_id = :project AND pool_id = :pool_id) - held.n
FROM (SELECT {HELD.format(project=":project", pool_id=":pool_id")} AS n) AS held WHERE held.n > 0
""")  # noqa: S608  (made of constants)


async def lock_free(connection: AsyncConnection, import_id: uuid.UUID) -> int | None:
    """Lock the pool of an import against holds; return how many vouchers nobody holds, or None for all."""
    pool_id = (await connection.execute(LOCK_POOL, {"id": import_id})).scalar_one_or_none()
    return (await connection.execute(FREE, {"pool_id": pool_id})).scalar_one_or_none()


async def pause(connection: AsyncConnection, schedule_id: uuid.UUID) -> bool:
    """Pause a schedule, and lock it against the clock; return False where it was not active."""
    schedule = ImportSchedule.id == schedule_id
    active = select(ImportSchedule.active).where(schedule).with_for_update()
    if not (await connection.execute(active)).scalar_one_or_none():
        return False
    await connection.execute(update(ImportSchedule).where(schedule).values(active=False, next_run=None))
    return True


async def under_way(connection: AsyncConnection, schedule_id: uuid.UUID) -> bool:
    """Tell whether an import of a schedule has not ended."""
    query = select(exists().where(Import.schedule_id == schedule_id, Import.status.not_in(ENDED)))
    return bool((await connection.execute(query)).scalar_one())


async def cancel(connection: AsyncConnection, import_id: uuid.UUID, why: str) -> str | None:
    """End an import that has not ended; return its pool, or None. It waits for a chunk that is being merged."""
    query = (
        update(Import)
        .where(Import.id == import_id, Import.status.in_([ImportStatus.QUEUED, ImportStatus.RUNNING]))
        .values(status=ImportStatus.FAILED, error=why, finished_at=func.now())
        .returning(Import.pool)
    )
    return (await connection.execute(query)).scalar_one_or_none()
