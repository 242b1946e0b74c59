"""The rules of webhooks: who is told of what. `sending.py` tells it."""

import uuid
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.access.audit import service as audit
from app.domain.access.scopes import Caller
from app.domain.lifecycle import order
from app.domain.pools import service as pools
from app.domain.webhooks import queries, sending
from app.domain.webhooks.errors import TooManyWebhooksError, WebhookNotFoundError
from app.domain.webhooks.schemas import (
    NewSecret,
    NewWebhook,
    WebhookCreate,
    WebhookDeliveryRecord,
    WebhookDetails,
    WebhookUpdate,
)
from app.platform import hooks
from app.platform.clock import clock
from app.platform.errors import InvalidRequestError
from app.platform.jobs import URGENT, enqueue
from app.platform.settings import Settings
from app.platform.versions import Expected, check, version

MAX_WEBHOOKS = 100

GOES_ON = {
    "disabled_at": None,
    "disabled_because": None,
    "failures": 0,
    "failing_since": None,
    "next_try_at": func.now(),
}
"""Columns of a webhook that goes on at once where it stopped."""
CHANGED = "the webhook was changed; what it is still to know comes anew"
"""What is noted at a message that was under way."""

Key = tuple[datetime, uuid.UUID]
"""Where a page ends: time, id."""


async def create(
    connection: AsyncConnection, engine: AsyncEngine, caller: Caller | None, wanted: WebhookCreate
) -> NewWebhook:
    """Make a webhook, which is told of what happens from now on; return it with the key of its signatures.

    Args:
        connection: of the transaction.
        engine: for finding out what `now` is.
        caller: who asks.
        wanted: whom to tell of what; `check_url` has found nothing against its URL.

    Raises:
        PoolNotFoundError: a pool is not there.
        TooManyWebhooksError: there are as many as may be.
    """
    begin = await order.publish(engine)
    if await queries.count(connection) >= MAX_WEBHOOKS:
        raise TooManyWebhooksError(MAX_WEBHOOKS)
    secret = hooks.new_secret()
    pool_ids = await _pool_ids(connection, wanted.pools)
    values = {"url": wanted.url, "secret": secret, "events": wanted.events, "pool_ids": pool_ids}
    webhook_id = await queries.add(connection, values, queries.Position.before(begin))
    await audit.record(
        connection,
        caller,
        "webhook.created",
        webhook_id=str(webhook_id),
        events=wanted.events,
        pools=wanted.pools,
    )
    return NewWebhook(**asdict(await get(connection, webhook_id)), secret=secret)


async def _pool_ids(connection: AsyncConnection, names: list[str] | None) -> list[int] | None:
    return None if names is None else [await pools.id_of(connection, name) for name in names]


async def check_url(settings: Settings, url: str) -> None:
    """Refuse a URL that can never be called. It may wait for the resolver: hold no connection meanwhile.

    Raises:
        InvalidRequestError: it cannot.
    """
    why = await hooks.refusal(settings, url)
    if why is not None:
        raise InvalidRequestError(f"url: {why}", [{"loc": ["body", "url"], "msg": why}])


async def get(connection: AsyncConnection, webhook_id: uuid.UUID) -> WebhookDetails:
    """Return a webhook.

    Raises:
        WebhookNotFoundError: there is none with this id.
    """
    return _details(await _of(connection, webhook_id))


async def list_page(connection: AsyncConnection, key: Key | None, limit: int) -> list[WebhookDetails]:
    """Return webhooks, oldest first."""
    return [_details(row) for row in await queries.list_page(connection, key, limit)]


def _details(row: queries.WebhookRecord) -> WebhookDetails:
    """Return a webhook as people see it: without its keys, and with what its columns mean."""
    return WebhookDetails(
        id=row.id,
        url=row.url,
        events=row.events,
        pools=None if row.pool_ids is None else sorted(row.pools or ()),
        created_at=row.created_at,
        told_until=_told_until(row),
        failures=row.failures,
        failing_since=row.failing_since,
        next_try_at=row.next_try_at if row.failures and row.disabled_at is None else None,
        disabled_at=row.disabled_at,
        disabled_because=row.disabled_because,
    )


def _told_until(row: queries.WebhookRecord) -> datetime:
    """Return the time before which all is told: where nothing happened since, that is the present one."""
    at = min(row.ledger_at, row.change_at)
    return at if row.has_news else max(at, clock.now() - sending.IDLE)


def version_of(webhook: WebhookDetails) -> str:
    """Return the version of a webhook: of what was set, not of how far it was told."""
    return version(webhook.id, webhook.url, webhook.events, webhook.pools)


