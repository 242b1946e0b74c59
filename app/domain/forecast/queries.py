"""SQL of the stock history and of what was assigned lately."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.forecast.schemas import HourRecord
from app.platform import records

COUNTS = ("available", "reserved", "assigned", "redeemed", "expired", "void", "given_besides")
_SUMS = ", ".join(f"sum({column}) AS {column}" for column in COUNTS)
_NOW = ", ".join(f"due.now_{column}" for column in COUNTS)
_AS_BEFORE = " AND ".join(f"coalesce(last.{column}, 0) = now.{column}" for column in COUNTS)

# Whoever comes first in an hour writes what there is to write; those after find it there. A late one writes what it
# sees, and when. A pool in which nothing changed gets no row: its last one says until when it was so. A pool that is
# being deleted is passed over. All of it is by keys, in every project that the connection sees.
KEEP = text(f"""
WITH slice AS MATERIALIZED (
    SELECT project_id, id AS pool_id FROM pool WHERE (project_id, id) > (:project_id, :pool_id)
    ORDER BY project_id, id LIMIT :most
), due AS MATERIALIZED (
    SELECT slice.*, last.place, {", ".join(f"now.{column} AS now_{column}" for column in COUNTS)},
        last.place IS NOT NULL AND {_AS_BEFORE} AS as_before
    FROM slice LEFT JOIN LATERAL (
        SELECT ctid AS place, coalesce(same_until, hour) AS seen_at, {", ".join(COUNTS)}
        FROM stock_history AS history
        WHERE history.project_id = slice.project_id AND history.pool_id = slice.pool_id ORDER BY hour DESC LIMIT 1
    ) AS last ON true CROSS JOIN LATERAL (
        SELECT {_SUMS} FROM stock WHERE stock.project_id = slice.project_id AND stock.pool_id = slice.pool_id
    ) AS now
    WHERE (last.place IS NULL OR last.seen_at < date_trunc('hour', now())) AND now.available IS NOT NULL
), same AS (
    UPDATE stock_history SET same_until = now()
    WHERE ctid = ANY (ARRAY(SELECT place FROM due WHERE as_before))
), changed AS MATERIALIZED (
    SELECT due.* FROM due JOIN pool ON pool.project_id = due.project_id AND pool.id = due.pool_id
    WHERE NOT due.as_before FOR KEY SHARE OF pool SKIP LOCKED
), written AS (
    INSERT INTO stock_history (project_id, pool_id, hour, taken_at, {", ".join(COUNTS)})
    SELECT project_id, pool_id, date_trunc('hour', now()), now(), {_NOW} FROM changed AS due
    ON CONFLICT DO NOTHING
), gone AS (
    DELETE FROM stock_history WHERE ctid = ANY (ARRAY(
        SELECT old.place FROM due, LATERAL (
            SELECT ctid AS place FROM stock_history AS history
            WHERE history.project_id = due.project_id AND history.pool_id = due.pool_id
                AND history.hour < now() - make_interval(days => :days)
                AND coalesce(history.same_until, history.hour) < now() - make_interval(days => :days)
            LIMIT 100
        ) AS old
    ))
)
SELECT (SELECT count(*) FROM due) AS due, slice.project_id, slice.pool_id,
    (SELECT count(*) FROM slice) < :most AS is_last
FROM slice ORDER BY slice.project_id DESC, slice.pool_id DESC LIMIT 1
""")  # noqa: S608  (made of constants)

# Vouchers given for good since some time: what was given by now, less what was given by then. What was given by then is
# in the last row taken before, which may have been seen to hold for longer; nothing was at the pool's beginning. A
# reservation is not given. What was given and made void since was given all the same, and what was used without ever
# being given was not (`given_besides`).
DRAWN = text("""
SELECT pool.id AS pool_id, window_start,
    CASE WHEN back_then.seen_at IS NULL THEN pool.created_at ELSE LEAST(back_then.seen_at, window_start) END AS since,
    out_now.drawn - COALESCE(back_then.drawn, 0) AS drawn
