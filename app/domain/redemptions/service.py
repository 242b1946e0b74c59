"""The rules of redemption: store what is tracked, find the codes in it, and judge what they come to."""

import dataclasses
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.access.audit import service as audit
from app.domain.access.scopes import Caller
from app.domain.customers import events as events_of_customers
from app.domain.lifecycle import transitions
from app.domain.lifecycle import uses as uses_lock
from app.domain.persons import service as persons
from app.domain.redemptions import queries, rules
from app.domain.redemptions.schemas import (
    DIRECT,
    KEYED,
    USED_OUTCOMES,
    Effect,
    MappedEvent,
    MappingIn,
    Normalise,
    Outcome,
    OutcomeAt,
    RedemptionFilter,
    RedemptionRecord,
    Use,
)
from app.domain.vouchers.errors import (
    AlreadyRedeemedError,
    VoucherExpiredError,
    VoucherNotFoundError,
    VoucherVoidError,
)
from app.platform.database import ConflictError, retry_on_conflict, transaction
from app.platform.errors import IdempotencyKeyReusedError
from app.platform.giving_way import Unhurried
from app.platform.jobs import enqueue
from app.platform.metrics import REDEMPTIONS
from app.platform.settings import get_settings
from app.platform.sweeping import is_of_the_row, tell, turn_is_over
from app.platform.versions import Expected, check, version

NOT_MATCHED = (Outcome.UNKNOWN_CODE, Outcome.NOT_A_STRING, Outcome.TOO_MANY)
"""Outcomes of what names no voucher."""
READ_ANEW = (*NOT_MATCHED, Outcome.NOT_REDEEMED)
"""Outcomes of what took no code and gave none back: where the mapping reads its place otherwise, that counts."""
AT_A_TIME = 1000
"""Codes or events that are worked through in one transaction."""

Key = tuple[str, datetime, uuid.UUID]
"""Where a page of issues ends: outcome, time, id."""
MappedTypes = dict[str, list[rules.MappedProperty]]
"""The mapped properties of each event type."""


async def redeem(
    connection: AsyncConnection,
    code: str,
    customer_id: str | None,
    at: datetime | None,
    idempotency_key: str | None = None,
) -> tuple[RedemptionRecord, bool]:
    """Redeem a code without an event; the redemption, and whether it is the repeat of an earlier one.

    Raises:
        VoucherNotFoundError, AlreadyRedeemedError, VoucherVoidError, VoucherExpiredError: it cannot be, and
            nothing is stored.
        IdempotencyKeyReusedError: the key came before, for another code, customer or time.
    """
    if customer_id is not None:
        found = await persons.resolve(connection, [customer_id])
        customer_id = found[customer_id].id if found else customer_id
    await uses_lock.beside_others(connection)
    await transitions.lock(connection, [code])
    # The key takes the place of an event's id: of two requests with one key the second finds the row of the first.
    named = None if idempotency_key is None else f"{KEYED}{idempotency_key}"
    use = Use(named, DIRECT if named else None, code, customer_id, Outcome.UNKNOWN_CODE, at)
    _, stored = await _judge(connection, [use])
    if not stored:
        before = await queries.by_event(connection, str(named), DIRECT)
        if (before.code, before.customer_id, at and before.redeemed_at) != (code, customer_id, at):
            said = "The same idempotency key came before with another code, customer or time."
            raise IdempotencyKeyReusedError(said, redemption_id=before.id)
        return before, True
    redemption = await queries.by_id(connection, uuid.UUID(stored[0]))
    match redemption.outcome:
        case Outcome.UNKNOWN_CODE:
            raise VoucherNotFoundError
        case Outcome.ALREADY_REDEEMED:
            raise AlreadyRedeemedError
        case Outcome.VOID:
            raise VoucherVoidError
        case Outcome.EXPIRED:
            raise VoucherExpiredError
    return redemption, False


async def mapping(connection: AsyncConnection) -> list[MappedEvent]:
    """Return the redemption mapping: `event_type` and `property`."""
    return await queries.mapping(connection)


