"""SQL of changes of many vouchers: what was asked for, and how far it is. `lifecycle/many.py` makes the change."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.changes.schemas import ChangeRecord
from app.domain.lifecycle.many import MATCHES, Wanted
from app.platform import jobs, keyset, records
from app.schema.base import VoucherStatus
from app.schema.changes import BulkChange, BulkChangeCode
from app.schema.imports import Import
from app.schema.inventory import ANY_STATE
from app.schema.projects import own_columns

CHANGES = select(*own_columns(BulkChange))


async def add(connection: AsyncConnection, values: Mapping[str, object]) -> bool:
    """Store what was asked for; return False where the id is there already."""
    query = insert(BulkChange).values(values).on_conflict_do_nothing().returning(BulkChange.id)
    return (await connection.execute(query)).first() is not None


ADD_CODES = text("""
INSERT INTO bulk_change_code (project_id, change_id, n, code)
SELECT :project, CAST(:change_id AS uuid), -(CAST(:start AS bigint) + place), code
FROM unnest(CAST(:codes AS text[])) WITH ORDINALITY AS given (code, place)
""")


async def add_codes(
    connection: AsyncConnection, change_id: uuid.UUID, start: int, codes: Sequence[str]
) -> None:
    """Keep codes that were given, the first of them at the place after `start`."""
    await connection.execute(ADD_CODES, {"change_id": change_id, "start": start, "codes": list(codes)})


async def by_id(connection: AsyncConnection, change_id: uuid.UUID) -> ChangeRecord | None:
    """Return a change."""
    query = CHANGES.where(BulkChange.id == change_id)
    return records.any_of(await connection.execute(query), ChangeRecord)


async def list_page(
    connection: AsyncConnection, key: tuple[datetime, uuid.UUID] | None, limit: int
) -> list[ChangeRecord]:
    """Return changes, newest first."""
    order = (BulkChange.created_at, BulkChange.id)
    query = keyset.page(CHANGES, order, key, limit, newest_first=True)
    return records.all_of(await connection.execute(query), ChangeRecord)


_LEFT = jobs.left_behind("bulk_change", "change_id")
LEFT_IN = text(f"SELECT DISTINCT project_id FROM bulk_change WHERE {_LEFT}")  # noqa: S608  (made of constants)
"""Projects in which changes may have been left behind."""
_LEFT_BEHIND = text(f"SELECT id FROM bulk_change WHERE project_id = :project AND {_LEFT}")  # noqa: S608  (see above)


async def left_behind(connection: AsyncConnection) -> Sequence[uuid.UUID]:
    """Return changes that have not ended and have no job. One may be under way: it can run twice at a time."""
    return (await connection.execute(_LEFT_BEHIND)).scalars().all()


async def pool_of_import(connection: AsyncConnection, import_id: uuid.UUID) -> tuple[bool, int | None]:
    """Return whether there is such an import, and the pool that it brought codes into."""
    row = (await connection.execute(select(Import.pool_id).where(Import.id == import_id))).one_or_none()
    return row is not None, row and row.pool_id


async def lock(connection: AsyncConnection, change_id: uuid.UUID) -> ChangeRecord | None:
    """Return a change, which nobody else changes until the transaction ends."""
    query = CHANGES.where(BulkChange.id == change_id).with_for_update()
    return records.any_of(await connection.execute(query), ChangeRecord)


async def put(connection: AsyncConnection, change_id: uuid.UUID, **values: object) -> None:
    """Set columns of a change."""
    await connection.execute(update(BulkChange).where(BulkChange.id == change_id).values(values))


async def end(connection: AsyncConnection, change_id: uuid.UUID, status: str, error: str | None) -> None:
    """End a change, and forget whom and what it named."""
    await put(connection, change_id, status=status, error=error, customer_ids=None, finished_at=func.now())
    await connection.execute(delete(BulkChangeCode).where(BulkChangeCode.change_id == change_id))


CLEAR = text("DELETE FROM bulk_change_code WHERE project_id = :project AND change_id = :change_id AND n > 0")
# In the order in which the vouchers lie in the table: neighbours are changed together.
_BY_CODES = """
SELECT asked.code FROM (
    SELECT DISTINCT code FROM bulk_change_code WHERE project_id = :project AND change_id = :change_id AND n < 0
) AS asked LEFT JOIN voucher ON voucher.project_id = :project
    AND voucher.code = asked.code ORDER BY voucher.draw_key, asked.code"""
_BY_ASSIGNMENT = f"""
SELECT voucher.code FROM assignment AS given
JOIN voucher ON voucher.project_id = :project AND voucher.code = given.code
WHERE given.project_id = :project AND given.released_at IS NULL AND voucher.assignment_id = given.id
    AND {{whose}} AND {MATCHES}