FROM pool
CROSS JOIN unnest(CAST(:starts AS timestamptz[])) AS window_start
CROSS JOIN LATERAL (
    SELECT sum(assigned + redeemed + given_besides)::bigint AS drawn FROM stock
    WHERE project_id = :project AND pool_id = pool.id
) AS out_now
LEFT JOIN LATERAL (
    SELECT coalesce(same_until, taken_at) AS seen_at, assigned + redeemed + coalesce(given_besides, 0) AS drawn
    FROM stock_history
    WHERE project_id = :project AND pool_id = pool.id AND taken_at <= window_start AND hour <= window_start
    ORDER BY hour DESC LIMIT 1
) AS back_then ON true
WHERE pool.project_id = :project AND pool.id = ANY (CAST(:pool_ids AS bigint[]))
ORDER BY window_start
""")

HISTORY = text("""
SELECT seen.hour, CASE WHEN seen.hour = kept.hour THEN kept.taken_at ELSE seen.hour END AS taken_at,
    available, reserved, assigned, redeemed, expired, void
FROM (
    SELECT * FROM stock_history
    WHERE project_id = :project AND pool_id = :pool_id AND hour < coalesce(:before, 'infinity'::timestamptz)
    ORDER BY hour DESC LIMIT :most
) AS kept, LATERAL generate_series(
    kept.hour, greatest(kept.hour, date_trunc('hour', kept.same_until)), interval '1 hour'
) AS seen (hour)
WHERE seen.hour < coalesce(:before, 'infinity'::timestamptz)
ORDER BY seen.hour DESC LIMIT :most
""")


@dataclass(frozen=True, slots=True)
class Kept:
    """What one look at some pools came to."""

    due: int
    """How many had not been looked at in this hour."""
    project_id: int
    pool_id: int
    """The last that was looked at."""
    is_last: bool
    """Whether there are none behind it."""


async def keep(connection: AsyncConnection, after: tuple[int, int], most: int, days: int) -> Kept | None:
    """Note this hour's stock of some pools behind a project and a pool, and forget rows older than so many days.

    Returns:
        What it came to; None where there is no pool behind that.
    """
    parameters = {"project_id": after[0], "pool_id": after[1], "most": most, "days": days}
    return records.any_of(await connection.execute(KEEP, parameters), Kept)


# The newest rows of the ledger, read backwards by its index and never more than :most of them: where there are more,
# the rate is that of the shorter time that they took. What was reserved and made void was never given, and what was
# given elsewhere was not drawn here.
LATELY = text("""
SELECT count(*) AS read, min(assigned_at) AS first,
    count(*) FILTER (
        WHERE released_at IS NULL AND lease_until IS NULL AND given_elsewhere IS NULL
            AND (lease_seconds IS NULL OR EXISTS (
                SELECT FROM voucher
                WHERE voucher.project_id = :project AND voucher.code = newest.code AND voucher.assigned_at IS NOT NULL
            ))
    ) AS given
FROM (
    SELECT code, assigned_at, released_at, given_elsewhere, lease_until, lease_seconds FROM assignment
    WHERE project_id = :project AND pool_id = :pool_id AND assigned_at >= :since
    ORDER BY assigned_at DESC LIMIT :most
) AS newest
""")


@dataclass(frozen=True, slots=True)
class Given:
    """How many vouchers were given for good since a moment, and did not come back."""

    since: datetime
    n: int


async def given_lately(connection: AsyncConnection, pool_id: int, since: datetime, most: int) -> Given:
    """Count in the ledger what was given since then; from a later moment on where that is more than `most` rows."""
    row = (await connection.execute(LATELY, {"pool_id": pool_id, "since": since, "most": most})).one()
    return Given(row.first if row.read == most else since, row.given)


async def given_since(connection: AsyncConnection, pool_id: int, starts: Sequence[datetime]) -> list[Given]:
    """For each start, count what was given since the last moment before it whose stock is known."""
    rows = await connection.execute(DRAWN, {"pool_ids": [pool_id], "starts": list(starts)})
    return [Given(row.since, row.drawn) for row in rows]


async def given_of_each(
    connection: AsyncConnection, pool_ids: Sequence[int], start: datetime
) -> dict[int, Given]:
    """Count for each pool what was given since the last moment before the start whose stock is known."""
    rows = await connection.execute(DRAWN, {"pool_ids": list(pool_ids), "starts": [start]})
    return {row.pool_id: Given(row.since, row.drawn) for row in rows}


async def history(
    connection: AsyncConnection, pool_id: int, before: datetime | None, limit: int
) -> list[HourRecord]:
    """Return the stock of a pool hour by hour, newest first."""
    parameters = {"pool_id": pool_id, "before": before, "most": limit}
    return records.all_of(await connection.execute(HISTORY, parameters), HourRecord)