def version_of(rows: Iterable[MappedEvent]) -> str:
    """Return the version of the redemption mapping."""
    return version(*(dataclasses.astuple(row) for row in rows))


async def mapping_to_edit(connection: AsyncConnection) -> list[MappedEvent]:
    """Return the redemption mapping, locked against other edits until the transaction ends."""
    await uses_lock.alone(connection)
    return await queries.mapping(connection)


async def set_mapping(
    connection: AsyncConnection,
    caller: Caller | None,
    mappings: Sequence[MappingIn],
    expected: Expected | None = None,
) -> None:
    """Replace the redemption mapping. A job then applies it to the events that are there.

    Raises:
        PreconditionFailedError: it is not as expected.
    """
    # An event under way is stored before the job looks for it, and one that comes later sees the new mapping.
    check(expected, version_of(await mapping_to_edit(connection)))
    rows = {(each.event_type, each.property): MappedEvent(**each.model_dump()) for each in mappings}
    await queries.set_mapping(connection, rows.values())
    await enqueue(connection, "replay_mapping", lock="redemptions")
    shown = [each.model_dump() for each in mappings]
    await audit.record(connection, caller, "redemption_mapping.changed", mappings=shown)


async def list_redemptions(
    connection: AsyncConnection, wanted: RedemptionFilter, key: Key | None, limit: int
) -> tuple[list[RedemptionRecord], Key | None]:
    """Return uses and what came of each, outcome by outcome, oldest first, and where to go on if enough was read.

    Without an outcome and a customer it is only the issues.
    """
    if wanted.customer_id is not None:
        customer_id = await persons.current(connection, wanted.customer_id)
        wanted = dataclasses.replace(wanted, customer_id=customer_id)
    return await queries.list_redemptions(connection, wanted, key, limit)


async def mapped_properties(connection: AsyncConnection) -> MappedTypes:
    """Return the mapped properties of each event type."""
    by_type: MappedTypes = defaultdict(list)
    for row in await queries.mapping(connection):
        normalise = None if row.normalise is None else Normalise(row.normalise)
        by_type[row.event_type].append(rules.MappedProperty(row.property, Effect(row.effect), normalise))
    return by_type


async def resolve(engine: AsyncEngine) -> int:
    """Settle uses of codes that were unknown then and are in a pool by now; return how many codes.

    Imports settle what they bring in by themselves. This is for what an earlier release has left behind. A code that
    cannot be judged is told in the log, and the others go on.
    """
    resolved, after = 0, ""
    while True:
        async with transaction(engine) as connection:
            found = await queries.known_by_now(connection, after, AT_A_TIME)
        for code, ids in found.items():
            try:
                await _resolve_one(engine, code, ids)
                resolved += 1
            except Exception as error:
                if not is_of_the_row(error):
                    raise
                tell("uses", error)
        if len(found) < AT_A_TIME or turn_is_over():
            return resolved
        after = max(found)


@retry_on_conflict
async def _resolve_one(engine: AsyncEngine, code: str, ids: Sequence[uuid.UUID]) -> None:
    async with transaction(engine) as connection:
        await uses_lock.beside_others(connection)
        await transitions.lock(connection, [code])
        await _judge(connection, (), [code], ids)


async def replay(engine: AsyncEngine) -> dict[str, int]:
    """Apply the mapping to the events that are there, and forget issues from what is mapped no more, or otherwise.

    What was redeemed stays so. It may be broken off and begun again. An event that cannot be judged is told in the log,
    and the others go on.
    """
    async with transaction(engine) as connection:
        # Whoever stored an event by the mapping before has committed it by now, and is found below.
        await uses_lock.alone(connection)
        by_type = await mapped_properties(connection)
    unhurried = Unhurried(engine)
    for outcome in NOT_MATCHED:
        last: queries.Place | None = queries.FIRST
        while last is not None:
            last = await unhurried.step(_forget_some, engine, outcome, last)
    events, found = 0, 0
    for event_type in by_type:
        key = None
        while True:
            rows, new = await unhurried.step(_replay_page, engine, event_type, key, AT_A_TIME)
            events, found = events + len(rows), found + new
            if len(rows) < AT_A_TIME:
                break
            key = (rows[-1].timestamp, rows[-1].id)
    return {"events": events, "found": found}


