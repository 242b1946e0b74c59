"""Hand out vouchers: one statement for all the requests that came in while the one before was under way.

A pool has one statement under way as a rule (one more for each `valid_for_seconds`), so within a process nobody waits
for a lock of ours; only while one stalls, the next goes on another connection. An answer is made from what a
committed statement returned, never before.
"""

import asyncio
import uuid
from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.assignments import claiming, service
from app.domain.assignments.errors import PoolBusyError
from app.domain.lifecycle.requests import AssignmentRequest, LedgerEntry
from app.platform.batching import Batcher, Waiter, fail_all
from app.platform.driver_pool import ProjectConnections
from app.platform.errors import DomainError, OverloadedError
from app.platform.metrics import BATCHES

MAX_BATCH = 1000
"""Most requests in one statement. Beyond it a batch takes longer and gives no more codes per second."""

MAX_WAITING = 10_000
"""Most requests that wait for one pool. One more is turned away at once, rather than in vain later."""

PATIENCE = 1.5
"""Seconds that a request may wait for its batch. With the statement's own limit it is answered within 5 s."""

PAUSES = (0.005, 0.02, 0.1)
"""Seconds between tries while all that is available is locked by others."""

Requests = list[Waiter[AssignmentRequest, LedgerEntry]]


class Assigner:
    """The assigner of one process."""

    def __init__(self, engine: AsyncEngine, driver_pool: ProjectConnections) -> None:
        self._claimer = claiming.Claimer(engine, driver_pool)
        self._batcher = Batcher[tuple[str, int], AssignmentRequest, LedgerEntry](
            self._serve, max_batch=MAX_BATCH, max_waiting=MAX_WAITING, patience=PATIENCE
        )

    async def assign(
        self, pool: str, request: AssignmentRequest, gone: Callable[[], bool] = lambda: False
    ) -> LedgerEntry:
        """Return the voucher for a request, committed.

        Args:
            pool: name of the pool.
            request: what is asked for.
            gone: whether nobody waits for the answer any more.

        Raises:
            ClientGoneError: `gone` said so; no voucher was taken.
            OverloadedError: too many wait, or this one waited too long.
            PoolNotFoundError, PoolExhaustedError, PoolBusyError: there was no voucher to give.
            IdempotencyKeyReusedError, AssignmentReleasedError, VoucherVoidError: the request came before, and what it
                was given then does not answer it.
        """
        return await self._batcher.submit((pool, request.valid_for_seconds), request, gone)

    def begin(
        self,
        pool: str,
        request: AssignmentRequest,
        tell: Callable[[LedgerEntry | Exception], None],
        gone: Callable[[], bool],
    ) -> None:
        """Do as `assign`, and tell the voucher, or the error, instead of returning it.

        Raises:
            OverloadedError: too many wait.
        """
        self._batcher.begin((pool, request.valid_for_seconds), request, tell, gone)

    async def _serve(self, key: tuple[str, int], batch: Requests) -> None:
        """Claim for a batch, and again for what found everything locked."""
        pool, _ = key
        for pause in (*PAUSES, None):
            error, batch = await self._claim(pool, batch)
            if not batch:
                return
            if pause is None or not isinstance(error, PoolBusyError):
                fail_all(batch, error)
                return
            await asyncio.sleep(pause)

    async def _claim(self, pool: str, batch: Requests) -> tuple[Exception, Requests]:
        """Claim once for a batch; what got no voucher, and why."""
        requests = [waiter.item for waiter in batch]
        BATCHES.observe(len(batch))
        unique: dict[uuid.UUID, AssignmentRequest] = {}
        for request in requests:  # who came first is served first, also where the pool has too few
            unique.setdefault(request.id, request)
        given, reason = await self._claimer.claim(pool, list(unique.values()))
        left = []
        for waiter, result in zip(batch, service.results_in_order(requests, given), strict=True):
            if result is None:
                left.append(waiter)
            elif isinstance(result, DomainError):
                waiter.fail(result)
            else:
                waiter.resolve(result)
        return reason or OverloadedError(), left
