"""SQL of ids that are one person."""

from collections.abc import Sequence

from psycopg import Connection
from psycopg.rows import TupleRow
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.persons.schemas import AliasRecord
from app.platform import records

MERGES = 7_246_553
"""Number of the advisory lock that a merge holds from its first mark to its end."""

PERSONS = text("""
SELECT alias.id AS asked, alias.customer_id AS id, alias.merging, ARRAY(
    SELECT other.id FROM customer_alias AS other
    WHERE other.customer_id = alias.customer_id AND other.id <> other.customer_id ORDER BY other.id
) AS aliases
FROM customer_alias AS alias WHERE alias.id = ANY (CAST(:ids AS text[]))
""")
NO_MERGE = text(f"SELECT pg_try_advisory_xact_lock_shared({MERGES})")
ALONE = text(f"SELECT pg_try_advisory_xact_lock({MERGES})")
# What a merge that came to nothing has marked is marked still: whoever is alone takes that off.
MARK = text("""
WITH stale AS (
    UPDATE customer_alias SET merging = false
    WHERE merging AND customer_id <> ALL (CAST(:ids AS text[]))
)
INSERT INTO customer_alias (id, customer_id, merging)
SELECT id, id, true FROM unnest(CAST(:ids AS text[])) AS concerned (id)
UNION ALL SELECT id, customer_id, true FROM customer_alias
    WHERE customer_id = ANY (CAST(:ids AS text[])) AND id <> ALL (CAST(:ids AS text[]))
ON CONFLICT (id) DO UPDATE SET merging = true
""")
LEAD = text(
    "UPDATE customer_alias SET customer_id = :into, merging = false WHERE customer_id IN (:into, :of)"
)
FORGET = text("DELETE FROM customer_alias WHERE customer_id = :id")


async def persons(connection: AsyncConnection, ids: Sequence[str]) -> list[AliasRecord]:
    """Return whom those of these ids stand for that a merge has concerned."""
    return records.all_of(await connection.execute(PERSONS, {"ids": list(ids)}), AliasRecord)


async def nobody_merges(connection: AsyncConnection) -> bool:
    """Tell whether no merge is under way; where that is so, none begins until the transaction ends."""
    return bool((await connection.execute(NO_MERGE)).scalar_one())


def nobody_merges_on(connection: Connection[TupleRow]) -> bool:
    """Tell the same on a connection of the driver."""
    row = connection.execute("SELECT pg_try_advisory_xact_lock_shared(%s)", (MERGES,)).fetchone()
    return row is not None and bool(row[0])


async def try_alone(connection: AsyncConnection) -> bool:
    """Be the only merge until the transaction ends; return False where there is another one."""
    return bool((await connection.execute(ALONE)).scalar_one())


async def mark(connection: AsyncConnection, ids: Sequence[str]) -> None:
    """Mark persons, with all of their ids, as being merged."""
    await connection.execute(MARK, {"ids": list(ids)})


async def lead(connection: AsyncConnection, of: str, into: str) -> None:
    """Let a person's ids lead to another person, and take the marks off."""
    await connection.execute(LEAD, {"of": of, "into": into})


async def forget(connection: AsyncConnection, customer_id: str) -> None:
    """Delete the ids of a person."""
    await connection.execute(FORGET, {"id": customer_id})
