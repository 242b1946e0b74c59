"""SQL of customers' ids, wherever one stands."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.platform.database import READS_ALL

# Python decides what an id would be; this leaves out those of which it surely is the same.
SPELT_OTHERWISE = text("""
SELECT DISTINCT id FROM (
    SELECT id FROM customer WHERE project_id = :project
    UNION ALL SELECT customer_id FROM assignment WHERE project_id = :project AND customer_id IS NOT NULL
    UNION ALL SELECT customer_id FROM event WHERE project_id = :project
    UNION ALL SELECT customer_id FROM redemption WHERE project_id = :project
) AS known (id)
WHERE id IS NOT NULL AND (id <> lower(id) OR id ~ '^\\s|\\s$') ORDER BY id
""")


async def spelt_otherwise(connection: AsyncConnection) -> Sequence[str]:
    """Return the ids that are not trimmed and in lower case, by and large."""
    await connection.execute(text(READS_ALL))
    return (await connection.execute(SPELT_OTHERWISE)).scalars().all()


TAKEN = text("""
SELECT id FROM unnest(CAST(:ids AS text[])) AS asked (id)
WHERE EXISTS (SELECT FROM tracked_id WHERE project_id = :project AND customer_id = asked.id)
    OR EXISTS (SELECT FROM customer_alias WHERE project_id = :project AND customer_alias.id = asked.id)
    OR EXISTS (SELECT FROM customer WHERE project_id = :project AND customer.id = asked.id)
    OR EXISTS (SELECT FROM assignment WHERE project_id = :project AND customer_id = asked.id)
    OR EXISTS (SELECT FROM event WHERE project_id = :project AND customer_id = asked.id)
    OR EXISTS (SELECT FROM redemption WHERE project_id = :project AND customer_id = asked.id)
    OR EXISTS (SELECT FROM message_seen WHERE project_id = :project AND customer_id = asked.id)
""")


async def taken(connection: AsyncConnection, ids: Sequence[str]) -> set[str]:
    """Return those of these ids under which anything is kept."""
    return set((await connection.execute(TAKEN, {"ids": list(ids)})).scalars())
