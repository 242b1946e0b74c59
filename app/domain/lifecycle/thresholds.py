"""SQL that notes which thresholds of alerts a pool's count has fallen to.

Counts fall by claims, which are many and note nothing. So whoever is about to lift a count notes first what it had
fallen to, in the same transaction: a threshold is told also where the count rose again before the sweep looked.
"""

from collections.abc import Sequence
from typing import LiteralString

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.lifecycle.stock import LEFT


def fall(pools: LiteralString, project: LiteralString = ":project") -> LiteralString:
    """Return SQL that lets thresholds fall that the counts of pools are at or below; it locks them before any count.

    Args:
        pools: SQL of their ids, for after an `IN`.
        project: SQL of theirs.
    """
    return f"""UPDATE alert_threshold SET fell_at = now(), available = sums.left_in
    FROM (
        SELECT pool_id, {LEFT.format(project=project, pool_id="stock.pool_id")} AS left_in
        FROM stock WHERE project_id = {project} AND pool_id IN {pools} GROUP BY pool_id
    ) AS sums
    WHERE alert_threshold.project_id = {project} AND alert_threshold.pool_id = sums.pool_id AND fell_at IS NULL
        AND threshold >= sums.left_in"""  # noqa: S608


FALL = text(fall("(SELECT unnest(CAST(:pools AS bigint[])))"))


async def note_fallen(connection: AsyncConnection, pools: Sequence[int]) -> None:
    """Note what the counts of these pools have fallen to, before they are lifted."""
    await connection.execute(FALL, {"pools": list(pools)})
