"""Draw vouchers from a pool."""

import asyncio
import random
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.assignments import lasting, queries
from app.domain.assignments.errors import (
    CustomerLimitError,
    PoolBusyError,
    PoolExhaustedError,
    PoolHeldError,
    PoolTooShortLivedError,
    VoucherNotAvailableError,
)
from app.domain.assignments.lasting import Search
from app.domain.assignments.merged import of_persons
from app.domain.assignments.rule import Customers, Given
from app.domain.holds import service as holds
from app.domain.lifecycle import claim as lifecycle
from app.domain.lifecycle import transitions
from app.domain.lifecycle.claim import NONE_ALLOWED, Allowance, Claimed, CustomerRule, Ids, Locked
from app.domain.lifecycle.requests import AssignmentRequest, LedgerEntry
from app.domain.pools import service as pools
from app.domain.vouchers.errors import VoucherNotFoundError
from app.platform.database import ConflictError, autocommit, retry_on_conflict, transaction
from app.platform.driver_pool import DriverPool
from app.platform.errors import DomainError
from app.platform.metrics import DRAWN, SHORTAGES

PAUSES = (0.01, 0.05, 0.2, 0.5)
"""Seconds between tries while all that is available is locked by others."""

_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


_MAX_CURSORS = 10_000


class Cursors:
    """Where this process's last draw from each pool ended: a hint that keeps the next one off what is taken.

    A pool not seen before starts at a random place, so that processes walk apart. Losing a cursor loses nothing.
    """

    def __init__(self) -> None:
        self._by_pool: OrderedDict[str, int] = OrderedDict()

    def of(self, pool: str) -> int:
        """Return the draw key after which the next draw begins."""
        if pool not in self._by_pool:
            self._by_pool[pool] = random.randint(_SMALLEST, _LARGEST)  # noqa: S311  (a place to start, no secret)
            if len(self._by_pool) > _MAX_CURSORS:
                self._by_pool.popitem(last=False)
        return self._by_pool[pool]

    def passed(self, pool: str, cursor: int, draw_keys: Sequence[int]) -> None:
        """Move past the keys that a draw from `cursor` on took."""
        wrapped = [key for key in draw_keys if key <= cursor]
        if draw_keys:
            DRAWN.inc(len(draw_keys))
            self._by_pool[pool] = max(wrapped or draw_keys)


CURSORS = Cursors()


