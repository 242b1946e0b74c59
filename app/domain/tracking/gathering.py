"""Store what is sent one event at a time: what comes in while one transaction is under way shares the next.

Shops and trackers send each event by itself. By itself each would be eight statements and a commit; where all of a
batch are plain, one statement does (plain.py).
"""

from collections.abc import Callable, Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.access.scopes import Caller
from app.domain.customers.events import NewEvent
from app.domain.tracking import commands, service
from app.domain.tracking.commands import Command
from app.domain.tracking.plain import Plain
from app.domain.tracking.schemas import Tracked
from app.domain.tracking.sign_ins import SignIns
from app.domain.tracking.together import serve
from app.platform.batching import Batcher, Waiter
from app.platform.driver_pool import ProjectConnections

FEW = 10
"""Events of a request that shares its transaction; one with more has its own."""
MAX_BATCH = 100
"""Requests of one transaction."""
MAX_WAITING = 2000
PATIENCE = 1.5
"""Seconds that a request may wait for its transaction. With the statements' own limit it is answered within 5 s."""


class Gathering:
    """What the requests of one process have to be tracked."""

    def __init__(self, engine: AsyncEngine, direct: ProjectConnections) -> None:
        self._engine = engine
        self._plain = Plain(direct)
        self._sign_ins = SignIns(engine)
        self._events = Batcher[None, Sequence[NewEvent], Sequence[Tracked]](
            self._serve_events, max_batch=MAX_BATCH, max_waiting=MAX_WAITING, patience=PATIENCE
        )
        self._commands = Batcher[Caller | None, Sequence[Command], Sequence[str | None]](
            self._serve_commands, max_batch=MAX_BATCH, max_waiting=MAX_WAITING, patience=PATIENCE
        )

    async def track(self, events: Sequence[NewEvent]) -> Sequence[Tracked]:
        """Track events, all or none, committed when this returns; see `service.track`.

        Raises:
            OverloadedError: too many wait, or these waited too long.
        """
        if len(events) > FEW:
            return await service.track_all(self._engine, events)
        return await self._events.submit(None, events)

    def begin(
        self, events: Sequence[NewEvent], tell: Callable[[Sequence[Tracked] | Exception], None]
    ) -> None:
        """Do as `track`, with at most `FEW` events, and tell what became of them, or the error.

        Raises:
            OverloadedError: too many wait.
        """
        self._events.begin(None, events, tell)

    async def carry_out(self, caller: Caller | None, wanted: Sequence[Command]) -> Sequence[str | None]:
        """Carry out commands, all or none; see `commands.carry_out`.

        Raises:
            ChangesConflictError: others were at work with the same customers for too long; nothing was done.
            OverloadedError: too many wait, or these waited too long.
        """
        if len(wanted) > FEW:
            return await commands.carry_out(self._engine, self._sign_ins, caller, wanted)
        return await self._commands.submit(caller, wanted)

    def begin_one(
        self, caller: Caller, command: Command, tell: Callable[[Sequence[str | None] | Exception], None]
    ) -> None:
        """Do as `carry_out` with one command, and tell what came of it, or the error.

        Raises:
            OverloadedError: too many wait.
        """
        self._commands.begin(caller, [command], tell)

    async def _serve_events(
        self, _key: None, batch: list[Waiter[Sequence[NewEvent], Sequence[Tracked]]]
    ) -> None:
        await serve(batch, self._track)

    async def _track(self, events: Sequence[NewEvent]) -> Sequence[Tracked]:
        tracked = await self._plain.store(events)
        return await service.track_all(self._engine, events) if tracked is None else tracked

    async def _serve_commands(
        self, caller: Caller | None, batch: list[Waiter[Sequence[Command], Sequence[str | None]]]
    ) -> None:
        await serve(batch, lambda some: self._carry_out(caller, some))

    async def _carry_out(self, caller: Caller | None, some: Sequence[Command]) -> Sequence[str | None]:
        if await self._plain.carry_out(some):
            return [None] * len(some)
        return await commands.carry_out(self._engine, self._sign_ins, caller, some)
