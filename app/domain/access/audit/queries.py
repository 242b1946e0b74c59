"""SQL of the audit. Rows are added and read; nothing here changes or removes one."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, ColumnElement, case, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.access.audit.schemas import OF_SERVICE, AuditRecord, Filter
from app.platform import records
from app.platform.named import PROJECT
from app.schema.access import AuditEntry
from app.schema.projects import Project

COLUMNS = (
    AuditEntry.id,
    AuditEntry.at,
    AuditEntry.key_id,
    AuditEntry.key_name,
    AuditEntry.action,
    AuditEntry.pool,
    AuditEntry.details,
)

_LAST = select(func.max(AuditEntry.id)).where(AuditEntry.project_id == PROJECT).scalar_subquery()
APART = 1_000
"""Ids among which those who add where the clock has gone back choose, so that none waits for another one's."""
ASTRAY = 7 * 24 * 3600 * 1_000_000
"""By how much an id may be off the time of its entry: the clock was put back, or the entry was carried here late."""


def _microseconds(time: ColumnElement[datetime]) -> ColumnElement[int]:
    return (func.extract("epoch", time) * 1_000_000).cast(BigInteger)


_CLOCK = _microseconds(func.clock_timestamp())
_NEXT = case((_CLOCK <= _LAST, _LAST + 1 + func.pg_backend_pid() % APART), else_=_CLOCK)
_FAR_BACK = _microseconds(func.now()) + ASTRAY < _LAST
"""Whether the clock was put back by more: ids then say nothing of times."""


async def add(connection: AsyncConnection, values: Mapping[str, object]) -> None:
    """Add an entry, behind those that are there also where the clock went back."""
    add_one = (
        insert(AuditEntry).values({"id": _NEXT, **values}).on_conflict_do_nothing().returning(AuditEntry.id)
    )
    while (await connection.execute(add_one)).first() is None:
        pass  # another act of the project at the same microsecond: the next one is free


@dataclass(frozen=True, slots=True)
class Home:
    """A project, where it lives, and the time."""

    project_id: int
    database_id: int
    now: datetime


async def home(connection: AsyncConnection) -> Home | None:
    """Return where the project of the transaction lives, by the control database."""
    query = select(Project.id.label("project_id"), Project.database_id, func.now().label("now"))
    return records.any_of(await connection.execute(query.where(Project.id == PROJECT)), Home)


async def put(connection: AsyncConnection, values: Mapping[str, object]) -> None:
    """Add an entry that was made elsewhere, unless it was added already."""
    said = (AuditEntry.at, AuditEntry.action, AuditEntry.details)
    query = select(AuditEntry.id).where(*(column == values[column.key] for column in said))
    if (await connection.execute(query)).first() is None:
        await add(connection, values)


def _id_of(time: datetime) -> ColumnElement[int]:
    return literal(int(time.timestamp() * 1_000_000), BigInteger)


async def list_page(
    connection: AsyncConnection, wanted: Filter, entry_id: int | None, limit: int
) -> list[AuditRecord]:
    """Return entries, newest first."""
    query = select(*COLUMNS).order_by(AuditEntry.id.desc()).limit(limit)
    if not wanted.of_service:
        query = query.where(AuditEntry.action.not_like(f"{OF_SERVICE}%"))
    if wanted.action is not None:
        query = query.where(AuditEntry.action == wanted.action)
    if wanted.pool is not None:
        query = query.where(AuditEntry.pool == wanted.pool)
    if wanted.since is not None:
        query = query.where(AuditEntry.at >= wanted.since, AuditEntry.id >= _id_of(wanted.since) - ASTRAY)
    if wanted.until is not None:
        end = case((_FAR_BACK, _LAST), else_=_id_of(wanted.until) + ASTRAY)
        query = query.where(AuditEntry.at < wanted.until, AuditEntry.id <= end)
    if entry_id is not None:
        query = query.where(AuditEntry.id < entry_id)
    return records.all_of(await connection.execute(query), AuditRecord)
