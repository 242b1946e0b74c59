"""Answer together what comes in while the batch before is under way.

No timer holds a batch back: an idle process answers at once, a busy one batches by itself. Everybody who waits has a
place in the queue of a key, at most `max_waiting` of them, and an end to the wait: while a batch takes long, the next
is served beside it, and who waited too long is told so. Where the first in the queue has waited half of that, whoever
comes is turned away at once: it would wait as long, and those that are let in are answered in time. Batches that may
rightly take long are turned away from sooner, but only where more wait than the next one takes (`full_after`).
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar, cast

from app.platform.errors import ClientGoneError, OverloadedError
from app.platform.logs import log

STALL_SECONDS = 0.3
"""A batch that takes longer no longer holds up those that wait behind it."""

MAX_PACES = 1000
"""Keys of which it is remembered how long an item took; then all are forgotten, and found out anew."""

MAX_BESIDE = 4
"""Most batches of one key under way at a time. One is the rule; more only while they stall."""


@dataclass(slots=True)
class Tally:
    """How many there were."""

    n: int = 0


TURNED_AWAY = Tally()
"""Items that no batcher of this process let in."""

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")


def _never() -> bool:
    return False


@dataclass(slots=True)
class Waiter(Generic[Item, Result]):
    """One item, and who waits for its result."""

    item: Item
    tell: Callable[[Result | Exception], None]
    deadline: float
    gone: Callable[[], bool]
    done: bool = False
    """Whether it was told, or waits no more."""

    def resolve(self, result: Result) -> None:
        """Give the result to whoever still waits."""
        self._end(result)

    def fail(self, error: Exception) -> None:
        """Give the error to whoever still waits."""
        self._end(error)

    def _end(self, outcome: Result | Exception) -> None:
        if not self.done:
            self.done = True
            self.tell(outcome)


@dataclass(slots=True)
class _Queue(Generic[Item, Result]):
    waiting: deque[Waiter[Item, Result]] = field(default_factory=deque)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    pace: float = 0.0
    """Seconds that an item took of late where batches were large; 0 where that is not known."""


class _Watch:
    """Call something again and again while a batch takes long."""

    __slots__ = ("_act", "_handle", "_loop")

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_later(STALL_SECONDS, self._again)

    def _again(self) -> None:
        self._handle = self._loop.call_later(STALL_SECONDS, self._again)
        self._act()

    def cancel(self) -> None:
        self._handle.cancel()


class Batcher(Generic[Key, Item, Result]):
    """The queues of one process, one for each key.

    Args:
        serve: answers a batch: resolves or fails each of its waiters. What it raises fails all that are left.
        max_batch: most items that are served together.
        max_waiting: most items that wait for one key; one more is turned away at once, rather than in vain later.
        patience: seconds that an item may wait for its batch.
        full_after: seconds that the first may have waited where a whole batch waits; by default it is half of that,
            and any number is too many. More than are served within it are too many too, as soon as that is known.
        identity: items with the same identity are never in one batch; None lets any items be together.
    """

    def __init__(
        self,
        serve: Callable[[Key, list[Waiter[Item, Result]]], Awaitable[None]],
        *,
        max_batch: int,
        max_waiting: int,
        patience: float,
        full_after: float | None = None,
        identity: Callable[[Item], Hashable] | None = None,
    ) -> None:
        self._serve = serve
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._patience = patience
        self._full_from = 1 if full_after is None else max_batch
        self._left_when_full = patience / 2 if full_after is None else patience - full_after
        self._identity = identity
        self._queues: dict[Key, _Queue[Item, Result]] = {}
        self._paces: dict[int, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None  # asking each time costs a call to the system
        self._told: list[tuple[Callable[[Result | Exception], None], Result | Exception]] = []

    async def submit(self, key: Key, item: Item, gone: Callable[[], bool] = _never) -> Result:
        """Return the result of an item, served with others of its key.

        `gone` tells whether nobody waits any more. It is asked as the batch begins; from then on the item is served.

        Raises:
            ClientGoneError: `gone` said so; the item was not served.
            OverloadedError: too many wait, or this one waited too long.
        """
        future: asyncio.Future[Result] = self._running().create_future()
        waiter = self._enqueue(key, item, partial(_settle, future), gone)
        try:
            return await future
        finally:
            waiter.done = True

    def begin(
        self,
        key: Key,
        item: Item,
        tell: Callable[[Result | Exception], None],
        gone: Callable[[], bool] = _never,
    ) -> None:
        """Have an item served as `submit` does; `tell` is called with its result, or with the error.

        Those of a batch are told in one turn of the event loop, after the next batch is on its way.

        Raises:
            OverloadedError: too many wait.
        """
        self._enqueue(key, item, partial(self._tell_later, tell), gone)

    def _tell_later(self, tell: Callable[[Result | Exception], None], outcome: Result | Exception) -> None:
        if not self._told:
            self._running().call_soon(self._tell)
        self._told.append((tell, outcome))

    def _tell(self) -> None:
        told, self._told = self._told, []
        for tell, outcome in told:
            try:
                tell(outcome)
            except Exception as error:  # noqa: BLE001  (the others must hear of theirs)
                log.error("unexpected error", exc_info=error)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def _enqueue(
        self, key: Key, item: Item, tell: Callable[[Result | Exception], None], gone: Callable[[], bool]
    ) -> Waiter[Item, Result]:
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue(pace=self._paces.get(hash(key), 0.0))
        waiting, now = queue.waiting, time.monotonic()
        if len(waiting) >= self._full_from and (
            len(waiting) >= self._max_waiting
            or waiting[0].deadline - now < self._left_when_full
            or len(waiting) * queue.pace > self._patience - self._left_when_full
        ):
            TURNED_AWAY.n += 1
            raise OverloadedError
        waiter: Waiter[Item, Result] = Waiter(item, tell, now + self._patience, gone)
        waiting.append(waiter)
        if not queue.tasks:
            self._start(key, queue)
        return waiter

    def _start(self, key: Key, queue: _Queue[Item, Result]) -> None:
        task = asyncio.create_task(self._run(key, queue))
        queue.tasks.add(task)
        task.add_done_callback(queue.tasks.discard)

    def _look_after(self, key: Key, queue: _Queue[Item, Result]) -> None:
        """Serve those that wait behind a batch that stalls, or tell them that they waited too long."""
        now = time.monotonic()
        while queue.waiting and queue.waiting[0].deadline < now:
            queue.waiting.popleft().fail(OverloadedError())
        if queue.waiting and len(queue.tasks) < MAX_BESIDE:
            self._start(key, queue)

    async def _run(self, key: Key, queue: _Queue[Item, Result]) -> None:
        """Serve batch after batch until nobody waits."""
        while queue.waiting:
            batch = self._next_batch(queue.waiting)
            if not batch:
                continue
            watch, began = self._watch(key, queue), time.monotonic()
            try:
                await self._serve(key, batch)
            except Exception as error:  # noqa: BLE001  (whatever it was, those who wait must hear of it)
                fail_all(batch, error)
            finally:
                watch.cancel()
            if self._full_from > 1 and 2 * len(batch) >= self._max_batch:
                took = (time.monotonic() - began) / len(batch) / max(len(queue.tasks), 1)
                queue.pace = (queue.pace + took) / 2 if queue.pace else took
                self._remember(key, queue.pace)
        queue.tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        if not queue.tasks and self._queues.get(key) is queue:
            del self._queues[key]

    def _remember(self, key: Key, pace: float) -> None:
        if len(self._paces) >= MAX_PACES:
            self._paces.clear()
        self._paces[hash(key)] = pace

    def _watch(self, key: Key, queue: _Queue[Item, Result]) -> "_Watch":
        return _Watch(lambda: self._look_after(key, queue))

    def _next_batch(self, waiting: deque[Waiter[Item, Result]]) -> list[Waiter[Item, Result]]:
        """Take the next waiters that still want an answer; tell those that waited too long."""
        batch: list[Waiter[Item, Result]] = []
        seen: set[Hashable] = set()
        now = time.monotonic()
        while waiting and len(batch) < self._max_batch:
            waiter = waiting[0]
            if self._identity is not None:
                identity = self._identity(waiter.item)
                if identity in seen:
                    break
                seen.add(identity)
            waiting.popleft()
            if waiter.done:
                continue  # nobody waits for it
            if waiter.gone():
                waiter.fail(ClientGoneError())
            elif waiter.deadline < now:
                waiter.fail(OverloadedError())
            else:
                batch.append(waiter)
        return batch


def _settle(future: "asyncio.Future[Result]", outcome: Result | Exception) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def fail_all(batch: list[Waiter[Item, Result]], error: Exception) -> None:
    """Raise `error` in each that still waits: a copy each, for one object raised in several tasks chains to itself."""
    for waiter in batch:
        if not waiter.done:
            waiter.fail(copy_exception(error))


def copy_exception(error: Exception) -> Exception:
    """Return the same error as a new object."""
    copy = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(error.__dict__)
    return copy
