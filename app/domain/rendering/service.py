"""The rules of messages: who is given what, and what becomes of a message that cannot be made.

A message is rendered from what it is supplied with. What it lacks, it says; that is looked up or locked, and
it is rendered again. What it takes is written only when it is whole, so a message that cannot be made takes
nothing.
"""

import time
import uuid
from collections.abc import Callable, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.assignments import service as assignments
from app.domain.assignments.errors import PoolBusyError, PoolExhaustedError
from app.domain.customers.events import NewEvent
from app.domain.persons.service import MergingError
from app.domain.pools.errors import PoolNotFoundError
from app.domain.rendering import keyed, presence
from app.domain.rendering.confined.protocol import Problem, Result, UseAsJson
from app.domain.rendering.errors import MessageAbortedError, TemplateError, TemplateLimitError, erased_error
from app.domain.rendering.message_vouchers import MessageVouchers
from app.domain.rendering.persons import in_turns, of_persons
from app.domain.rendering.renderers import Renderers
from app.domain.rendering.rounds import OrderMattersError, Rounds
from app.domain.rendering.schemas import (
    Channel,
    KeyedRequest,
    MessageTarget,
    Mode,
    Outcome,
    RenderSpec,
)
from app.domain.tracking import service as tracking
from app.platform.database import retry_on_conflict, transaction
from app.platform.engines import hung_since
from app.platform.errors import (
    ChangesConflictError,
    ClientGoneError,
    DatabaseUnavailableError,
    DomainError,
)
from app.platform.metrics import RENDERS

AT_A_TIME = 1000
"""Assignments that one statement makes or takes back: each statement has to end in time."""
_CAMPAIGN_EVENT = uuid.UUID("0a3d4a6e-52a1-5f0b-8b57-3f9c5a1d2e90")


async def render(
    engine: AsyncEngine,
    renderers: Renderers,
    spec: RenderSpec,
    targets: Sequence[MessageTarget],
    request: KeyedRequest | None = None,
    ready: Callable[[list[Outcome]], None] | None = None,
) -> list[Outcome]:
    """Make messages in one transaction, committed when this returns.

    Args:
        engine: of the service's database.
        renderers: the processes that render.
        spec: what the messages have in common.
        targets: for whom they are made.
        request: the keyed request that all of them are of; one of a single message is on its target.
        ready: is given the outcomes before they are committed; perhaps again, where others were faster.

    Raises:
        IdempotencyKeyReusedError: the request's key came before with another request.
        RendererDiedError: a message took more than its limits, and which of several is not known.
        OverloadedError: the turn did not come in time.
        DatabaseUnavailableError: the database left others without an answer meanwhile.
    """
    began = time.monotonic()
    try:
        async with renderers.turn():
            if hung_since(engine, began):
                raise DatabaseUnavailableError("The database did not answer; nothing was taken. Try again.")
            outcomes = await _render_each(engine, renderers, spec, targets, request, ready)
    except DomainError as error:
        RENDERS.labels(spec.mode, error.name).inc(len(targets))
        raise
    for outcome in outcomes:
        RENDERS.labels(spec.mode, outcome.error.name if outcome.error else "rendered").inc()
    return outcomes


async def _render_each(
    engine: AsyncEngine,
    renderers: Renderers,
    spec: RenderSpec,
    targets: Sequence[MessageTarget],
    request: KeyedRequest | None,
    ready: Callable[[list[Outcome]], None] | None,
) -> list[Outcome]:
    """Make messages; those to customers who are being merged all the while fail by themselves."""
    try:
        try:
            return await _render(engine, renderers, spec, targets, request, ready)
        except OrderMattersError:
            return await _render(engine, renderers, spec, targets, request, ready, as_one=True)
    except MergingError as error:
        failed = [
            Outcome(target, error=ChangesConflictError()) if target.customer_id in error.ids else None
            for target in targets
        ]
        if not any(failed):  # none of these is told of: nothing is won by another try
            raise
    others = [target for target, outcome in zip(targets, failed, strict=True) if outcome is None]

    def all_ready(made: list[Outcome]) -> None:
        if ready is not None:
            ready(filled(failed, made))

    made = await _render_each(engine, renderers, spec, others, request, all_ready) if others else []
    return filled(failed, made)


def filled(failed: Sequence[Outcome | None], made: Sequence[Outcome]) -> list[Outcome]:
    """Return all outcomes in order: those that failed by themselves and, where there is None, those made since."""
    others = iter(made)
    return [next(others) if outcome is None else outcome for outcome in failed]


