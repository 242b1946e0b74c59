"""SQL for codes that are looked at first, and taken later by one statement as far as they are still there.

A message shows its code, so the code has to be known before it is given. Who locks it first (`claim.lock`) needs a
transaction of four round trips; who only looks at it needs one, and finds out at the end whether others were faster.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text

from app.domain.lifecycle.requests import AssignmentRequest, to_json
from app.domain.lifecycle.statements import MERGED, REQUESTS, numbered, target, writing
from app.domain.lifecycle.stock import SLOT
from app.platform.driver_pool import ProjectConnections
from app.schema.inventory import NOT_EXPIRED

LOOK = text(f"""
SELECT code, draw_key FROM voucher
WHERE pool_id = (SELECT id FROM pool WHERE project_id = :project AND name = :pool)
    AND status = 'available' AND draw_key > :cursor AND {NOT_EXPIRED}
ORDER BY draw_key LIMIT :n
""")  # noqa: S608  (made of constants)

# All that is asked of a voucher but its code is written so that no index serves it: planned while the tables are small,
# the statement would else walk whole pools for ever after. A pool with holds or a rule gives nothing here.
TAKE = text(f"""
WITH request AS MATERIALIZED (
    SELECT * FROM ({REQUESTS}) AS sent WHERE NOT {MERGED}
), target AS MATERIALIZED (
    {target(holds=False)}
), free AS MATERIALIZED (
    SELECT picked.position, voucher.place
    FROM unnest(CAST(:codes AS text[])) WITH ORDINALITY AS picked (code, position), LATERAL (
        SELECT ctid AS place FROM voucher
        WHERE voucher.code = picked.code AND pool_id + 0 = (SELECT id FROM target)
            AND status || '' = 'available' AND {NOT_EXPIRED}
        FOR UPDATE SKIP LOCKED
    ) AS voucher
    WHERE (SELECT max(holds) = 0 FROM stock WHERE pool_id = (SELECT id FROM target))
), given AS MATERIALIZED (
    SELECT request.*, free.place FROM request JOIN free USING (position)
    WHERE NOT EXISTS (
        SELECT FROM assignment WHERE project_id = :project AND assignment.id = request.id OFFSET 0
    )
), {writing(holds=False)}
SELECT id, attributes FROM marked
""")  # noqa: S608  (made of constants)


LOOK_DIRECT, _LOOK_NAMES = numbered(LOOK)
TAKE_DIRECT, _TAKE_NAMES = numbered(TAKE)
"""As the driver sends them."""


async def look(direct: ProjectConnections, pool: str, cursor: int, n: int) -> list[tuple[str, int]]:
    """Return up to `n` available vouchers of the pool after `cursor`, as code and draw key; none of them is locked."""
    parameters: dict[str, object] = {"pool": pool, "cursor": cursor, "n": n}
    rows = await direct.fetch(LOOK_DIRECT, [parameters[name] for name in _LOOK_NAMES])
    return [(code, draw_key) for code, draw_key in rows]


async def take(
    direct: ProjectConnections,
    pool: str,
    requests: Sequence[AssignmentRequest],
    codes: Sequence[str],
) -> dict[UUID, dict[str, str] | None]:
    """Give each request the code at its place, where that is still available and the request is new.

    A customer who was merged, and so may have other ids, is given nothing here.

    Returns:
        By the id of each request that got its code: what comes with the code.
    """
    parameters = {
        "pool": pool,
        "requests": to_json(requests),
        "codes": list(codes),
        "slot": SLOT,
    }
    return dict(await direct.fetch(TAKE_DIRECT, [parameters[name] for name in _TAKE_NAMES]))
