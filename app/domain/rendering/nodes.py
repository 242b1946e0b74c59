"""The nodes of a scenario: a JSON body written as a template, rendered, then stored with the codes in it."""

import hashlib
import json
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, TypedDict, TypeVar, cast

import orjson
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.assignments import identity
from app.domain.customers import service as customers
from app.domain.customers.events import NewEvent
from app.domain.rendering import keyed, queries, service
from app.domain.rendering.errors import TemplateError, erased_error, worker_killed_error
from app.domain.rendering.persons import of_persons
from app.domain.rendering.renderers import RendererDiedError, Renderers
from app.domain.rendering.schemas import EventBody, MessageTarget, Mode, RenderSpec
from app.domain.tracking import service as tracking
from app.domain.tracking.schemas import TrackedStatus
from app.platform.database import retry_on_conflict, transaction
from app.platform.errors import IdempotencyKeyReusedError
from app.schema.texts import Properties

_EVENT = uuid.UUID("c2a6fa0e-0d0b-5b8e-9f0e-6a4d3ad0a1c7")
MAX_EVENTS = 50
_events = TypeAdapter(list[EventBody])
_properties = TypeAdapter[dict[str, object]](Properties)
Parsed = TypeVar("Parsed")
Stored: TypeAlias = tuple[list[dict[str, object]], object]
"""The codes in a body, and the body."""


class NodeSeen(TypedDict):
    """What is kept of a node that was rendered."""

    digest: str
    body: object
    vouchers: list[dict[str, object]]


async def set_properties(
    engine: AsyncEngine, renderers: Renderers, spec: RenderSpec, target: MessageTarget
) -> Stored:
    """Render an object, and set its members as properties of the customer; return the codes and the body."""
    return await _run(engine, renderers, spec, target, _parse_properties, _store_properties)


async def add_event(
    engine: AsyncEngine, renderers: Renderers, spec: RenderSpec, target: MessageTarget
) -> Stored:
    """Render an event or a list of them, and store them for the customer; return the codes and the body."""
    return await _run(engine, renderers, spec, target, _parse_events, _store_events)


async def _run(
    engine: AsyncEngine,
    renderers: Renderers,
    spec: RenderSpec,
    target: MessageTarget,
    parse: Callable[[object], Parsed],
    store: Callable[[AsyncConnection, MessageTarget, Parsed], Awaitable[None]],
) -> Stored:
    """Render the body, store it and give the codes in it, in one transaction.

    What was stored for a message is answered as it was stored, however often it comes.

    Raises:
        TemplateError: the template renders to something else. Nothing is stored or taken then.
        TemplateLimitError: it takes more time or memory than it may. Nothing is stored or taken then either.
        IdempotencyKeyReusedError: the message came before with another template, or the key with another request.
        PoolExhaustedError and the other errors of a message.
    """
    source = f"{store.__name__} {spec.source}".encode(errors="surrogatepass")
    digest = hashlib.sha256(source).hexdigest()

    @retry_on_conflict
    async def attempt() -> Stored:
        async with transaction(engine) as connection:
            (whom,) = await of_persons(connection, [target])
            id_ = _node_id(spec, whom, whom.customer_id)
            if spec.mode is not Mode.PREVIEW:
                await queries.lock_customer(connection, whom.customer_id or "")
                await keyed.bind(connection, whom)
                ids = [_node_id(spec, whom, name) for name in whom.names or (whom.customer_id,)]
                before = {} if whom.is_new else await queries.seen(connection, ids)
                for each in ids:
                    if each in before:
                        return _stored_before(cast(NodeSeen, before[each]), digest)
                if not whom.is_new and await customers.was_erased(connection, str(id_)):
                    raise erased_error()
            (outcome,) = await service.render_in_transaction(connection, renderers, spec, [whom])
            if outcome.error is not None:
                raise outcome.error
            body = _body(outcome.rendered or "")
            try:
                parsed = parse(body)
            except ValidationError as error:
                raise TemplateError(_says(error), line=None) from None
            if spec.mode is not Mode.PREVIEW:
                await store(connection, whom, parsed)
                seen: NodeSeen = {"digest": digest, "body": body, "vouchers": outcome.vouchers}
                row = {"id": id_, "customer_id": whom.customer_id, "seen": seen}
                await queries.add_seen(connection, [row])
            return outcome.vouchers, body

    async with renderers.turn():
        try:
            return await attempt()
        except RendererDiedError:
            raise worker_killed_error() from None


def _node_id(spec: RenderSpec, target: MessageTarget, customer_id: str | None) -> uuid.UUID:
    return identity.of_message(target.message_id, customer_id, f"{spec.mode} node", 0)


def _stored_before(record: NodeSeen, digest: str) -> Stored:
    if record["digest"] != digest:
        raise IdempotencyKeyReusedError("The same message came before with another template.")
    return record["vouchers"], record["body"]


def _body(rendered: str) -> object:
    try:
        orjson.loads(rendered)
        # Whole numbers beyond 64 bits stay what they are, to be refused: orjson makes other numbers of some.
        body: object = json.loads(rendered)
    except RecursionError:
        raise TemplateError("The rendered body is nested too deep.", line=None) from None
    except orjson.JSONDecodeError as error:  # its position, not its text: that holds codes
        raise TemplateError(
            "The template rendered to no JSON; the filter 'json' writes a value with its quotes. "
            f"The rendered text goes wrong at line {error.lineno}, column {error.colno}.",
            line=None,
        ) from None
    return body


def _parse_properties(body: object) -> dict[str, object]:
    if not isinstance(body, dict):
        raise TemplateError("The template must render to a JSON object.", line=None)
    return _properties.validate_python(body)


def _parse_events(body: object) -> list[EventBody]:
    if not isinstance(body, list):
        return [EventBody.model_validate(body)]
    if not 1 <= len(body) <= MAX_EVENTS:
        raise TemplateError(f"A list holds 1 to {MAX_EVENTS} events.", line=None)
    return _events.validate_python(body)


def _says(error: ValidationError) -> str:
    wrong = (f"{'.'.join(map(str, item['loc'])) or 'body'}: {item['msg']}" for item in error.errors())
    return f"The rendered body is not valid: {'; '.join(wrong)}."


async def _store_properties(
    connection: AsyncConnection, target: MessageTarget, properties: dict[str, object]
) -> None:
    assert target.customer_id is not None  # noqa: S101  (narrows the type: it is in the path)
    await customers.update(connection, target.customer_id, properties)


async def _store_events(
    connection: AsyncConnection, target: MessageTarget, events: Sequence[EventBody]
) -> None:
    assert target.customer_id is not None  # noqa: S101  (as above)
    new = []
    for place, event in enumerate(events):
        # Made of the message, so that a retry finds the event stored.
        parts = [target.message_id, target.customer_id, event.event_type, *([place] if place else [])]
        event_id = event.event_id or str(uuid.uuid5(_EVENT, orjson.dumps(parts).decode()))
        new.append(
            NewEvent(event_id, target.customer_id, event.event_type, event.properties, event.timestamp)
        )
    tracked = await tracking.track(connection, new)
    if any(each.status in {TrackedStatus.CONFLICT, TrackedStatus.ERASED} for each in tracked):
        raise TemplateError(
            "Another event has this event_id already, so nothing was stored; leave event_id out, or make it of"
            " the customer and the message.",
            line=None,
        )