@dataclass(slots=True)
class Draw:
    """What one transaction draws from one pool for one campaign.

    Where the pool has holds, the draw finds out what it is allowed as soon as it meets one; from then on nobody else
    draws from the pool until the transaction ends, so that what it is allowed is exact.

    Args:
        connection: of the transaction.
        pool: name of the pool.
        campaign_id: for whom is drawn; its hold is drawn from first.
        valid_for: seconds that each code must hold at the least.
    """

    connection: AsyncConnection
    pool: str
    campaign_id: str | None = None
    valid_for: int = 0
    locked: list[Locked] = field(default_factory=list)
    """Vouchers that are locked for this transaction and given to nobody yet."""
    shortage: DomainError | None = None
    """Why the last call got less than it asked for."""
    ruled: bool = False
    """Whether the pool was found to have a rule for customers."""
    _allowed: Allowance | None = None
    _search: Search | None = None
    """The last search for codes that hold long enough."""

    def ask_for_life(self, seconds: int) -> None:
        """Ask for codes that hold for so many seconds; what is locked and holds shorter is left."""
        if seconds > self.valid_for:
            self.valid_for = seconds
            until = datetime.now(UTC) + timedelta(seconds=seconds)
            self.locked = [row for row in self.locked if row.expires_at is None or row.expires_at > until]
            self.shortage = None

    async def claim(self, requests: Sequence[AssignmentRequest]) -> Given:
        """Give each request its voucher, or what it was given before. What got none is missing in the result.

        Requests have ids of their own and ask for the same `valid_for_seconds`. A unique conflict with another
        transaction undoes all of it: run it again (`retry_on_conflict`), and the request is found given.
        """
        given = await self.claim_free(requests)
        left = [request for request in requests if request.id not in given]
        if left and (rule := await self.rule()) is not None:
            given |= await self._claim_by_rule(rule, left)
        elif left and (self.ruled or await self._meets_hold()):
            given |= await self.claim_free(left)
        return given

    async def rule(self) -> CustomerRule | None:
        """Return the pool's rule, where it has one; nobody else draws from it then until the transaction ends."""
        if self.ruled and self._allowed is None:
            self._allowed = await holds.allowance(self.connection, self.pool, self.campaign_id)
        return None if self._allowed is None else self._allowed.rule

    async def _claim_by_rule(self, rule: CustomerRule, requests: Sequence[AssignmentRequest]) -> Given:
        """Claim for those whose customers have had less than the rule allows; the others get what it says."""
        resolved = await of_persons(self.connection, self.pool, requests)
        unique = list({request.id: request for request in resolved}.values())
        state = await Customers.of(self.connection, self.pool, rule, unique)
        given: Given = {
            request.id: state.known[request.id] for request in unique if request.id in state.known
        }
        fresh = [request for request in unique if request.id not in given and state.takes_new(request)]
        self.shortage = None
        if fresh:
            given |= await self._claim_resolved(fresh)
        for request in fresh:
            state.note(request, given.get(request.id))
        for request in unique:
            if request.id not in given and (answer := await state.answer(request)) is not None:
                given[request.id] = answer
        return _as_asked(requests, resolved, given)

    async def claim_free(self, requests: Sequence[AssignmentRequest]) -> Given:
        """Claim as `claim` does, but do not ask what holds leave to the campaign."""
        if self.valid_for:
            resolved = await of_persons(self.connection, self.pool, requests)
            unique = list({request.id: request for request in resolved}.values())
            return _as_asked(requests, resolved, await self._claim_lasting(unique))
        claimed = await self._claim_once(requests)
        given: Given = {entry.id: entry for entry in claimed.ledger}
        if claimed.merged:
            those = [requests[place] for place in claimed.merged]
            resolved = await of_persons(self.connection, self.pool, those)
            unique = list({request.id: request for request in resolved}.values())
            given |= _as_asked(those, resolved, await self._claim_resolved(unique))
        self.shortage = None
        if len(given) < len(requests):
            await self._explain()
        return given

    async def _claim_resolved(self, requests: Sequence[AssignmentRequest]) -> Given:
        """Claim for requests of persons."""
        if self.valid_for:
            return await self._claim_lasting(requests)
        claimed = await self._claim_once(requests, Ids.RESOLVED)
        if len(claimed.ledger) < len(requests):
            await self._explain()
        return {entry.id: entry for entry in claimed.ledger}

    async def _claim_once(self, requests: Sequence[AssignmentRequest], ids: Ids = Ids.ASKED) -> Claimed:
        cursor = CURSORS.of(self.pool)
        allowed = self._allowed or NONE_ALLOWED
        claimed = await lifecycle.claim(self.connection, self.pool, requests, cursor, allowed, ids)
        CURSORS.passed(self.pool, cursor, claimed.draw_keys)
        await self._record(len(claimed.draw_keys), claimed.from_hold)
        return claimed

    async def _claim_lasting(self, requests: Sequence[AssignmentRequest]) -> Given:
        """Claim as `claim_free` does, of codes that hold long enough: look for them, and then give them."""
        given: Given = {
            row.id: row for row in await queries.known(self.connection, [request.id for request in requests])
        }
        fresh = [request for request in requests if request.id not in given]
        self.shortage = None
        if not fresh:
            return given
        await self._lock(len(fresh))
        gifts = list(zip(fresh, self.locked, strict=False))
        del self.locked[: len(gifts)]
        if gifts:
            await self.write(gifts)
            rows = await queries.known(self.connection, [request.id for request, _ in gifts])
            given |= {row.id: replace(row, replayed=False) for row in rows}
        if len(gifts) < len(fresh):
            await self._explain()
        return given

    async def lock(self, wanted: int) -> None:
        """Lock vouchers until `locked` has `wanted` of them, or all there are; `shortage` says why there are fewer.

        Waits a little where all that is available is locked by others.
        """
        pauses = iter(PAUSES)
        while True:
            if len(self.locked) < wanted:
                await self._lock(wanted)
            if len(self.locked) >= wanted:
                self.shortage = None
                return
            await self._explain()
            if await self._meets_hold():
                continue
            pause = next(pauses, None)
            if pause is None or not isinstance(self.shortage, PoolBusyError):
                return
            await asyncio.sleep(pause)

    async def write(self, gifts: Sequence[tuple[AssignmentRequest, Locked]]) -> None:
        """Give each request the voucher that `lock` locked for it.

        Raises:
            ConflictError: a voucher had moved between being seen and being locked; run the transaction again.
        """
        allowed = self._allowed or NONE_ALLOWED
        if await lifecycle.write(self.connection, self.pool, gifts, allowed) != len(gifts):
            raise ConflictError
        await self._record(len(gifts), min(allowed.from_hold, len(gifts)))

    async def give(self, request: AssignmentRequest, code: str) -> None:
        """Give a request this voucher of the pool, by the pool's holds and its rule.

        Raises:
            VoucherNotAvailableError, VoucherNotFoundError, PoolNotFoundError: there is none to give.
            PoolHeldError: all that is available is held for other campaigns.
            CustomerLimitError: the customer has had as many as the rule allows.
            ConflictError: it moved meanwhile; run the transaction again.
        """
        # Whether the pool has holds or a rule is seen with its row locked: giving this code is rare.
        self._allowed = await holds.allowance(self.connection, self.pool, self.campaign_id)
        rule = self._allowed.rule
        if rule is not None:
            state = await Customers.of(self.connection, self.pool, rule, [request])
            if not state.takes_new(request):
                raise CustomerLimitError(self.pool, rule.count, rule.days)
        row = await lifecycle.lock_this(self.connection, self.pool, code, self.valid_for)
        if row is None:
            await self._explain_this(code)
        if self._allowed.n <= 0:
            raise PoolHeldError(self.pool)
        await self.write([(request, row)])

    async def _explain_this(self, code: str) -> NoReturn:
        pool_id = await pools.id_of(self.connection, self.pool)
        status = await queries.status_of(self.connection, pool_id, code)
        if status is None:
            raise VoucherNotFoundError
        if status == "available":
            raise PoolTooShortLivedError(self.pool) if self.valid_for else VoucherNotAvailableError("expired")
        raise VoucherNotAvailableError(status)

    async def preview(self) -> Locked | None:
        """Return a voucher that could be drawn right now, and take none; None where there is none (`shortage`)."""
        row = await self._shown()
        if row is not None and await _has_holds(self.connection, self.pool):
            self._allowed = await holds.allowance_now(self.connection, self.pool, self.campaign_id)
            row = row if self._allowed.n > 0 else None
        if row is None:
            await self._explain()
        return row

    async def _shown(self) -> Locked | None:
        if not self.valid_for:
            return await lifecycle.peek(self.connection, self.pool)
        # What holds leave is looked at afterwards.
        self._search = await lasting.show(self.connection, self.pool, self.valid_for)
        return next(iter(self._search.rows), None) if self._search is not None else None

    async def _lock(self, wanted: int) -> None:
        """Lock what is missing. Our own locks do not hinder us, so a walk that comes round finds what we hold."""
        if self._allowed is not None:
            wanted = min(wanted, self._allowed.n)
        allowed = self._allowed or NONE_ALLOWED
        if self.valid_for:
            await self._lock_lasting(wanted - len(self.locked), allowed)
            return
        cursor = CURSORS.of(self.pool)
        rows = await lifecycle.lock(self.connection, self.pool, wanted, cursor, allowed)
        CURSORS.passed(self.pool, cursor, [row.draw_key for row in rows])
        ours = {row.code for row in self.locked}
        self.locked += [row for row in rows if row.code not in ours]
        del self.locked[wanted:]

    async def _lock_lasting(self, missing: int, allowed: Allowance) -> None:
        ours = [row.code for row in self.locked]
        self._search = await lasting.find(self.connection, self.pool, missing, allowed, self.valid_for, ours)
        if self._search is not None:
            DRAWN.inc(len(self._search.rows))
            self.locked += self._search.rows

    async def _meets_hold(self) -> bool:
        """Ask for what holds leave to the campaign, once; return whether that is anything."""
        if not isinstance(self.shortage, PoolHeldError) or self._allowed is not None:
            return False
        self._allowed = await holds.allowance(self.connection, self.pool, self.campaign_id)
        return self._allowed.n > 0

    async def _record(self, n: int, from_hold: int) -> None:
        if self._allowed is None or n == 0:
            return
        allowed = self._allowed
        await holds.record_draws(self.connection, allowed, from_hold)
        self._allowed = Allowance(max(allowed.n - n, 0), allowed.from_hold - from_hold, allowed.hold_id)

    async def _explain(self) -> None:
        left = None if self._allowed is None else self._allowed.n - len(self.locked)
        ours = [row.code for row in self.locked]
        found = await find_shortage(self.connection, self.pool, left, ours, self._search)
        self.shortage, self.ruled = found.error, found.ruled


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why there is no voucher."""

    error: DomainError
    ruled: bool = False
    """Whether the pool has a rule for customers: some may get one all the same, or one that they have."""
    any_merged: bool = False
    """Whether any customers were merged, so that a claim that takes each id for a person gets nothing."""


async def find_shortage(
    connection: AsyncConnection,
    pool: str,
    allowed: int | None = None,
    ours: Sequence[str] = (),
    search: Search | None = None,
) -> Shortage:
    """Return why a request got no voucher.

    There is no such pool, none is available, none holds long enough, or all are held or locked by others right now.

    Args:
        connection: of any transaction.
        pool: name of the pool.
        allowed: how many the draw may still take where the pool has holds; None where it does not know.
        ours: codes that this transaction itself has locked.
        search: what a search for codes that hold long enough came to, if there was one.
    """
    left = await lifecycle.what_is_left(connection, pool, ours)
    if left is None:
        return Shortage(await pools.not_found(connection, pool))
    error: DomainError
    if not left.any_left:
        error = PoolExhaustedError(pool)
    elif search is not None and search.is_short and not search.others_have_some:
        error = PoolTooShortLivedError(pool) if search.looked_at_all else PoolBusyError(pool, searching=True)
    else:
        error = PoolHeldError(pool) if left.held and not allowed else PoolBusyError(pool)
    SHORTAGES.labels(error.name).inc()
    return Shortage(error, left.ruled, left.any_merged)


async def confirm_for_message(connection: AsyncConnection, assignment_ids: Sequence[uuid.UUID]) -> None:
    """Confirm the leases of what a message shows, in the transaction that sends it.

    Raises:
        ConflictError: one of them lapsed, expired or was released meanwhile; run the transaction again, and it is
            found so.
    """
    if len(await transitions.confirm(connection, assignment_ids)) != len(assignment_ids):
        raise ConflictError


@dataclass(slots=True)
class Claimer:
    """Claims and commits, for one process."""

    engine: AsyncEngine
    driver_pool: DriverPool
    _ids: Ids = Ids.SINGLE
    """Changes for good with the first claim that gets nothing because customers were merged."""

    async def claim(
        self, pool: str, requests: Sequence[AssignmentRequest]
    ) -> tuple[Given, DomainError | None]:
        """Claim and commit: what each request was given, and why the rest got none.

        A pool without holds takes one statement. All requests ask for the same `valid_for_seconds`.
        """
        if requests and requests[0].valid_for_seconds:
            return await _claim_in_transaction(self.engine, pool, requests)
        claimed = await _claim_on_driver(self.driver_pool, pool, requests, self._ids)
        given: Given = {entry.id: entry for entry in claimed.ledger}
        reason: DomainError | None = None
        if claimed.merged:
            more, reason = await _claim_in_transaction(
                self.engine, pool, [requests[place] for place in claimed.merged]
            )
            given |= more
        if len(claimed.ledger) + len(claimed.merged) == len(requests):
            return given, reason
        async with autocommit(self.engine) as connection:
            found = await find_shortage(connection, pool)
        left = [request for request in requests if request.id not in given]
        if found.any_merged and self._ids is Ids.SINGLE:
            self._ids = Ids.ASKED
            more, reason = await self.claim(pool, left)
        elif found.ruled or isinstance(found.error, PoolHeldError):
            more, reason = await _claim_in_transaction(self.engine, pool, left)
        else:
            return given, found.error
        return given | more, reason


@retry_on_conflict
async def _claim_on_driver(
    direct: DriverPool, pool: str, requests: Sequence[AssignmentRequest], ids: Ids
) -> Claimed:
    cursor = CURSORS.of(pool)
    async with direct.connection() as connection:
        claimed = await lifecycle.claim_direct(connection, pool, requests, cursor, ids)
    CURSORS.passed(pool, cursor, claimed.draw_keys)
    return claimed


@retry_on_conflict
async def _claim_in_transaction(
    engine: AsyncEngine, pool: str, requests: Sequence[AssignmentRequest]
) -> tuple[Given, DomainError | None]:
    async with transaction(engine) as connection:
        return await claim_by_campaign(connection, pool, requests)


async def claim_by_campaign(
    connection: AsyncConnection, pool: str, requests: Sequence[AssignmentRequest]
) -> tuple[Given, DomainError | None]:
    """Claim for requests that ask for the same `valid_for_seconds`, campaign by campaign.

    Returns:
        What each was given, and why the rest got none.
    """
    groups: dict[str | None, list[AssignmentRequest]] = {}
    for request in requests:
        groups.setdefault(request.campaign_id, []).append(request)
    given: Given = {}
    reason: DomainError | None = None
    for campaign_id, group in groups.items():
        draw = Draw(connection, pool, campaign_id, group[0].valid_for_seconds)
        given |= await draw.claim(group)
        reason = draw.shortage or reason
    return given, reason


async def claim_many(
    connection: AsyncConnection, pool: str, requests: Sequence[AssignmentRequest]
) -> tuple[Given, DomainError | None]:
    """Claim for any requests, in as few statements as their wishes and the pool's holds allow.

    Returns:
        What each was given, and why the rest got none.
    """
    groups: dict[int, list[AssignmentRequest]] = {}
    for request in requests:
        groups.setdefault(request.valid_for_seconds, []).append(request)
    given: Given = {}
    reason: DomainError | None = None
    for valid_for, group in groups.items():
        draw = Draw(connection, pool, valid_for=valid_for)
        given |= await draw.claim_free(group)
        shortage = draw.shortage
        if draw.ruled or isinstance(shortage, PoolHeldError):
            left = [request for request in group if request.id not in given]
            more, shortage = await claim_by_campaign(connection, pool, left)
            given |= more
        reason = shortage or reason
    return given, reason


def _as_asked(
    asked: Sequence[AssignmentRequest], resolved: Sequence[AssignmentRequest], given: Given
) -> Given:
    """Return what requests were given by those that asked, where these name customers by other ids."""
    answers: Given = {}
    for request, of_person in zip(asked, resolved, strict=True):
        row = given.get(of_person.id)
        if isinstance(row, LedgerEntry) and of_person is not request and row.id == of_person.id:
            row = replace(row, of_person=True)
        if row is not None:
            answers[request.id] = row
    return answers


async def _has_holds(connection: AsyncConnection, pool: str) -> bool:
    left = await lifecycle.what_is_left(connection, pool, ())
    return left is not None and bool(left.held)
