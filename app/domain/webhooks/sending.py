"""Tell what happened: one message of a webhook after another, read from the ledger, tried until it arrives.

Nothing is written where a voucher is handed out. A webhook has a position in the ledger and among the changes; a
message goes from there up to where all is committed (`lifecycle/order.py`), and the position moves when it has arrived.
So a receiver that is down for a while misses nothing, and a worker that dies between the answer and the note of it
sends the message once more, with the same id.
"""

import asyncio
import time
import uuid
from dataclasses import asdict, replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.lifecycle import order
from app.domain.webhooks import queries
from app.domain.webhooks.queries import LAST_CHANGE, LAST_ID, Message, Position, TakenWebhook, WebhookState
from app.platform import hooks
from app.platform.clock import clock
from app.platform.database import transaction
from app.platform.settings import Settings

MAX_EVENTS = 1000
"""Most events of one message."""

ROUND_SECONDS = 10.0
"""How long one job goes on with a webhook that has more; the next one follows within a second."""

LEASE_SECONDS = hooks.TIMEOUT + 15.0
"""How long one message may take; then another worker takes it for dead."""

GIVE_UP = timedelta(days=5)
"""How long tries may fail until a webhook is disabled."""

IDLE = timedelta(seconds=10)
"""How far the position of a webhook may be behind while it is told nothing."""

AT_ONCE = 20
"""Webhooks that one job tells side by side."""

LOOK_SECONDS = 1.0
"""Between two looks at the others while one of them is slow."""

LOOKS_SECONDS = 60.0
"""How long one job goes on to look at the others; then it waits for the slow ones, and the next one follows."""

MOST_CHANGES = 100_000
"""Changes that one look passes, whether a webhook is told of them or not."""

log = structlog.get_logger()


async def tell(engine: AsyncEngine, settings: Settings) -> None:
    """Tell each webhook what it has not been told, as far as all is committed; a slow one holds up no other."""
    places = asyncio.Semaphore(AT_ONCE)
    under_way: dict[uuid.UUID, asyncio.Task[None]] = {}
    end = time.monotonic() + LOOKS_SECONDS
    async with asyncio.TaskGroup() as group:
        while time.monotonic() < end:
            async with transaction(engine) as connection:
                due = [row for row in await queries.due(connection) if row.id not in under_way]
            if due:
                until = await order.settled(engine)
                under_way |= {
                    row.id: group.create_task(_tell_news(engine, settings, row, until, places)) for row in due
                }
            if under_way:
                await asyncio.wait(under_way.values(), timeout=LOOK_SECONDS)
            under_way = {id_: task for id_, task in under_way.items() if not task.done()}
            if not under_way:
                return


async def _tell_news(
    engine: AsyncEngine,
    settings: Settings,
    webhook: WebhookState,
    until: datetime,
    places: asyncio.Semaphore,
) -> None:
    """Tell a webhook, in its turn, if there is something to tell; its fault is logged, and holds up no other."""
    try:
        async with places:
            async with transaction(engine) as connection:
                has_news = await _has_news(connection, webhook, until)
            if has_news:
                await _tell_one(engine, settings, webhook.id, until)
    except Exception:
        log.exception("fault in a webhook")


async def _has_news(connection: AsyncConnection, webhook: WebhookState, until: datetime) -> bool:
    """Return whether there is something to send; if not, note now and then up to when that is known.

    Where one look does not pass all that happened, that is noted each time, and the next look goes on from there.
    """
    if await queries.pending(connection, webhook.id) is not None:
        return True
    position = webhook.position
    near = await queries.reach(connection, position, until, MOST_CHANGES)
    upto = Position.before(near)
    if (await queries.read(connection, webhook, position, upto, 1)).events:
        return True
    if near < until or upto.ledger_at - min(position.ledger_at, position.change_at) > IDLE:
        await queries.move(connection, webhook, _further(position, upto))
    return False


async def _tell_one(engine: AsyncEngine, settings: Settings, webhook_id: uuid.UUID, until: datetime) -> None:
    """Send message after message while they arrive; one that is under way comes first."""
    lease, end = uuid.uuid4(), time.monotonic() + ROUND_SECONDS
    async with transaction(engine) as connection:
        webhook = await queries.take(connection, webhook_id, lease, LEASE_SECONDS)
        if webhook is None:
            return
        message = await _under_way(connection, webhook)
    async with hooks.sender(settings) as sender:
        going_on: TakenWebhook | None = webhook
        if message is not None:
            going_on = await _send(engine, settings, sender, webhook, message)
        near: datetime | None = None
        while going_on is not None and time.monotonic() < end:
            async with transaction(engine) as connection:
                if near is None:
                    near = await queries.reach(connection, going_on.position, until, MOST_CHANGES)
                message = await queries.begin(connection, going_on, Position.before(near), MAX_EVENTS)
            if message is None:
                break
            going_on = await _send(engine, settings, sender, going_on, message)
            if message.events < MAX_EVENTS:
                if near == until:
                    break
                near = None
    async with transaction(engine) as connection:
        await queries.note(connection, webhook_id, lease, {"leased_until": None, "lease": None})


