"""The rules of the audit."""

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.access.audit import queries
from app.domain.access.audit.schemas import AuditRecord, Filter
from app.domain.access.scopes import Caller

NO_KEY = "(no key)"
"""Name under which the command line and the service itself act."""


async def record(
    connection: AsyncConnection,
    caller: Caller | None,
    action: str,
    *,
    pool: str | None = None,
    **about: object,
) -> None:
    """Note what a key does, in the transaction that does it: both are committed, or neither.

    Args:
        connection: of the acting transaction.
        caller: whose key it was; None for the command line and the service itself.
        action: what was done, as `thing.done`: `pool.deleted`.
        pool: name of the pool that it was done to.
        about: more, as JSON takes it. No codes, and nothing that names a customer: entries are never erased.
    """
    await queries.add(
        connection,
        {
            "key_id": caller and caller.key_id,
            "key_name": caller.name if caller else NO_KEY,
            "action": action,
            "pool": pool,
            "details": about,
        },
    )


async def list_page(
    connection: AsyncConnection, wanted: Filter, entry_id: int | None, limit: int
) -> list[AuditRecord]:
    """Return entries, newest first, from the one before `entry_id` on."""
    return await queries.list_page(connection, wanted, entry_id, limit)
