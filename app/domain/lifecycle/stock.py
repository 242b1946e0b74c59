"""Which row of a pool's stock a process writes to. Who changes a voucher's state changes the stock."""

import os
import random

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.schema.inventory import STOCK_SLOTS

SLOT = os.getpid() % STOCK_SLOTS
"""The slot of this process: processes write to different rows, and so do not wait for each other."""


def another_slot() -> int:
    """Return a slot for a transaction that takes long: not that of this process, whose claims would wait for it."""
    return (SLOT + random.randrange(1, STOCK_SLOTS)) % STOCK_SLOTS  # noqa: S311  (spreads writers, no secret)


HOLD_STANDS = "(hold.expires_at IS NULL OR hold.expires_at > now())"
"""SQL: whether a `hold` has not expired."""
HELD = f"""(
    SELECT coalesce(sum(hold.size - hold.drawn), 0)::bigint FROM hold
    WHERE hold.project_id = {{project}} AND hold.pool_id = {{pool_id}} AND {HOLD_STANDS}
)"""  # noqa: S608  (made of constants)
"""SQL: how many vouchers the holds of a pool still keep."""
LEFT = f"greatest(sum(stock.available)::bigint - {HELD}, 0)"
"""SQL: how many of the `stock` of a pool anybody may draw; none where fewer are left than its holds keep."""

OPEN = text("""
INSERT INTO stock (project_id, pool_id, slot) SELECT :project, :pool_id, generate_series(0, :slots - 1)
""")

REFRESH = text("""
UPDATE stock SET holds = active.n
FROM (
    SELECT (SELECT count(*) FROM hold WHERE project_id = :project AND pool_id = :pool_id AND drawn < size) + (
        SELECT count(per_customer) + count(expires_after_days) FROM pool WHERE project_id = :project AND id = :pool_id
    ) AS n
) AS active
WHERE project_id = :project AND pool_id = :pool_id AND holds <> active.n
""")


async def open_slots(connection: AsyncConnection, pool_id: int) -> None:
    """Give a new pool its stock: every slot, all counts zero."""
    await connection.execute(OPEN, {"pool_id": pool_id, "slots": STOCK_SLOTS})


async def refresh(connection: AsyncConnection, pool_id: int) -> None:
    """Tell the claim how many holds and rules there are: waits for claims under way; those after it see the number."""
    await connection.execute(REFRESH, {"pool_id": pool_id})
