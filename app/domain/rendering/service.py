"""The rules of messages: who is given what, and what becomes of a message that cannot be made.

A message is rendered from what it is supplied with. What it lacks, it says; that is looked up or locked, and
it is rendered again. What it takes is written only when it is whole, so a message that cannot be made takes
nothing.
"""

import time
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.assignments.errors import PoolBusyError, PoolExhaustedError
from app.domain.customers import service as customers
from app.domain.customers.errors import AggregateNotFoundError
from app.domain.customers.events import NewEvent
from app.domain.pools.errors import PoolNotFoundError
from app.domain.rendering.demand import DEMANDS
from app.domain.rendering.errors import MessageAbortedError, TemplateError, TemplateLimitError
from app.domain.rendering.message_vouchers import MessageVouchers
from app.domain.rendering.renderers import Renderers
from app.domain.rendering.schemas import Channel, MessageTarget, Mode, Outcome, RenderSpec, StillThere
from app.domain.tracking import service as tracking
from app.platform.database import retry_on_conflict, transaction
from app.platform.errors import ClientGoneError, DomainError

MAX_PASSES = 12
"""How often a message is rendered anew because it asked for more: some templates would never have enough."""

_CAMPAIGN_EVENT = uuid.UUID("0a3d4a6e-52a1-5f0b-8b57-3f9c5a1d2e90")


async def render(
    engine: AsyncEngine,
    renderers: Renderers,
    spec: RenderSpec,
    targets: Sequence[MessageTarget],
) -> list[Outcome]:
    """Make messages in one transaction, committed when this returns.

    Raises:
        RendererDiedError: a message took more than its limits, and which of several is not known.
        OverloadedError: the turn did not come in time.
    """
    async with renderers.turn():
        return await _render(engine, renderers, spec, targets)


@retry_on_conflict
async def _render(
    engine: AsyncEngine,
    renderers: Renderers,
    spec: RenderSpec,
    targets: Sequence[MessageTarget],
) -> list[Outcome]:
    async with transaction(engine) as connection:
        return await render_in_transaction(connection, renderers, spec, targets)


async def render_in_transaction(
    connection: AsyncConnection, renderers: Renderers, spec: RenderSpec, targets: Sequence[MessageTarget]
) -> list[Outcome]:
    """Make messages, and write what they take; the caller commits. See `render`."""
    size = len(spec.template.encode(errors="replace"))
    if size > renderers.max_template_bytes:
        raise TemplateLimitError(
            f"The template has {size} bytes, at most {renderers.max_template_bytes} are taken.", line=None
        )
    vouchers = MessageVouchers(connection, spec, targets)
    answer = await _render_until_complete(connection, renderers, spec, targets, vouchers)
    if "refused" in answer:
        raise _error(vouchers, targets[0], answer["refused"])
    gone = await _gone(targets)
    results: list[dict[str, Any]] = [
        {"gone": True} if index in gone else result for index, result in enumerate(answer["results"])
    ]
    outcomes = [_outcome(vouchers, target, result) for target, result in zip(targets, results, strict=True)]
    if spec.mode is not Mode.PREVIEW:
        await vouchers.write(
            [
                (target, use)
                for target, result in zip(targets, results, strict=True)
                for use in result.get("uses", ())
            ]
        )
        await vouchers.write_seen([result.get("seen") for result in results])
        await _tell_of_run_out(connection, spec, outcomes)
    return outcomes


async def _gone(targets: Sequence[MessageTarget]) -> set[int]:
    """Return the messages that nobody waits for any more; each caller is asked once."""
    answers: dict[StillThere, bool] = {}
    gone = set()
    for index, target in enumerate(targets):
        ask = target.still_there
        if ask is None:
            continue
        if ask not in answers:
            answers[ask] = await ask()
        if not answers[ask]:
            gone.add(index)
    return gone


