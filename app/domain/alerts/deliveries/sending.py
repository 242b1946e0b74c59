"""One try to deliver a message, and when to try again."""

import asyncio
import time
import uuid

import httpx
import structlog
from aiosmtplib import SMTPException
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.alerts.deliveries import emails, queries, webhooks
from app.domain.alerts.deliveries.queries import Pending
from app.platform.database import transaction
from app.platform.errors import DomainError
from app.platform.settings import Settings

MAX_ATTEMPTS = 15
"""Tries in all. The waits between them double: from 5 s on they are 23 hours together."""

PATIENCE, PAUSE = 5.0, 0.03
"""Seconds that a message waits for the first tries of earlier ones of its pool, and between looks."""

FAILURES = (httpx.HTTPError, httpx.InvalidURL, SMTPException, OSError, TimeoutError, DomainError)
log = structlog.get_logger()


class NotDeliveredError(Exception):
    """A try failed, and there is another one in so many seconds."""

    def __init__(self, again_in: float) -> None:
        super().__init__(f"not delivered; again in {again_in} s")
        self.again_in = again_in


async def deliver(engine: AsyncEngine, settings: Settings, delivery_id: uuid.UUID) -> None:
    """Try to deliver a message, unless that was done.

    No transaction is open while the network is waited for. When the process dies between the receiver's
    answer and the note of it, the message is sent once more, with the same id.

    Raises:
        NotDeliveredError: it did not arrive; try again later.
    """
    message = await _in_its_turn(engine, delivery_id)
    if message is None:
        return
    outcome = await _try(settings, message)
    if outcome["status"] == "pending" and message.attempts + 1 >= MAX_ATTEMPTS:
        outcome["status"] = "failed"
    async with transaction(engine) as connection:
        await queries.attempted(connection, delivery_id, outcome)
        if outcome.get("response_status") == httpx.codes.GONE and message.destination:
            # As Standard Webhooks asks.
            await queries.disable_webhook(connection, message.pool_id, message.destination)
    log.info("delivery", id=str(delivery_id), attempt=message.attempts + 1, status=outcome["status"])
    if outcome["status"] == "pending":
        raise NotDeliveredError(settings.alert_retry_seconds * 2**message.attempts)


async def _in_its_turn(engine: AsyncEngine, delivery_id: uuid.UUID) -> Pending | None:
    """Wait a little for the first tries of the pool's earlier messages; the message, if it is still to be sent."""
    end = time.monotonic() + PATIENCE
    while True:
        async with transaction(engine) as connection:
            message = await queries.pending(connection, delivery_id)
            if message is None or message.attempts or not await queries.has_earlier(connection, message):
                return message
        if time.monotonic() > end:
            return message
        await asyncio.sleep(PAUSE)


async def _try(settings: Settings, message: Pending) -> dict[str, object]:
    """Return what became of one try, as columns of the message."""
    if message.destination is None:
        return {"status": "failed", "error": "the alert points nowhere any more, or its webhook is disabled"}
    nothing = {"destination": message.destination, "response_status": None, "error": None}
    try:
        if message.channel == "email":
            await emails.send(settings, message)
            return {**nothing, "status": "delivered"}
        answered = await webhooks.post(settings, message, message.destination)
    except FAILURES as error:
        return {**nothing, "status": "pending", "error": f"{type(error).__name__}: {error}"[:500]}
    if httpx.codes.is_success(answered):
        return {**nothing, "status": "delivered", "response_status": answered}
    if answered == httpx.codes.GONE:
        said = "answered 410 Gone: the webhook is disabled until it is set again"
        return {**nothing, "status": "failed", "response_status": answered, "error": said}
    return {**nothing, "status": "pending", "response_status": answered, "error": f"answered {answered}"}