async def change(
    connection: AsyncConnection,
    caller: Caller | None,
    webhook_id: uuid.UUID,
    wanted: WebhookUpdate,
    expected: Expected | None = None,
) -> WebhookDetails:
    """Change a webhook; it goes on where it was, and at once where it has another URL.

    All that it was not told yet follows what is wanted now. A message that is under way goes to the new URL, as it is;
    where it might say something else now it ends, for an id stands for the same message at each try.

    Args:
        connection: of the transaction.
        caller: who asks.
        webhook_id: which one.
        wanted: what is to be changed; `check_url` has found nothing against a new URL.
        expected: what the caller takes it for.

    Raises:
        WebhookNotFoundError: there is none with this id.
        PoolNotFoundError: a pool is not there.
        PreconditionFailedError: it is not as expected.
    """
    before = await _of(connection, webhook_id, locked=True)
    check(expected, version_of(_details(before)))
    values: dict[str, object] = wanted.model_dump(include=wanted.model_fields_set - {"pools"})
    if "pools" in wanted.model_fields_set:
        values["pool_ids"] = await _pool_ids(connection, wanted.pools)
    changed = {name: value for name, value in values.items() if value != getattr(before, name)}
    if changed:
        goes_on = GOES_ON if "url" in changed else {}
        # Who is at it right now finds that it has no lease, and lets go.
        await queries.change(
            connection, webhook_id, {**changed, **goes_on, "lease": None, "leased_until": None}
        )
    if changed.keys() - {"url"}:
        await queries.break_off(connection, webhook_id, CHANGED)
    await audit.record(
        connection,
        caller,
        "webhook.changed",
        webhook_id=str(webhook_id),
        **wanted.model_dump(include=wanted.model_fields_set - {"url"}),
    )
    return await get(connection, webhook_id)


async def remove(
    connection: AsyncConnection,
    caller: Caller | None,
    webhook_id: uuid.UUID,
    expected: Expected | None = None,
) -> None:
    """Delete a webhook; what it was not told yet it is never told.

    Raises:
        WebhookNotFoundError: there is none with this id.
        PreconditionFailedError: it is not as expected.
    """
    check(expected, version_of(_details(await _of(connection, webhook_id, locked=True))))
    await queries.remove(connection, webhook_id)
    await audit.record(connection, caller, "webhook.deleted", webhook_id=str(webhook_id))


async def rotate(connection: AsyncConnection, caller: Caller | None, webhook_id: uuid.UUID) -> NewSecret:
    """Make a new key for the signatures; for a day messages are signed with each of before too.

    Raises:
        WebhookNotFoundError: there is none with this id.
    """
    webhook = await _of(connection, webhook_id, locked=True)
    previous, until = hooks.with_previous(webhook.secret, webhook.previous_secrets)
    secret = hooks.new_secret()
    await queries.change(connection, webhook_id, {"secret": secret, "previous_secrets": previous})
    await audit.record(connection, caller, "webhook.secret_rotated", webhook_id=str(webhook_id))
    return NewSecret(secret, until)


async def enable(connection: AsyncConnection, caller: Caller | None, webhook_id: uuid.UUID) -> WebhookDetails:
    """Let a webhook go on at once where it stopped: one that was disabled, or one that waits for its next try.

    Raises:
        WebhookNotFoundError: there is none with this id.
    """
    await _of(connection, webhook_id)
    await queries.change(connection, webhook_id, GOES_ON)
    await audit.record(connection, caller, "webhook.enabled", webhook_id=str(webhook_id))
    return await get(connection, webhook_id)


async def send_test(connection: AsyncConnection, webhook_id: uuid.UUID) -> WebhookDeliveryRecord:
    """Enqueue a test, which is tried once. If it arrives, what waits is tried at once.

    Raises:
        WebhookNotFoundError: there is none with this id.
    """
    await _of(connection, webhook_id)
    delivery = await queries.add_delivery(connection, {"webhook_id": webhook_id, "test": True, "events": 0})
    await enqueue(connection, "test_webhook", queue=URGENT, delivery_id=str(delivery.id))
    return delivery


async def list_deliveries(
    connection: AsyncConnection, webhook_id: uuid.UUID, key: Key | None, limit: int
) -> list[WebhookDeliveryRecord]:
    """Return messages of a webhook and how they went, newest first.

    Raises:
        WebhookNotFoundError: there is none with this id.
    """
    await _of(connection, webhook_id)
    return await queries.list_deliveries(connection, webhook_id, key, limit)


async def _of(
    connection: AsyncConnection, webhook_id: uuid.UUID, *, locked: bool = False
) -> queries.WebhookRecord:
    webhook = await queries.by_id(connection, webhook_id, locked=locked)
    if webhook is None:
        raise WebhookNotFoundError(webhook_id)
    return webhook
