"""SQL by which vouchers return to the holds that they were drawn from.

Who draws from a hold or returns to one locks its pool first, before any voucher or count, as all work on holds does.
"""

import uuid
from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.lifecycle import stock

LOCK_OF_THESE = text("""
SELECT id FROM pool WHERE project_id = :project AND id IN (
    SELECT pool_id FROM assignment
    WHERE project_id = :project AND id = ANY (CAST(:ids AS uuid[])) AND hold_id IS NOT NULL
) ORDER BY id FOR NO KEY UPDATE
""")
LOCK_OF_LAPSED = text("""
SELECT id FROM pool WHERE project_id = :project AND id IN (
    SELECT pool_id FROM (
        SELECT pool_id, hold_id FROM assignment
        WHERE project_id = :project AND lease_until <= now() ORDER BY lease_until LIMIT :most
    ) AS lapsed WHERE hold_id IS NOT NULL
) ORDER BY id FOR NO KEY UPDATE
""")
LOCK_OF_CODES = text("""
SELECT id FROM pool WHERE project_id = :project AND id IN (
    SELECT given.pool_id FROM voucher
    JOIN assignment AS given ON given.project_id = :project AND given.id = voucher.assignment_id
    WHERE voucher.project_id = :project AND voucher.code = ANY (CAST(:codes AS text[])) AND given.hold_id IS NOT NULL
) ORDER BY id FOR NO KEY UPDATE
""")
GIVE_BACK = text("""
UPDATE hold SET drawn = drawn - back.n
FROM (
    SELECT hold_id, count(*) AS n FROM assignment
    WHERE project_id = :project AND id = ANY (CAST(:ids AS uuid[])) GROUP BY hold_id
) AS back
WHERE hold.project_id = :project AND hold.id = back.hold_id
RETURNING pool_id
""")


async def lock_pools_of(connection: AsyncConnection, assignment_ids: Sequence[uuid.UUID]) -> None:
    """Lock the pools of these assignments whose vouchers were drawn from holds."""
    await connection.execute(LOCK_OF_THESE, {"ids": list(assignment_ids)})


async def lock_pools_of_lapsed(connection: AsyncConnection, most: int) -> list[int]:
    """Lock the pools to whose holds vouchers return among the first `most` leases that have lapsed; their ids."""
    return list((await connection.execute(LOCK_OF_LAPSED, {"most": most})).scalars())


async def lock_pools_of_codes(connection: AsyncConnection, codes: Sequence[str]) -> set[int]:
    """Lock the pools to whose holds these codes would return; their ids."""
    return set((await connection.execute(LOCK_OF_CODES, {"codes": list(codes)})).scalars())


async def give_back(connection: AsyncConnection, assignment_ids: Sequence[uuid.UUID]) -> None:
    """Count vouchers that came back as not drawn from their holds. A hold that has ended gets nothing."""
    pools = (await connection.execute(GIVE_BACK, {"ids": list(assignment_ids)})).scalars()
    for pool_id in set(pools):
        await stock.refresh(connection, pool_id)
