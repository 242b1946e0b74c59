"""The rules of messages: who is given what, and what becomes of a message that cannot be made.

A message is rendered from what it is supplied with. What it lacks, it says; that is looked up or locked, and
it is rendered again. What it takes is written only when it is whole, so a message that cannot be made takes
nothing.
"""

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
from app.domain.rendering.errors import TemplateError, TemplateLimitError
from app.domain.rendering.provisions import Provisions
from app.domain.rendering.renderers import Renderers
from app.domain.rendering.schemas import Addressee, Channel, Letter, Mode, Outcome
from app.domain.tracking import service as tracking
from app.platform.database import again_on_conflict, transaction
from app.platform.errors import ClientGoneError, DomainError

MAX_PASSES = 12
"""How often a message is rendered anew because it asked for more: some templates would never have enough."""

_CAMPAIGN_EVENT = uuid.UUID("0a3d4a6e-52a1-5f0b-8b57-3f9c5a1d2e90")


async def render(
    engine: AsyncEngine,
    renderers: Renderers,
    letter: Letter,
    addressees: Sequence[Addressee],
) -> list[Outcome]:
    """Make messages in one transaction, committed when this returns.

    Raises:
        RendererDiedError: a message took more than its limits, and which of several is not known.
        OverloadedError: the turn did not come in time.
    """
    async with renderers.turn():
        return await _render(engine, renderers, letter, addressees)


@again_on_conflict
async def _render(
    engine: AsyncEngine,
    renderers: Renderers,
    letter: Letter,
    addressees: Sequence[Addressee],
) -> list[Outcome]:
    async with transaction(engine) as connection:
        return await compose(connection, renderers, letter, addressees)


async def compose(
    connection: AsyncConnection, renderers: Renderers, letter: Letter, addressees: Sequence[Addressee]
) -> list[Outcome]:
    """Make messages, and write what they take; the caller commits. See `render`."""
    size = len(letter.template.encode(errors="replace"))
    if size > renderers.max_template_bytes:
        raise TemplateLimitError(
            f"The template has {size} bytes, at most {renderers.max_template_bytes} are taken.", line=None
        )
    provisions = Provisions(connection, letter, addressees)
    answer = await _settle(connection, renderers, letter, addressees, provisions)
    if "refused" in answer:
        raise _error(provisions, addressees[0], answer["refused"])
    results: list[dict[str, Any]] = [
        result if await _wanted(addressee) else {"gone": True}
        for addressee, result in zip(addressees, answer["results"], strict=True)
    ]
    outcomes = [
        _outcome(provisions, addressee, result) for addressee, result in zip(addressees, results, strict=True)
    ]
    if letter.mode is not Mode.PREVIEW:
        await provisions.write(
            [
                (addressee, use)
                for addressee, result in zip(addressees, results, strict=True)
                for use in result.get("uses", ())
            ]
        )
        await _tell_of_run_out(connection, letter, outcomes)
    return outcomes


async def _wanted(addressee: Addressee) -> bool:
    return addressee.still_there is None or await addressee.still_there()


async def _settle(
    connection: AsyncConnection,
    renderers: Renderers,
    letter: Letter,
    addressees: Sequence[Addressee],
    provisions: Provisions,
) -> dict[str, Any]:
    """Render until the messages lack nothing."""
    job: dict[str, Any] = {
        "template": letter.template,
        "autoescape": letter.html,
        "preview": letter.mode is Mode.PREVIEW,
        "aggregates": {},
    }
    items = [{"new": addressee.is_new, "aggregates": {}} for addressee in addressees]
    contexts = await _contexts(connection, letter, addressees)
    needs = await DEMANDS.foresee(letter.template, provisions, len(addressees))
    for _ in range(MAX_PASSES):
        await provisions.provide(needs)
        await _aggregate(connection, needs["aggregates"], addressees, job["aggregates"], items)
        answer = await renderers.render(
            job
            | {"pools": provisions.as_json()}
            | {
                "items": [
                    item | {"context": context, "given": before}
                    for item, context, before in zip(items, contexts, provisions.before, strict=True)
                ]
            }
        )
        if "refused" in answer:
            return answer
        needs = answer["needs"]
        if "results" in answer:
            DEMANDS.learn(letter.template, needs, len(addressees))
            return answer
    raise TemplateLimitError("The template asks for other vouchers each time it is rendered.", line=None)


