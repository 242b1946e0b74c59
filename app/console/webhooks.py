"""Who is told of each code: webhooks, made, listed, tested, changed, deleted; and how their messages went."""

import uuid
from datetime import datetime
from typing import get_args

from fastapi import APIRouter, Response
from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.console.once import once, sent_before
from app.console.pages import PAGE, check_sure, model, path, see, seen_version, show, version_shown, wrong
from app.console.session import Manager, ManagerForm, Visit
from app.domain.pools import service as pools
from app.domain.webhooks import service
from app.domain.webhooks.schemas import EventType, WebhookCreate, WebhookDetails, WebhookUpdate
from app.platform.database import run_act, transaction
from app.platform.errors import DomainError, InvalidRequestError
from app.platform.versions import PreconditionFailedError
from app.schema.names import nfc
from app.web import pagination
from app.web.body import validated
from app.web.dependencies import Engine

router = APIRouter(prefix="/webhooks")
KEY = TypeAdapter(tuple[datetime, uuid.UUID])
EVENTS = get_args(EventType)


@router.get("")
async def page(visit: Manager, engine: Engine) -> Response:
    """Show the webhooks, and a form for a new one."""
    return await _page(visit, engine)


@router.post("")
async def create(visit: ManagerForm, engine: Engine) -> Response:
    """Make a webhook, and show its key once."""
    try:
        async with transaction(engine) as connection:
            named = await _named(connection, visit.text("pools"))
        values = {"url": visit.text("url").strip(), "events": _events(visit), "pools": named or None}
        wanted = model(WebhookCreate, values)
        made = await sent_before(engine, visit)
        if made is None:
            await service.check_url(visit.settings, wanted.url)
            made = await run_act(engine, _make, engine, visit, wanted)
    except DomainError as error:
        return await _page(visit, engine, error=error)
    webhook_id, _, secret = made.partition(" ")
    return await _one(visit, engine, uuid.UUID(webhook_id), secret=secret)


@router.get("/{webhook_id}")
async def one(webhook_id: uuid.UUID, visit: Manager, engine: Engine) -> Response:
    """Show one webhook and its messages."""
    return await _one(visit, engine, webhook_id)


@router.post("/{webhook_id}/test")
async def test(webhook_id: uuid.UUID, visit: ManagerForm, engine: Engine) -> Response:
    """Send a test."""
    async with transaction(engine) as connection:
        await once(
            connection,
            visit,
            lambda: service.send_test(connection, webhook_id),
            lambda delivery: str(delivery.id),
        )
    return see("/webhooks" + path(webhook_id), "test-sent")


@router.post("/{webhook_id}/enable")
async def enable(webhook_id: uuid.UUID, visit: ManagerForm, engine: Engine) -> Response:
    """Go on at once where it stopped."""
    async with transaction(engine) as connection:
        await service.enable(connection, visit.caller, webhook_id)
    return see("/webhooks" + path(webhook_id), "webhook-enabled")


@router.post("/{webhook_id}/change")
async def change(webhook_id: uuid.UUID, visit: ManagerForm, engine: Engine) -> Response:
    """Change whom it tells, or of what, where it still is as the form has it."""
    try:
        values: dict[str, object] = {"url": visit.text("url").strip(), "events": _events(visit)}
        async with transaction(engine) as connection:
            webhook = await service.get(connection, webhook_id)
            values |= await _pools(connection, visit, webhook)
        wanted = validated(WebhookUpdate, values)
        if wanted.url is not None and wanted.url != webhook.url:
            await service.check_url(visit.settings, wanted.url)
        await run_act(engine, _change, visit, webhook_id, wanted)
    except DomainError as error:
        return await _one(visit, engine, webhook_id, error=error, is_changing=True)
    return see("/webhooks" + path(webhook_id), "webhook-changed")


@router.post("/{webhook_id}/rotate")
async def rotate(webhook_id: uuid.UUID, visit: ManagerForm, engine: Engine) -> Response:
    """Make a new key, and show it once."""
    try:
        check_sure(visit, "sure-rotate")
    except DomainError as error:
        return await _one(visit, engine, webhook_id, error=error)
    async with transaction(engine) as connection:
        secret = await once(
            connection,
            visit,
            lambda: service.rotate(connection, visit.caller, webhook_id),
            lambda made: made.secret,
        )
    return await _one(visit, engine, webhook_id, secret=secret)


