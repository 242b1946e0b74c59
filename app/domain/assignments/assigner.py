"""Hands out vouchers: one statement for all the requests that came in while the one before was under way.

There is no timer. An idle pool answers a request at once; a busy one batches by itself, because requests gather
while PostgreSQL commits. Each pool has a lane, and a lane has one statement under way at most, so within a process
nobody waits for a lock of ours. An answer is made from what a committed statement returned, never before.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.assignments import drawing, service
from app.domain.assignments.errors import PoolBusyError
from app.domain.lifecycle.wishes import Given, Wish
from app.platform.database import Direct
from app.platform.errors import ClientGoneError, DomainError, OverloadedError
from app.platform.metrics import BATCHES

MAX_BATCH = 1000
"""Most wishes in one statement. Beyond it a batch takes longer and gives no more codes per second."""

MAX_WAITING = 10_000
"""Most requests that wait for one pool. One more is turned away at once, rather than in vain later."""

PATIENCE = 10.0
"""Seconds that a request may wait for its batch."""

PAUSES = (0.005, 0.02, 0.1)
"""Seconds between tries while all that is available is locked by others."""


@dataclass(slots=True)
class _Request:
    wish: Wish
    answer: asyncio.Future[Given]
    deadline: float
    gone: Callable[[], bool]


@dataclass(slots=True)
class _Lane:
    waiting: deque[_Request] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None


class Assigner:
    """The assigner of one process."""

    def __init__(self, engine: AsyncEngine, direct: Direct) -> None:
        self._engine = engine
        self._direct = direct
        self._lanes: dict[str, _Lane] = {}
        self._loop: asyncio.AbstractEventLoop | None = (
            None  # asked for once: each time costs a call to the system
        )

    async def assign(self, pool: str, wish: Wish, gone: Callable[[], bool] = lambda: False) -> Given:
        """The voucher for a wish, committed.

        Args:
            pool: name of the pool.
            wish: what is asked for.
            gone: whether nobody waits for the answer any more. Asked as the batch begins; from then on the wish
                is answered, and a repeat finds what it was given.

        Raises:
            ClientGoneError: `gone` said so; no voucher was taken.
            OverloadedError: too many wait, or this one waited too long.
            PoolNotFoundError, PoolExhaustedError, PoolBusyError: there was no voucher to give.
            IdempotencyKeyReusedError, AssignmentReleasedError: the wish was answered before, and not like this.
        """
        lane = self._lanes.setdefault(pool, _Lane())
        if len(lane.waiting) >= MAX_WAITING:
            raise OverloadedError
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        request = _Request(wish, self._loop.create_future(), time.monotonic() + PATIENCE, gone)
        lane.waiting.append(request)
        if lane.task is None:
            lane.task = asyncio.create_task(self._serve(pool, lane))
        return await request.answer

    async def _serve(self, pool: str, lane: _Lane) -> None:
        """Answer batch after batch until nobody waits."""
        while lane.waiting:
            batch = _next_batch(lane.waiting)
            try:
                if batch:
                    await self._answer(pool, batch)
            except Exception as error:  # noqa: BLE001  (whatever it was, those who wait must hear of it)
                _fail(batch, error)
        del self._lanes[pool]

    async def _answer(self, pool: str, batch: list[_Request]) -> None:
        """Claim for a batch, and again for what found everything locked."""
        for pause in (*PAUSES, None):
            error, batch = await self._claim(pool, batch)
            if not batch:
                return
            if pause is None or not isinstance(error, PoolBusyError):
                _fail(batch, error)
                return
            await asyncio.sleep(pause)

    async def _claim(self, pool: str, batch: list[_Request]) -> tuple[DomainError, list[_Request]]:
        """One claim for a batch; what got no voucher, and why."""
        wishes = [request.wish for request in batch]
        BATCHES.observe(len(batch))
        unique = list({wish.id: wish for wish in wishes}.values())
        given, reason = await drawing.give(self._engine, self._direct, pool, unique)
        left = []
        for request, answer in zip(batch, service.first_and_repeats(wishes, given), strict=True):
            if answer is None:
                left.append(request)
            elif not request.answer.done():
                if isinstance(answer, DomainError):
                    request.answer.set_exception(answer)
                else:
                    request.answer.set_result(answer)
        return reason or OverloadedError(), left


def _next_batch(waiting: deque[_Request]) -> list[_Request]:
    """The next requests that still want an answer; those that waited too long are told so."""
    batch: list[_Request] = []
    now = time.monotonic()
    while waiting and len(batch) < MAX_BATCH:
        request = waiting.popleft()
        if request.answer.done():
            continue  # cancelled: nobody waits for it
        if request.gone():
            request.answer.set_exception(ClientGoneError())
        elif request.deadline < now:
            request.answer.set_exception(OverloadedError())
        else:
            batch.append(request)
    return batch


def _fail(batch: list[_Request], error: Exception) -> None:
    for request in batch:
        if not request.answer.done():
            request.answer.set_exception(twin(error))


def twin(error: Exception) -> Exception:
    """The same error for one more request: raised in several tasks at once, one object would chain to itself."""
    twin = type(error).__new__(type(error), *error.args)
    twin.__dict__.update(error.__dict__)
    return twin
