"""SQL of the audit. Rows are added and read; nothing here changes or removes one."""

from collections.abc import Mapping

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.access.audit.schemas import AuditRecord, Filter
from app.platform import records
from app.schema.access import AuditEntry

COLUMNS = (
    AuditEntry.id,
    AuditEntry.at,
    AuditEntry.key_id,
    AuditEntry.key_name,
    AuditEntry.action,
    AuditEntry.pool,
    AuditEntry.details,
)


async def add(connection: AsyncConnection, values: Mapping[str, object]) -> None:
    """Add an entry."""
    await connection.execute(insert(AuditEntry).values(values))


async def list_page(
    connection: AsyncConnection, wanted: Filter, entry_id: int | None, limit: int
) -> list[AuditRecord]:
    """Return entries, newest first."""
    query = select(*COLUMNS).order_by(AuditEntry.id.desc()).limit(limit)
    if wanted.action is not None:
        query = query.where(AuditEntry.action == wanted.action)
    if wanted.pool is not None:
        query = query.where(AuditEntry.pool == wanted.pool)
    if wanted.since is not None:
        query = query.where(AuditEntry.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(AuditEntry.at < wanted.until)
    if entry_id is not None:
        query = query.where(AuditEntry.id < entry_id)
    return records.all_of(await connection.execute(query), AuditRecord)
