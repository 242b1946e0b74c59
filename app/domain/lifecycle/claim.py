"""The claim: give each of many requests a voucher of a pool in one statement, or in two halves (statements.py)."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any, Literal, TypedDict

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.lifecycle import statements
from app.domain.lifecycle.draw_keys import FIRST
from app.domain.lifecycle.requests import AssignmentRequest, LedgerEntry, replayed, stored, to_json
from app.domain.lifecycle.statements import ANY_MERGED, END_AFTER, Ids
from app.domain.lifecycle.stock import SLOT
from app.platform import records
from app.platform.driver_pool import ProjectConnections
from app.schema.inventory import NOT_EXPIRED


class StoredRule(TypedDict):
    """A rule as a pool keeps it."""

    count: int
    days: int | None
    then: Literal["same", "refuse"]


@dataclass(frozen=True, slots=True)
class CustomerRule:
    """How many codes of a pool a customer gets."""

    count: int
    days: int | None
    """Of how many days the codes count; None: of all time."""
    then: Literal["same", "refuse"]
    """What a customer gets who has them all: the last one again, or an error."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many vouchers a draw may take from a pool with holds: its hold's first, then what is free."""

    n: int = 0
    from_hold: int = 0
    """How many of them are the hold's."""
    hold_id: uuid.UUID | None = None
    rule: CustomerRule | None = None
    """What the pool says of its customers."""


NONE_ALLOWED = Allowance()
"""Of a draw that knows no holds: from a pool that has some it gets nothing."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim gave."""

    ledger: list[LedgerEntry]
    draw_keys: list[int]
    """Of the vouchers that are newly given."""
    from_hold: int
    """How many of these were taken from the hold."""
    merged: list[AssignmentRequest]
    """Requests that got nothing because their customers may have other ids."""
    known: list[uuid.UUID]
    """Ids of requests that were given something before."""

    def left(self, requests: Sequence[AssignmentRequest]) -> list[AssignmentRequest]:
        """Return those that got nothing, because the walk came to the pool's end or was allowed no more."""
        if len(self.ledger) + len(self.known) + len(self.merged) == len(requests):
            return []
        done = {entry.id for entry in self.ledger}.union(self.known, (request.id for request in self.merged))
        return [request for request in requests if request.id not in done]


async def claim(
    connection: AsyncConnection,
    pool: str,
    requests: Sequence[AssignmentRequest],
    cursor: int,
    allowance: Allowance,
    ids: Ids = Ids.ASKED,
) -> Claimed:
    """Claim a voucher for each request, from the cursor on and round to it again.

    None of them asks for a life (`valid_for_seconds`). `ledger` is also of what was given before.
    """
    claimed = await _walk(connection, pool, requests, cursor, allowance, ids)
    if (left := claimed.left(requests)) and cursor != FIRST:
        again = await _walk(connection, pool, left, FIRST, _less(allowance, claimed), ids)
        claimed = Claimed(
            claimed.ledger + again.ledger,
            claimed.draw_keys + again.draw_keys,
            claimed.from_hold + again.from_hold,
            claimed.merged + again.merged,
            claimed.known + again.known,
        )
    if claimed.known:
        rows = await connection.execute(statements.REPLAYED, {"ids": claimed.known})
        claimed.ledger.extend(replayed(pool, row) for row in rows)
    return claimed


async def _walk(
    connection: AsyncConnection,
    pool: str,
    requests: Sequence[AssignmentRequest],
    cursor: int,
    allowance: Allowance,
    ids: Ids,
) -> Claimed:
    statement = statements.claim(ids, holds=allowance is not NONE_ALLOWED)
    parameters = _parameters(pool, requests, cursor, allowance)
    return _claimed(pool, requests, await connection.execute(statement, parameters))


def _less(allowance: Allowance, claimed: Claimed) -> Allowance:
    """Return what is left of an allowance."""
    if allowance is NONE_ALLOWED:
        return NONE_ALLOWED
    n, from_hold = allowance.n - len(claimed.ledger), allowance.from_hold - claimed.from_hold
    return replace(allowance, n=n, from_hold=from_hold)


_REPLAYED, _ = statements.numbered(statements.REPLAYED)
_ONE, _ONE_NAMES = statements.numbered(statements.CLAIM_ONE)


