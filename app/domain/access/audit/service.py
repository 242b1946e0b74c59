"""The rules of the audit."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import cast

from procrastinate.types import JSONValue
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.access.audit import queries
from app.domain.access.audit.schemas import AuditRecord, Filter
from app.domain.access.scopes import Caller
from app.platform.databases import MAIN
from app.platform.jobs import enqueue

NO_KEY = "(no key)"
"""Name under which the command line and the service itself act."""
CARRY = "carry_audit"
"""The task that brings an entry to the database that its project lives in."""


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


async def record_at_home(
    connection: AsyncConnection,
    caller: Caller | None,
    action: str,
    *,
    pool: str | None = None,
    **about: object,
) -> None:
    """Note what is done to a project in the control database, where keys and projects stand.

    The entry is read where the project lives: at once, where that is here; else a job of this transaction carries it.
    """
    home = await queries.home(connection)
    if home is None or home.database_id == MAIN:
        await record(connection, caller, action, pool=pool, **about)
        return
    entry: dict[str, JSONValue] = {
        "key_id": str(caller.key_id) if caller else None,
        "key_name": caller.name if caller else NO_KEY,
        "action": action,
        "pool": pool,
        "details": cast("JSONValue", about),
        "at": home.now.isoformat(),
    }
    await enqueue(connection, CARRY, of=home.project_id, entry=entry)


async def put(connection: AsyncConnection, entry: Mapping[str, object]) -> None:
    """Store an entry that was carried here, unless it is here already."""
    key_id = entry["key_id"]
    await queries.put(
        connection,
        {
            **entry,
            "key_id": None if key_id is None else uuid.UUID(str(key_id)),
            "at": datetime.fromisoformat(str(entry["at"])),
        },
    )


async def list_page(
    connection: AsyncConnection, wanted: Filter, entry_id: int | None, limit: int
) -> list[AuditRecord]:
    """Return entries, newest first, from the one before `entry_id` on."""
    return await queries.list_page(connection, wanted, entry_id, limit)
