"""The rules of messages: each is stored with its job in the transaction that causes it; the job sends it."""

import uuid
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.alerts.deliveries import queries
from app.domain.alerts.deliveries.schemas import DeliveryRecord, Recipients
from app.domain.pools import service as pools
from app.platform.jobs import URGENT, enqueue


async def send(
    connection: AsyncConnection, to: Recipients, event: str, at: datetime, data: Mapping[str, object]
) -> list[DeliveryRecord]:
    """Put a message on its way by each of a pool's channels; it leaves once the transaction has committed.

    The first tries of a pool's messages go one after another, in the order in which they were caused. One that failed
    is tried again by itself and holds up no other.

    Args:
        connection: of the transaction that causes the message.
        to: whom it goes to.
        event: what is told.
        at: when it happened.
        data: what is told of it.
    """
    payload = {"type": event, "timestamp": at.isoformat(), "data": dict(data)}
    sent = []
    ways = [("email", place, email) for place, email in enumerate(to.emails)]
    for channel, place, destination in (("webhook", 0, to.webhook_url), *ways):
        if destination is not None:
            values = {
                "pool_id": to.pool_id,
                "event": event,
                "channel": channel,
                "place": place,
                "destination": destination,
                "payload": payload,
            }
            row = await queries.add(connection, values)
            await enqueue(connection, "deliver", queue=URGENT, delivery_id=str(row.id))
            sent.append(row)
    return sent


async def list_page(
    connection: AsyncConnection, pool: str, key: tuple[datetime, uuid.UUID] | None, limit: int
) -> list[DeliveryRecord]:
    """Return messages about a pool and how they went, newest first.

    Raises:
        PoolNotFoundError: there is no such pool.
    """
    return await queries.list_page(connection, await pools.id_of(connection, pool), key, limit)
