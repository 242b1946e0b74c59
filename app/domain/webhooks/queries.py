"""SQL of webhooks: who is told, how far, and what comes next in the ledger and among the changes."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Boolean, ColumnElement, delete, func, insert, literal_column, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.webhooks import statements
from app.domain.webhooks.schemas import WebhookDeliveryRecord
from app.platform import forgetting, keyset, records
from app.schema.inventory import Pool
from app.schema.projects import own_columns
from app.schema.webhooks import Webhook, WebhookDelivery

FIRST_ID, LAST_ID = uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)
LAST_CHANGE = 2**63 - 1
TICK = timedelta(microseconds=1)
"""What times are kept to."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a webhook is: the last that it was told of, in the ledger and among the changes."""

    ledger_at: datetime
    ledger_id: uuid.UUID
    change_at: datetime
    change_id: int

    @classmethod
    def before(cls, at: datetime) -> "Position":
        """Return the position of who was told of all before a time."""
        return cls(at - TICK, LAST_ID, at - TICK, LAST_CHANGE)

    def values(self) -> dict[str, object]:
        """Return it as columns."""
        return {
            "ledger_at": self.ledger_at,
            "ledger_id": self.ledger_id,
            "change_at": self.change_at,
            "change_id": self.change_id,
        }


@dataclass(frozen=True, slots=True)
class Placed:
    """Something that bears a position: a webhook, or a message that is under way."""

    ledger_at: datetime
    ledger_id: uuid.UUID
    change_at: datetime
    change_id: int

    @property
    def position(self) -> Position:
        """Return where it is."""
        return Position(self.ledger_at, self.ledger_id, self.change_at, self.change_id)


@dataclass(frozen=True, slots=True)
class WebhookState(Placed):
    """A webhook as it is stored."""

    id: uuid.UUID
    url: str
    secret: str
    previous_secrets: dict[str, str]
    events: list[str]
    pool_ids: list[int] | None
    created_at: datetime
    failures: int
    failing_since: datetime | None
    next_try_at: datetime
    leased_until: datetime | None
    lease: uuid.UUID | None
    disabled_at: datetime | None
    disabled_because: str | None


@dataclass(frozen=True, slots=True)
class TakenWebhook(WebhookState):
    """A webhook that a worker is at."""

    lease: uuid.UUID


@dataclass(frozen=True, slots=True)
class WebhookRecord(WebhookState):
    """A webhook with the names of its pools that are there."""

    pools: list[str] | None
    has_news: bool
    """Whether anything happened since it was told, of whatever kind."""


@dataclass(frozen=True, slots=True)
class Pending(Placed):
    """A message that is under way, and where it ends."""

    id: uuid.UUID
    attempts: int


@dataclass(frozen=True, slots=True)
class Batch(Placed):
    """Some events in order, and where a webhook is once it was told of them."""

    events: int
    first_at: datetime | None
    last_at: datetime | None
    body: str
    """The events as JSON, with commas between them."""


@dataclass(frozen=True, slots=True)
class Message(Batch):
    """A message that is under way, and what it says."""

    delivery_id: uuid.UUID
    secret: str
    previous_secrets: dict[str, str]
    attempts: int = 0


POOLS = (
    select(func.array_agg(Pool.name))
    .where(Pool.id == func.any(Webhook.pool_ids))
    .correlate(Webhook)
    .scalar_subquery()
    .label("pools")
)
DUE = """SELECT project_id, id AS key, ledger_at, ledger_id, change_at, change_id FROM webhook
WHERE (project_id, id) > {after} AND disabled_at IS NULL AND next_try_at <= now()
    AND (leased_until IS NULL OR leased_until < now())"""
"""SQL: the webhooks at which nobody is, and that need not wait."""
_NEWS = """(EXISTS (
    SELECT FROM pool, LATERAL (
        SELECT FROM assignment WHERE assignment.project_id = {of}.project_id AND assignment.pool_id = pool.id
            AND (assigned_at, assignment.id) > ({of}.ledger_at, {of}.ledger_id) LIMIT 1
    ) AS given WHERE pool.project_id = {of}.project_id
) OR EXISTS (
    SELECT FROM pool_change WHERE pool_change.project_id = {of}.project_id
        AND (changed_at, pool_change.id) > ({of}.change_at, {of}.change_id)
))"""
"""SQL: whether anything happened in its project since the webhook `of` was told, of whatever kind."""
NEWS_OR_PENDING = f"""{_NEWS.format(of="slice")} OR EXISTS (
    SELECT FROM webhook_delivery AS message WHERE message.project_id = slice.project_id
        AND message.webhook_id = slice.key AND message.status = 'pending' AND NOT message.test
)"""
HAS_NEWS = literal_column(_NEWS.format(of="webhook"), Boolean).label("has_news")
ALL = select(*own_columns(Webhook), POOLS, HAS_NEWS)
DELIVERY = (
    WebhookDelivery.id,
    WebhookDelivery.webhook_id,
    WebhookDelivery.test,
    WebhookDelivery.events,
    WebhookDelivery.first_at,
    WebhookDelivery.last_at,
    WebhookDelivery.status,
    WebhookDelivery.attempts,
    WebhookDelivery.response_status,
    WebhookDelivery.error,
    WebhookDelivery.created_at,
    WebhookDelivery.attempted_at,
    WebhookDelivery.delivered_at,
)


