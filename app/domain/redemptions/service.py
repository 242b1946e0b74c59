"""The rules of redemption: store what is tracked, find the codes in it, and judge what they come to."""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.access.audit import service as audit
from app.domain.access.scopes import Caller
from app.domain.customers import events as events_of_customers
from app.domain.lifecycle import transitions
from app.domain.redemptions import queries, rules
from app.domain.redemptions.schemas import USED_OUTCOMES, MappingIn, Outcome, Use
from app.domain.vouchers import service as vouchers
from app.domain.vouchers.errors import (
    AlreadyRedeemedError,
    VoucherExpiredError,
    VoucherNotFoundError,
    VoucherVoidError,
)
from app.platform.database import AnyRow, retry_on_conflict, transaction
from app.platform.jobs import enqueue

CHUNK = 1000
"""Codes or events that are worked through in one transaction."""

Key = tuple[str, datetime, uuid.UUID]
"""Where a page of issues ends: outcome, time, id."""
Mapping = dict[str, list[str]]
"""The mapped properties of each event type."""


async def redeem(
    connection: AsyncConnection, code: str, customer_id: str | None, at: datetime | None
) -> AnyRow:
    """Redeem a code without an event.

    Raises:
        VoucherNotFoundError, AlreadyRedeemedError, VoucherVoidError, VoucherExpiredError: it cannot be, and
            nothing is stored.
    """
    await transitions.lock(connection, [code])
    use = Use(None, None, code, customer_id, Outcome.UNKNOWN_CODE, at)
    (added,) = await queries.add_uses(connection, [use])
    await _rejudge(connection, [code])
    redemption = await queries.by_id(connection, added.id)
    match redemption.outcome:
        case Outcome.UNKNOWN_CODE:
            raise VoucherNotFoundError
        case Outcome.ALREADY_REDEEMED:
            raise AlreadyRedeemedError
        case Outcome.VOID:
            raise VoucherVoidError
        case Outcome.EXPIRED:
            raise VoucherExpiredError
    return redemption


async def mapping(connection: AsyncConnection) -> Sequence[AnyRow]:
    """The redemption mapping: `event_type` and `property`."""
    return await queries.mapping(connection)


async def set_mapping(
    connection: AsyncConnection, caller: Caller | None, mappings: Sequence[MappingIn]
) -> None:
    """Replace the redemption mapping. A job then applies it to the events that are there."""
    await queries.set_mapping(connection, {(each.event_type, each.property) for each in mappings})
    await enqueue(connection, "replay_mapping", lock="redemptions")
    shown = [each.model_dump() for each in mappings]
    await audit.record(connection, caller, "redemption_mapping.changed", mappings=shown)


async def list_issues(
    connection: AsyncConnection, issue: Outcome | None, key: Key | None, limit: int
) -> Sequence[AnyRow]:
    """What could not be matched, issue by issue, oldest first."""
    return await queries.list_issues(connection, issue, key, limit)


async def mapped_properties(connection: AsyncConnection) -> Mapping:
    """Return the mapped properties of each event type."""
    by_type: Mapping = defaultdict(list)
    for row in await queries.mapping(connection):
        by_type[row.event_type].append(row.property)
    return by_type


async def resolve(engine: AsyncEngine) -> int:
    """Redeem the codes that were unknown when they were used and are in a pool by now; how many."""
    resolved = 0
    while True:
        found = await _resolve_some(engine)
        resolved += found
        if found < CHUNK:
            return resolved


@retry_on_conflict
async def _resolve_some(engine: AsyncEngine) -> int:
    async with transaction(engine) as connection:
        codes = await queries.known_now(connection, CHUNK)
        await transitions.lock(connection, codes)
        await _rejudge(connection, codes)
        return len(codes)


async def replay(engine: AsyncEngine) -> dict[str, int]:
    """Apply the mapping to the events that are there, and forget issues from what is not mapped any more.

    What was redeemed stays so. It may be broken off and begun again.
    """
    async with transaction(engine) as connection:
        await queries.forget_unmapped(connection)
        by_type = await mapped_properties(connection)
    events = found = 0
    for event_type in by_type:
        key = None
        while True:
            rows, new = await _replay_some(engine, event_type, by_type, key)
            events, found = events + len(rows), found + new
            if len(rows) < CHUNK:
                break
            key = (rows[-1].timestamp, rows[-1].id)
    return {"events": events, "found": found}


@retry_on_conflict
async def _replay_some(
    engine: AsyncEngine, event_type: str, by_type: Mapping, key: tuple[datetime, str] | None
) -> tuple[Sequence[AnyRow], int]:
    async with transaction(engine) as connection:
        rows = await events_of_customers.list_events(connection, event_type, key, CHUNK)
        uses = [use for row in rows for use in uses_in(row.id, row, by_type)]
        await lock_codes(connection, uses)
        return rows, await store_and_judge(connection, uses)


def uses_in(event_id: str, event: Any, by_type: Mapping) -> Iterable[Use]:
    """What an event says was used."""
    paths = by_type.get(event.event_type, ())
    return rules.uses(event_id, event.customer_id, event.properties, event.timestamp, paths)


async def lock_codes(connection: AsyncConnection, uses: Iterable[Use]) -> None:
    """Keep the vouchers of these uses as they are until the transaction ends."""
    codes = {use.code for use in uses if use.code is not None}
    if codes:
        await transitions.lock(connection, codes)


async def store_and_judge(connection: AsyncConnection, uses: Sequence[Use]) -> int:
    """Store claims whose vouchers are locked, and judge them; how many were new."""
    if not uses:
        return 0
    added = await queries.add_uses(connection, uses)
    await _rejudge(connection, {row.code for row in added if row.code is not None})
    return len(added)


async def _rejudge(connection: AsyncConnection, codes: Iterable[str]) -> None:
    """Judge all claims on these codes, whose vouchers are locked, and let outcomes and vouchers follow."""
    outcomes: dict[uuid.UUID, Outcome] = {}
    used: dict[str, datetime] = {}
    for code, group in groupby(await queries.uses_of(connection, codes), attrgetter("code")):
        uses = list(group)
        judged, at = rules.judge(uses)
        outcomes |= {
            use.id: outcome for use, outcome in zip(uses, judged, strict=True) if use.outcome != outcome
        }
        if at is not None:
            used[code] = at
    await queries.set_outcomes(connection, outcomes)
    if used:
        await vouchers.redeem(connection, used)


async def outcomes_of_events(connection: AsyncConnection, event_ids: Sequence[str]) -> dict[str, Outcome]:
    """What came of the codes in events; of several in one event, a use before an issue."""
    outcomes: dict[str, Outcome] = {}
    for row in await queries.outcomes_of(connection, event_ids):
        if outcomes.get(row.event_id) not in USED_OUTCOMES:
            outcomes[row.event_id] = Outcome(row.outcome)
    return outcomes


async def issue_counts(connection: AsyncConnection) -> dict[str, int]:
    """Return how many uses could not be matched, by reason."""
    return {row.outcome: row.n for row in await queries.issue_counts(connection)}