@router.post("/{webhook_id}/delete")
async def delete(webhook_id: uuid.UUID, visit: ManagerForm, engine: Engine) -> Response:
    """Tell nothing more."""
    try:
        check_sure(visit)
        async with transaction(engine) as connection:
            await service.remove(connection, visit.caller, webhook_id, seen_version(visit))
    except (InvalidRequestError, PreconditionFailedError) as error:
        return await _one(visit, engine, webhook_id, error=error)
    return see("/webhooks", "webhook-deleted")


def _events(visit: Visit) -> list[str]:
    """Return the events that were ticked."""
    events = [event for event in EVENTS if visit.text(f"event_{event}")]
    if not events:
        raise wrong("events", "Choose at least one event.")
    return events


async def _pools(connection: AsyncConnection, visit: Visit, webhook: WebhookDetails) -> dict[str, object]:
    """Return what was chosen of pools, as a field of the change; none where that is as it was."""
    text = visit.text("pools").strip()
    if visit.text("all_pools"):
        if text:
            raise wrong("pools", "Choose all pools, or name some: not both.")
        return {"pools": None}
    if text == _shown(webhook) and webhook.pools is not None:
        return {}
    if not text:
        raise wrong("pools", "Name pools, or choose all.")
    return {"pools": await _named(connection, text)}


def _shown(webhook: WebhookDetails) -> str:
    """Return the pools of a webhook as the form has them."""
    return " ".join(webhook.pools or ())


async def _named(connection: AsyncConnection, text: str) -> list[str]:
    """Return the pools that were named, with white space between, or with commas that are no part of a name."""
    named: list[str] = []
    wholes = [(piece, piece.strip(",")) for piece in nfc(text).split()]
    there = await pools.named(connection, [whole for both in wholes for whole in both])
    for piece, within in wholes:
        whole = next((each for each in (piece, within) if each in there), None)
        named += filter(None, piece.split(",") if whole is None else [whole])
    return named


async def _make(connection: AsyncConnection, engine: AsyncEngine, visit: Visit, wanted: WebhookCreate) -> str:
    """Make a webhook; return its id and its key."""
    return await once(
        connection,
        visit,
        lambda: service.create(connection, engine, visit.caller, wanted),
        lambda webhook: f"{webhook.id} {webhook.secret}",
    )


async def _change(
    connection: AsyncConnection, visit: Visit, webhook_id: uuid.UUID, wanted: WebhookUpdate
) -> None:
    await once(
        connection,
        visit,
        lambda: service.change(connection, visit.caller, webhook_id, wanted, seen_version(visit)),
        lambda changed: str(changed.id),
    )


async def _page(
    visit: Visit, engine: AsyncEngine, error: DomainError | None = None, **about: object
) -> Response:
    async with transaction(engine) as connection:
        webhooks = await service.list_page(connection, None, service.MAX_WEBHOOKS)
        names = [each.name for each in await pools.search(connection, "", None, 200)]
    return show(visit, "webhooks.html", webhooks=webhooks, events=EVENTS, pools=names, error=error, **about)


async def _one(
    visit: Visit,
    engine: AsyncEngine,
    webhook_id: uuid.UUID,
    error: DomainError | None = None,
    *,
    is_changing: bool = False,
    **about: object,
) -> Response:
    start = pagination.decode(visit.request.query_params.get("cursor"), KEY)
    async with transaction(engine) as connection:
        webhook = await service.get(connection, webhook_id)
        rows = await service.list_deliveries(connection, webhook_id, start, PAGE + 1)
        names = [each.name for each in await pools.search(connection, "", None, 200)]
    listed = pagination.page(rows, PAGE, lambda row: (row.created_at, row.id))
    at = "/console" + path("webhooks", webhook_id)
    return show(
        visit,
        "webhook.html",
        at,
        error=error,
        webhook=webhook,
        events=EVENTS,
        pools=names,
        named=_shown(webhook),
        is_changing=is_changing,
        version=version_shown(visit, error if is_changing else None, service.version_of(webhook)),
        **listed,
        **about,
    )
