"""Tables of alerts, deliveries and the history of the stock."""

import uuid
from datetime import datetime

from sqlalchemy import Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.named import OfProject
from app.schema.base import Base, PoolId
from app.schema.projects import refers


class Alert(OfProject, Base):
    """Whom to tell when a pool runs low, and how."""

    __tablename__ = "alert"

    pool_id: Mapped[PoolId] = mapped_column(primary_key=True)
    webhook_url: Mapped[str | None]
    webhook_secret: Mapped[str | None]
    """In clear, because each webhook is signed with it."""
    previous_secrets: Mapped[dict[str, object]] = mapped_column(server_default=text("'{}'::jsonb"))
    """Each earlier secret, and until when webhooks bear its signature too."""
    webhook_disabled_at: Mapped[datetime | None]
    """When the webhook answered 410 Gone: nothing is sent to it until it is set again."""
    email: Mapped[str | None]
    further_emails: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    """Addresses besides the first."""
    expiring_within_days: Mapped[int | None]
    expiring_told_at: Mapped[datetime | None]
    """Set from the telling until no code expires so soon any more."""

    __table_args__ = (refers("alert", "pool_id", to="pool.id"),)


class AlertThreshold(OfProject, Base):
    """A count of available vouchers to be told of; also the outbox: fallen and not told is to be sent.

    Armed (`fell_at` is null) → fallen → told → armed, once the count is above the threshold again.
    """

    __tablename__ = "alert_threshold"

    pool_id: Mapped[PoolId] = mapped_column(primary_key=True)
    threshold: Mapped[int] = mapped_column(primary_key=True)
    fell_at: Mapped[datetime | None]
    """When it was found at or below the threshold: by a sweep, or by the transaction that lifts it again."""
    available: Mapped[int | None]
    """How many were left then."""
    told_at: Mapped[datetime | None]

    __table_args__ = (
        refers("alert_threshold", "pool_id", to="alert.pool_id"),
        # In which projects something is to be told.
        Index(
            "alert_threshold_untold_idx",
            "project_id",
            postgresql_where=text("fell_at IS NOT NULL AND told_at IS NULL"),
        ),
    )


class Delivery(OfProject, Base):
    """One message of an alert by one channel; `id` is its `webhook-id`, the same at each try."""

    __tablename__ = "delivery"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    pool_id: Mapped[PoolId]
    event: Mapped[str]
    channel: Mapped[str]
    destination: Mapped[str]
    place: Mapped[int] = mapped_column(server_default="0")
    """Of an email: the how-manieth address of the alert it goes to, from 0."""
    payload: Mapped[dict[str, object]]
    status: Mapped[str] = mapped_column(server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default="0")
    response_status: Mapped[int | None]
    error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    attempted_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]

    __table_args__ = (
        refers("delivery", "pool_id", to="pool.id"),
        Index("delivery_pool_idx", "project_id", "pool_id", "created_at", "id"),
        # What is old goes, in all projects.
        Index("delivery_created_at_idx", "created_at"),
    )


class StockHistory(OfProject, Base):
    """The stock of a pool as it was early in an hour, and in those after it in which nothing changed."""

    __tablename__ = "stock_history"

    pool_id: Mapped[PoolId] = mapped_column(primary_key=True)
    hour: Mapped[datetime] = mapped_column(primary_key=True)
    taken_at: Mapped[datetime]
    available: Mapped[int]
    reserved: Mapped[int]
    assigned: Mapped[int]
    redeemed: Mapped[int]
    expired: Mapped[int]
    void: Mapped[int]
    given_besides: Mapped[int | None]
    """Null in rows older than the column."""
    same_until: Mapped[datetime | None]
    """When a later look last saw the same."""

    __table_args__ = (refers("stock_history", "pool_id", to="pool.id"),)
