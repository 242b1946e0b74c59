"""The rules of erasure."""

from sqlalchemy.ext.asyncio import AsyncConnection

from app.erasure import queries


async def erase(connection: AsyncConnection, customer_id: str) -> dict[str, int]:
    """Remove a person from customers, events, assignments and redemptions; how many rows of each.

    What happened to the codes, and all counts, stay as they are. It may be repeated, and then finds nothing. The
    logs of deliveries name pools and counts, never customers.
    """
    return await queries.erase(connection, customer_id)
