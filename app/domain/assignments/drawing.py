"""Draw vouchers from a pool."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import NoReturn

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.assignments import lasting, queries
from app.domain.assignments.cursors import CURSORS
from app.domain.assignments.errors import (
    CustomerLimitError,
    PoolBusyError,
    PoolHeldError,
    PoolTooShortLivedError,
    VoucherNotAvailableError,
)
from app.domain.assignments.lasting import Search
from app.domain.assignments.merged import as_asked, of_persons
from app.domain.assignments.rule import Customers, Given
from app.domain.assignments.shortage import find_shortage, has_holds
from app.domain.holds import service as holds
from app.domain.lifecycle import claim as lifecycle
from app.domain.lifecycle import transitions
from app.domain.lifecycle.claim import NONE_ALLOWED, Allowance, Claimed, CustomerRule, Locked
from app.domain.lifecycle.requests import AssignmentRequest
from app.domain.lifecycle.statements import Ids
from app.domain.lifecycle.stock import another_slot
from app.domain.pools import service as pools
from app.domain.vouchers.errors import VoucherNotFoundError
from app.platform.clock import clock
from app.platform.database import ConflictError
from app.platform.errors import DomainError
from app.platform.metrics import DRAWN
from app.platform.projects import project_of

PAUSES = (0.01, 0.05, 0.2, 0.5)
"""Seconds between tries while all that is available is locked by others."""


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
    slot: int = field(default_factory=another_slot)
    """Of the pool's stock: where all that the transaction writes is counted."""
    ruled: bool = False
    """Whether the pool was found to have a rule for customers."""
    _allowed: Allowance | None = None
    _search: Search | None = None
    """The last search for codes that hold long enough."""

    def ask_for_life(self, seconds: int) -> None:
        """Ask for codes that hold for so many seconds; what is locked and holds shorter is left."""
        if seconds > self.valid_for:
            self.valid_for = seconds
            until = clock.now() + timedelta(seconds=seconds)
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
            given |= await self._for_persons(left, partial(self._claim_by_rule, rule))
        elif left and (self.ruled or await self._meets_hold()):
            given |= await self.claim_free(left)
        return given

    async def rule(self) -> CustomerRule | None:
        """Return the pool's rule, where it has one; nobody else draws from it then until the transaction ends."""
        if self.ruled and self._allowed is None:
            self._allowed = await holds.allowance(self.connection, self.pool, self.campaign_id)
        return None if self._allowed is None else self._allowed.rule

    async def _claim_by_rule(self, rule: CustomerRule, requests: Sequence[AssignmentRequest]) -> Given:
        """Claim for persons who have had less than the rule allows; the others get what it says."""
        state = await Customers.of(self.connection, self.pool, rule, requests)
        given: Given = {
            request.id: state.known[request.id] for request in requests if request.id in state.known
        }
        given |= await state.answered_before(requests)
        fresh = [request for request in requests if request.id not in given and state.takes_new(request)]
        self.shortage = None
        if fresh:
            given |= await self._claim_resolved(fresh)
        for request in fresh:
            state.note(request, given.get(request.id))
        again: Given = {}
        for request in requests:
            if request.id not in given and (answer := await state.answer(request)) is not None:
                again[request.id] = answer
        await state.keep(again)
        return given | again

    async def _for_persons(
        self,
        requests: Sequence[AssignmentRequest],
        claim: Callable[[Sequence[AssignmentRequest]], Awaitable[Given]],
    ) -> Given:
        """Claim for the persons for whom the customers' ids stand, each request once; return it by who asked."""
        resolved = await of_persons(self.connection, self.pool, requests)
        unique = list({request.id: request for request in resolved}.values())
        return as_asked(requests, resolved, await claim(unique))

    async def claim_free(self, requests: Sequence[AssignmentRequest]) -> Given:
        """Claim as `claim` does, but do not ask what holds leave to the campaign."""
        if self.valid_for:
            return await self._for_persons(requests, self._claim_lasting)
        claimed = await self._claim_once(requests)
        given: Given = {entry.id: entry for entry in claimed.ledger}
        if claimed.merged:
            given |= await self._for_persons(claimed.merged, self._claim_resolved)
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
        place = project_of(self.connection), self.pool
        cursor = CURSORS.of(place)
        allowed = self._allowed or NONE_ALLOWED
        claimed = await lifecycle.claim(self.connection, self.pool, requests, cursor, allowed, ids)
        CURSORS.passed(place, cursor, claimed.draw_keys)
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
        if await lifecycle.write(self.connection, self.pool, gifts, allowed, self.slot) != len(gifts):
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
        row = await self._peek()
        if row is not None and await has_holds(self.connection, self.pool):
            self._allowed = await holds.allowance_now(self.connection, self.pool, self.campaign_id)
            row = row if self._allowed.n > 0 else None
        if row is None:
            await self._explain()
        return row

    async def _peek(self) -> Locked | None:
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
        place = project_of(self.connection), self.pool
        cursor = CURSORS.of(place)
        rows = await lifecycle.lock(self.connection, self.pool, wanted, cursor, allowed)
        CURSORS.passed(place, cursor, [row.draw_key for row in rows])
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
        self._allowed = replace(allowed, n=max(allowed.n - n, 0), from_hold=allowed.from_hold - from_hold)

    async def _explain(self) -> None:
        left = None if self._allowed is None else self._allowed.n - len(self.locked)
        ours = [row.code for row in self.locked]
        found = await find_shortage(self.connection, self.pool, left, ours, self._search)
        self.shortage, self.ruled = found.error, found.ruled


async def confirm_for_message(connection: AsyncConnection, assignment_ids: Sequence[uuid.UUID]) -> None:
    """Confirm the leases of what a message shows, in the transaction that sends it.

    Raises:
        ConflictError: one of them lapsed, expired or was released meanwhile; run the transaction again, and it is
            found so.
    """
    if len(await transitions.confirm(connection, assignment_ids)) != len(assignment_ids):
        raise ConflictError
