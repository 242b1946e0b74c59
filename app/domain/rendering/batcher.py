"""Make single messages: those of one template that came in while the ones before were made are made together.

A campaign that is sent message by message so shares its statements and its commit.
"""

from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.rendering import batch
from app.domain.rendering.quick import QuickMessages
from app.domain.rendering.renderers import Renderers
from app.domain.rendering.schemas import MessageTarget, Outcome, RenderSpec
from app.platform.batching import Batcher, Waiter
from app.platform.driver_pool import ProjectConnections
from app.platform.engines import hung_since
from app.platform.errors import DatabaseUnavailableError

MAX_BATCH = 100
MAX_WAITING = 1000
"""Most messages of one template that wait. One more is turned away at once, rather than in vain later."""

PATIENCE = 30.0
"""Seconds that a message may wait for its batch: with a template that takes a second, a batch takes long."""

FULL_AFTER = 0.25
"""Seconds that the first may have waited where more wait than the next batch takes: no more are let in then, so that
those who were have their messages within a second, and the others know at once."""


class RenderBatcher:
    """The batcher of one process. A context goes to each target, so that it tells no templates apart."""

    def __init__(self, engine: AsyncEngine, driver_pool: ProjectConnections, renderers: Renderers) -> None:
        self._quick = QuickMessages(engine, driver_pool, renderers)
        self._engine = engine
        self._renderers = renderers
        self._batcher = Batcher[RenderSpec, MessageTarget, Outcome](
            self._serve,
            max_batch=MAX_BATCH,
            max_waiting=MAX_WAITING,
            patience=PATIENCE,
            full_after=FULL_AFTER,
            # Of one message one only: its second time is to find what the first was given.
            identity=lambda target: (target.message_id, target.customer_id),
        )

    async def render(
        self, spec: RenderSpec, target: MessageTarget, gone: Callable[[], bool] = lambda: False
    ) -> Outcome:
        """Return the message, committed, or why there is none.

        Raises:
            ClientGoneError: `gone` said that nobody waits any more; nothing was made.
            OverloadedError: too many wait, or this one waited too long.
            TemplateError, TemplateLimitError: the template cannot be rendered for anybody.
        """
        return await self._batcher.submit(spec, target, gone)

    async def _serve(self, spec: RenderSpec, waiters: list[Waiter[MessageTarget, Outcome]]) -> None:
        waiters = [waiter for waiter in waiters if not self._was_left(waiter)]
        if not waiters:
            return
        made = await self._quick.make(spec, [waiter.item for waiter in waiters])
        for index, outcome in made.items():
            waiters[index].resolve(outcome)
        left = [waiter for index, waiter in enumerate(waiters) if index not in made]
        if not left:
            return
        targets = [waiter.item for waiter in left]
        outcomes = await batch.render_chunk(self._engine, self._renderers, spec, targets)
        for waiter, outcome in zip(left, outcomes, strict=True):
            waiter.resolve(outcome)

    def _was_left(self, waiter: Waiter[MessageTarget, Outcome]) -> bool:
        """Tell whoever waited while the database left others without an answer; return whether it was told."""
        if not hung_since(self._engine, waiter.deadline - PATIENCE):
            return False
        waiter.fail(DatabaseUnavailableError("The database did not answer; nothing was taken. Try again."))
        return True
