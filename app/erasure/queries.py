"""SQL of erasure."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# A message's or an event's id may tell who the person is, so these go too. What became of the codes stays.
ERASE = text("""
WITH customers AS (
    DELETE FROM customer WHERE id = :customer_id RETURNING id
), events AS (
    DELETE FROM event WHERE customer_id = :customer_id RETURNING id
), assignments AS (
    UPDATE assignment SET customer_id = NULL, message_id = NULL WHERE customer_id = :customer_id RETURNING id
), redemptions AS (
    UPDATE redemption SET customer_id = NULL, event_id = NULL
    WHERE customer_id = :customer_id RETURNING id
)
SELECT
    (SELECT count(*) FROM customers) AS customers, (SELECT count(*) FROM events) AS events,
    (SELECT count(*) FROM assignments) AS assignments, (SELECT count(*) FROM redemptions) AS redemptions
""")


async def erase(connection: AsyncConnection, customer_id: str) -> dict[str, int]:
    """Remove a customer from every table; how many rows of each."""
    row = (await connection.execute(ERASE, {"customer_id": customer_id})).one()
    return dict(row._mapping)  # noqa: SLF001  (public, by SQLAlchemy's convention)