# Each step goes by the mapping as it is then, and whoever changes that waits for the step. So of two who change it one
# after the other, nothing that the first one's steps do is left for the second one's to miss.
@retry_on_conflict
async def _forget_some(engine: AsyncEngine, outcome: Outcome, after: queries.Place) -> queries.Place | None:
    async with transaction(engine) as connection:
        await uses_lock.beside_others(connection)
        return await queries.forget_unmapped(connection, outcome, after, AT_A_TIME)


async def _replay_page(
    engine: AsyncEngine, event_type: str, key: tuple[datetime, str] | None, most: int
) -> tuple[list[events_of_customers.StoredEvent], int]:
    """Apply the mapping to the next events; where one of them cannot be judged, to halves of the page.

    Return the events, and how much was found in them that is new.
    """
    try:
        return await _replay_some(engine, event_type, key, most)
    except Exception as error:
        if isinstance(error, ConflictError) or not is_of_the_row(error):
            raise
        if most == 1:
            tell("replay", error)
            async with transaction(engine) as connection:
                return await events_of_customers.list_events(connection, event_type, key, 1), 0
    half = most // 2
    rows, found = await _replay_page(engine, event_type, key, half)
    if len(rows) < half:
        return rows, found
    key = (rows[-1].timestamp, rows[-1].id)
    more, new = await _replay_page(engine, event_type, key, most - half)
    return [*rows, *more], found + new


@retry_on_conflict
async def _replay_some(
    engine: AsyncEngine, event_type: str, key: tuple[datetime, str] | None, most: int
) -> tuple[list[events_of_customers.StoredEvent], int]:
    async with transaction(engine) as connection:
        await uses_lock.beside_others(connection)
        by_type = await mapped_properties(connection)
        rows = await events_of_customers.list_events(connection, event_type, key, most)
        uses = [use._replace(arrival=row.arrival) for row in rows for use in uses_in(row.id, row, by_type)]
        await _forget_read_otherwise(connection, [row.id for row in rows], uses)
        return rows, len(await store_and_judge(connection, await _as_known(connection, uses)))


async def _forget_read_otherwise(
    connection: AsyncConnection, event_ids: Sequence[str], uses: Sequence[Use]
) -> None:
    """Forget what the mapping reads as another code or effect by now, so that what the events tell is new.

    The vouchers of both are locked.
    """
    told = {(use.event_id, use.property, use.code, use.effect) for use in uses}
    stored = await queries.told_by(connection, event_ids, READ_ANEW)
    otherwise = {id_: before[2] for id_, before in stored.items() if before not in told}
    await lock_codes(connection, [*(use.code for use in uses), *otherwise.values()])
    if otherwise:
        await queries.forget(connection, otherwise, READ_ANEW)


async def _as_known(connection: AsyncConnection, uses: Sequence[Use]) -> list[Use]:
    """Return those of these uses whose events were not erased since, each by the customer whose it is by now.

    Erasures of them wait until the transaction ends.

    Raises:
        MergingError: one of the customers is being merged.
    """
    ids = {use.event_id for use in uses if use.event_id is not None}
    whose = await events_of_customers.keep(connection, ids)
    found = await persons.resolve(connection, whose.values())
    customers = {
        id_: found[customer].id if customer in found else customer for id_, customer in whose.items()
    }
    return [use._replace(customer_id=customers[use.event_id]) for use in uses if use.event_id in customers]


class EventLike(Protocol):
    """An event, as it came or as it is stored."""

    @property
    def customer_id(self) -> str:
        """Whose it is."""

    @property
    def event_type(self) -> str:
        """What happened."""

    @property
    def properties(self) -> Mapping[str, object]:
        """More about it."""

    @property
    def timestamp(self) -> datetime | None:
        """When it happened, where that is said."""


