"""`/v1/webhooks`, and what the service sends by itself."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Header, Response, status
from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.alerts.deliveries.schemas import AlertMessage
from app.domain.pools.errors import PoolNotFoundError
from app.domain.webhooks import service
from app.domain.webhooks.errors import TooManyWebhooksError, WebhookNotFoundError
from app.domain.webhooks.schemas import (
    NewWebhook,
    WebhookCreate,
    WebhookDeliveryOut,
    WebhookDeliveryRecord,
    WebhookDetails,
    WebhookMade,
    WebhookMessage,
    WebhookOut,
    WebhookSecretOut,
    WebhookUpdate,
)
from app.platform import hooks
from app.platform.database import run_act
from app.platform.errors import InvalidRequestError
from app.platform.versions import PreconditionFailedError
from app.web import etag, pagination
from app.web.dependencies import Connection, Engine, Settings
from app.web.guard import Manager
from app.web.headers import Responses, bearing
from app.web.idempotency import Once, OnceIn
from app.web.problems import problems

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])
sent = APIRouter()
"""What the service sends, for the section `webhooks` of the document."""
KEY = TypeAdapter(service.Key)
"""What the cursor of a list holds."""
NOT_FOUND = problems(WebhookNotFoundError)
IdHeader = Annotated[str, Header(description="Id of the message, the same at each try")]
TimeHeader = Annotated[int, Header(description="When it was sent, in UNIX seconds: part of what is signed")]
SignatureHeader = Annotated[
    str, Header(description="`v1,…`; after a rotation one for each key, with spaces between")
]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=WebhookMade,
    responses={
        **bearing(201, "ETag", "Location", "Idempotency-Replayed"),
        **problems(PoolNotFoundError, TooManyWebhooksError, InvalidRequestError),
    },
)
async def create_webhook(
    body: WebhookCreate,
    response: Response,
    engine: Engine,
    settings: Settings,
    caller: Manager,
    keyed: OnceIn,
) -> object:
    """Be told of what happens from now on, in order and at least once, at most 1,000 events a message.

    Messages follow Standard Webhooks; the key of their signatures is in this reply, once.
    """
    if (before := await keyed.before(engine)) is not None:
        return before
    await service.check_url(settings, body.url)

    async def create(connection: AsyncConnection) -> NewWebhook:
        made = await service.create(connection, engine, caller, body)
        etag.tag(response, service.version_of(made))
        response.headers["Location"] = f"/v1/webhooks/{made.id}"
        return made

    async def act(connection: AsyncConnection) -> object:
        return await keyed.once_in(connection, lambda: create(connection))

    return await run_act(engine, act)


@router.get("", response_model=pagination.Page[WebhookOut], responses=problems(InvalidRequestError))
async def list_webhooks(
    connection: Connection,
    _caller: Manager,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
) -> pagination.Listed[WebhookDetails]:
    """List the webhooks, oldest first."""
    rows = await service.list_page(connection, pagination.decode(cursor, KEY), limit + 1)
    return pagination.page(rows, limit, lambda row: (row.created_at, row.id))


@router.get("/{webhook_id}", response_model=WebhookOut, responses=bearing(200, "ETag") | NOT_FOUND)
async def get_webhook(
    webhook_id: uuid.UUID, connection: Connection, _caller: Manager, response: Response
) -> WebhookDetails:
    """Return one webhook, how far it was told, and whether tries fail."""
    webhook = await service.get(connection, webhook_id)
    etag.tag(response, service.version_of(webhook))
    return webhook


@router.patch(
    "/{webhook_id}",
    response_model=WebhookOut,
    responses=bearing(200, "ETag")
    | problems(WebhookNotFoundError, PoolNotFoundError, InvalidRequestError, PreconditionFailedError),
)
async def update_webhook(
    webhook_id: uuid.UUID,
    body: WebhookUpdate,
    engine: Engine,
    settings: Settings,
    caller: Manager,
    expected: etag.IfMatch,
    response: Response,
) -> WebhookDetails:
    """Change whom a webhook tells, or of what; its key stays, and it goes on where it was.

    All after `told_until` follows what is said here. With another `url` it goes on at once, also where it was disabled.
    """
    if body.url is not None:
        await service.check_url(settings, body.url)
    changed = await run_act(engine, service.change, caller, webhook_id, body, expected)
    etag.tag(response, service.version_of(changed))
    return changed


@router.delete(
    "/{webhook_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(WebhookNotFoundError, PreconditionFailedError),
)
async def delete_webhook(
    webhook_id: uuid.UUID, connection: Connection, caller: Manager, expected: etag.IfMatch
) -> None:
    """Delete a webhook; what it was not told yet it is never told."""
    await service.remove(connection, caller, webhook_id, expected)


@router.post(
    "/{webhook_id}/rotate",
    response_model=WebhookSecretOut,
    responses=bearing(200, "Idempotency-Replayed") | NOT_FOUND,
)
async def rotate_webhook_secret(
    webhook_id: uuid.UUID, connection: Connection, caller: Manager, keyed: Once
) -> object:
    """Make a new key for the signatures; for a day messages bear the signature of the old one too."""
    return await keyed.once(lambda: service.rotate(connection, caller, webhook_id))


@router.post(
    "/{webhook_id}/enable",
    response_model=WebhookOut,
    responses=bearing(200, "Idempotency-Replayed") | NOT_FOUND,
)
async def enable_webhook(
    webhook_id: uuid.UUID, connection: Connection, caller: Manager, keyed: Once
) -> object:
    """Go on at once where it stopped: after 410, after days of failures, or instead of waiting for the next try."""
    return await keyed.once(lambda: service.enable(connection, caller, webhook_id))


@router.post(
    "/{webhook_id}/test",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=WebhookDeliveryOut,
    responses=bearing(202, "Idempotency-Replayed") | NOT_FOUND,
)
async def send_test_webhook(
    webhook_id: uuid.UUID, connection: Connection, _caller: Manager, keyed: Once
) -> object:
    """Send a test without events; how it went is in the list of deliveries a moment later."""
    return await keyed.once(lambda: service.send_test(connection, webhook_id))


@router.get(
    "/{webhook_id}/deliveries",
    response_model=pagination.Page[WebhookDeliveryOut],
    responses=problems(WebhookNotFoundError, InvalidRequestError),
)
async def list_webhook_deliveries(
    webhook_id: uuid.UUID,
    connection: Connection,
    _caller: Manager,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
) -> pagination.Listed[WebhookDeliveryRecord]:
    """List the messages and how they went, newest first, for seven days."""
    rows = await service.list_deliveries(connection, webhook_id, pagination.decode(cursor, KEY), limit + 1)
    return pagination.page(rows, limit, lambda row: (row.created_at, row.id))


ANSWERS: Responses = {
    204: {"description": "Taken; any 2xx is. Any other answer, or none in 15 s: it comes again"},
    410: {"description": "Send nothing more: the webhook is disabled"},
    429: {"description": "Too many; `Retry-After` is kept"},
}
"""What a receiver may answer."""
FINAL = ", ".join(map(str, sorted(hooks.FINAL)))
ANSWERS_TO_ALERT: Responses = {
    **ANSWERS,
    204: {
        "description": f"Taken; any 2xx is. {FINAL} without `Retry-After`: it does not come again. Any other answer, or"
        " none in 15 s: it comes again"
    },
}


@sent.post(
    "events",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Events",
    responses=ANSWERS,
)
async def events(
    body: WebhookMessage,
    webhook_id: IdHeader,
    webhook_timestamp: TimeHeader,
    webhook_signature: SignatureHeader,
) -> None:
    """Tell what happened to vouchers and pools, to who asked for it by `POST /v1/webhooks`.

    The headers are those of Standard Webhooks.
    """


@sent.post(
    "alert",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Alert",
    responses=ANSWERS_TO_ALERT,
)
async def alert(
    body: AlertMessage,
    webhook_id: IdHeader,
    webhook_timestamp: TimeHeader,
    webhook_signature: SignatureHeader,
) -> None:
    """Tell that a pool runs low, to the webhook that its alerts name.

    The headers are those of Standard Webhooks.
    """
