"""Two customers turn out to be one person: what is one's becomes the other's, and the old id leads there.

It is exact against everything that happens to either at the same time:

1. Both are marked, and that is committed. From then on whoever asks for one of them tries again (`persons.resolve`).
2. Whoever has asked before is waited for: every transaction that is under way now.
3. Everything moves, the ids lead to the person, and the marks go, in one transaction.

One merge is under way at a time. What may be long goes first, and then locks come in the order of uses: uses, vouchers
by code, the rest.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.access.audit import service as audit
from app.domain.access.scopes import Caller
from app.domain.customers import service as customers
from app.domain.lifecycle import order, transitions
from app.domain.lifecycle import uses as uses_lock
from app.domain.persons import service as persons
from app.domain.persons.ids import checked
from app.domain.redemptions import service as redemptions
from app.domain.tracking import queries
from app.platform.connections import LONG_SECONDS
from app.platform.database import patience, retry_on_conflict, transaction
from app.platform.errors import ChangesConflictError
from app.platform.projects import beside

PATIENCE = 4.0
"""Seconds that a merge waits for others, all in all."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge moved."""

    customer_id: str
    customers: int = 0
    events: int = 0
    assignments: int = 0
    redemptions: int = 0


async def merge(engine: AsyncEngine, caller: Caller | None, into: str, of: str) -> Merged:
    """Make two customers one. Where they are one already, nothing changes.

    Args:
        engine: of the service's database.
        caller: who says so.
        into: the id that stays, or one that leads to it.
        of: the id that leads there from now on, with all ids that lead to it.

    Raises:
        ChangesConflictError: others were at work with them for too long; nothing was changed.
    """
    (merged,) = await merge_all(engine, caller, [(into, of)])
    return merged


@retry_on_conflict
async def merge_all(
    engine: AsyncEngine,
    caller: Caller | None,
    pairs: Sequence[tuple[str, str]],
    *,
    only_anonymous: bool = False,
) -> list[Merged]:
    """Make the customers of each pair one, all at once: others are waited for once. The first of a pair stays.

    Args:
        engine: of the service's database.
        caller: who says so.
        pairs: each as `merge` takes one.
        only_anonymous: leave alone a second one who was tracked as registered.

    Raises:
        ChangesConflictError: others were at work with them for too long; nothing was changed.
    """
    until = time.monotonic() + PATIENCE
    async with _alone(engine, until) as connection:
        found = await persons.resolve(connection, (id_ for pair in pairs for id_ in pair))
        two = [tuple(found[id_].id if id_ in found else id_ for id_ in pair) for pair in pairs]
        concerned = {id_ for into, of in two if into != of for id_ in (into, of)}
        if concerned:
            async with transaction(beside(engine)) as marking:
                await persons.mark(marking, concerned)
            # Where nothing comes of it the marks stay, and mean nothing: the lock tells whether a merge is under way.
            await _wait_for_others(connection, until)
        return await _move(connection, caller, [(into, of) for into, of in two], concerned, only_anonymous)


@asynccontextmanager
async def _alone(engine: AsyncEngine, until: float) -> AsyncIterator[AsyncConnection]:
    """Give a transaction of the only merge under way. Nobody waits for it within a transaction of their own."""
    while True:
        async with transaction(engine) as connection:
            if await persons.try_alone(connection):
                yield connection
                return
        if time.monotonic() > until:
            raise ChangesConflictError
        await asyncio.sleep(random.uniform(0.005, 0.02))  # noqa: S311  (no secret)


async def _wait_for_others(connection: AsyncConnection, until: float) -> None:
    others = await order.under_way(connection)
    while others := others & await order.under_way(connection):
        if time.monotonic() > until:
            raise ChangesConflictError
        await asyncio.sleep(0.005)


async def _move(
    connection: AsyncConnection,
    caller: Caller | None,
    pairs: Sequence[tuple[str, str]],
    concerned: Collection[str],
    only_anonymous: bool,
) -> list[Merged]:
    """Move what is the second one's to the first one, pair by pair; of whom a pair before moved, the new one counts.

    Nobody uses a code while somebody waits to be alone with the uses, so a history moves before these are locked. The
    marks keep others off it, and what is judged is not in it.
    """
    async with patience(connection):  # of a long history
        led = [await _lead(connection, pair, only_anonymous) for pair in pairs]
    await uses_lock.beside_others(connection)
    codes = await redemptions.doubtful_codes(connection, sorted(concerned))
    if codes:
        await transitions.lock(connection, codes)
    async with patience(connection):
        done = [await _take_over(connection, caller, *each) for each in led]
        await redemptions.judge_again(connection, codes)
    return done


async def _lead(
    connection: AsyncConnection, pair: tuple[str, str], only_anonymous: bool
) -> tuple[str, str, int]:
    """Move a history and let the ids lead; return into whom, who, and how many events. The same twice: nobody moves."""
    into, of = [await persons.current(connection, id_) for id_ in pair]
    # Whoever registers one of them has asked for it too, so nobody does any more.
    if into == of or (only_anonymous and await persons.is_registered(connection, of)):
        return into, into, 0
    events = await customers.take_over_history(connection, of, into)
    await persons.lead(connection, of, into, by_sign_in=only_anonymous)
    return into, of, events


async def _take_over(
    connection: AsyncConnection, caller: Caller | None, into: str, of: str, events: int
) -> Merged:
    if into == of:
        return Merged(into)
    moved = await customers.take_over(connection, of, into)
    # Not who: an erasure has to find all of that.
    kinds = {"events": events, "assignments": moved.assignments, "redemptions": moved.redemptions}
    await audit.record(connection, caller, "customer.merged", moved=kinds)
    return Merged(into, moved.customers, events, moved.assignments, moved.redemptions)


async def spellings(engine: AsyncEngine) -> list[tuple[str, str]]:
    """Return the stored ids that are read otherwise by now (`VOUCHERS_CUSTOMER_IDS`), each with what it is read as."""
    async with transaction(engine) as connection, patience(connection, LONG_SECONDS):
        found = await queries.spelt_otherwise(connection)
    return [(id_, read_as) for id_ in found if (read_as := _read_as(id_)) not in {id_, None}]


def _read_as(id_: str) -> str | None:
    """Return what an id is read as; None where that is none, so that nobody can be asked for by it."""
    try:
        return checked(id_)
    except ValueError:
        return None
