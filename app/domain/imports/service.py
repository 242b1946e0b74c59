"""The rules of imports, as requests see them: what is told of them, and what may be done with one."""

import uuid
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.access.audit import service as audit
from app.domain.access.scopes import Caller
from app.domain.imports import queries
from app.domain.imports.errors import (
    ImportEndedError,
    ImportNotFinishedError,
    ImportNotFoundError,
)
from app.domain.imports.schemas import IgnoredRecord, ImportRecord, LastImport, RejectRecord
from app.domain.lifecycle import order, suspicious
from app.domain.pools import service as pools
from app.domain.pools.errors import PoolNotFoundError
from app.platform.metrics import Reading
from app.schema.base import ImportStatus

CANCELLED = "It was cancelled."
ENDED = {ImportStatus.SUCCEEDED, ImportStatus.FAILED}


async def get(connection: AsyncConnection, import_id: uuid.UUID) -> ImportRecord:
    """Return an import.

    Raises:
        ImportNotFoundError: there is none of this id.
    """
    row = await queries.by_id(connection, import_id)
    if row is None:
        raise ImportNotFoundError(f"There is no import {import_id}.")
    return row


async def list_page(
    connection: AsyncConnection,
    pool: str | None,
    schedule_id: uuid.UUID | None,
    key: queries.Key | None,
    limit: int,
) -> list[ImportRecord]:
    """Return imports, the newest first."""
    return await queries.list_page(connection, pool, schedule_id, key, limit)


async def list_rejects(
    connection: AsyncConnection, import_id: uuid.UUID, line: int, limit: int
) -> list[RejectRecord]:
    """Return rejects of an import, by line."""
    await get(connection, import_id)
    return await queries.list_rejects(connection, import_id, line, limit)


async def list_ignored(
    connection: AsyncConnection, import_id: uuid.UUID, line: int, limit: int
) -> list[IgnoredRecord]:
    """Return ignored rows of an import, by line."""
    await get(connection, import_id)
    return await queries.list_ignored(connection, import_id, line, limit)


async def under_way(connection: AsyncConnection, schedule_id: uuid.UUID) -> bool:
    """Tell whether an import of a schedule has not ended."""
    return await queries.under_way(connection, schedule_id)


async def last_of_pools(connection: AsyncConnection, pool_ids: Sequence[int]) -> dict[int, LastImport]:
    """Return the last import of each of these pools that has one, by the pool's id."""
    return {row.pool_id: row for row in await queries.last_of_pools(connection, pool_ids)}


async def cancel(connection: AsyncConnection, caller: Caller | None, import_id: uuid.UUID) -> ImportRecord:
    """Cancel an import that is queued or under way; what it has imported so far stays, and can be undone.

    Its job notices within a second, and deletes what it had stored.

    Raises:
        ImportNotFoundError: there is none of this id.
        ImportEndedError: it has ended.
    """
    pool = await queries.cancel(connection, import_id, CANCELLED)
    if pool is None:
        await get(connection, import_id)
        raise ImportEndedError("The import has ended. Undo it, where it brought codes.")
    row = await get(connection, import_id)
    if not row.dry_run:
        about: dict[str, object] = {"pool": pool, "import_id": str(import_id), "status": str(row.status)}
        await order.record(connection, pool, "import.finished", about)
    await audit.record(connection, caller, "import.cancelled", pool=pool, import_id=str(import_id))
    return await get(connection, import_id)


async def accept_suspicious(
    connection: AsyncConnection, caller: Caller | None, import_id: uuid.UUID
) -> ImportRecord:
    """Take the values of an import that were set aside after all; return the import as it is then.

    A row that tells that its code was given elsewhere stays set aside: it would be a code that anybody may draw.

    Raises:
        ImportNotFinishedError: it is still under way.
        PoolNotFoundError: the pool was deleted.
    """
    # The pool first, as who deletes it does: then it is not deleted under codes that come in.
    await pools.keep(connection, (await get(connection, import_id)).pool)
    row = await queries.lock(connection, import_id)
    if row is None:
        raise ImportNotFoundError(f"There is no import {import_id}.")
    if row.status not in ENDED:
        raise ImportNotFinishedError("The import is still under way; accept them when it has ended.")
    if row.pool_id is None and not row.dry_run:
        raise PoolNotFoundError(row.pool)
    accepted = {"imported": 0, "ignored": 0, "in_other_pool": 0}
    if row.suspicious and not row.dry_run:
        accepted = await suspicious.take(connection, import_id)
        await audit.record(
            connection,
            caller,
            "import.suspicious_accepted",
            pool=row.pool,
            import_id=str(import_id),
            **accepted,
        )
    return await get(connection, import_id)


async def can_accept(connection: AsyncConnection, found: ImportRecord) -> bool:
    """Tell whether any value of an import that was set aside can be taken."""
    return found.suspicious > 0 and not found.dry_run and await suspicious.any_left(connection, found.id)


async def state(connection: AsyncConnection) -> list[Reading]:
    """Return how many imports have not ended, and for how long the oldest is there."""
    under_way, age = await queries.not_ended(connection)
    return [
        Reading("vouchers_imports_under_way", "Imports that have not ended", under_way),
        Reading("vouchers_import_oldest_seconds", "How long ago the oldest of these was asked for", age),
    ]
