"""One try to deliver a message, and when to try again."""

import asyncio
import time
import uuid

import orjson
import structlog
from aiosmtplib import SMTPException, SMTPResponseException
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.alerts.deliveries import emails, queries
from app.domain.alerts.deliveries.queries import Pending
from app.platform import hooks
from app.platform.database import transaction
from app.platform.metrics import DELIVERIES
from app.platform.settings import Settings

MAX_ATTEMPTS = 15
"""Tries in all. The waits between them double: from 5 s on they are 23 hours together."""

PATIENCE, PAUSE = 5.0, 0.03
"""Seconds that a message waits for the first tries of earlier ones of its pool, and between looks."""

FAILURES = (SMTPException, OSError, TimeoutError)
FINAL_SMTP = range(500, 600)
"""Replies of a mail server that it will give to the same message again (RFC 5321)."""

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
    outcome, again_in = await _try(settings, message)
    if outcome["status"] == "pending" and message.attempts + 1 >= MAX_ATTEMPTS:
        outcome["status"] = "failed"
    async with transaction(engine) as connection:
        await queries.attempted(connection, delivery_id, outcome)
        if outcome.get("response_status") == hooks.GONE and message.destination:
            # As Standard Webhooks asks.
            await queries.disable_webhook(connection, message.pool_id, message.destination)
    DELIVERIES.labels(message.channel, outcome["status"]).inc()
    log.info("delivery", id=str(delivery_id), attempt=message.attempts + 1, status=outcome["status"])
    if outcome["status"] == "pending":
        raise NotDeliveredError(again_in)


async def _in_its_turn(engine: AsyncEngine, delivery_id: uuid.UUID) -> Pending | None:
    """Wait a little for the first tries of the pool's earlier messages; the message, if it is still to be sent."""
    end = time.monotonic() + PATIENCE
    while True:
        async with transaction(engine) as connection:
            message = await queries.pending(connection, delivery_id)
            if message is None or message.attempts:
                return message
            if not await queries.has_earlier(connection, message):
                # What came of the earlier ones may have disabled the webhook since it was read.
                return await queries.pending(connection, delivery_id)
        if time.monotonic() > end:
            return message
        await asyncio.sleep(PAUSE)


async def _try(settings: Settings, message: Pending) -> tuple[dict[str, object], float]:
    """Return what became of one try, as columns of the message, and after how many seconds to try again.

    A refusal that will not change ends the tries.
    """
    pause = settings.alert_retry_seconds * 2**message.attempts * hooks.jitter()
    if message.destination is None:
        said = "the alert points nowhere any more, or its webhook is disabled"
        return {"status": "failed", "error": said}, pause
    nothing = {"destination": message.destination, "response_status": None, "error": None}
    if message.channel == "email":
        return {**nothing, **await _try_email(settings, message)}, pause
    keys = hooks.valid_keys(message.webhook_secret, message.previous_secrets)
    payload = orjson.dumps(message.payload, option=orjson.OPT_UTC_Z).decode()
    answer = await hooks.post(settings, message.destination, str(message.id), payload, keys)
    noted = {**nothing, "response_status": answer.status, "error": answer.error}
    if answer.error is None:
        return {**noted, "status": "delivered"}, pause
    if answer.is_gone:
        noted["error"] = "answered 410 Gone: the webhook is disabled until it is set again"
    status = "failed" if answer.is_gone or answer.is_final else "pending"
    wait = pause if answer.retry_after is None else max(answer.retry_after, hooks.SHORTEST_PAUSE)
    return {**noted, "status": status}, wait


async def _try_email(settings: Settings, message: Pending) -> dict[str, object]:
    try:
        await emails.send(settings, message)
    except (*FAILURES, ValueError) as error:  # a ValueError: of such an address no email can be made
        refused = isinstance(error, SMTPResponseException) and error.code in FINAL_SMTP
        final = refused or isinstance(error, ValueError)
        return {
            "status": "failed" if final else "pending",
            "error": f"{type(error).__name__}: {error}"[:500],
        }
    return {"status": "delivered"}
