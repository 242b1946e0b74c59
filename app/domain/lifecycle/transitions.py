"""SQL of the transitions: every change of a voucher's state but the claim (claim.py)."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.lifecycle import holding
from app.domain.lifecycle.notes import VOIDED_AT
from app.domain.lifecycle.order import MOMENT
from app.domain.lifecycle.states import (
    CANCEL,
    CANCEL_VOIDED,
    CONFIRM,
    EXPIRE,
    EXTEND,
    LAPSE,
    LAPSE_USED,
    REDEEM,
    REINSTATE_ASSIGNED,
    REINSTATE_AVAILABLE,
    REINSTATE_EXPIRED,
    REINSTATE_RESERVED,
    RELEASE,
    VOID,
    Transition,
)
from app.domain.lifecycle.stock import SLOT
from app.domain.lifecycle.thresholds import fall
from app.domain.lifecycle.uses import USED
from app.platform import records
from app.schema.base import VoucherStatus
from app.schema.inventory import NOT_EXPIRED

CHOSEN: LiteralString = "(SELECT pool_id FROM chosen)"
_LEASED_OR_BACK = "chosen.status = 'reserved' OR '{target}' = 'available'"
"""SQL: whose ledger rows a transition changes."""
# Locks are taken in the order of the codes, so that two transactions never wait for each other.
_IN_ORDER = "ORDER BY voucher.code FOR UPDATE OF voucher"


def _statement(
    transition: Transition,
    source: str,
    condition: str,
    order: str = _IN_ORDER,
    *,
    ledger: str = "lease_until = NULL",
    whose: str = _LEASED_OR_BACK,
) -> TextClause:
    """Return one statement that changes voucher, ledger and stock together, and returns what it changed.

    Args:
        transition: from where to where; only vouchers in one of its states go this way.
        source: what vouchers are looked for in, as in `FROM`, with an `at`.
        condition: which of them are to go this way.
        order: in which order they are locked, and how many.
        ledger: what becomes of their ledger rows.
        whose: of which of them.
    """
    sources = ", ".join(f"'{state}'" for state in transition.sources)
    taken = ", ".join(f"{state} = stock.{state} - sums.{state}" for state in transition.sources)
    sums = ", ".join(f"count(*) FILTER (WHERE status = '{state}') AS {state}" for state in transition.sources)
    sets = ", ".join(f"{column} = {value}" for column, value in transition.sets.items())
    used_at = "at" if transition.target == VoucherStatus.REDEEMED else "NULL::timestamptz"
    # Of codes that nobody has, only what is final is told, and that it was taken back.
    final = transition.target in {VoucherStatus.REDEEMED, VoucherStatus.VOID}
    told = "true" if final else "(assignment_id IS NOT NULL OR status = 'void')"
    lifts = transition.target == VoucherStatus.AVAILABLE
    fallen = f", fallen AS ({fall(CHOSEN)})" if lifts else ""
    return text(f"""