async def count(connection: AsyncConnection) -> int:
    """Count the webhooks, and keep others from making one until the transaction ends."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('webhook'), :project)"))
    return (await connection.execute(select(func.count()).select_from(Webhook))).scalar_one()


async def add(connection: AsyncConnection, values: Mapping[str, object], position: Position) -> uuid.UUID:
    """Make a webhook; return its id."""
    query = insert(Webhook).values(**values, **position.values()).returning(Webhook.id)
    return (await connection.execute(query)).scalar_one()


async def by_id(
    connection: AsyncConnection, webhook_id: uuid.UUID, *, locked: bool = False
) -> WebhookRecord | None:
    """Return one webhook; locked against other edits until the transaction ends, where that is asked for."""
    query = ALL.where(Webhook.id == webhook_id)
    if locked:
        query = query.with_for_update(of=Webhook)
    return records.any_of(await connection.execute(query), WebhookRecord)


async def list_page(
    connection: AsyncConnection, key: tuple[datetime, uuid.UUID] | None, limit: int
) -> list[WebhookRecord]:
    """Return webhooks, oldest first."""
    query = keyset.page(ALL, (Webhook.created_at, Webhook.id), key, limit)
    return records.all_of(await connection.execute(query), WebhookRecord)


async def remove(connection: AsyncConnection, webhook_id: uuid.UUID) -> None:
    """Delete a webhook and the log of its messages."""
    await connection.execute(delete(Webhook).where(Webhook.id == webhook_id))


async def change(connection: AsyncConnection, webhook_id: uuid.UUID, values: Mapping[str, object]) -> None:
    """Change columns of a webhook."""
    await connection.execute(update(Webhook).where(Webhook.id == webhook_id).values(**values))


def _due() -> tuple[ColumnElement[bool], ...]:
    return (
        Webhook.disabled_at.is_(None),
        Webhook.next_try_at <= func.now(),
        or_(Webhook.leased_until.is_(None), Webhook.leased_until < func.now()),
    )


async def due(connection: AsyncConnection) -> list[WebhookState]:
    """Return the webhooks at which nobody is, and that need not wait."""
    query = select(*own_columns(Webhook)).where(*_due())
    return records.all_of(await connection.execute(query), WebhookState)


async def move(connection: AsyncConnection, webhook: WebhookState, position: Position) -> None:
    """Move a webhook over what it is not told of, unless somebody is at it, or has moved or changed it."""
    await connection.execute(
        update(Webhook)
        .where(
            Webhook.id == webhook.id,
            *_due(),
            Webhook.events == webhook.events,
            Webhook.pool_ids.is_not_distinct_from(webhook.pool_ids),
            *(Webhook.__table__.c[name] == value for name, value in webhook.position.values().items()),
        )
        .values(**position.values())
    )


async def take(
    connection: AsyncConnection, webhook_id: uuid.UUID, lease: uuid.UUID, seconds: float
) -> TakenWebhook | None:
    """Take a webhook for so many seconds, if no worker is at it; return it."""
    query = (
        update(Webhook)
        .where(Webhook.id == webhook_id, *_due())
        .values(lease=lease, leased_until=func.now() + timedelta(seconds=seconds))
        .returning(*own_columns(Webhook))
    )
    return records.any_of(await connection.execute(query), TakenWebhook)


async def note(
    connection: AsyncConnection, webhook_id: uuid.UUID, lease: uuid.UUID, values: Mapping[str, object]
) -> bool:
    """Change columns of a webhook that was taken; return False if another worker has it by now, or it was deleted."""
    query = (
        update(Webhook)
        .where(Webhook.id == webhook_id, Webhook.lease == lease)
        .values(**values)
        .returning(Webhook.id)
    )
    return (await connection.execute(query)).first() is not None


def in_seconds(seconds: float) -> ColumnElement[datetime]:
    """Return the time in so many seconds, for a column."""
    return func.now() + timedelta(seconds=seconds)


def _read(webhook: WebhookState, after: Position, until: Position, most: int) -> dict[str, object]:
    return {
        **after.values(),
        "ledger_end_at": until.ledger_at,
        "ledger_end_id": until.ledger_id,
        "change_end_at": until.change_at,
        "change_end_id": until.change_id,
        "events": webhook.events,
        "pool_ids": webhook.pool_ids,
        "most": most,
    }


async def read(
    connection: AsyncConnection, webhook: WebhookState, after: Position, until: Position, most: int
) -> Batch:
    """Return what comes next for a webhook, up to `most` events."""
    rows = await connection.execute(statements.READ, _read(webhook, after, until, most))
    return records.one_of(rows, Batch)


async def reach(connection: AsyncConnection, after: Position, until: datetime, most: int) -> datetime:
    """Return the time up to which a look from a position passes `most` changes, whatever they are; `until` at most."""
    parameters = {
        "change_at": after.change_at,
        "change_id": after.change_id,
        "until": until,
        "most": most,
    }
    at: datetime | None = (await connection.execute(statements.REACH, parameters)).scalar_one_or_none()
    # What is of one time is looked through in one go.
    return until if at is None or at - TICK <= after.change_at else at


async def begin(
    connection: AsyncConnection, webhook: TakenWebhook, until: Position, most: int
) -> Message | None:
    """Put what comes next on its way, up to `most` events, as a message.

    Return None where there is nothing, or another worker has the webhook by now, or it was deleted.
    """
    parameters = {
        **_read(webhook, webhook.position, until, most),
        "webhook_id": webhook.id,
        "lease": webhook.lease,
    }
    return records.any_of(await connection.execute(statements.BEGUN, parameters), Message)


async def arrived(
    connection: AsyncConnection, webhook: TakenWebhook, message: Message, status: int | None, seconds: float
) -> bool:
    """Note that a message has arrived, and keep the webhook for so many seconds more.

    Return False, and note nothing, if another worker has it by now, or it was deleted.
    """
    parameters = {
        **message.position.values(),
        "webhook_id": webhook.id,
        "lease": webhook.lease,
        "delivery_id": message.delivery_id,
        "status": status,
        "seconds": seconds,
    }
    return bool((await connection.execute(statements.ARRIVED, parameters)).scalar_one())


async def pending(connection: AsyncConnection, webhook_id: uuid.UUID) -> Pending | None:
    """Return the message of a webhook that is under way."""
    query = select(
        WebhookDelivery.id,
        WebhookDelivery.attempts,
        WebhookDelivery.ledger_at,
        WebhookDelivery.ledger_id,
        WebhookDelivery.change_at,
        WebhookDelivery.change_id,
    ).where(
        WebhookDelivery.webhook_id == webhook_id,
        WebhookDelivery.status == "pending",
        WebhookDelivery.test.is_(False),
    )
    return records.any_of(await connection.execute(query), Pending)


async def add_delivery(connection: AsyncConnection, values: Mapping[str, object]) -> WebhookDeliveryRecord:
    """Put a message on its way."""
    query = insert(WebhookDelivery).values(**values).returning(*DELIVERY)
    return records.one_of(await connection.execute(query), WebhookDeliveryRecord)


async def attempted(
    connection: AsyncConnection, delivery_id: uuid.UUID, values: Mapping[str, object]
) -> None:
    """Note how a try went."""
    delivered_at = func.now() if values["status"] == "delivered" else None
    await connection.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == delivery_id, WebhookDelivery.status == "pending")
        .values(
            attempts=WebhookDelivery.attempts + 1,
            attempted_at=func.now(),
            delivered_at=delivered_at,
            **values,
        )
    )


async def break_off(connection: AsyncConnection, webhook_id: uuid.UUID, why: str) -> None:
    """End the message of a webhook that is under way: what it said is told by others."""
    await connection.execute(
        update(WebhookDelivery)
        .where(
            WebhookDelivery.webhook_id == webhook_id,
            WebhookDelivery.status == "pending",
            WebhookDelivery.test.is_(False),
        )
        .values(status="failed", error=why)
    )


async def delivery(connection: AsyncConnection, delivery_id: uuid.UUID) -> WebhookDeliveryRecord | None:
    """Return one message."""
    query = select(*DELIVERY).where(WebhookDelivery.id == delivery_id)
    return records.any_of(await connection.execute(query), WebhookDeliveryRecord)


async def list_deliveries(
    connection: AsyncConnection,
    webhook_id: uuid.UUID,
    key: tuple[datetime, uuid.UUID] | None,
    limit: int,
) -> list[WebhookDeliveryRecord]:
    """Return messages of a webhook, newest first."""
    query = select(*DELIVERY).where(WebhookDelivery.webhook_id == webhook_id)
    order = (WebhookDelivery.created_at, WebhookDelivery.id)
    query = keyset.page(query, order, key, limit, newest_first=True)
    return records.all_of(await connection.execute(query), WebhookDeliveryRecord)


async def forget(engine: AsyncEngine, age: timedelta) -> None:
    """Delete what is noted of older messages of all projects, but of those under way."""
    ended = "(status <> 'pending' OR test)"
    await forgetting.forget(engine, "webhook_delivery", "created_at", age, ended)