@retry_on_conflict
async def _render(
    engine: AsyncEngine,
    renderers: Renderers,
    spec: RenderSpec,
    targets: Sequence[MessageTarget],
    request: KeyedRequest | None,
    ready: Callable[[list[Outcome]], None] | None,
    *,
    as_one: bool = False,
) -> list[Outcome]:
    async with transaction(engine) as connection:
        targets = await of_persons(connection, targets)

        async def make(those: Sequence[MessageTarget]) -> list[Outcome]:
            return await render_in_transaction(connection, renderers, spec, those, as_one=as_one)

        if spec.mode is Mode.PREVIEW:
            return await make(targets)
        outcomes = await keyed.run(connection, targets, request, lambda those: in_turns(those, make))
        if ready is not None:
            ready(outcomes)
        return outcomes


async def render_in_transaction(
    connection: AsyncConnection,
    renderers: Renderers,
    spec: RenderSpec,
    targets: Sequence[MessageTarget],
    *,
    as_one: bool = True,
) -> list[Outcome]:
    """Make messages, and write what they take; the caller commits. See `render`.

    Raises:
        OrderMattersError: they were not made as one, and have to be.
    """
    size = len(spec.source.encode(errors="replace"))
    if size > renderers.max_template_bytes:
        raise TemplateLimitError(
            f"The template has {size} bytes, at most {renderers.max_template_bytes} are taken.", line=None
        )
    vouchers = MessageVouchers(connection, spec, targets)
    taking = _Taking(vouchers, targets)
    answer = await Rounds(
        connection, renderers, spec, targets, vouchers, take=None if as_one else taking.take
    ).run()
    if "refused" in answer:
        raise _error(vouchers, targets[0], answer["refused"])
    left = await presence.gone(targets)
    results: list[Result] = [
        {"gone": True} if index in left else result for index, result in enumerate(answer["results"])
    ]
    if spec.mode is not Mode.PREVIEW:
        await taking.take_rest(results)
        await vouchers.write_seen([result.get("seen") for result in results])
    outcomes = [
        _outcome(spec, vouchers, target, result, taking.taken.get(index, []))
        for index, (target, result) in enumerate(zip(targets, results, strict=True))
    ]
    if spec.mode is not Mode.PREVIEW:
        await _tell_of_run_out(connection, spec, outcomes)
    return outcomes


class _Taking:
    """Writes what messages take: of those that are made in slices, some slices together, while others are rendered."""

    def __init__(self, vouchers: MessageVouchers, targets: Sequence[MessageTarget]) -> None:
        self._vouchers = vouchers
        self._targets = targets
        self._uses: list[tuple[int, UseAsJson]] = []
        self._noted: set[int] = set()
        self._pools: set[str | None] = set()
        self.taken: dict[int, list[uuid.UUID]] = {}
        """By place: the assignments that were made."""

    async def take(self, start: int, results: Sequence[Result]) -> None:
        """Write what messages take, those from `start` on.

        Only while all of it is of one pool: several are written in the order of their names, when all is known.
        """
        self._note(start, results)
        self._pools |= {use[0] for _, use in self._uses}
        if len(self._pools) > 1 or len(self._uses) < AT_A_TIME:
            return
        if not await presence.gone(self._targets[start : start + len(results)]):
            await self._write()

    async def take_rest(self, results: Sequence[Result]) -> None:
        """Write what is not written yet of all messages.

        Raises:
            ClientGoneError: nobody waits for what was written; all of the transaction is to be undone.
        """
        if self.taken and any("gone" in result for result in results):
            raise ClientGoneError
        self._uses = [(index, use) for index, use in self._uses if "gone" not in results[index]]
        for index, result in enumerate(results):
            if index not in self._noted:
                self._note(index, [result])
        await self._write()

    def _note(self, start: int, results: Sequence[Result]) -> None:
        for index, result in enumerate(results, start):
            self._noted.add(index)
            self._uses += [(index, use) for use in result.get("uses", ())]

    async def _write(self) -> None:
        uses, self._uses = self._uses, []
        self.taken |= await self._vouchers.write(uses)


async def take_back(
    engine: AsyncEngine, outcomes: Sequence[Outcome], request: KeyedRequest | None = None
) -> None:
    """Release what was taken for messages that reached nobody and have no ids of the caller's.

    A request that came again found them, and so keeps them. What fails is tried once more, after all the others.

    Raises:
        Exception: what kept some of it from being released, again; the rest is.
    """
    ids = [id_ for outcome in outcomes if outcome.target.is_new for id_ in outcome.taken]
    pieces = [ids[start : start + AT_A_TIME] for start in range(0, len(ids), AT_A_TIME)]
    failed = await _take_back_each(engine, pieces, request)
    failed = await _take_back_each(engine, [piece for piece, _ in failed], request)
    for _, error in failed:
        raise error


