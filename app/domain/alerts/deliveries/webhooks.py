"""A message as a webhook, after the Standard Webhooks specification."""

import asyncio
from datetime import UTC, datetime

import orjson
from standardwebhooks import Webhook

from app.domain.alerts.deliveries.queries import Pending
from app.platform import outbound
from app.platform.settings import Settings

TIMEOUT = 15.0
"""Seconds that a receiver may take to answer, as the specification advises."""


async def post(settings: Settings, message: Pending, url: str) -> int:
    """Send a message; the status that was answered. No redirect is followed, no body of an answer read."""
    body = orjson.dumps(message.payload).decode()
    now = datetime.now(UTC)
    previous = message.previous_secrets or {}
    held = [key for key, until in previous.items() if until > now.isoformat()]
    keys = [key for key in (message.webhook_secret, *held) if key is not None]
    headers = {
        "content-type": "application/json",
        "user-agent": "voucher-pools",
        "webhook-id": str(message.id),
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Webhook(key).sign(str(message.id), now, body) for key in keys),
    }
    async with (
        asyncio.timeout(TIMEOUT),
        outbound.http_client(settings, timeout=TIMEOUT) as client,
        client.stream("POST", url, content=body, headers=headers, follow_redirects=False) as response,
    ):
        return response.status_code
