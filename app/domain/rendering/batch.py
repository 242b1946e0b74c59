"""One message to many: chunk by chunk, each a transaction, so that a long batch holds no locks for long."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import replace
from http import HTTPStatus

from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.rendering import service
from app.domain.rendering.errors import TemplateLimitError, worker_killed_error
from app.domain.rendering.renderers import RendererDiedError, Renderers
from app.domain.rendering.schemas import KeyedRequest, MessageTarget, Mode, Outcome, RenderSpec
from app.platform.database import is_conflict
from app.platform.errors import (
    ChangesConflictError,
    DatabaseUnavailableError,
    DomainError,
    InvalidRequestError,
    ProjectMovingError,
)
from app.platform.moves import is_moving
from app.platform.stopping import StoppingError, stopping

CHUNK = 250
UNNAMED = 25
"""Messages of a chunk that nobody could name: sent as soon as it is committed, before the next begins."""
AT_ONCE = 2
"""Chunks under way: one is written while the next is rendered."""
MAX_DEATHS = 3
"""Messages of a chunk that may end their process before the rest of the chunk is given up."""


async def render_many(
    engine: AsyncEngine,
    renderers: Renderers,
    spec: RenderSpec,
    targets: Sequence[MessageTarget],
    request: KeyedRequest | None = None,
) -> AsyncIterator[list[Outcome]]:
    """Yield the outcomes, chunk by chunk in the order of the targets, each chunk committed.

    Args:
        engine: of the service's database.
        renderers: the processes that render.
        spec: what the messages have in common.
        targets: for whom they are made.
        request: the keyed request that all of them are of.

    Raises:
        DomainError: the template cannot be rendered for anybody, or the service is overloaded.
            Nothing was taken then.
    """
    chunks = _chunks(targets, CHUNK)
    # The first alone: the others know from it what they need, and a template that is too much ends here.
    first = await render_chunk(engine, renderers, spec, chunks[0], request)
    _refuse_limit(first)
    yield first
    # Counts are as of the message: where they are read, a chunk waits for the one before.
    at_once = 1 if "count_" in spec.source else AT_ONCE
    under_way: deque[asyncio.Task[list[Outcome]]] = deque()
    try:
        for chunk in chunks[1:]:
            under_way.append(asyncio.create_task(_render_anyway(engine, renderers, spec, chunk, request)))
            if len(under_way) == at_once:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def render_whole(
    engine: AsyncEngine,
    renderers: Renderers,
    spec: RenderSpec,
    targets: Sequence[MessageTarget],
    ready: Callable[[list[Outcome]], None],
) -> list[Outcome]:
    """Make all messages in one transaction, for nobody could name what a part of it took.

    Args:
        engine: of the service's database.
        renderers: the processes that render.
        spec: what the messages have in common.
        targets: for whom they are made.
        ready: is given the outcomes before they are committed, so that no time passes between that and the reply.

    Raises:
        DomainError: as `render_many` does.
    """
    written = False

    def note(outcomes: list[Outcome]) -> None:
        nonlocal written
        ready(outcomes)
        written = True

    try:
        outcomes = await service.render(engine, renderers, spec, targets, ready=note)
    except (RendererDiedError, InvalidRequestError):
        outcomes = await _render_the_others(engine, renderers, spec, targets, note)
    _refuse_limit(outcomes)
    if not written:
        ready(outcomes)
    return outcomes


async def _render_the_others(
    engine: AsyncEngine,
    renderers: Renderers,
    spec: RenderSpec,
    targets: Sequence[MessageTarget],
    ready: Callable[[list[Outcome]], None],
) -> list[Outcome]:
    """Make in one transaction all messages but those that fail by themselves: a preview of each tells which."""
    alone = await _render_singly(engine, renderers, replace(spec, mode=Mode.PREVIEW), targets)
    if spec.mode is Mode.PREVIEW:
        return alone
    failed = [
        each if isinstance(each.error, TemplateLimitError | InvalidRequestError) else None for each in alone
    ]
    fit = [target for target, outcome in zip(targets, failed, strict=True) if outcome is None]
    if not fit:
        return alone
    try:
        made = await service.render(
            engine, renderers, spec, fit, ready=lambda made: ready(service.filled(failed, made))
        )
    except RendererDiedError:
        made = [Outcome(target, error=worker_killed_error()) for target in fit]
    return service.filled(failed, made)


def _refuse_limit(outcomes: Sequence[Outcome]) -> None:
    """Refuse a template that is too much for the first message, and made none of the others.

    Raises:
        TemplateLimitError: it is.
    """
    limit = outcomes[0].error
    if isinstance(limit, TemplateLimitError) and all(outcome.error is not None for outcome in outcomes):
        raise limit


async def check(
    engine: AsyncEngine, renderers: Renderers, spec: RenderSpec, targets: Sequence[MessageTarget]
) -> None:
    """Find out what would keep a template from being rendered for anybody; nothing is taken.

    Raises:
        DomainError: as `render_many` does.
    """
    preview = replace(spec, mode=Mode.PREVIEW)
    async for _ in render_many(engine, renderers, preview, targets[:UNNAMED]):
        pass


async def render_one_by_one(
    engine: AsyncEngine,
    renderers: Renderers,
    spec: RenderSpec,
    targets: Sequence[MessageTarget],
    request: KeyedRequest,
) -> AsyncIterator[list[Outcome]]:
    """Yield the outcomes in small chunks, and begin one only when the one before was fetched.

    Where the caller has gone, what was made and not fetched is taken back. Whatever fails fails for its chunk.
    """
    for chunk in _chunks(targets, UNNAMED):
        yield await _fetched(engine, _render_anyway(engine, renderers, spec, chunk, request), request)


async def _fetched(
    engine: AsyncEngine, made: Coroutine[object, None, list[Outcome]], request: KeyedRequest
) -> list[Outcome]:
    """Return outcomes to whoever still waits for them; what was taken for one who has gone is taken back."""
    task = asyncio.ensure_future(made)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        _start(_undo(engine, task, request))
        raise


async def _undo(engine: AsyncEngine, task: "asyncio.Future[list[Outcome]]", request: KeyedRequest) -> None:
    await service.take_back(engine, await task, request)


async def to_the_end(work: Coroutine[object, None, None]) -> None:
    """Do something that goes on to its end though the request is cancelled."""
    await asyncio.shield(_start(work))


def _start(work: Coroutine[object, None, None]) -> asyncio.Future[None]:
    task = asyncio.ensure_future(work)
    _UNDER_WAY.add(task)
    task.add_done_callback(_UNDER_WAY.discard)
    return task


_UNDER_WAY: set[asyncio.Future[None]] = set()
"""What goes on though its request was cancelled; the loop itself keeps no hold of it."""


def _chunks(targets: Sequence[MessageTarget], size: int) -> list[list[MessageTarget]]:
    """Return the chunks in order; a message that comes twice is in two of them, so that it finds its codes again."""
    chunks: list[list[MessageTarget]] = [[]]
    messages: set[tuple[str, str | None]] = set()
    for target in targets:
        message = target.message_id, target.customer_id
        if len(chunks[-1]) == size or message in messages:
            chunks.append([])
            messages.clear()
        chunks[-1].append(target)
        messages.add(message)
    return chunks


async def _render_anyway(
    engine: AsyncEngine,
    renderers: Renderers,
    spec: RenderSpec,
    chunk: Sequence[MessageTarget],
    request: KeyedRequest | None = None,
) -> list[Outcome]:
    """Do as `render_chunk`, but what fails fails for these only: others have their messages already."""
    if stopping.ending:
        return [Outcome(target, error=StoppingError()) for target in chunk]
    try:
        return await render_chunk(engine, renderers, spec, chunk, request)
    except Exception as failure:  # noqa: BLE001  (raised again where it is unexpected)
        error = _told(failure)
        return [Outcome(target, error=error) for target in chunk]


def _told(failure: Exception) -> DomainError:
    """Return what those are told whose messages a failure kept from being made; raise it where it is unexpected."""
    if isinstance(failure, DomainError):
        return failure
    if is_conflict(failure):
        return ChangesConflictError()
    if not isinstance(failure, OperationalError):
        raise failure
    return ProjectMovingError() if is_moving(failure) else DatabaseUnavailableError()


async def render_chunk(
    engine: AsyncEngine,
    renderers: Renderers,
    spec: RenderSpec,
    chunk: Sequence[MessageTarget],
    request: KeyedRequest | None = None,
) -> list[Outcome]:
    """Return the outcomes of a chunk, each failing by itself where that can be told apart."""
    try:
        return await service.render(engine, renderers, spec, chunk, request)
    except RendererDiedError:
        if len(chunk) == 1:
            return [Outcome(chunk[0], error=worker_killed_error())]
    except InvalidRequestError as error:
        if len(chunk) == 1:
            return [Outcome(chunk[0], error=error)]
    return await _render_singly(engine, renderers, spec, chunk, request)


async def _render_singly(
    engine: AsyncEngine,
    renderers: Renderers,
    spec: RenderSpec,
    chunk: Sequence[MessageTarget],
    request: KeyedRequest | None = None,
) -> list[Outcome]:
    """Render one message at a time, so that only the one that killed the worker fails.

    What was made before something else failed, such as the database, stays made: the rest is told so, and not tried.
    """
    outcomes: list[Outcome] = []
    deaths = 0
    for place, target in enumerate(chunk):
        try:
            outcomes += await service.render(engine, renderers, spec, [target], request)
            continue
        except RendererDiedError:
            deaths += 1
            error: DomainError = worker_killed_error()
        except Exception as failure:  # noqa: BLE001  (raised again where it is unexpected)
            error = _told(failure)
        outcomes.append(Outcome(target, error=error))
        if deaths == MAX_DEATHS or error.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return outcomes + [Outcome(each, error=error) for each in chunk[place + 1 :]]
    return outcomes