@cache
def _direct(ids: Ids) -> tuple[bytes, tuple[str, ...]]:
    return statements.numbered(statements.claim(ids, holds=False))


def as_sent(
    pool: str, requests: Sequence[AssignmentRequest], cursor: int, ids: Ids = Ids.SINGLE
) -> tuple[bytes, list[object]]:
    """Return the claim from what nobody holds as the driver sends it, and its parameters after the project."""
    if ids is Ids.SINGLE and len(requests) == 1:
        statement, names = _ONE, _ONE_NAMES
        parameters = {"pool": pool, "cursor": cursor, "slot": SLOT, **stored(requests[0])}
    else:
        statement, names = _direct(ids)
        parameters = _parameters(pool, requests, cursor, NONE_ALLOWED)
    return statement, [parameters[name] for name in names]


async def claim_direct(
    direct: ProjectConnections,
    pool: str,
    requests: Sequence[AssignmentRequest],
    cursor: int,
    ids: Ids,
) -> Claimed:
    """Claim from the cursor on to the pool's end, on a connection of the driver's own, from what nobody holds.

    `ledger` is what is new.
    """
    statement, parameters = as_sent(pool, requests, cursor, ids)
    return _claimed(pool, requests, await direct.fetch(statement, parameters))


async def replayed_direct(
    direct: ProjectConnections, pool: str, known: Sequence[uuid.UUID]
) -> list[LedgerEntry]:
    """Return what requests were given before, on a connection of the driver's own."""
    return [replayed(pool, row) for row in await direct.fetch(_REPLAYED, [list(known)])]


def _parameters(
    pool: str, requests: Sequence[AssignmentRequest], cursor: int, allowance: Allowance
) -> dict[str, object]:
    return {
        "pool": pool,
        "allowance": allowance.n,
        "from_hold": allowance.from_hold,
        "hold_id": allowance.hold_id,
        "cursor": cursor,
        "slot": SLOT,
        "requests": to_json(requests),
    }


def _claimed(  # type: ignore[explicit-any]  # rows of two drivers, by place
    pool: str, requests: Sequence[AssignmentRequest], rows: Iterable[Sequence[Any]]
) -> Claimed:
    ledger: list[LedgerEntry] = []
    draw_keys: list[int] = []
    merged: list[AssignmentRequest] = []
    known: list[uuid.UUID] = []
    from_hold = 0
    for position, draw_key, of_hold, known_id, code, at, lease_until, expires_at, attributes in rows:
        if draw_key is None:
            if known_id is None:
                merged.append(requests[position - 1])
            else:
                known.append(known_id)
            continue
        draw_keys.append(draw_key)
        from_hold += of_hold
        request = requests[position - 1]
        ledger.append(
            LedgerEntry(
                request.id,
                pool,
                code,
                request.customer_id,
                request.campaign_id,
                request.message_id,
                request.occurrence,
                request.test,
                at,
                lease_until,
                request.lease_seconds,
                None,
                expires_at,
                "assigned" if request.lease_seconds is None else "reserved",
                False,  # newly given; names of arguments cost
                attributes,
            )
        )
    return Claimed(ledger, draw_keys, from_hold, merged, known)


@dataclass(frozen=True, slots=True)
class Locked:
    """A voucher that is locked until the transaction ends and given to nobody yet."""

    place: str
    code: str
    draw_key: int
    expires_at: datetime | None
    attributes: dict[str, str] | None = None


async def lock(
    connection: AsyncConnection, pool: str, n: int, cursor: int, allowance: Allowance
) -> list[Locked]:
    """Lock up to `n` available vouchers, from the cursor on and round to it again.

    Our own locks do not hinder us: a walk that comes round finds what the transaction holds already.
    """
    statement = statements.lock(holds=allowance is not NONE_ALLOWED)
    found: dict[str, Locked] = {}
    for start in dict.fromkeys((cursor, FIRST)):
        parameters = {
            "pool": pool,
            "n": n,
            "cursor": start,
            "allowance": allowance.n,
        }
        for row in await connection.execute(statement, parameters):
            locked = Locked(*row)
            found.setdefault(locked.code, locked)
        if len(found) >= n:
            break
    return list(found.values())[:n]


