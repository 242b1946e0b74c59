"""Render the messages of a transaction until they lack nothing, many of them in slices side by side."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.customers import service as customers
from app.domain.customers.errors import AggregateNotFoundError
from app.domain.rendering import queries
from app.domain.rendering.confined.protocol import (
    About,
    AggregateSupply,
    Answer,
    Item,
    NeedsAsJson,
    PoolSupply,
    Result,
)
from app.domain.rendering.demand import DEMANDS
from app.domain.rendering.errors import TemplateLimitError
from app.domain.rendering.message_vouchers import MessageVouchers
from app.domain.rendering.renderers import Renderers
from app.domain.rendering.schemas import MessageTarget, Mode, RenderSpec
from app.domain.rendering.slices import Slices, total
from app.platform.clock import clock
from app.platform.projects import project_of

MAX_PASSES = 12
"""How often a message is rendered anew because it asked for more: some templates would never have enough."""
SLICE = 250
PROBE = 50
"""So many messages of a template that is not known are rendered first, to see what they ask for."""
ABOUT = ("expires_at", "attributes")
"""What a template may ask of a code besides its text."""


MOST = 512
"""The messages of a transaction are held in memory together: they are at most as long as so many of the longest."""

Take = Callable[[int, Sequence[Result]], Awaitable[None]]
"""Takes messages that are made, from the place of the first on, while others are rendered."""


class OrderMattersError(Exception):
    """A pool ran short when some slices had been taken already: who gets none is a matter of the order of all."""


class Rounds:
    """Of one transaction.

    Args:
        connection: of the transaction.
        renderers: the processes that render.
        spec: what the messages have in common.
        targets: for whom they are made.
        vouchers: what they draw from.
        take: is given what is made in slices, as soon as it is made; None: all is rendered as one.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        renderers: Renderers,
        spec: RenderSpec,
        targets: Sequence[MessageTarget],
        vouchers: MessageVouchers,
        take: Take | None,
    ) -> None:
        self._connection = connection
        self._project = project_of(connection)
        self._take = take
        self._renderers = renderers
        self._source = spec.source
        self._targets = targets
        self._vouchers = vouchers
        self._aggregates: dict[str, AggregateSupply] = {}
        self._held = 0
        self._asks_about = any(name in self._source for name in ABOUT)
        self._job: About = {**about_of(spec), "aggregates": self._aggregates}
        self._items: list[Item] = [item_of(target, is_new=target.is_new or spec.sample) for target in targets]

    async def run(self) -> Answer:
        """Return the `results` of all messages and their `needs`, or why the template is `refused`.

        Raises:
            TemplateLimitError: the messages asked for more each time.
            RendererDiedError: a message ended its process.
            OrderMattersError: some was taken in vain; make all anew, as one.
        """
        await self._add_customers()
        needs = await DEMANDS.predict(self._project, self._source, self._vouchers, len(self._targets))
        if self._take is not None and self._may_slice():
            answer = await self._in_slices(needs, self._take)
            if answer is not None:
                return answer
        whole = slice(0, len(self._items))
        for _ in range(MAX_PASSES):
            await self._fetch(needs)
            answer = await self._render(whole, self._vouchers.as_json())
            if "refused" in answer:
                return answer
            needs = answer["needs"]
            if "results" in answer:
                DEMANDS.record(self._project, self._source, needs, len(self._targets))
                return answer
        raise TemplateLimitError("The template asks for other vouchers each time it is rendered.", line=None)

    def _may_slice(self) -> bool:
        """Return whether no message needs to know what those before it took."""
        if self._vouchers.preview:
            return False
        return len(self._items) > SLICE and "count_" not in self._source and "valid_for" not in self._source

    async def _in_slices(self, needs: NeedsAsJson, take: Take) -> Answer | None:
        """Render slices side by side, each with codes of its own; None where the order matters or that does not end.

        Where a pool is short, who gets none is a matter of the order of all, so all are rendered as one.
        """
        each = DEMANDS.each(self._project, self._source)
        if each is None:
            probe = await self._render(slice(0, PROBE), self._vouchers.as_json({}))
            if "refused" in probe:
                return probe
            needs = probe["needs"]
            each = {pool: n / PROBE for pool, n in needs["codes"].items()}
        await self._fetch({**needs, "codes": {}})
        slices = Slices(len(self._items), SLICE, each, self._vouchers)
        for _ in range(MAX_PASSES // 2):
            await self._fetch({**needs, "codes": slices.wanted()})
            if self._vouchers.keeps_order:
                if slices.begun:
                    raise OrderMattersError
                return None
            slices.deal()
            answers = await self._make_waiting(slices, take)
            if "refused" in answers[-1]:
                return answers[-1]
            if not slices.waiting:
                answer = slices.answer()
                DEMANDS.record(self._project, self._source, answer["needs"], len(self._items))
                return answer
            needs = total([answer["needs"] for answer in answers])
        if slices.begun:
            raise OrderMattersError
        return None

    async def _make_waiting(self, slices: Slices, take: Take) -> list[Answer]:
        """Render the slices that wait, and have each taken once it is made; a refusal is the last of the answers."""
        waiting = slices.waiting
        answers: list[Answer] = []
        renders = [self._render(each.place, self._vouchers.as_json(each.codes)) for each in waiting]
        async with _side_by_side(renders) as tasks:
            for each, task in zip(waiting, tasks, strict=True):
                answers.append(await task)
                if "refused" in answers[-1]:
                    break
                each.note(answers[-1])
                if each.answer is not None:
                    await take(each.place.start, each.answer["results"])
        return answers

    async def _fetch(self, needs: NeedsAsJson) -> None:
        await self._vouchers.fetch(needs)
        await self._aggregate(needs["aggregates"])
        if self._asks_about:
            self._job["about"] = await queries.about(self._connection, self._vouchers.every_code())

    async def _render(self, of: slice, pools: Mapping[str, PoolSupply]) -> Answer:  # type: ignore[explicit-any]  # a slice has type parameters
        vouchers = self._vouchers
        items: list[Item] = [
            {**item, "given": before, "seen": seen} if before or seen else item
            for item, before, seen in zip(
                self._items[of], vouchers.before[of], vouchers.seen[of], strict=True
            )
        ]
        answer = await self._renderers.render(
            {**self._job, "pools": pools, "seen_known": vouchers.seen_known, "items": items}
        )
        self._hold(answer)
        return answer

    def _hold(self, answer: Answer) -> None:
        """Count what is held of the messages until all are made.

        Raises:
            TemplateLimitError: it is too much.
        """
        texts = (text for result in answer.get("results", ()) for text in result.get("texts", ()))
        self._held += sum(map(len, texts))
        if self._held > MOST * self._renderers.max_output_bytes:
            raise TemplateLimitError(
                f"The messages have more than {MOST * self._renderers.max_output_bytes:,} characters together:"
                " send fewer at a time, or give each an id.",
                line=None,
            )

    async def _add_customers(self) -> None:
        """Add the properties of the targets: what the request says of them goes before what is stored."""
        if "customer" not in self._source:
            return
        ids = self._customer_ids()
        stored = await customers.properties_of(self._connection, ids) if ids else {}
        for item, target in zip(self._items, self._targets, strict=True):
            item["customer"] = {**stored.get(target.customer_id or "", {}), **target.customer}

    def _customer_ids(self) -> list[str]:
        return [target.customer_id for target in self._targets if target.customer_id is not None]

    async def _aggregate(self, names: Sequence[str]) -> None:
        for name in names:
            if name in self._aggregates:
                continue
            try:
                values = await customers.evaluate(self._connection, name, self._customer_ids())
            except AggregateNotFoundError as error:
                self._aggregates[name] = {"similar": error.similar}
                continue
            self._aggregates[name] = {}
            for item, target in zip(self._items, self._targets, strict=True):
                item.setdefault("aggregates", {})[name] = values.get(target.customer_id or "")


def about_of(spec: RenderSpec) -> About:
    """Return what all messages of a job have in common."""
    return {
        "parts": [(part.name, part.source, part.html) for part in spec.parts],
        "preview": spec.mode is Mode.PREVIEW,
        "strict": spec.strict,
        "time": clock.timestamp(),
        "context": spec.context,
        "campaign_id": spec.campaign_id,
        "channel": spec.channel,
        "aggregates": {},
    }


def item_of(target: MessageTarget, *, is_new: bool) -> Item:
    """Return a message as a render process takes it."""
    item: Item = {"message": target.message_id, "customer_id": target.customer_id, "new": is_new}
    if target.context:
        item["context"] = target.context
    return item


@asynccontextmanager
async def _side_by_side(
    renders: Sequence[Coroutine[object, None, Answer]],
) -> AsyncIterator[Sequence[asyncio.Task[Answer]]]:
    """Begin all of these; what has not ended with the block is given up."""
    tasks = [asyncio.create_task(each) for each in renders]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
