"""Tables of webhooks: who is told of what, how far, and how it went."""

import uuid
from datetime import datetime

from sqlalchemy import Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.named import OfProject
from app.schema.base import Base
from app.schema.projects import refers


class Webhook(OfProject, Base):
    """Whom to tell of what happens, and how far that is done.

    What it was told of ends at two places: one in the ledger, one among the changes. All before is told.
    """

    __tablename__ = "webhook"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    url: Mapped[str]
    secret: Mapped[str]
    """In clear, because each message is signed with it."""
    previous_secrets: Mapped[dict[str, object]] = mapped_column(server_default=text("'{}'::jsonb"))
    """Each earlier secret, and until when messages bear its signature too."""
    events: Mapped[list[str]]
    pool_ids: Mapped[list[int] | None]
    """Null: all pools, also later ones."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ledger_at: Mapped[datetime]
    ledger_id: Mapped[uuid.UUID]
    change_at: Mapped[datetime]
    change_id: Mapped[int]
    failures: Mapped[int] = mapped_column(server_default="0")
    """Tries that failed since the last one that did not."""
    failing_since: Mapped[datetime | None]
    next_try_at: Mapped[datetime] = mapped_column(server_default=func.now())
    leased_until: Mapped[datetime | None]
    """Until then a worker is at it; one that dies is followed by another."""
    lease: Mapped[uuid.UUID | None]
    disabled_at: Mapped[datetime | None]
    disabled_because: Mapped[str | None]


class WebhookDelivery(OfProject, Base):
    """One message of a webhook; `id` is its `webhook-id`, the same at each try.

    What it says is read from the ledger at each try: from where the webhook is to where the message ends.
    """

    __tablename__ = "webhook_delivery"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    webhook_id: Mapped[uuid.UUID]
    test: Mapped[bool] = mapped_column(server_default=text("false"))
    events: Mapped[int]
    first_at: Mapped[datetime | None]
    last_at: Mapped[datetime | None]
    ledger_at: Mapped[datetime | None]
    ledger_id: Mapped[uuid.UUID | None]
    change_at: Mapped[datetime | None]
    change_id: Mapped[int | None]
    status: Mapped[str] = mapped_column(server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default="0")
    response_status: Mapped[int | None]
    error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    attempted_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]

    __table_args__ = (
        refers("webhook_delivery", "webhook_id", to="webhook.id"),
        Index("webhook_delivery_webhook_idx", "project_id", "webhook_id", "created_at", "id"),
        Index("webhook_delivery_created_at_idx", "created_at"),
        # One message of a webhook is under way at a time: that is what keeps the order.
        Index(
            "webhook_delivery_pending_idx",
            "project_id",
            "webhook_id",
            unique=True,
            postgresql_where=text("status = 'pending' AND NOT test"),
        ),
    )