async def _render_until_complete(
    connection: AsyncConnection,
    renderers: Renderers,
    spec: RenderSpec,
    targets: Sequence[MessageTarget],
    vouchers: MessageVouchers,
) -> dict[str, Any]:
    """Render until the messages lack nothing."""
    job: dict[str, Any] = {
        "template": spec.template,
        "autoescape": spec.html,
        "preview": spec.mode is Mode.PREVIEW,
        "aggregates": {},
    }
    now = time.time()
    items: list[dict[str, Any]] = [
        {
            "new": target.is_new,
            "customer_id": target.customer_id,
            "aggregates": {},
            "seed": f"{target.message_id}\n{target.customer_id}",
            "strict": spec.strict,
            "time": now,
            "reads_time": "time" in spec.template or "now" in spec.template,
        }
        for target in targets
    ]
    contexts = await _contexts(connection, spec, targets)
    needs = await DEMANDS.predict(spec.template, vouchers, len(targets))
    for _ in range(MAX_PASSES):
        await vouchers.fetch(needs)
        await _aggregate(connection, needs["aggregates"], targets, job["aggregates"], items)
        answer = await renderers.render(
            job
            | {"pools": vouchers.as_json(), "seen_known": vouchers.seen_known}
            | {
                "items": [
                    item | {"context": context, "given": before, "seen": seen}
                    for item, context, before, seen in zip(
                        items, contexts, vouchers.before, vouchers.seen, strict=True
                    )
                ]
            }
        )
        if "refused" in answer:
            return answer
        needs = answer["needs"]
        if "results" in answer:
            DEMANDS.record(spec.template, needs, len(targets))
            return answer
    raise TemplateLimitError("The template asks for other vouchers each time it is rendered.", line=None)


async def _contexts(
    connection: AsyncConnection, spec: RenderSpec, targets: Sequence[MessageTarget]
) -> list[dict[str, Any]]:
    """Return what the templates see of each addressee, besides vouchers and aggregates."""
    stored: dict[str, dict[str, Any]] = {}
    if "customer" in spec.template:
        ids = [target.customer_id for target in targets if target.customer_id is not None]
        stored = await customers.properties_of(connection, ids) if ids else {}
    return [
        {
            "customer": {
                **stored.get(target.customer_id or "", {}),
                **target.customer,
                **({} if target.customer_id is None else {"id": target.customer_id}),
            },
            **_of_context({**spec.context, **target.context}, target),
            "campaign": {
                **_mapping(target.context.get("campaign", spec.context.get("campaign"))),
                "id": spec.campaign_id,
                "channel": spec.channel,
                "message_id": target.message_id,
            },
        }
        for target in targets
    ]


FROM_CONTEXT = ("event", "project", "scenario", "action", "banner", "experiment")


def _of_context(context: dict[str, Any], target: MessageTarget) -> dict[str, Any]:
    """Return the names that a template knows from the context: after Bloomreach's *Personalization using Jinja*."""
    ids = {**_mapping(context.get("customer_ids")), "registered": target.customer_id}
    return {
        "context": context,
        "customer_ids": ids,
        **{name: _mapping(context.get(name)) for name in FROM_CONTEXT},
    }


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


async def _aggregate(
    connection: AsyncConnection,
    names: Sequence[str],
    targets: Sequence[MessageTarget],
    known: dict[str, Any],
    items: Sequence[dict[str, Any]],
) -> None:
    ids = [target.customer_id for target in targets if target.customer_id is not None]
    for name in names:
        if name in known:
            continue
        try:
            values = await customers.evaluate(connection, name, ids)
        except AggregateNotFoundError as error:
            known[name] = {"similar": error.extra["similar"]}
            continue
        known[name] = {}
        for item, target in zip(items, targets, strict=True):
            item["aggregates"][name] = values.get(target.customer_id or "")


def _outcome(vouchers: MessageVouchers, target: MessageTarget, result: dict[str, Any]) -> Outcome:
    if "gone" in result:
        return Outcome(target, error=ClientGoneError())
    if "error" in result:
        return Outcome(target, error=_error(vouchers, target, result["error"]))
    shown = [
        {"pool": pool, "code": code, "occurrence": occurrence}
        for pool, _, code, occurrence, _ in result["uses"]
    ]
    if vouchers.preview:
        shown = [{**each, "preview": True} for each in shown]
    return Outcome(target, result["rendered"], shown, undefined=result["undefined"])


def _error(  # noqa: PLR0911  (one case for each name)
    vouchers: MessageVouchers, target: MessageTarget, problem: dict[str, Any]
) -> DomainError:
    """Return what a render process says as an error of the domain."""
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
