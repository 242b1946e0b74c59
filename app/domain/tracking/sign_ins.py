"""Merge customers who sign in: all that do while the merge before is under way, in one.

A merge waits for everybody at work, and one is under way at a time: one for each sign-in would be a queue of its own.
"""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.access.scopes import Caller
from app.domain.tracking.merge import Merged, merge_all
from app.domain.tracking.together import serve
from app.platform.batching import Batcher, Waiter
from app.platform.errors import OverloadedError

Pairs = Sequence[tuple[str, str]]
"""Into whom, and who."""
MAX_BATCH = 100
MAX_WAITING = 1000
PATIENCE = 4.0
"""Seconds that a sign-in waits for its turn."""


class SignIns:
    """The sign-ins of one process."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._batcher = Batcher[Caller | None, Pairs, Sequence[Merged]](
            self._serve, max_batch=MAX_BATCH, max_waiting=MAX_WAITING, patience=PATIENCE
        )

    async def merge(self, caller: Caller | None, pairs: Pairs) -> None:
        """Make the customers of each pair one, where the second one was never registered.

        Raises:
            ChangesConflictError: others were at work with them for too long; nothing was changed.
            OverloadedError: too many wait, or this one waited too long.
        """
        try:
            await self._batcher.submit(caller, pairs)
        except OverloadedError:
            raise OverloadedError("More customers sign in than can be merged in time; try again.") from None

    async def _serve(self, caller: Caller | None, batch: list[Waiter[Pairs, Sequence[Merged]]]) -> None:
        await serve(batch, lambda pairs: self._merge(caller, pairs))

    async def _merge(self, caller: Caller | None, pairs: Pairs) -> Sequence[Merged]:
        return await merge_all(self._engine, caller, pairs, only_anonymous=True)
