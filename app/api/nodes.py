"""The nodes of scenarios: properties and events of a customer, from a template."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeAlias

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncEngine

from app.api.rendering import REFUSED, Held, derived_id, target_of
from app.domain.access.scopes import Caller, Scope
from app.domain.rendering import batch, nodes
from app.domain.rendering.renderers import RendererDiedError, Renderers
from app.domain.rendering.schemas import (
    MessageTarget,
    NodeOut,
    NodeRequest,
    RenderSpec,
    parts_of,
)
from app.web import idempotency
from app.web.dependencies import Engine
from app.web.guard import requires
from app.web.parameters import CustomerPath
from app.web.problems import problems

router = APIRouter(prefix="/v1", tags=["rendering"])


@router.post(
    "/customers/{customer_id:id}/properties/render",
    response_model=NodeOut,
    responses=problems(*REFUSED),
    dependencies=[requires(Scope.ASSIGN), requires(Scope.EVENTS)],
)
async def set_customer_properties(
    customer_id: CustomerPath,
    body: NodeRequest,
    engine: Engine,
    renderers: Held,
    caller: Annotated[Caller, requires(Scope.ASSIGN)],
    idempotency_key: idempotency.Key = None,
) -> object:
    """Set the properties of a customer from a template that renders to a JSON object (the node *set attribute*)."""
    message_id = body.message_id or derived_id(caller, idempotency_key, 0, customer_id)
    return await _node(nodes.set_properties, customer_id, message_id, body, engine, renderers)


@router.post(
    "/customers/{customer_id:id}/events/render",
    response_model=NodeOut,
    responses=problems(*REFUSED),
    dependencies=[requires(Scope.ASSIGN), requires(Scope.EVENTS)],
)
async def add_customer_event(
    customer_id: CustomerPath,
    body: NodeRequest,
    engine: Engine,
    renderers: Held,
    caller: Annotated[Caller, requires(Scope.ASSIGN)],
    idempotency_key: idempotency.Key = None,
) -> object:
    """Render and store events: a template of `{"event_type", "properties", "event_id"?, "timestamp"?}`.

    The body is an object or a list of them; all of a list are stored, or none.
    """
    message_id = body.message_id or derived_id(caller, idempotency_key, 0, customer_id)
    return await _node(nodes.add_event, customer_id, message_id, body, engine, renderers)


Node: TypeAlias = Callable[[AsyncEngine, Renderers, RenderSpec, MessageTarget], Awaitable[nodes.Stored]]


async def _node(
    node: Node, customer_id: str, message_id: str | None, body: NodeRequest, engine: Engine, renderers: Held
) -> dict[str, object]:
    parts = parts_of(body.template, None)
    spec = RenderSpec(parts, None, body.mode, body.campaign_id, body.context, body.strict)
    target = target_of(customer_id, message_id)
    try:
        vouchers, stored = await node(engine, renderers, spec, target)
    except RendererDiedError:
        raise batch.worker_killed_error() from None
    return {"stored": stored, "message_id": target.message_id, "vouchers": vouchers}