WITH chosen AS MATERIALIZED (
    SELECT voucher.code, voucher.pool_id, voucher.status, voucher.assignment_id, voucher.assigned_at, at
    FROM {source}
    WHERE voucher.status IN ({sources}) AND ({condition})
    {order}
), moved AS (
    UPDATE voucher SET status = '{transition.target}', {sets}
    FROM chosen WHERE voucher.project_id = :project AND voucher.code = chosen.code
), ledger AS (
    UPDATE assignment SET {ledger} FROM chosen
    WHERE assignment.project_id = :project AND assignment.id = chosen.assignment_id
        AND ({whose.format(target=transition.target)})
), counted AS (
    UPDATE stock SET {taken}, {transition.target} = stock.{transition.target} + sums.n,
        given_besides = stock.given_besides + sums.besides
    FROM (
        SELECT pool_id, count(*) AS n, {transition.given_besides} AS besides, {sums} FROM chosen GROUP BY pool_id
    ) AS sums
    WHERE stock.project_id = :project AND stock.pool_id = sums.pool_id AND stock.slot = :slot
), told AS (
    INSERT INTO pool_change (project_id, changed_at, pool_id, code, assignment_id, before, after, used_at)
    SELECT :project, {MOMENT}, pool_id, code, assignment_id, status, '{transition.target}', {used_at} FROM chosen
    WHERE {told}
){fallen}
SELECT code, pool_id, status, assignment_id FROM chosen
""")  # noqa: S608  (made of constants)


_ASKED = """unnest(CAST(:codes AS text[]), CAST(:ats AS timestamptz[])) AS asked (code, at)
    JOIN voucher ON voucher.project_id = :project AND voucher.code = asked.code"""
_GIVEN = """assignment AS given
    JOIN voucher ON given.project_id = :project AND voucher.project_id = :project
        AND voucher.code = given.code AND voucher.assignment_id = given.id
    CROSS JOIN (SELECT now()) AS clock (at)"""
_ALL = "voucher CROSS JOIN (SELECT now()) AS clock (at)"
_THESE = "given.id = ANY (CAST(:ids AS uuid[]))"
_LAPSED = "given.lease_until <= now()"
_EXPIRED = "voucher.expires_at <= now()"
_SOME = "ORDER BY {due} LIMIT :most FOR UPDATE OF voucher SKIP LOCKED"
"""SQL: those that were due first, but for what others are at."""
_TAKEN_BACK = "lease_until = NULL, released_at = now()"
_RUN_OUT = f"{_TAKEN_BACK}, lapsed = true"

_REDEEM = _statement(REDEEM, _ASKED, "true")
# A code that nobody was given stays redeemed: it was used all the same, and must not be drawn.
_CANCEL = (
    _statement(CANCEL_VOIDED, _ASKED, f"voucher.assignment_id IS NOT NULL AND {VOIDED_AT} IS NOT NULL"),
    _statement(CANCEL, _ASKED, "voucher.assignment_id IS NOT NULL"),
)
_VOID = _statement(VOID, _ASKED, "true")
_CONFIRM = _statement(CONFIRM, _GIVEN, f"{_THESE} AND given.lease_until > now() AND {NOT_EXPIRED}")
_RELEASE = _statement(RELEASE, _GIVEN, f"{_THESE} AND NOT {USED}", ledger=_TAKEN_BACK)
_LAPSE = (
    _statement(LAPSE, _GIVEN, f"{_THESE} AND {_LAPSED} AND NOT {USED}", ledger=_RUN_OUT),
    _statement(LAPSE_USED, _GIVEN, f"{_THESE} AND {_LAPSED} AND {USED}", ledger=_RUN_OUT),
)
# A use that changed nothing leaves the voucher as it is, so it is looked for by a statement after the lock.
_LOCK_GIVEN = text(f"SELECT FROM {_GIVEN} WHERE {_THESE} {_IN_ORDER}")
_LOCK_LAPSED = text(f"""
SELECT given.id FROM {_GIVEN}
WHERE voucher.status = 'reserved' AND {_LAPSED}
    AND (given.hold_id IS NULL OR given.pool_id = ANY (CAST(:pools AS bigint[])))
{_SOME.format(due="given.lease_until")}
""")  # noqa: S608  (made of constants)
_EXPIRE = _statement(
    EXPIRE, _ALL, f"voucher.project_id = :project AND {_EXPIRED}", _SOME.format(due="voucher.expires_at")
)
_EXPIRE_THESE = _statement(EXPIRE, _ASKED, _EXPIRED)
_REINSTATE = (
    _statement(REINSTATE_ASSIGNED, _ASKED, "voucher.assigned_at IS NOT NULL"),
    # The lease that it had: what is over by now, the next sweep takes back as it does any other.
    _statement(
        REINSTATE_RESERVED,
        _ASKED,
        "voucher.assignment_id IS NOT NULL AND voucher.assigned_at IS NULL",
        ledger="lease_until = assignment.assigned_at + make_interval(secs => assignment.lease_seconds)",
        whose="true",
    ),
    _statement(REINSTATE_AVAILABLE, _ASKED, f"voucher.assignment_id IS NULL AND {NOT_EXPIRED}"),
    _statement(REINSTATE_EXPIRED, _ASKED, f"voucher.assignment_id IS NULL AND {_EXPIRED}"),
)
_EXTEND = _statement(
    EXTEND,
    _ASKED,
    "CAST(:expires_at AS timestamptz) IS NULL OR CAST(:expires_at AS timestamptz) > now()",
)
# Who was given such a code is told; `before` and `after` are the same then.
_SET_EXPIRY = text(f"""
WITH moved AS (
    UPDATE voucher SET expires_at = CAST(:expires_at AS timestamptz), own_expires_at = NULL
    WHERE project_id = :project AND code = ANY (CAST(:codes AS text[])) AND status <> 'redeemed'
        AND (status <> 'expired' OR CAST(:expires_at AS timestamptz) <= now())
    RETURNING code, pool_id, assignment_id, status
)
INSERT INTO pool_change (project_id, changed_at, pool_id, code, assignment_id, before, after)
SELECT :project, {MOMENT}, pool_id, code, assignment_id, status, status FROM moved WHERE assignment_id IS NOT NULL
""")  # noqa: S608  (made of constants)


@dataclass(frozen=True, slots=True)
class MovedVoucher:
    """A voucher that went the way; `status` is what it was before."""

    code: str
    pool_id: int
    status: VoucherStatus
    assignment_id: uuid.UUID | None


Moved = list[MovedVoucher]


def _assignments(moved: Moved) -> list[uuid.UUID]:
    return [row.assignment_id for row in moved if row.assignment_id is not None]


async def _run(connection: AsyncConnection, statement: TextClause, **parameters: object) -> Moved:
    rows = await connection.execute(statement, {"slot": SLOT, **parameters})
    return records.all_of(rows, MovedVoucher)


async def redeem(connection: AsyncConnection, used: dict[str, datetime]) -> None:
    """Make vouchers redeemed, each at its time."""
    ats = [at.isoformat() for at in used.values()]
    await connection.execute(_REDEEM, {"slot": SLOT, "codes": list(used), "ats": ats})


async def cancel(connection: AsyncConnection, codes: list[str]) -> None:
    """Give used codes back to the customers who were given them; those that were made void are void again."""
    for statement in _CANCEL:
        await _run(connection, statement, codes=codes, ats=[None] * len(codes))


async def void(connection: AsyncConnection, codes: list[str]) -> Moved:
    """Take vouchers out for good."""
    return await _run(connection, _VOID, codes=codes, ats=[None] * len(codes))


async def reinstate(connection: AsyncConnection, codes: list[str]) -> int:
    """Take the void of vouchers back, each to what it was; return how many. The caller knows of no use of them."""
    moved = 0
    for statement in _REINSTATE:
        moved += len(await _run(connection, statement, codes=codes, ats=[None] * len(codes)))
    return moved


async def set_expiry(connection: AsyncConnection, codes: list[str], expires_at: datetime | None) -> None:
    """Move the expiry of vouchers that are locked: what has expired by it expires, and a later one takes that back.

    The caller knows of no use of them.
    """
    ats = [None] * len(codes)
    await _run(connection, _EXTEND, codes=codes, ats=ats, expires_at=expires_at)
    await connection.execute(_SET_EXPIRY, {"codes": codes, "expires_at": expires_at})
    await _run(connection, _EXPIRE_THESE, codes=codes, ats=ats)


async def confirm(connection: AsyncConnection, assignment_ids: Sequence[uuid.UUID]) -> Moved:
    """Make reserved vouchers assigned.

    What has lapsed or expired is not confirmed, whether a sweep has seen it or not.
    """
    return await _run(connection, _CONFIRM, ids=list(assignment_ids))


async def release(connection: AsyncConnection, assignment_id: uuid.UUID) -> Moved:
    """Make a handed out voucher available again, for the hold that it was drawn from if there was one.

    One of which a use is known stays as it is.
    """
    await holding.lock_pools_of(connection, [assignment_id])
    await connection.execute(_LOCK_GIVEN, {"ids": [assignment_id]})
    return await release_many(connection, [assignment_id])


async def release_many(connection: AsyncConnection, assignment_ids: Sequence[uuid.UUID]) -> Moved:
    """Do the same for many.

    Locked are the pools whose holds some were drawn from, and the vouchers, where somebody may be using one.
    """
    moved = await _run(connection, _RELEASE, ids=list(assignment_ids))
    await holding.give_back(connection, _assignments(moved))
    return moved


async def lapse(connection: AsyncConnection, most: int) -> Moved:
    """Make up to `most` vouchers available again whose lease has lapsed, for the holds that they were drawn from.

    One of which a use is known, which came too late, is expired.
    """
    pools = await holding.lock_pools_of_lapsed(connection, most)
    due = await connection.execute(_LOCK_LAPSED, {"most": most, "pools": pools})
    return await _lapse(connection, due.scalars().all())


async def _lapse(connection: AsyncConnection, assignment_ids: Sequence[uuid.UUID]) -> Moved:
    moved: Moved = []
    for statement in _LAPSE:
        moved += await _run(connection, statement, ids=list(assignment_ids))
    await holding.give_back(connection, _assignments(moved))
    return moved


async def expire(connection: AsyncConnection, most: int) -> Moved:
    """Make up to `most` available vouchers expired whose time has come."""
    return await _run(connection, _EXPIRE, most=most)


DUE_LEASES = text("""
SELECT id FROM assignment
WHERE project_id = :project AND lease_until <= now() AND id <> ALL (CAST(:but AS uuid[]))
ORDER BY lease_until LIMIT :most
""")
DUE_EXPIRIES = text("""
SELECT code FROM voucher
WHERE project_id = :project AND status = 'available' AND expires_at <= now() AND code <> ALL (CAST(:but AS text[]))
ORDER BY expires_at LIMIT :most
""")


LAPSED_IN = "SELECT project_id FROM assignment WHERE lease_until <= now()"
"""SQL: the projects in which leases have lapsed."""
EXPIRED_IN = "SELECT project_id FROM voucher WHERE status = 'available' AND expires_at <= now()"
"""SQL: the projects in which vouchers have expired."""


async def due_leases(connection: AsyncConnection, but: Sequence[uuid.UUID], most: int) -> Sequence[uuid.UUID]:
    """Return assignments whose lease has lapsed, but for some."""
    return (await connection.execute(DUE_LEASES, {"but": list(but), "most": most})).scalars().all()


async def due_expiries(connection: AsyncConnection, but: Sequence[str], most: int) -> Sequence[str]:
    """Return available codes whose time has come, but for some."""
    return (await connection.execute(DUE_EXPIRIES, {"but": list(but), "most": most})).scalars().all()


async def lapse_these(connection: AsyncConnection, assignment_ids: Sequence[uuid.UUID]) -> Moved:
    """End these leases, where they have lapsed, as `lapse` does."""
    await holding.lock_pools_of(connection, assignment_ids)
    await connection.execute(_LOCK_GIVEN, {"ids": list(assignment_ids)})
    return await _lapse(connection, assignment_ids)


async def expire_these(connection: AsyncConnection, codes: Sequence[str]) -> Moved:
    """Make these vouchers expired, where they are available and their time has come."""
    return await _run(connection, _EXPIRE_THESE, codes=list(codes), ats=[None] * len(codes))


_BACKDATE = text("""
UPDATE voucher SET redeemed_at = at
FROM unnest(CAST(:codes AS text[]), CAST(:ats AS timestamptz[])) AS asked (code, at)
WHERE voucher.project_id = :project AND voucher.code = asked.code AND voucher.status = 'redeemed'
    AND voucher.redeemed_at <> at
""")


async def backdate(connection: AsyncConnection, used: dict[str, datetime]) -> None:
    """Set when redeemed vouchers were used, where that is now known better."""
    await connection.execute(_BACKDATE, {"codes": list(used), "ats": list(used.values())})


LOCK_VOUCHERS = text("""
SELECT FROM voucher WHERE project_id = :project AND code = ANY (CAST(:codes AS text[])) ORDER BY code FOR UPDATE
""")


async def lock(connection: AsyncConnection, codes: Iterable[str]) -> None:
    """Keep these vouchers as they are until the transaction ends: whoever judges the same code waits here."""
    await connection.execute(LOCK_VOUCHERS, {"codes": list(codes)})
