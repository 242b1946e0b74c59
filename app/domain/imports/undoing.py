"""Undo an import: its vouchers that are still available go, some at a time.

Each transaction takes so many, so that whoever wants one of these codes waits for these alone, and an import of any
size can be undone. What is broken off goes on where it is asked for again.
"""

import uuid
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.access.audit import service as audit
from app.domain.access.scopes import Caller
from app.domain.imports import queries
from app.domain.imports.errors import ImportNotFinishedError
from app.domain.imports.schemas import ImportRecord
from app.domain.imports.service import ENDED, get
from app.domain.lifecycle import coming, draw_keys, intake
from app.domain.lifecycle.stock import SLOT
from app.platform.database import run_act

AT_A_TIME = 20_000
"""Vouchers that one transaction looks at."""


@dataclass(frozen=True, slots=True)
class Undone:
    """How far an undo has come."""

    taken_back: int = 0
    kept: int = 0
    """Vouchers of the import that stay."""
    kept_for_holds: int = 0
    """How many of these stay because holds need them."""
    paused_schedule: uuid.UUID | None = None
    upto: int | None = draw_keys.FIRST
    """The draw key up to which it has looked; None where it has come to the end."""


async def undo(engine: AsyncEngine, caller: Caller | None, import_id: uuid.UUID) -> Undone:
    """Remove the vouchers of an import that are still available, except those that holds of campaigns need.

    Where a schedule ran it, that is paused, for its next run would bring them back.

    Raises:
        ImportNotFinishedError: it is still under way, or a later run of its schedule is.
        ImportNotFoundError: there is none of this id.
    """
    undone = Undone()
    while undone.upto is not None:
        undone = await run_act(engine, _undo_some, caller, import_id, undone)
    return undone


async def _undo_some(
    connection: AsyncConnection, caller: Caller | None, import_id: uuid.UUID, before: Undone
) -> Undone:
    found = await get(connection, import_id)
    free = await queries.lock_free(connection, import_id)
    row = await queries.lock(connection, import_id)
    if row is None or row.status not in ENDED:
        raise ImportNotFinishedError("The import is still under way; undo it when it has ended.")
    paused = await _pause(connection, caller, found)
    undone = replace(before, paused_schedule=before.paused_schedule or paused, upto=None)
    if row.pool_id is not None and before.upto is not None:  # else it was a dry run, or the pool is gone
        part = intake.Part(import_id, row.pool_id, before.upto, AT_A_TIME, free)
        # First: what comes into the pool meanwhile is found there by what follows.
        to_come = await coming.take_back(connection, import_id) if before.upto == draw_keys.FIRST else 0
        n, upto = await intake.take_back(connection, part, SLOT)
        # What holds need stays: there is nothing more to take.
        upto = None if free is not None and free <= n else upto
        kept = row.imported - row.undone - n - to_come
        undone = replace(undone, taken_back=before.taken_back + n + to_come, kept=kept, upto=upto)
        if upto is None and free is not None:
            undone = replace(undone, kept_for_holds=await intake.count_left(connection, part))
    figures = {
        "taken_back": undone.taken_back,
        "kept": undone.kept,
        "kept_for_holds": undone.kept_for_holds,
    }
    if undone.upto is None:
        action = "import.undone"
    elif before.upto == draw_keys.FIRST:
        action = "import.undo_begun"
    else:
        return undone
    await audit.record(connection, caller, action, pool=row.pool, import_id=str(import_id), **figures)
    return undone


async def _pause(connection: AsyncConnection, caller: Caller | None, found: ImportRecord) -> uuid.UUID | None:
    """Pause the schedule of an import, if it has one that is active; return it.

    Raises:
        ImportNotFinishedError: a run of it is under way.
    """
    schedule_id = found.schedule_id
    if schedule_id is None:
        return None
    paused = await queries.pause(connection, schedule_id)
    if await queries.under_way(connection, schedule_id):
        raise ImportNotFinishedError(
            "A later run of its schedule is under way, and could bring the codes back; undo it when that has ended."
        )
    if not paused:
        return None
    await audit.record(
        connection,
        caller,
        "schedule.changed",
        pool=found.pool,
        schedule_id=str(schedule_id),
        changed=["active"],
    )
    return schedule_id
