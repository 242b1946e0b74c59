"""Makes single messages: those of one letter that came in while the ones before were made are made together.

As in `app/assignments/assigner.py` there is no timer: a lone message is made at once, a campaign sent message
by message gathers by itself, and shares its statements and its commit.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.assignments.assigner import twin
from app.domain.rendering import batch
from app.domain.rendering.renderers import Renderers
from app.domain.rendering.schemas import Addressee, Letter, Outcome
from app.platform.errors import OverloadedError

MAX_TOGETHER = 100
MAX_WAITING = 2000
"""Most messages of one letter that wait. One more is turned away at once, rather than in vain later."""


@dataclass(slots=True)
class _Request:
    addressee: Addressee
    outcome: asyncio.Future[Outcome]


@dataclass(slots=True)
class _Lane:
    waiting: deque[_Request] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None


class Gatherer:
    """The gatherer of one process. A letter's context goes to each addressee and tells no letters apart."""

    def __init__(self, engine: AsyncEngine, renderers: Renderers) -> None:
        self._engine = engine
        self._renderers = renderers
        self._lanes: dict[tuple[str | None, ...], _Lane] = {}

    async def render(self, letter: Letter, addressee: Addressee) -> Outcome:
        """The message, committed, or why there is none.

        Raises:
            OverloadedError: too many wait.
            TemplateError, TemplateLimitError: the template cannot be rendered for anybody.
        """
        key = letter.template, letter.channel, letter.mode, letter.campaign_id
        lane = self._lanes.setdefault(key, _Lane())
        if len(lane.waiting) >= MAX_WAITING:
            raise OverloadedError
        request = _Request(addressee, asyncio.get_running_loop().create_future())
        lane.waiting.append(request)
        if lane.task is None:
            lane.task = asyncio.create_task(self._serve(key, letter, lane))
        return await request.outcome

    async def _serve(self, key: tuple[str | None, ...], letter: Letter, lane: _Lane) -> None:
        """Make batch after batch until nobody waits."""
        while lane.waiting:
            requests = _next(lane.waiting)
            try:
                outcomes = await batch.render_chunk(
                    self._engine, self._renderers, letter, [request.addressee for request in requests]
                )
            except Exception as error:  # noqa: BLE001  (whatever it was, those who wait must hear of it)
                for request in requests:
                    if not request.outcome.done():
                        request.outcome.set_exception(twin(error))
                continue
            for request, outcome in zip(requests, outcomes, strict=True):
                if not request.outcome.done():
                    request.outcome.set_result(outcome)
        del self._lanes[key]


def _next(waiting: deque[_Request]) -> list[_Request]:
    """The next requests, of one message one only: its second time is to find what the first was given."""
    requests: list[_Request] = []
    messages: set[tuple[str, str | None]] = set()
    while waiting and len(requests) < MAX_TOGETHER:
        message = waiting[0].addressee.message_id, waiting[0].addressee.customer_id
        if message in messages:
            break
        messages.add(message)
        requests.append(waiting.popleft())
    return requests
