"""`/v1/render` and `/v1/render/batch`."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Annotated

import orjson
from fastapi import APIRouter, FastAPI, Header, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.access.scopes import Caller, Scope
from app.domain.assignments.errors import (
    AssignmentReleasedError,
    CustomerLimitError,
    PoolBusyError,
    PoolExhaustedError,
)
from app.domain.pools.errors import PoolNotFoundError
from app.domain.rendering import batch, service
from app.domain.rendering.batcher import RenderBatcher
from app.domain.rendering.errors import MessageAbortedError, TemplateError, TemplateLimitError
from app.domain.rendering.keyed import MADE, keyed_request, make_key
from app.domain.rendering.renderers import Renderers
from app.domain.rendering.schemas import (
    Channel,
    KeyedRequest,
    MessageTarget,
    Mode,
    Outcome,
    PreviewCode,
    RenderBatch,
    RenderBatchOut,
    RenderOut,
    RenderRequest,
    RenderSpec,
    StillThere,
    parts_of,
)
from app.domain.vouchers.errors import VoucherVoidError
from app.platform.errors import DomainError, IdempotencyKeyReusedError, InvalidRequestError, OverloadedError
from app.platform.ids import ordered_id
from app.web import idempotency, presence
from app.web.dependencies import Engine, held_by, held_for_project
from app.web.guard import requires
from app.web.problem_document import members
from app.web.problems import problems

router = APIRouter(prefix="/v1", tags=["rendering"])
_KEYED = uuid.UUID("6b1f6c43-2f0d-5a3e-8c57-9b1de5a0c2f4")
NDJSON = "application/x-ndjson"
Item = dict[str, object]
_JSON = {"content-type": "application/json"}
TEMPLATE = (TemplateError, TemplateLimitError, InvalidRequestError)
REFUSED = (
    *TEMPLATE,
    PoolNotFoundError,
    PoolExhaustedError,
    CustomerLimitError,
    VoucherVoidError,
    PoolBusyError,
    OverloadedError,
    AssignmentReleasedError,
    IdempotencyKeyReusedError,
)
Held = Annotated[Renderers, held_for_project(Renderers)]


@router.post(
    "/render",
    response_model=RenderOut,
    response_model_exclude_unset=True,
    responses=problems(*REFUSED),
    dependencies=[requires(Scope.ASSIGN)],
)
async def render_message(
    body: RenderRequest,
    request: Request,
    caller: Annotated[Caller, requires(Scope.ASSIGN)],
    idempotency_key: idempotency.Key = None,
) -> Response:
    """Make a message, with the codes that its template asks for.

    The same message to the same customer has the same codes however often it is sent; without `message_id` it is the
    one that the `Idempotency-Key` stands for. A message that cannot
    be made, or that nobody waits for any more, takes none.
    """
    gone = presence.hung_up(presence.noted(request.scope))
    made, status, headers = await render_one(
        request.app, body, caller, idempotency_key, gone, _still_there(request)
    )
    # Written as it is, a `RenderOut`: to have the framework check it again costs more than the message.
    return Response(made, status, headers)


async def render_one(
    app: FastAPI,
    body: RenderRequest,
    caller: Caller,
    key: str | None,
    gone: Callable[[], bool],
    still_there: StillThere,
) -> tuple[bytes, int, dict[str, str]]:
    """Return body, status and headers of the answer to who asks for one message.

    Whether somebody waits is asked before it is made (`gone`) and before anything is taken for it (`still_there`).
    """
    spec = _spec(body, {})
    message_id = body.message_id or derived_id(caller, key, 0, body.customer_id)
    target = target_of(body.customer_id, message_id, body.customer, body.context, still_there)
    if key is not None:
        target = replace(target, request=_keyed(caller, "render", key, body))
    outcome = await held_by(app, RenderBatcher, caller.place).render(spec, target, gone)
    if target.is_new and outcome.taken and not await still_there():
        # Nobody could name the message.
        await service.take_back(held_by(app, AsyncEngine, caller.place), [outcome])
    aborted = isinstance(outcome.error, MessageAbortedError)
    displayed = not aborted and not _hidden(spec, outcome.error)
    if outcome.error is not None and displayed:
        raise outcome.error
    made: dict[str, object] = {
        "rendered": outcome.rendered,
        "displayed": displayed,
        "message_id": target.message_id,
        "vouchers": outcome.vouchers,
        "undefined": outcome.undefined,
        "status": "aborted" if aborted else "rendered" if displayed else "not_displayed",
        "reason": outcome.error.detail if aborted and outcome.error else None,
    }
    if outcome.parts is not None:
        made["parts"] = outcome.parts
    return orjson.dumps(made), 200, _JSON


@router.post(
    "/render/batch",
    response_model=RenderBatchOut,
    responses={
        200: {
            "content": {NDJSON: {}},
            "description": "With `Accept: application/x-ndjson` an item a line",
            "headers": {
                "Idempotency-Key": {
                    "description": "Of a request without ids and key: sent with it, it finds its messages again",
                    "schema": {"type": "string"},
                }
            },
        },
        **problems(*TEMPLATE, OverloadedError, IdempotencyKeyReusedError),
    },
    dependencies=[requires(Scope.ASSIGN)],
)
async def render_messages(
    body: RenderBatch,
    engine: Engine,
    renderers: Held,
    request: Request,
    caller: Annotated[Caller, requires(Scope.ASSIGN)],
    idempotency_key: idempotency.Key = None,
    accept: Annotated[str, Header(description="JSON or NDJSON")] = "",
) -> Response:
    """Make a message for each of up to 10,000 recipients, in their order. A failure for one does not affect the others.

    A recipient without `message_id` has one that is made of the `Idempotency-Key`, its place and its customer. A
    JSON batch with neither takes nothing before the whole reply is ready and the caller still there; the head of an
    NDJSON reply tells a key with which the same request finds what was made, however the reply broke off. A customer
    who comes again without `message_id` gets the message of the first time (`repeat_of`).
    """
    spec = _spec(body, body.context, idempotency_key)
    nameless = idempotency_key is None and any(each.message_id is None for each in body.recipients)
    by_line = NDJSON in accept
    if nameless and by_line and body.mode is not Mode.PREVIEW:
        return await _send_lines(engine, renderers, spec, body, request, caller)
    targets, places = _targets_of(body, caller, idempotency_key, _still_there(request))
    if nameless and not by_line:
        return await _send_whole(engine, renderers, spec, targets, places, request)
    keyed = None if idempotency_key is None else _keyed(caller, "batch", idempotency_key, body)
    chunks = batch.render_many(engine, renderers, spec, targets, request=keyed)
    first = await anext(chunks)
    items = _Items(spec, places)
    if by_line:
        return StreamingResponse(items.lines(_joined(first, chunks)), media_type=NDJSON)
    pieces = items.pieces(_joined(first, chunks), len(places) - len(targets))
    return StreamingResponse(pieces, media_type="application/json")


async def _send_whole(
    engine: AsyncEngine,
    renderers: Renderers,
    spec: RenderSpec,
    targets: list[MessageTarget],
    places: list[int],
    request: Request,
) -> Response:
    """Answer as one who gave no ids and no key: nothing is committed before the reply is ready."""
    body = b""

    def write(made: list[Outcome]) -> None:
        nonlocal body
        body = _whole(_Items(spec, places).of(made), len(places) - len(targets))

    made = await batch.render_whole(engine, renderers, spec, targets, write)
    if not await _still_there(request)():
        await service.take_back(engine, made)
    return Response(body, media_type="application/json")


def _head(repeats: int) -> bytes:
    """Return what a `RenderBatchOut` begins with, up to its items."""
    return b'{"repeats":%d,"items":[' % repeats


_FOOT = b"]}"
_TOGETHER = 250
"""Items that are written in one go: that takes a quarter of the time that each by itself takes."""


def _written(items: list[Item]) -> bytes:
    """Return items as JSON, with commas between them."""
    return orjson.dumps(items)[1:-1]


def _whole(items: list[Item], repeats: int) -> bytes:
    """Return a `RenderBatchOut`, which may be large: it is put together once."""
    starts = range(0, len(items), _TOGETHER)
    pieces = [_written(items[start : start + _TOGETHER]) for start in starts]
    pieces[0] = _head(repeats) + pieces[0]
    pieces[-1] += _FOOT
    return b",".join(pieces)


async def _send_lines(
    engine: AsyncEngine,
    renderers: Renderers,
    spec: RenderSpec,
    body: RenderBatch,
    request: Request,
    caller: Caller,
) -> Response:
    """Answer line by line who gave no ids and no key: a key is made, and told before anything is taken.

    However the reply breaks off, the same request with that key is answered with what was made.
    """
    key = make_key()
    targets, places = _targets_of(body, caller, key, _still_there(request), is_new=True)
    await batch.check(engine, renderers, spec, targets)
    keyed = _keyed(caller, "batch", key, body, is_first=True)
    chunks = batch.render_one_by_one(engine, renderers, spec, targets, keyed)
    lines = _Items(spec, places).lines(_while_there(engine, request, chunks, keyed))
    return StreamingResponse(lines, media_type=NDJSON, headers={idempotency.NAME: key})


def _spec(
    body: RenderRequest | RenderBatch, context: dict[str, object], key: str | None = None
) -> RenderSpec:
    return RenderSpec(
        parts_of(body.template, body.channel, body.parts),
        body.channel,
        body.mode,
        body.campaign_id,
        context,
        body.strict,
        sample=body.mode is Mode.PREVIEW and body.preview_code is PreviewCode.SAMPLE,
        draws_again=key is not None and key.startswith(MADE),
    )


def _keyed(
    caller: Caller, route: str, key: str, body: RenderRequest | RenderBatch, *, is_first: bool = False
) -> KeyedRequest:
    return keyed_request(caller.key_id, route, key, body.model_dump(mode="json"), is_first=is_first)


def _still_there(request: Request) -> StillThere:
    return presence.still_there(presence.noted(request.scope), lambda: request)


def target_of(
    customer_id: str | None,
    message_id: str | None,
    customer: dict[str, object] | None = None,
    context: dict[str, object] | None = None,
    still_there: StillThere | None = None,
) -> MessageTarget:
    """Return for whom a message is made; one that has no id gets a new one."""
    is_new = message_id is None
    return MessageTarget(
        customer_id, message_id or str(ordered_id()), is_new, customer or {}, context or {}, still_there
    )


def _hidden(spec: RenderSpec, error: DomainError | None) -> bool:
    """Return whether the message is a weblayer whose pool has run out: it is not displayed, and that is no error."""
    return spec.channel is Channel.WEBLAYER and isinstance(error, PoolExhaustedError)


async def _joined(first: list[Outcome], more: AsyncIterator[list[Outcome]]) -> AsyncIterator[list[Outcome]]:
    yield first
    async for chunk in more:
        yield chunk


async def _while_there(
    engine: AsyncEngine,
    request: Request,
    chunks: AsyncIterator[list[Outcome]],
    keyed: KeyedRequest,
) -> AsyncIterator[list[Outcome]]:
    """Yield chunks of messages whose key the caller may not have read, each just before it is sent.

    What was made for a caller who has gone is taken back.
    """
    still_there = _still_there(request)
    cycle = presence.noted(request.scope)

    async def settle(chunk: list[Outcome]) -> None:
        """Take back a chunk that nobody is there to be sent."""
        if cycle is not None:
            await cycle.flow.drain()
        if not await still_there():
            await service.take_back(engine, chunk, keyed)

    await asyncio.sleep(0)  # the head of the reply, which is written by now, leaves when the loop comes round
    while True:
        if cycle is not None:
            await cycle.flow.drain()  # what is sent now is sent at once, or the caller is known to have gone
        try:
            chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        await batch.to_the_end(settle(chunk))
        yield chunk


class _Items:
    """The items of a reply, in the order of the recipients; `places` tells whose message each one gets."""

    def __init__(self, spec: RenderSpec, places: list[int]) -> None:
        self._spec = spec
        self._places = places
        self._made: dict[int, Outcome] = {}
        """By place, as long as somebody is to get it: all of a batch may be more than the memory of the process."""
        self._count = 0
        self._first_at: dict[int, int] = {}
        self._last_at = {place: index for index, place in enumerate(places)}
        self._next = 0

    def of(self, chunk: list[Outcome]) -> list[Item]:
        """Return the items that can be written once these messages are made as well."""
        self._made |= enumerate(chunk, self._count)
        self._count += len(chunk)
        items: list[Item] = []
        for index in range(self._next, len(self._places)):
            place = self._places[index]
            if place >= self._count:
                break
            first = self._first_at.setdefault(place, index)
            items.append(_item(self._spec, index, self._made[place], first if first != index else None))
            if index == self._last_at[place]:
                del self._made[place]
        self._next += len(items)
        return items

    async def pieces(self, chunks: AsyncIterator[list[Outcome]], repeats: int) -> AsyncIterator[bytes]:
        """Yield a `RenderBatchOut`, the items of a chunk together."""
        before = _head(repeats)
        async for chunk in chunks:
            yield before + _written(self.of(chunk))
            before = b","
        yield _FOOT

    async def lines(self, chunks: AsyncIterator[list[Outcome]]) -> AsyncIterator[bytes]:
        """Yield the items, a line each, those of a chunk together."""
        async for chunk in chunks:
            yield b"".join(orjson.dumps(item, option=orjson.OPT_APPEND_NEWLINE) for item in self.of(chunk))


def _targets_of(
    body: RenderBatch, caller: Caller, key: str | None, still_there: StillThere, *, is_new: bool = False
) -> tuple[list[MessageTarget], list[int]]:
    """Return the messages to make, and for each recipient which one it gets."""
    targets: list[MessageTarget] = []
    places: list[int] = []
    by_customer: dict[str, int] = {}
    for index, each in enumerate(body.recipients):
        if each.message_id is None:
            place = by_customer.setdefault(each.customer_id, len(targets))
            places.append(place)
            if place < len(targets):
                continue
        else:
            places.append(len(targets))
        message_id = each.message_id or derived_id(caller, key, index, each.customer_id)
        target = target_of(each.customer_id, message_id, each.customer, each.context, still_there)
        targets.append(replace(target, is_new=True) if is_new and each.message_id is None else target)
    return targets, places


def derived_id(caller: Caller, key: str | None, index: int, customer_id: str | None) -> str | None:
    """Return the id of the message that a keyed request makes, the same whenever it comes."""
    if key is None:
        return None
    name = orjson.dumps([str(caller.key_id), key, index, customer_id]).decode()
    return str(uuid.uuid5(_KEYED, name))


def _item(spec: RenderSpec, index: int, outcome: Outcome, repeat_of: int | None) -> Item:
    """Return a `BatchItemOut` as plain values, without validation: there may be ten thousand."""
    error = outcome.error
    if error is None:
        status = "rendered"
    elif _hidden(spec, error):
        status = "not_displayed"
    elif isinstance(error, MessageAbortedError):
        status = "aborted"
    elif isinstance(error, PoolExhaustedError):
        status = "enqueue_failed"
    else:
        status = "failed"
    parts = {} if outcome.parts is None else {"parts": outcome.parts}
    return {
        "index": index,
        "repeat_of": repeat_of,
        "status": status,
        "customer_id": outcome.target.asked_for,
        "message_id": outcome.target.message_id,
        "rendered": outcome.rendered,
        **parts,
        "vouchers": outcome.vouchers,
        "undefined": outcome.undefined,
        "problem": error and _problem(error),
    }


def _problem(error: DomainError) -> dict[str, object]:
    return {**members(error.name, error.title, error.status, error.detail), **error.extra}
