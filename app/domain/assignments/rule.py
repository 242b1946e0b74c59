"""How many codes of a pool a customer gets: who may have a new one, and what the others are answered.

All of it happens while nobody else draws from the pool (`holds.allowance`), so what is counted here stays true until
the transaction ends. Proofs count apart: a code that a test showed is not the customer's.
"""

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.assignments import queries
from app.domain.assignments.errors import CustomerLimitError, PoolTooShortLivedError
from app.domain.assignments.identity import repeats
from app.domain.lifecycle import transitions
from app.domain.lifecycle.claim import CustomerRule
from app.domain.lifecycle.requests import AssignmentRequest, LedgerEntry
from app.platform.database import ConflictError
from app.platform.errors import DomainError, IdempotencyKeyReusedError

Given: TypeAlias = dict[uuid.UUID, LedgerEntry | DomainError]
"""By request: what it was given, or why it is refused by itself."""
Who = tuple[str | None, bool]
"""A customer, and whether it is a test."""


@dataclass(slots=True)
class Customers:
    """The customers of some requests, and what they have of one pool."""

    connection: AsyncConnection
    pool: str
    rule: CustomerRule
    room: dict[Who, int]
    """How many more each may have; who is not in it has nothing."""
    last: dict[Who, LedgerEntry] = field(default_factory=dict)
    """What each was given last."""
    known: Given = field(default_factory=dict)
    """What they have of late, by the requests that it was given for."""

    @classmethod
    async def of(
        cls,
        connection: AsyncConnection,
        pool: str,
        rule: CustomerRule,
        requests: Sequence[AssignmentRequest],
    ) -> "Customers":
        """Look up what the customers of these requests have."""
        asked = {
            (request.customer_id, request.test) for request in requests if request.customer_id is not None
        }
        found = cls(connection, pool, rule, defaultdict(lambda: rule.count))
        for row in await queries.standing(connection, pool, asked, rule) if asked else ():
            who = (row.customer_id, row.test)
            found.room[who] -= 1
            found.last.setdefault(who, row)
            found.known[row.id] = row
        return found

    async def answered_before(self, requests: Sequence[AssignmentRequest]) -> Given:
        """Return what these requests were answered before with what their customers had, whatever became of it."""
        fresh = [request for request in requests if request.id not in self.known and repeats(request.id)]
        found = (
            await queries.answered_again(self.connection, [request.id for request in fresh]) if fresh else {}
        )
        return {
            request.id: replace(row, replayed=True) if row.customer_id == request.customer_id else reused(row)
            for request in fresh
            if (row := found.get(request.id)) is not None
        }

    async def keep(self, answers: Given) -> None:
        """Note these answers for repeats of their requests."""
        kept = {id_: row.id for id_, row in answers.items() if isinstance(row, LedgerEntry) and repeats(id_)}
        if kept:
            await queries.note_answers(self.connection, kept)

    def takes_new(self, request: AssignmentRequest) -> bool:
        """Tell whether a request may have a code of its own, and count it."""
        if request.customer_id is None:
            return True
        who = (request.customer_id, request.test)
        self.room[who] -= 1
        return self.room[who] >= 0

    def note(self, request: AssignmentRequest, given: LedgerEntry | DomainError | None) -> None:
        """Note what a request was given that may have a new one; where there is none, it leaves that to others."""
        if request.customer_id is None:
            return
        who = (request.customer_id, request.test)
        if isinstance(given, LedgerEntry):
            self.last[who] = given
        else:
            self.room[who] += 1

    async def answer(self, request: AssignmentRequest) -> LedgerEntry | DomainError | None:
        """Return what a request gets that may have nothing new; None where there is nothing.

        What was only reserved is handed out for good to who asks for that.

        Raises:
            ConflictError: the lease ran out this moment; run the transaction again.
        """
        who = (request.customer_id, request.test)
        if self.room[who] >= 0 or request.customer_id is None:
            return None
        if self.rule.then == "refuse":
            return CustomerLimitError(self.pool, self.rule.count, self.rule.days)
        row = self.last.get(who)
        if row is None:
            return None
        if not row.lasts(request.valid_for_seconds):
            return PoolTooShortLivedError(self.pool)
        if row.status == "reserved" and request.lease_seconds is None:
            if not await transitions.confirm(self.connection, [row.id]):
                raise ConflictError
            row = replace(row, status="assigned", lease_until=None)
            self.last[who] = row
        return replace(row, replayed=True)


def reused(row: LedgerEntry) -> IdempotencyKeyReusedError:
    """Return the error for a request whose id another customer's request had."""
    return IdempotencyKeyReusedError(
        "The same idempotency key or message came before with another customer, or its customer was erased since.",
        assignment_id=row.id,
    )
