"""SQL of rendering."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.customers.events import ERASED
from app.domain.lifecycle.statements import END_AFTER
from app.schema.inventory import Voucher
from app.schema.ledger import MessageDefault, MessageSeen


async def defaults(connection: AsyncConnection, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Return the defaults that were shown under these ids."""
    query = select(MessageDefault.id, MessageDefault.code).where(MessageDefault.id == func.any(list(ids)))
    return {row.id: row.code for row in await connection.execute(query)}


async def add_defaults(connection: AsyncConnection, codes: Mapping[uuid.UUID, str]) -> None:
    """Note the defaults that were shown."""
    await connection.execute(
        insert(MessageDefault), [{"id": id_, "code": code} for id_, code in codes.items()]
    )


async def existing(connection: AsyncConnection, codes: Sequence[str]) -> set[str]:
    """Return those of these codes that there are, in whatever state."""
    query = select(Voucher.code).where(Voucher.code == func.any(list(codes)))
    return set((await connection.execute(query)).scalars())


# What is available is about to be given by this message: its pool may end it sooner then.
ABOUT = text(f"""
SELECT code, attributes,
    CASE WHEN status = 'available' THEN LEAST(expires_at, {END_AFTER}) ELSE expires_at END AS expires_at
FROM voucher JOIN pool ON pool.project_id = :project AND pool.id = voucher.pool_id
WHERE voucher.project_id = :project AND code = ANY (CAST(:codes AS text[]))
""")  # noqa: S608  (made of constants)


async def about(connection: AsyncConnection, codes: Sequence[str]) -> dict[str, dict[str, object]]:
    """Return what a template may ask of these codes, where there is something to say."""
    found: dict[str, dict[str, object]] = {}
    for row in await connection.execute(ABOUT, {"codes": list(codes)}):
        about: dict[str, object] = {}
        if row.expires_at is not None:
            about["expires_at"] = row.expires_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
        if row.attributes is not None:
            about["attributes"] = row.attributes
        if about:
            found[row.code] = about
    return found


async def seen(
    connection: AsyncConnection, ids: Sequence[uuid.UUID], *, lock: bool = False
) -> dict[uuid.UUID, dict[str, object]]:
    """Return what the messages with these ids saw."""
    query = select(MessageSeen.id, MessageSeen.seen).where(MessageSeen.id == func.any(list(ids)))
    if lock:
        query = query.with_for_update()
    return {row.id: row.seen for row in await connection.execute(query)}


SEEN_OR_ERASED = text(f"""
SELECT id, seen FROM message_seen WHERE project_id = :project AND id = ANY (CAST(:ids AS uuid[]))
UNION ALL
SELECT id, jsonb_build_object('erased', true) FROM unnest(CAST(:ids AS uuid[])) AS asked (id)
WHERE {ERASED.format(id="CAST(asked.id AS text)", condition="true")}
""")  # noqa: S608  (made of constants)


async def seen_or_erased(
    connection: AsyncConnection, ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, dict[str, object]]:
    """Return what the messages with these ids saw, or of one that was erased with its customer just that."""
    return {row.id: row.seen for row in await connection.execute(SEEN_OR_ERASED, {"ids": list(ids)})}


async def add_seen(connection: AsyncConnection, rows: Sequence[Mapping[str, object]]) -> None:
    """Note what messages saw (`id`, `customer_id`, `seen`). One that is there already is a conflict."""
    await connection.execute(insert(MessageSeen), list(rows))


async def change_seen(connection: AsyncConnection, id_: uuid.UUID, value: Mapping[str, object]) -> None:
    """Replace what a message saw by more of it."""
    await connection.execute(update(MessageSeen).where(MessageSeen.id == id_).values(seen=dict(value)))


LOCK_NODE = text(
    "SELECT pg_advisory_xact_lock(hashtext('node'), hashtext(concat_ws(':', :project, CAST(:customer AS text))))"
)
LOCK_CUSTOMER = text("SELECT id FROM customer WHERE project_id = :project AND id = :customer FOR UPDATE")


async def lock_customer(connection: AsyncConnection, customer_id: str) -> None:
    """Let the nodes of one customer run one after another, until the transaction ends."""
    await connection.execute(text("SET LOCAL lock_timeout = '10s'"))
    await connection.execute(LOCK_NODE, {"customer": customer_id})
    await connection.execute(LOCK_CUSTOMER, {"customer": customer_id})
