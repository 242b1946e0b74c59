"""Change many vouchers: which of some may be changed, and the change of these, in one transaction.

The vouchers are locked first, in the order of their codes, and judged by a statement after that: so it sees every use
that was stored before, for whoever stores a use locks the voucher too. What a caller asked for by its assignment
(campaign, customer, test) is compared again here, because the code may be somebody else's by now.
"""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.lifecycle import holding, moving, notes, transitions
from app.domain.lifecycle.notes import Note, NoteEvent
from app.domain.lifecycle.uses import USED
from app.platform import records
from app.platform.database import ConflictError
from app.schema.base import VoucherStatus
from app.schema.inventory import of_import

Action = Literal["void", "release", "reinstate", "set_expiry", "move"]
EVENTS: dict[Action, NoteEvent] = {
    "void": "voided",
    "release": "released",
    "reinstate": "reinstated",
    "set_expiry": "expiry_set",
    "move": "moved",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be done, to which vouchers; None: whatever it is."""

    change_id: uuid.UUID
    action: Action
    expires_at: datetime | None
    reason: str | None
    pool_id: int | None
    import_id: uuid.UUID | None
    campaign_id: str | None
    status: VoucherStatus | None
    test: bool | None
    customer_ids: Sequence[str] | None
    to_pool_id: int | None = None
    """Where a move leads."""

    def parameters(self) -> dict[str, object]:
        """Return what MATCHES takes."""
        return {
            "pool_id": self.pool_id,
            "import_id": self.import_id,
            "campaign_id": self.campaign_id,
            "status": self.status,
            "test": self.test,
            "customer_ids": None if self.customer_ids is None else list(self.customer_ids),
        }


MATCHES = f"""(
    (CAST(:pool_id AS bigint) IS NULL OR voucher.pool_id = CAST(:pool_id AS bigint))
    AND (CAST(:import_id AS uuid) IS NULL OR {of_import("CAST(:import_id AS uuid)")})
    AND (CAST(:status AS text) IS NULL OR voucher.status = CAST(:status AS text))
    AND (CAST(:campaign_id AS text) IS NULL OR given.campaign_id = CAST(:campaign_id AS text))
    AND (CAST(:test AS boolean) IS NULL
        OR given.id IS NOT NULL AND coalesce(given.test, false) = CAST(:test AS boolean))
    AND (CAST(:customer_ids AS text[]) IS NULL OR given.customer_id = ANY (CAST(:customer_ids AS text[])))
)"""
"""SQL: whether a `voucher` and the assignment of it that stands (`given`) are what was asked for."""

REASONS: dict[Action, str] = {
    "void": "WHEN voucher.status = 'void' THEN 'already'",
    "release": f"""
        WHEN voucher.status = 'void' THEN 'void'
        WHEN voucher.status IN ('available', 'expired') THEN 'already'
        WHEN {USED} THEN 'used'""",
    "reinstate": f"WHEN voucher.status <> 'void' THEN 'already' WHEN {USED} THEN 'used'",
    "set_expiry": f"""
        WHEN voucher.expires_at IS NOT DISTINCT FROM CAST(:expires_at AS timestamptz)
            AND voucher.own_expires_at IS NULL THEN 'already'
        WHEN {USED} THEN 'used'""",
    "move": """
        WHEN voucher.pool_id = CAST(:to_pool_id AS bigint) THEN 'already'
        WHEN voucher.status = 'void' THEN 'void'
        WHEN voucher.status <> 'available' THEN 'not_available'""",
}
"""SQL, by action: why a voucher is left as it is, besides that it is redeemed."""

JUDGE = {
    action: text(f"""
SELECT asked.code, voucher.pool_id, voucher.assignment_id, given.hold_id, CASE
        WHEN voucher.code IS NULL THEN 'not_found'
        WHEN NOT coalesce({MATCHES}, false) THEN 'no_match'
        WHEN voucher.status = 'redeemed' THEN 'redeemed'
        {reasons}
    END AS skipped
FROM unnest(CAST(:codes AS text[])) AS asked (code)
LEFT JOIN voucher ON voucher.project_id = :project AND voucher.code = asked.code
LEFT JOIN assignment AS given ON given.project_id = :project AND given.id = voucher.assignment_id
""")  # noqa: S608  (made of constants)
    for action, reasons in REASONS.items()
}


@dataclass(frozen=True, slots=True)
class Judged:
    """A code that was asked for; of one that may be changed, what is known of its voucher."""

    code: str
    pool_id: int | None
    assignment_id: uuid.UUID | None
    hold_id: uuid.UUID | None
    skipped: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of some vouchers."""

    changed: int
    skipped: dict[str, int]


async def change(
    connection: AsyncConnection, wanted: Wanted, codes: Sequence[str], *, dry_run: bool
) -> Outcome:
    """Change those of these vouchers that may be, and note it of each; in a dry run only tell.

    A dry run of a move does not ask what holds keep: that is of a whole pool (`moving.kept`).

    Raises:
        ConflictError: a code was given anew between two looks at it; run the transaction again.
    """
    held: set[int] = set()
    if not dry_run:
        if wanted.to_pool_id is not None and not await moving.lock_pools(
            connection, codes, wanted.to_pool_id
        ):
            return Outcome(0, {"no_pool": len(codes)})
        if wanted.action == "release":
            held = await holding.lock_pools_of_codes(connection, codes)
        await transitions.lock(connection, codes)
    parameters = {**wanted.parameters(), "codes": list(codes)}
    if wanted.action == "set_expiry":
        parameters["expires_at"] = wanted.expires_at
    if wanted.to_pool_id is not None:
        parameters["to_pool_id"] = wanted.to_pool_id
    rows = records.all_of(await connection.execute(JUDGE[wanted.action], parameters), Judged)
    chosen = [row for row in rows if row.skipped is None]
    skipped = Counter(row.skipped for row in rows if row.skipped is not None)
    if wanted.to_pool_id is not None and not dry_run:
        given = [(row.code, row.pool_id) for row in chosen if row.pool_id is not None]
        free, kept = await moving.within_holds(connection, given)
        await _move(connection, wanted, wanted.to_pool_id, free)
        return Outcome(len(chosen) - kept, dict(skipped + Counter({"held": kept} if kept else {})))
    if chosen and not dry_run:
        _check_locked(wanted.action, chosen, held)
        await _apply(connection, wanted, chosen)
    return Outcome(len(chosen), dict(skipped))


async def _move(
    connection: AsyncConnection, wanted: Wanted, to: int, by_pool: Mapping[str, Sequence[str]]
) -> None:
    codes = [code for of_pool in by_pool.values() for code in of_pool]
    if await moving.move(connection, codes, to) != len(codes):
        raise ConflictError
    for name, of_pool in by_pool.items():
        note = Note("moved", wanted.reason, wanted.change_id, from_pool=name)
        await notes.add(connection, note, [(code, None) for code in of_pool])


def _check_locked(action: Action, chosen: Sequence[Judged], held: set[int]) -> None:
    """Begin anew where a code that returns to a hold was given after the pools of holds were locked."""
    if action == "release" and any(row.hold_id is not None and row.pool_id not in held for row in chosen):
        raise ConflictError


def _assignments(chosen: Sequence[Judged]) -> list[uuid.UUID]:
    return [row.assignment_id for row in chosen if row.assignment_id is not None]


async def _apply(connection: AsyncConnection, wanted: Wanted, chosen: Sequence[Judged]) -> None:
    codes = [row.code for row in chosen]
    match wanted.action:
        case "void":
            moved = len(await transitions.void(connection, codes))
        case "release":
            moved = len(await transitions.release_many(connection, _assignments(chosen)))
        case "reinstate":
            moved = await transitions.reinstate(connection, codes)
        case "set_expiry":
            await transitions.set_expiry(connection, codes, wanted.expires_at)
            moved = len(codes)
    if moved != len(chosen):
        raise ConflictError
    note = Note(EVENTS[wanted.action], wanted.reason, wanted.change_id, wanted.expires_at)
    await notes.add(connection, note, [(row.code, row.assignment_id) for row in chosen])