_ENDS = f"""LEAST(voucher.expires_at, (
    SELECT {END_AFTER} FROM pool WHERE project_id = :project AND name = :pool
)) AS expires_at"""  # noqa: S608
THIS = text(f"""
SELECT ctid AS place, code, draw_key, {_ENDS}, attributes FROM voucher
WHERE project_id = :project AND code = :code AND status = 'available' AND {NOT_EXPIRED}
    AND pool_id = (SELECT id FROM pool WHERE project_id = :project AND name = :pool)
    AND NOT EXISTS (
        SELECT FROM pool WHERE project_id = :project AND name = :pool AND LEAST(voucher.expires_at, {END_AFTER})
            < now() + make_interval(secs => CAST(:valid_for AS double precision))
    )
FOR UPDATE
""")  # noqa: S608  (made of constants)


async def lock_this(connection: AsyncConnection, pool: str, code: str, valid_for: int) -> Locked | None:
    """Lock a voucher of the pool; return None where it is not available, or not for `valid_for` seconds more."""
    parameters = {"pool": pool, "code": code, "valid_for": valid_for}
    row = (await connection.execute(THIS, parameters)).one_or_none()
    return None if row is None else Locked(*row)


async def write(
    connection: AsyncConnection,
    pool: str,
    gifts: Sequence[tuple[AssignmentRequest, Locked]],
    allowance: Allowance,
    slot: int,
) -> int:
    """Give each request the voucher that this transaction locked for it; how many were where they were locked.

    All writes of a transaction count in the same `slot` of the pool: two transactions never wait for each other's.
    """
    parameters = {
        "pool": pool,
        "slot": slot,
        "allowance": allowance.n,
        "from_hold": allowance.from_hold,
        "hold_id": allowance.hold_id,
        "requests": to_json(request for request, _ in gifts),
        "places": [row.place for _, row in gifts],
    }
    statement = statements.write(holds=allowance is not NONE_ALLOWED)
    result = await connection.execute(statement, parameters)
    return int(result.scalar_one())


WHAT_IS_LEFT = text(f"""
SELECT counts.available > 0 AND EXISTS (
    SELECT FROM voucher
    WHERE project_id = :project AND pool_id = pool.id AND status = 'available' AND {NOT_EXPIRED}
        AND code <> ALL (CAST(:ours AS text[]))
) AS any_left, counts.holds > 0 AS held, pool.per_customer IS NOT NULL AS ruled, {ANY_MERGED} AS any_merged
FROM pool, LATERAL (
    SELECT sum(available) AS available, max(holds) AS holds FROM stock
    WHERE project_id = :project AND pool_id = pool.id
) AS counts
WHERE pool.project_id = :project AND name = :pool
""")  # noqa: S608  (made of constants)


@dataclass(frozen=True, slots=True)
class Left:
    """What a pool has besides what a transaction has locked."""

    any_left: bool
    """Whether a voucher is available, locked or not."""
    held: bool
    """Whether some are held, or the pool has a rule."""
    ruled: bool
    """Whether it has such a rule."""
    any_merged: bool
    """Whether any customers were merged, in whatever pool."""


async def what_is_left(connection: AsyncConnection, pool: str, ours: Sequence[str]) -> Left | None:
    """Return what the pool has besides `ours`; None where there is no such pool."""
    parameters = {"pool": pool, "ours": list(ours)}
    return records.any_of(await connection.execute(WHAT_IS_LEFT, parameters), Left)


# The first in draw order: the same one as long as nobody draws it.
NEXT = text(f"""
SELECT ctid AS place, code, draw_key, {_ENDS}, attributes FROM voucher
WHERE project_id = :project AND pool_id = (SELECT id FROM pool WHERE project_id = :project AND name = :pool)
    AND status = 'available' AND {NOT_EXPIRED}
ORDER BY draw_key LIMIT 1
""")  # noqa: S608  (made of constants)


async def peek(connection: AsyncConnection, pool: str) -> Locked | None:
    """Return an available voucher of the pool, neither taken nor locked."""
    row = (await connection.execute(NEXT, {"pool": pool})).one_or_none()
    return None if row is None else Locked(*row)