def uses_in(event_id: str, event: EventLike, by_type: MappedTypes) -> Iterable[Use]:
    """Yield the uses of codes that an event tells."""
    paths = by_type.get(event.event_type, ())
    return rules.uses(event_id, event.customer_id, event.properties, event.timestamp, paths)


async def lock_codes(connection: AsyncConnection, codes: Iterable[str | None]) -> None:
    """Keep the vouchers of these codes as they are until the transaction ends; None is nobody's code."""
    known = {code for code in codes if code is not None}
    if known:
        await transitions.lock(connection, known)


async def store_and_judge(connection: AsyncConnection, uses: Sequence[Use]) -> dict[int, Outcome]:
    """Judge what is said of codes whose vouchers are locked, and store what of it is new.

    Return what came of that, by its place among the uses, from 0 on.
    """
    if not uses:
        return {}
    verdicts, _ = await _judge(connection, uses)
    return {each.place - 1: each.outcome for each in verdicts.new}


async def _judge(
    connection: AsyncConnection, uses: Sequence[Use], also: Sequence[str] = (), ids: Sequence[uuid.UUID] = ()
) -> tuple[rules.Verdicts, list[str]]:
    """Judge codes whose vouchers are locked, and let what is stored and the vouchers follow.

    Args:
        connection: of the transaction.
        uses: what is said of codes, and stored where it is new.
        also: further codes.
        ids: what is stored of these and was not judged yet.

    Return the verdicts, and the ids of what was new.
    """
    tolerance = get_settings().clock_tolerance_seconds
    said = await queries.said_of(connection, uses, also, ids, tolerance)
    verdicts = rules.judge_all(said, timedelta(seconds=tolerance), queries.MAX_SAID)
    stored = await queries.store(connection, uses, verdicts)
    judged = Counter(verdicts.changed.values())
    judged.update(each.outcome for each in verdicts.new if each.outcome not in NOT_MATCHED)
    for outcome, n in judged.items():
        REDEMPTIONS.labels(outcome).inc(n)
    if verdicts.used:
        await transitions.redeem(connection, verdicts.used)
    if verdicts.used_then:
        await transitions.backdate(connection, verdicts.used_then)
    if verdicts.unused:
        await transitions.cancel(connection, verdicts.unused)
    return verdicts, stored


async def judge_again(connection: AsyncConnection, codes: Mapping[str, Sequence[uuid.UUID]]) -> None:
    """Judge what was said of codes whose vouchers are locked, once two customers turn out to be one.

    Each code has the ids of uses that came too late, and may be the redemption now.
    """
    if codes:
        await _judge(connection, (), list(codes), [id_ for late in codes.values() for id_ in late])


async def doubtful_codes(
    connection: AsyncConnection, customers: Sequence[str]
) -> dict[str, Sequence[uuid.UUID]]:
    """Return the codes of which these customers said what `judge_again` may judge otherwise if they are one."""
    return await queries.doubtful_codes(connection, customers)


async def outcomes_of_events(
    connection: AsyncConnection, event_ids: Sequence[str]
) -> dict[str, list[OutcomeAt]]:
    """Return what came of each code in events, in the order of the mapping."""
    outcomes: dict[str, list[OutcomeAt]] = defaultdict(list)
    for event_id, outcome in await queries.outcomes_of(connection, event_ids):
        outcomes[event_id].append(outcome)
    return outcomes


def chief(outcomes: Iterable[OutcomeAt]) -> Outcome | None:
    """Return what came of the codes in one event, in one word: a use before an issue."""
    found = [each.outcome for each in outcomes]
    return next((outcome for outcome in found if outcome in USED_OUTCOMES), found[-1] if found else None)


async def issue_counts(connection: AsyncConnection) -> dict[str, int]:
    """Return how many uses could not be matched, by reason."""
    return await queries.issue_counts(connection)
