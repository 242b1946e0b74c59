"""What `vouchers check` asks."""

from sqlalchemy.ext.asyncio import AsyncConnection

from app.check import queries


async def violations(connection: AsyncConnection) -> list[str]:
    """The invariants that are broken, each with how often and an example; empty where all is well.

    The database is asked for one snapshot, so that work under way does no harm to the answer, nor the answer to it.
    """
    names = list(queries.INVARIANTS)
    return [
        f"{names[row.place]}: {row.n} (such as {row.example})" for row in await queries.violations(connection)
    ]
