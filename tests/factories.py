"""What tests begin with."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.access.keys import queries as keys
from app.domain.access.keys import service as auth
from app.domain.access.scopes import Scope
from app.domain.customers.events import NewEvent
from app.domain.pools import service as pools
from app.platform.database import transaction
from app.platform.ids import ordered_ids
from app.platform.projects import DEFAULT, everywhere

KEY = "test-key-0123456789-0123456789-0123456789"

FILL = text("""
INSERT INTO voucher (code, pool_id, draw_key)
SELECT code, :pool_id, hashtextextended(code, 0) FROM unnest(CAST(:codes AS text[])) AS code
""")
COUNT = text("UPDATE stock SET available = available + :n WHERE pool_id = :pool_id AND slot = 0")


async def add_key(
    engine: AsyncEngine, secret: str, *scopes: str, project_id: int = DEFAULT, name: str = "test"
) -> None:
    """A key with this secret."""
    row = auth._row(secret, name, map(Scope, scopes)) | {"project_id": project_id}
    async with transaction(engine) as connection:
        await keys.add_once(connection, row)


async def fill(engine: AsyncEngine, pool: str, codes: Iterable[str] | int) -> list[str]:
    """A pool with these codes available, or with as many codes as said."""
    codes = [f"{pool}-{n:06}" for n in range(codes)] if isinstance(codes, int) else list(codes)
    async with transaction(engine) as connection:
        pool_id = await pools.ensure(connection, pool)
        await connection.execute(FILL, {"pool_id": pool_id, "codes": codes})
        await connection.execute(COUNT, {"pool_id": pool_id, "n": len(codes)})
    return codes


async def add_projects(engine: AsyncEngine, *names: str) -> list[int]:
    """Projects with these names; their ids."""
    query = text("INSERT INTO project (name) SELECT unnest(CAST(:names AS text[])) RETURNING id")
    async with transaction(everywhere(engine)) as connection:
        return list((await connection.execute(query, {"names": list(names)})).scalars())


def new_event(
    customer_id: str, event_type: str, properties: dict[str, object], timestamp: datetime | None = None
) -> NewEvent:
    """An event that was sent without an id."""
    return NewEvent(*ordered_ids(1), customer_id, event_type, properties, timestamp, made=True)
