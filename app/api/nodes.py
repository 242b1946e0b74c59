"""The nodes of scenarios: properties and events of a customer, from a template."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, TypeAlias

from fastapi import APIRouter, Depends
from sqlalchemy.ext.asyncio import AsyncEngine

from app.api.rendering import REFUSED, Held, derived_id, target_of
from app.domain.access.scopes import Caller, Scope
from app.domain.rendering import nodes
from app.domain.rendering.keyed import keyed_request
from app.domain.rendering.renderers import Renderers
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

router = APIRouter(
    prefix="/v1/customers/{customer_id:id}",
    tags=["rendering"],
    responses=problems(*REFUSED),
    dependencies=[requires(Scope.ASSIGN), requires(Scope.EVENTS)],
)
Node: TypeAlias = Callable[[AsyncEngine, Renderers, RenderSpec, MessageTarget], Awaitable[nodes.Stored]]


class AskedNode:
    """What both nodes take; a dependency."""

    def __init__(
        self,
        customer_id: CustomerPath,
        body: NodeRequest,
        engine: Engine,
        renderers: Held,
        caller: Annotated[Caller, requires(Scope.ASSIGN)],
        idempotency_key: idempotency.Key = None,
    ) -> None:
        parts = parts_of(body.template, None)
        self._spec = RenderSpec(parts, None, body.mode, body.campaign_id, body.context, body.strict)
        message_id = body.message_id or derived_id(caller, idempotency_key, 0, customer_id)
        self._target = target_of(customer_id, message_id)
        self._engine, self._renderers = engine, renderers
        self._body, self._key_id, self._key = body, caller.key_id, idempotency_key

    async def run(self, node: Node) -> dict[str, object]:
        """Render and store what one of the nodes does."""
        target = self._target
        if self._key is not None:
            said = [node.__name__, target.customer_id, self._body.model_dump(mode="json")]
            target = replace(target, request=keyed_request(self._key_id, "node", self._key, said))
        vouchers, stored = await node(self._engine, self._renderers, self._spec, target)
        return {"stored": stored, "message_id": target.message_id, "vouchers": vouchers}


Asked = Annotated[AskedNode, Depends()]


@router.post("/properties/render", response_model=NodeOut)
async def set_customer_properties(asked: Asked) -> object:
    """Set the properties of a customer from a template that renders to a JSON object (the node *set attribute*)."""
    return await asked.run(nodes.set_properties)


@router.post("/events/render", response_model=NodeOut)
async def add_customer_event(asked: Asked) -> object:
    """Render and store events: a template of `{"event_type", "properties", "event_id"?, "timestamp"?}`.

    The body is an object or a list of them; all of a list are stored, or none.
    """
    return await asked.run(nodes.add_event)