async def _under_way(connection: AsyncConnection, webhook: TakenWebhook) -> Message | None:
    """Return the message of a webhook that was tried before, or begun by a worker that died."""
    pending = await queries.pending(connection, webhook.id)
    if pending is None:
        return None
    said = await queries.read(connection, webhook, webhook.position, pending.position, MAX_EVENTS)
    values = {**asdict(said), **pending.position.values()}
    return Message(
        **values,
        delivery_id=pending.id,
        attempts=pending.attempts,
        secret=webhook.secret,
        previous_secrets=webhook.previous_secrets,
    )


async def _send(
    engine: AsyncEngine, settings: Settings, sender: hooks.Sender, webhook: TakenWebhook, message: Message
) -> TakenWebhook | None:
    """Try a message once; return the webhook as it is after it has arrived, or None if it is to wait."""
    keys = hooks.valid_keys(message.secret, message.previous_secrets)
    payload = _payload("events", message.body)
    answer = await sender.post(webhook.url, str(message.delivery_id), payload, keys)
    if answer.error is None:
        status = "delivered"
        async with transaction(engine) as connection:
            ours = await queries.arrived(connection, webhook, message, answer.status, LEASE_SECONDS)
    else:
        status = "failed" if answer.is_gone else "pending"
        async with transaction(engine) as connection:
            ours = await queries.note(
                connection, webhook.id, webhook.lease, _failed(settings, webhook, answer)
            )
            if ours:
                noted = {"status": status, "response_status": answer.status, "error": answer.error}
                await queries.attempted(connection, message.delivery_id, noted)
    if not ours:
        return None
    attempt = message.attempts + 1
    log.info("webhook", id=str(message.delivery_id), events=message.events, attempt=attempt, status=status)
    if status != "delivered":
        return None
    return replace(
        webhook,
        ledger_at=message.ledger_at,
        ledger_id=message.ledger_id,
        change_at=message.change_at,
        change_id=message.change_id,
        failures=0,
        failing_since=None,
    )


def _payload(type_: str, body: str) -> str:
    """Return what is sent, as JSON.

    Args:
        type_: `events` or `test`.
        body: the events as JSON, with commas between them.
    """
    at = clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return f'{{"type":"{type_}","timestamp":"{at}","data":{{"events":[{body}]}}}}'


def _further(position: Position, upto: Position) -> Position:
    """Return the later of two positions; nothing is between them."""
    ledger = max((position.ledger_at, position.ledger_id), (upto.ledger_at, LAST_ID))
    change = max((position.change_at, position.change_id), (upto.change_at, LAST_CHANGE))
    return Position(*ledger, *change)


def _failed(settings: Settings, webhook: WebhookState, answer: hooks.Answer) -> dict[str, object]:
    """Return what becomes of a webhook by an answer that is no success, as columns."""
    failing: dict[str, object] = {
        "leased_until": queries.in_seconds(LEASE_SECONDS),
        "failures": webhook.failures + 1,
        "failing_since": webhook.failing_since or queries.in_seconds(0),
        "next_try_at": queries.in_seconds(answer.pause(settings.alert_retry_seconds, webhook.failures)),
    }
    why = None
    if answer.is_gone:
        why = "it answered 410 Gone"
    elif webhook.failing_since is not None and _age(webhook.failing_since) > GIVE_UP:
        why = f"no message arrived for {GIVE_UP.days} days"
    if why is None:
        return failing
    return {**failing, "disabled_at": queries.in_seconds(0), "disabled_because": why}


def _age(since: datetime) -> timedelta:
    return clock.now() - since


async def send_test(engine: AsyncEngine, settings: Settings, delivery_id: uuid.UUID) -> None:
    """Send a test, once. Where it arrives, what waits is tried at once."""
    async with transaction(engine) as connection:
        delivery = await queries.delivery(connection, delivery_id)
        webhook = None if delivery is None else await queries.by_id(connection, delivery.webhook_id)
    if webhook is None or delivery is None or delivery.status != "pending":
        return
    keys = hooks.valid_keys(webhook.secret, webhook.previous_secrets)
    answer = await hooks.post(settings, webhook.url, str(delivery_id), _payload("test", ""), keys)
    status = "delivered" if answer.error is None else "failed"
    async with transaction(engine) as connection:
        noted = {"status": status, "response_status": answer.status, "error": answer.error}
        await queries.attempted(connection, delivery_id, noted)
        if status == "delivered":
            await queries.change(connection, webhook.id, {"next_try_at": queries.in_seconds(0)})