ORDER BY voucher.draw_key"""  # noqa: S608  (made of constants)
_BY_POOL = f"""
SELECT voucher.code FROM voucher
LEFT JOIN assignment AS given ON given.project_id = :project AND given.id = voucher.assignment_id
WHERE voucher.project_id = :project AND voucher.pool_id = CAST(:pool_id AS bigint) AND {ANY_STATE} AND {MATCHES}
ORDER BY voucher.status, voucher.draw_key"""  # noqa: S608  (made of constants)


async def list_codes(
    connection: AsyncConnection, wanted: Wanted, *, codes_given: bool, most: int | None = None
) -> int:
    """List the vouchers that a filter meets, of those that move at most so many, at places from 1 on; how many."""
    if wanted.to_pool_id is not None and not codes_given and wanted.status is None:
        wanted = replace(wanted, status=VoucherStatus.AVAILABLE)
    if codes_given:
        found = _BY_CODES
    elif wanted.customer_ids is not None:
        found = _BY_ASSIGNMENT.format(whose="given.customer_id = ANY (CAST(:customer_ids AS text[]))")
    elif wanted.campaign_id is not None:
        found = _BY_ASSIGNMENT.format(whose="given.campaign_id = CAST(:campaign_id AS text)")
    else:
        found = _BY_POOL
    parameters = {"change_id": wanted.change_id} | ({} if codes_given else wanted.parameters())
    await connection.execute(CLEAR, {"change_id": wanted.change_id})
    result = await connection.execute(
        text(f"""
INSERT INTO bulk_change_code (project_id, change_id, n, code)
SELECT :project, CAST(:change_id AS uuid), row_number() OVER (), code FROM ({found} LIMIT :most) AS found
"""),  # noqa: S608  (made of constants)
        parameters | {"most": most},
    )
    return result.rowcount


_WOULD_MOVE = text(f"""
SELECT voucher.pool_id, count(*) AS n FROM bulk_change_code AS listed
JOIN voucher ON voucher.project_id = :project AND voucher.code = listed.code
LEFT JOIN assignment AS given ON given.project_id = :project AND given.id = voucher.assignment_id
WHERE listed.project_id = :project AND listed.change_id = :change_id AND listed.n > 0
    AND voucher.status = 'available' AND voucher.pool_id <> CAST(:to_pool_id AS bigint) AND {MATCHES}
GROUP BY voucher.pool_id
""")  # noqa: S608  (made of constants)


async def would_move(connection: AsyncConnection, wanted: Wanted) -> dict[int, int]:
    """Return how many of the listed vouchers of a move are available, by the pool that they are in."""
    parameters = wanted.parameters() | {"change_id": wanted.change_id, "to_pool_id": wanted.to_pool_id}
    return {row.pool_id: row.n for row in await connection.execute(_WOULD_MOVE, parameters)}


async def codes_from(
    connection: AsyncConnection, change_id: uuid.UUID, position: int, limit: int
) -> list[str]:
    """Return the next codes of a change."""
    query = (
        select(BulkChangeCode.code)
        .where(BulkChangeCode.change_id == change_id, BulkChangeCode.n > position)
        .order_by(BulkChangeCode.n)
        .limit(limit)
    )
    return list((await connection.execute(query)).scalars())
