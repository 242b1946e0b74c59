"""SQL of messages on their way."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Text, func, insert, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.alerts.deliveries.schemas import DeliveryRecord, MessagePayload
from app.platform import forgetting, keyset, records
from app.schema.alerts import Alert, Delivery
from app.schema.inventory import Pool

COLUMNS = (
    Delivery.id,
    Delivery.event,
    Delivery.channel,
    Delivery.destination,
    Delivery.payload,
    Delivery.status,
    Delivery.attempts,
    Delivery.response_status,
    Delivery.error,
    Delivery.created_at,
    Delivery.attempted_at,
    Delivery.delivered_at,
)

# A message goes where the alert points now: a mistyped address that was set right receives what was waiting. Of several
# addresses that is the one in its place, unless that has a message of its own.
DESTINATION = """CASE
    WHEN delivery.channel = 'webhook' THEN CASE WHEN alert.webhook_disabled_at IS NULL THEN alert.webhook_url END
    WHEN delivery.destination = ANY (alert.email || alert.further_emails) THEN delivery.destination
    WHEN NOT EXISTS (
        SELECT FROM delivery AS other
        WHERE other.project_id = delivery.project_id AND other.pool_id = delivery.pool_id AND other.channel = 'email'
            AND other.payload = delivery.payload AND other.id <> delivery.id
            AND other.destination = (alert.email || alert.further_emails)[delivery.place + 1]
    ) THEN (alert.email || alert.further_emails)[delivery.place + 1]
END"""
PENDING = (
    select(
        Delivery.id,
        Delivery.channel,
        Delivery.pool_id,
        Delivery.payload,
        Delivery.attempts,
        Delivery.created_at,
        literal_column(DESTINATION, Text).label("destination"),
        Alert.webhook_secret,
        Alert.previous_secrets,
        Pool.name.label("pool"),
    )
    .join(Pool, Pool.id == Delivery.pool_id)
    .outerjoin(Alert, Alert.pool_id == Delivery.pool_id)
    .where(Delivery.status == "pending")
)


@dataclass(frozen=True, slots=True)
class Pending:
    """A message that is still to be sent, and what is needed for it."""

    id: uuid.UUID
    channel: str
    pool_id: int
    payload: MessagePayload
    attempts: int
    created_at: datetime
    destination: str | None
    webhook_secret: str | None
    previous_secrets: dict[str, str] | None
    pool: str


async def add(connection: AsyncConnection, values: Mapping[str, object]) -> DeliveryRecord:
    """Store a message to be sent."""
    # Messages of one transaction have an order too.
    query = insert(Delivery).values(created_at=func.clock_timestamp(), **values)
    return records.one_of(await connection.execute(query.returning(*COLUMNS)), DeliveryRecord)


async def pending(connection: AsyncConnection, delivery_id: uuid.UUID) -> Pending | None:
    """Return a message that is still to be sent, and what is needed for it."""
    return records.any_of(await connection.execute(PENDING.where(Delivery.id == delivery_id)), Pending)


async def has_earlier(connection: AsyncConnection, message: Pending) -> bool:
    """Return whether an earlier message of the same pool and channel has not been tried yet."""
    query = select(Delivery.id).where(
        Delivery.pool_id == message.pool_id,
        Delivery.created_at < message.created_at,
        Delivery.channel == message.channel,
        Delivery.status == "pending",
        Delivery.attempts == 0,
    )
    return (await connection.execute(query.limit(1))).first() is not None


async def attempted(
    connection: AsyncConnection, delivery_id: uuid.UUID, values: Mapping[str, object]
) -> None:
    """Note how a try went. What was noted as delivered stays so, whichever of two tries comes last."""
    delivered_at = func.now() if values["status"] == "delivered" else None
    query = (
        update(Delivery)
        .where(Delivery.id == delivery_id, Delivery.status == "pending")
        .values(attempts=Delivery.attempts + 1, attempted_at=func.now(), delivered_at=delivered_at, **values)
    )
    await connection.execute(query)


async def list_page(
    connection: AsyncConnection, pool_id: int, key: tuple[datetime, uuid.UUID] | None, limit: int
) -> list[DeliveryRecord]:
    """Return messages about a pool, newest first."""
    query = select(*COLUMNS).where(Delivery.pool_id == pool_id)
    query = keyset.page(query, (Delivery.created_at, Delivery.id), key, limit, newest_first=True)
    return records.all_of(await connection.execute(query), DeliveryRecord)


async def forget(engine: AsyncEngine, age: timedelta) -> None:
    """Delete older messages of all projects."""
    await forgetting.forget(engine, "delivery", "created_at", age)


async def disable_webhook(connection: AsyncConnection, pool_id: int, url: str) -> None:
    """Send nothing more to a pool's webhook if it is still this one; setting the alerts again enables it."""
    await connection.execute(
        update(Alert)
        .where(Alert.pool_id == pool_id, Alert.webhook_url == url, Alert.webhook_disabled_at.is_(None))
        .values(webhook_disabled_at=func.now())
    )