async def _take_back_each(
    engine: AsyncEngine, pieces: Sequence[Sequence[uuid.UUID]], request: KeyedRequest | None
) -> list[tuple[Sequence[uuid.UUID], Exception]]:
    """Release piece by piece; return the pieces that could not be, and why."""
    failed: list[tuple[Sequence[uuid.UUID], Exception]] = []
    for piece in pieces:
        try:
            await _take_back(engine, piece, request)
        except Exception as error:  # noqa: BLE001  (raised once all were tried)
            failed.append((piece, error))
    return failed


@retry_on_conflict
async def _take_back(engine: AsyncEngine, ids: Sequence[uuid.UUID], request: KeyedRequest | None) -> None:
    async with transaction(engine) as connection:
        if request is None or not await keyed.came_again(connection, request):
            await assignments.release_unseen(connection, ids)


def _outcome(
    spec: RenderSpec,
    vouchers: MessageVouchers,
    target: MessageTarget,
    result: Result,
    taken: list[uuid.UUID],
) -> Outcome:
    if "gone" in result:
        return Outcome(target, error=ClientGoneError())
    if "error" in result:
        return Outcome(target, error=_error(vouchers, target, result["error"]))
    listed: list[dict[str, object]] = [
        {
            "pool": pool,
            "code": code,
            "occurrence": occurrence,
            **vouchers.about(code),
        }
        for pool, _, code, occurrence, _ in result["uses"]
    ]
    if vouchers.preview:
        listed = [{**each, "preview": True} for each in listed]
    return made(spec, target, result, listed, taken)


def made(
    spec: RenderSpec,
    target: MessageTarget,
    result: Result,
    listed: list[dict[str, object]],
    taken: list[uuid.UUID],
) -> Outcome:
    """Return a message that a render process made, with the codes that it shows."""
    texts, undefined = result["texts"], result.get("undefined", [])
    if spec.parts[0].name is None:
        return Outcome(target, texts[0], vouchers=listed, undefined=undefined, taken=taken)
    parts = {str(part.name): text for part, text in zip(spec.parts, texts, strict=True)}
    return Outcome(target, parts=parts, vouchers=listed, undefined=undefined, taken=taken)


def _error(vouchers: MessageVouchers, target: MessageTarget, problem: Problem) -> DomainError:
    """Return what a render process says as an error of the domain, which names the part."""
    error = _error_of(vouchers, target, problem)
    if "part" in problem:
        error.extra["part"] = problem["part"]
    return error


def _error_of(  # noqa: PLR0911  (one case for each name)
    vouchers: MessageVouchers, target: MessageTarget, problem: Problem
) -> DomainError:
    line = problem["line"]
    match problem["name"]:
        case "pool-exhausted":
            return vouchers.exhausted(problem["pool"], line)
        case "customer-limit":
            return vouchers.limited(problem["pool"], line)
        case "pool-busy":
            return PoolBusyError(problem["pool"])
        case "pool-not-found":
            return PoolNotFoundError(problem["pool"], similar=problem["similar"], line=line)
        case "refused":
            return vouchers.refused(target, problem["pool"], problem["occurrence"])
        case "erased":
            return erased_error()
        case "aborted":
            return MessageAbortedError(problem["detail"])
        case "template-limit":
            return TemplateLimitError(problem["detail"], line=line)
    return TemplateError(problem["detail"], line=line, column=problem.get("column"))


async def _tell_of_run_out(
    connection: AsyncConnection, spec: RenderSpec, outcomes: Sequence[Outcome]
) -> None:
    """Store a `campaign` event for each customer whose message could not be sent because a pool has run out."""
    events = []
    for outcome in outcomes:
        error, target = outcome.error, outcome.target
        if not isinstance(error, PoolExhaustedError | MessageAbortedError):
            continue
        if spec.channel in {None, Channel.WEBLAYER}:
            continue
        aborted = isinstance(error, MessageAbortedError)
        status = "aborted" if aborted else "enqueue_failed"
        error.extra["campaign_status"] = status
        if target.customer_id is None:
            continue
        properties = {
            "status": status,
            "campaign_id": spec.campaign_id,
            "message_id": target.message_id,
            "channel": spec.channel,
            **({"reason": error.detail} if aborted else {"pool": error.extra["pool"]}),
            "test": spec.mode is Mode.TEST,
        }
        name = f"{target.message_id}\n{target.customer_id}"
        if spec.mode is Mode.TEST:
            name = f"test\n{name}"
        event_id = str(uuid.uuid5(_CAMPAIGN_EVENT, name))  # a message that fails again is not told twice
        events.append(NewEvent(event_id, target.customer_id, "campaign", properties, None))
    if events:
        await tracking.track(connection, events)
