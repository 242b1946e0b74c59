"""SQL of draws that ask for life (`valid_for_seconds`): each statement passes over so many codes at the most.

What has an expiry is found by its index, from the moment on that is asked for. What has none is in no index of its
own, which would cost each import: it is looked for step by step, in draw order. The plain claim (claim.py) runs through
none of this.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.lifecycle.claim import Allowance, Locked
from app.domain.lifecycle.statements import END_AFTER
from app.platform import records

ROOM = text("""
SELECT pool.id AS pool_id, sum(available)::bigint AS available, LEAST(
    sum(available)::bigint, CASE WHEN max(holds) > 0 THEN CAST(:allowance AS bigint) END
) AS n, expires_after_days
FROM pool JOIN stock ON stock.project_id = :project AND stock.pool_id = pool.id
WHERE pool.project_id = :project AND name = :pool GROUP BY pool.project_id, pool.id
""")
COLUMNS = f"""ctid AS place, code, draw_key,
    LEAST(voucher.expires_at, (
        SELECT {END_AFTER} FROM pool WHERE project_id = :project AND id = :pool_id
    )) AS expires_at, attributes"""  # noqa: S608
UNTIL = "(SELECT now() + make_interval(secs => CAST(:valid_for AS double precision)))"
LONG_ENOUGH = f"(expires_at IS NULL OR expires_at > {UNTIL})"
OF_OTHERS = "code <> ALL (CAST(:ours AS text[]))"
LOCK = "FOR UPDATE SKIP LOCKED"

# Reads as far as it has to, `most` codes at the most, and then locks what it has chosen. Where that is too few, `last`
# is where it ended, and null where it came to the end.
_WALK = f"""
WITH chosen AS MATERIALIZED (
    SELECT code, draw_key FROM (
        SELECT code, draw_key, expires_at FROM voucher
        WHERE project_id = :project AND pool_id = :pool_id AND status = 'available'
            AND draw_key > :after AND draw_key <= :upto
        ORDER BY draw_key LIMIT :most
    ) AS near
    WHERE {LONG_ENOUGH} AND {OF_OTHERS} LIMIT :wanted
), found AS MATERIALIZED (
    SELECT {COLUMNS} FROM voucher
    WHERE project_id = :project AND code = ANY (ARRAY(SELECT code FROM chosen)) AND pool_id = :pool_id
        AND status = 'available'
        AND {LONG_ENOUGH} {{lock}}
)
SELECT summary.n, summary.last, found.* FROM (
    SELECT count(*) AS n, CASE WHEN count(*) < :wanted THEN (
        SELECT draw_key FROM voucher
        WHERE project_id = :project AND pool_id = :pool_id AND status = 'available'
            AND draw_key > :after AND draw_key <= :upto
        ORDER BY draw_key OFFSET :most - 1 LIMIT 1
    ) ELSE max(draw_key) END AS last
    FROM chosen
) AS summary LEFT JOIN found ON true
ORDER BY draw_key
"""  # noqa: S608  (made of constants)
_BY_EXPIRY = f"""
SELECT {COLUMNS} FROM voucher
WHERE project_id = :project AND pool_id = :pool_id AND status = 'available'
    AND expires_at IS NOT NULL AND expires_at > {UNTIL} AND {OF_OTHERS}
ORDER BY voucher.expires_at LIMIT :wanted {{lock}}
"""  # noqa: S608  (made of constants)
WALK = {lock: text(_WALK.format(lock=LOCK if lock else "")) for lock in (True, False)}
BY_EXPIRY = {lock: text(_BY_EXPIRY.format(lock=LOCK if lock else "")) for lock in (True, False)}


@dataclass(frozen=True, slots=True)
class Room:
    """A pool, and how much may be drawn from it."""

    pool_id: int
    available: int
    n: int
    """How many of them this draw may take."""
    expires_after_days: int | None
    """When a code ends for who gets it; None: by itself."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a draw looks for in a pool."""

    pool_id: int
    valid_for: int
    """Seconds that a code must hold at the least."""
    ours: Sequence[str]
    """Codes that it has already."""
    lock: bool
    """Whether they are locked until the transaction ends, or only shown."""


@dataclass(frozen=True, slots=True)
class Walked:
    """What a walk found."""

    rows: list[Locked]
    seen: int
    """How many codes held long enough; more than `rows` where others have locked some."""
    last: int | None
    """The draw key up to which it looked; None where it came to the end."""


async def room(connection: AsyncConnection, pool: str, allowance: Allowance) -> Room | None:
    """Return how much may be drawn from a pool; None where there is no such pool."""
    parameters = {"pool": pool, "allowance": allowance.n}
    return records.any_of(await connection.execute(ROOM, parameters), Room)


async def walk(
    connection: AsyncConnection, wanted: Wanted, n: int, between: tuple[int, int], most: int
) -> Walked:
    """Look through at most `most` codes between two draw keys for up to `n` that hold long enough."""
    after, upto = between
    parameters = {**_parameters(wanted, n), "after": after, "upto": upto, "most": most}
    rows = (await connection.execute(WALK[wanted.lock], parameters)).all()
    found = [Locked(*row[2:]) for row in rows if row.code is not None]
    return Walked(found, rows[0].n, rows[0].last)


async def by_expiry(connection: AsyncConnection, wanted: Wanted, n: int) -> list[Locked]:
    """Return up to `n` codes that expire, but late enough; those that expire first come first."""
    return await _found(connection, BY_EXPIRY[wanted.lock], wanted, n)


async def some_expire_late(connection: AsyncConnection, wanted: Wanted) -> bool:
    """Return whether there are codes that expire late enough, locked by others or not."""
    return bool(await _found(connection, BY_EXPIRY[False], wanted, 1))


async def _found(connection: AsyncConnection, statement: TextClause, wanted: Wanted, n: int) -> list[Locked]:
    return [Locked(*row) for row in await connection.execute(statement, _parameters(wanted, n))]


def _parameters(wanted: Wanted, n: int) -> dict[str, object]:
    return {
        "pool_id": wanted.pool_id,
        "valid_for": wanted.valid_for,
        "ours": list(wanted.ours),
        "wanted": n,
    }
