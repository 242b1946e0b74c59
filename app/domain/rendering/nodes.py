"""The nodes of a scenario: a JSON body written as a template, rendered, then stored with the codes in it."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.customers import service as customers
from app.domain.customers.events import NewEvent
from app.domain.rendering import service
from app.domain.rendering.errors import TemplateError
from app.domain.rendering.renderers import Renderers
from app.domain.rendering.schemas import EventBody, MessageTarget, Mode, Outcome, RenderSpec
from app.domain.tracking import service as tracking
from app.platform.database import retry_on_conflict, transaction
from app.schema.texts import Properties

_EVENT = uuid.UUID("c2a6fa0e-0d0b-5b8e-9f0e-6a4d3ad0a1c7")
_properties = TypeAdapter[dict[str, Any]](Properties)
Store = Callable[[AsyncConnection, MessageTarget, Any], Awaitable[None]]
Parse = Callable[[Any], Any]


async def set_properties(
    engine: AsyncEngine, renderers: Renderers, spec: RenderSpec, target: MessageTarget
) -> tuple[Outcome, dict[str, Any]]:
    """The node *set attribute*: render an object, and set its members as properties of the customer."""
    return await _run(engine, renderers, spec, target, _properties.validate_python, _store_properties)


async def add_event(
    engine: AsyncEngine, renderers: Renderers, spec: RenderSpec, target: MessageTarget
) -> tuple[Outcome, dict[str, Any]]:
    """The node *add event*: render an event, and store it for the customer."""
    return await _run(engine, renderers, spec, target, EventBody.model_validate, _store_event)


async def _run(
    engine: AsyncEngine,
    renderers: Renderers,
    spec: RenderSpec,
    target: MessageTarget,
    parse: Parse,
    store: Store,
) -> tuple[Outcome, dict[str, Any]]:
    """The rendered body and the codes in it, in one transaction.

    Raises:
        TemplateError: the template renders to something else. Nothing is stored or taken then.
        PoolExhaustedError and the other errors of a message.
    """

    @retry_on_conflict
    async def attempt() -> tuple[Outcome, dict[str, Any]]:
        async with transaction(engine) as connection:
            (outcome,) = await service.render_in_transaction(connection, renderers, spec, [target])
            if outcome.error is not None:
                raise outcome.error
            body = _object(outcome.rendered or "")
            try:
                parsed = parse(body)
            except ValidationError as error:
                raise TemplateError(_says(error), line=None) from None
            if spec.mode is not Mode.PREVIEW:
                await store(connection, target, parsed)
            return outcome, body

    async with renderers.turn():
        return await attempt()


def _object(rendered: str) -> dict[str, Any]:
    try:
        body = orjson.loads(rendered)
    except orjson.JSONDecodeError as error:  # its position, not its text: that holds codes
        raise TemplateError(
            "The template rendered to no JSON; the filter 'json' writes a value with its quotes. "
            f"The rendered text goes wrong at line {error.lineno}, column {error.colno}.",
            line=None,
        ) from None
    if not isinstance(body, dict):
        raise TemplateError("The template must render to a JSON object.", line=None)
    return body


def _says(error: ValidationError) -> str:
    wrong = (f"{'.'.join(map(str, item['loc'])) or 'body'}: {item['msg']}" for item in error.errors())
    return f"The rendered body is not valid: {'; '.join(wrong)}."


async def _store_properties(
    connection: AsyncConnection, target: MessageTarget, properties: dict[str, Any]
) -> None:
    assert target.customer_id is not None  # noqa: S101  (narrows the type: it is in the path)
    await customers.update(connection, target.customer_id, properties)


async def _store_event(connection: AsyncConnection, target: MessageTarget, event: EventBody) -> None:
    assert target.customer_id is not None  # noqa: S101  (as above)
    # Made of the message, so that a retry finds the event stored.
    name = orjson.dumps([target.message_id, target.customer_id, event.event_type]).decode()
    event_id = event.event_id or str(uuid.uuid5(_EVENT, name))
    new = NewEvent(event_id, target.customer_id, event.event_type, event.properties, event.timestamp)
    await tracking.track(connection, [new])
