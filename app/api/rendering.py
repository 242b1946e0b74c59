"""`/v1/render`, the nodes of scenarios, and `/v1/pools/{pool}/snippets`."""

import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse

from app.api.snippets import snippets
from app.domain.access.scopes import Scope
from app.domain.assignments.errors import (
    AssignmentReleasedError,
    PoolBusyError,
    PoolExhaustedError,
)
from app.domain.pools import service as pools
from app.domain.pools.errors import PoolNotFoundError
from app.domain.rendering import batch, nodes
from app.domain.rendering.batcher import RenderBatcher
from app.domain.rendering.errors import TemplateError, TemplateLimitError
from app.domain.rendering.renderers import RendererDiedError, Renderers
from app.domain.rendering.schemas import (
    Channel,
    MessageTarget,
    NodeOut,
    NodeRequest,
    Outcome,
    RenderBatch,
    RenderBatchOut,
    RenderOut,
    RenderRequest,
    RenderSpec,
    Snippets,
    StillThere,
)
from app.platform.errors import DomainError, IdempotencyKeyReusedError, InvalidRequestError, OverloadedError
from app.web.dependencies import Connection, Engine, held
from app.web.guard import requires
from app.web.parameters import CustomerPath, PoolPath
from app.web.problems import problems

router = APIRouter(prefix="/v1", tags=["rendering"])
NDJSON = "application/x-ndjson"
TEMPLATE = (TemplateError, TemplateLimitError, InvalidRequestError)
REFUSED = (
    *TEMPLATE,
    PoolNotFoundError,
    PoolExhaustedError,
    PoolBusyError,
    OverloadedError,
    AssignmentReleasedError,
    IdempotencyKeyReusedError,
)
Held = Annotated[Renderers, held(Renderers)]


@router.post(
    "/render",
    response_model=RenderOut,
    responses=problems(*REFUSED),
    dependencies=[requires(Scope.ASSIGN)],
)
async def render(
    body: RenderRequest, request: Request, batcher: Annotated[RenderBatcher, held(RenderBatcher)]
) -> Any:
    """Make a message, with the codes that its template asks for.

    The same message to the same customer has the same codes however often it is sent. A message that cannot
    be made, or that nobody waits for any more, takes none.
    """

    async def still_there() -> bool:
        return not await request.is_disconnected()

    spec = RenderSpec(body.template, body.channel, body.mode, body.campaign_id, {})
    target = _target(body.customer_id, body.message_id, body.customer, body.context, still_there)
    outcome = await batcher.render(spec, target)
    displayed = not _hidden(spec, outcome.error)
    if outcome.error is not None and displayed:
        raise outcome.error
    return {
        "rendered": outcome.rendered,
        "displayed": displayed,
        "message_id": target.message_id,
        "vouchers": outcome.vouchers,
    }


@router.post(
    "/render/batch",
    response_model=RenderBatchOut,
    responses={
        200: {"content": {NDJSON: {}}, "description": "With `Accept: application/x-ndjson` an item a line"},
        **problems(*TEMPLATE, OverloadedError),
    },
    dependencies=[requires(Scope.ASSIGN)],
)
async def render_batch(
    body: RenderBatch,
    engine: Engine,
    renderers: Held,
    accept: Annotated[str, Header(description="JSON or NDJSON")] = "",
) -> Response:
    """Make a message for up to 10,000 recipients, in their order. What fails for one fails for no other."""
    spec = RenderSpec(body.template, body.channel, body.mode, body.campaign_id, body.context)
    targets = [
        _target(each.customer_id, each.message_id, each.customer, each.context) for each in body.recipients
    ]
    chunks = batch.render_many(engine, renderers, spec, targets)
    lines = _lines(spec, await anext(chunks), chunks)
    if NDJSON in accept:
        return StreamingResponse((line + b"\n" async for line in lines), media_type=NDJSON)
    items = b",".join([line async for line in lines])
    return Response(b'{"items":[' + items + b"]}", media_type="application/json")


@router.post(
    "/customers/{customer_id:id}/properties/render",
    response_model=NodeOut,
    responses=problems(*REFUSED),
    dependencies=[requires(Scope.ASSIGN), requires(Scope.EVENTS)],
)
async def set_properties(
    customer_id: CustomerPath, body: NodeRequest, engine: Engine, renderers: Held
) -> Any:
    """The node *set attribute*: the template renders to a JSON object of properties to set."""
    return await _node(nodes.set_properties, customer_id, body, engine, renderers)


@router.post(
    "/customers/{customer_id:id}/events/render",
    response_model=NodeOut,
    responses=problems(*REFUSED),
    dependencies=[requires(Scope.ASSIGN), requires(Scope.EVENTS)],
)
async def add_event(customer_id: CustomerPath, body: NodeRequest, engine: Engine, renderers: Held) -> Any:
    """The node *add event*: a template of `{"event_type", "properties", "event_id"?, "timestamp"?}`."""
    return await _node(nodes.add_event, customer_id, body, engine, renderers)


@router.get(
    "/pools/{pool}/snippets",
    response_model=Snippets,
    responses=problems(PoolNotFoundError),
    dependencies=[requires(Scope.POOLS, Scope.READ, Scope.ASSIGN)],
)
async def get_snippets(pool: PoolPath, request: Request, connection: Connection) -> Any:
    """Lines for this pool, ready to paste into a template or a shell."""
    await pools.id_of(connection, pool)
    return snippets(str(request.base_url), pool)


async def _node(
    node: Any, customer_id: str, body: NodeRequest, engine: Engine, renderers: Held
) -> dict[str, Any]:
    spec = RenderSpec(body.template, None, body.mode, body.campaign_id, body.context)
    target = _target(customer_id, body.message_id)
    try:
        outcome, stored = await node(engine, renderers, spec, target)
    except RendererDiedError:
        raise batch.worker_killed_error() from None
    return {"stored": stored, "message_id": target.message_id, "vouchers": outcome.vouchers}


def _target(
    customer_id: str | None,
    message_id: str | None,
    customer: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
    still_there: StillThere | None = None,
) -> MessageTarget:
    is_new = message_id is None
    return MessageTarget(
        customer_id, message_id or str(uuid.uuid4()), is_new, customer or {}, context or {}, still_there
    )


def _hidden(spec: RenderSpec, error: DomainError | None) -> bool:
    """A weblayer whose pool has run out is not displayed, and that is no error."""
    return spec.channel is Channel.WEBLAYER and isinstance(error, PoolExhaustedError)


async def _lines(
    spec: RenderSpec, first: list[Outcome], more: AsyncIterator[list[Outcome]]
) -> AsyncIterator[bytes]:
    index = 0
    for outcome in first:
        yield _item(spec, index, outcome)
        index += 1
    async for chunk in more:
        for outcome in chunk:
            yield _item(spec, index, outcome)
            index += 1


def _item(spec: RenderSpec, index: int, outcome: Outcome) -> bytes:
    """A `BatchItemOut`, written as it is: there may be ten thousand."""
    error = outcome.error
    if error is None:
        status = "rendered"
    elif _hidden(spec, error):
        status = "not_displayed"
    elif isinstance(error, PoolExhaustedError):
        status = "enqueue_failed"
    else:
        status = "failed"
    return orjson.dumps(
        {
            "index": index,
            "status": status,
            "customer_id": outcome.target.customer_id,
            "message_id": outcome.target.message_id,
            "rendered": outcome.rendered,
            "vouchers": outcome.vouchers,
            "problem": error and _problem(error),
        }
    )


def _problem(error: DomainError) -> dict[str, Any]:
    return {
        "type": f"/problems/{error.name}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        **error.extra,
    }