async def _contexts(
    connection: AsyncConnection, letter: Letter, addressees: Sequence[Addressee]
) -> list[dict[str, Any]]:
    """What the templates see of each addressee, besides vouchers and aggregates."""
    stored: dict[str, dict[str, Any]] = {}
    if "customer" in letter.template:
        ids = [addressee.customer_id for addressee in addressees if addressee.customer_id is not None]
        stored = await customers.properties_of(connection, ids) if ids else {}
    return [
        {
            "customer": {
                "id": addressee.customer_id,
                **stored.get(addressee.customer_id or "", {}),
                **addressee.customer,
            },
            "campaign": {
                "id": letter.campaign_id,
                "channel": letter.channel,
                "message_id": addressee.message_id,
            },
            "context": {**letter.context, **addressee.context},
        }
        for addressee in addressees
    ]


async def _aggregate(
    connection: AsyncConnection,
    names: Sequence[str],
    addressees: Sequence[Addressee],
    known: dict[str, Any],
    items: Sequence[dict[str, Any]],
) -> None:
    ids = [addressee.customer_id for addressee in addressees if addressee.customer_id is not None]
    for name in names:
        if name in known:
            continue
        try:
            values = await customers.evaluate(connection, name, ids)
        except AggregateNotFoundError as error:
            known[name] = {"similar": error.extra["similar"]}
            continue
        known[name] = {}
        for item, addressee in zip(items, addressees, strict=True):
            item["aggregates"][name] = values.get(addressee.customer_id or "")


def _outcome(provisions: Provisions, addressee: Addressee, result: dict[str, Any]) -> Outcome:
    if "gone" in result:
        return Outcome(addressee, error=ClientGoneError())
    if "error" in result:
        return Outcome(addressee, error=_error(provisions, addressee, result["error"]))
    vouchers = [
        {"pool": pool, "code": code, "occurrence": occurrence}
        for pool, _, code, occurrence, _ in result["uses"]
    ]
    return Outcome(addressee, result["rendered"], vouchers)


def _error(provisions: Provisions, addressee: Addressee, problem: dict[str, Any]) -> DomainError:
    """What a render process says as an error of the domain."""
    line = problem["line"]
    match problem["name"]:
        case "pool-exhausted":
            return PoolExhaustedError(problem["pool"], line=line)
        case "pool-busy":
            return PoolBusyError(problem["pool"])
        case "pool-not-found":
            return PoolNotFoundError(problem["pool"], similar=problem["similar"], line=line)
        case "refused":
            return provisions.refused(addressee, problem["pool"], problem["occurrence"])
        case "template-limit":
            return TemplateLimitError(problem["detail"], line=line)
    return TemplateError(problem["detail"], line=line, column=problem.get("column"))


async def _tell_of_run_out(connection: AsyncConnection, letter: Letter, outcomes: Sequence[Outcome]) -> None:
    """A `campaign` event for each customer whose message could not be sent because a pool has run out."""
    events = []
    for outcome in outcomes:
        error, addressee = outcome.error, outcome.addressee
        if not isinstance(error, PoolExhaustedError) or letter.channel in {None, Channel.WEBLAYER}:
            continue
        error.extra["campaign_status"] = "enqueue_failed"
        if addressee.customer_id is None:
            continue
        properties = {
            "status": "enqueue_failed",
            "campaign_id": letter.campaign_id,
            "message_id": addressee.message_id,
            "channel": letter.channel,
            "pool": error.extra["pool"],
            "test": letter.mode is Mode.TEST,
        }
        name = f"{addressee.message_id}\n{addressee.customer_id}"
        event_id = str(uuid.uuid5(_CAMPAIGN_EVENT, name))  # a message that fails again is not told twice
        events.append(NewEvent(event_id, addressee.customer_id, "campaign", properties, None))
    if events:
        await tracking.track(connection, events)
