"""Tables of customers, their events, and aggregates over these."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.schema.base import Base


class Customer(Base):
    """What is known of a customer."""

    __tablename__ = "customer"

    id: Mapped[str] = mapped_column(primary_key=True)
    properties: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Aggregate(Base):
    """A value that is worked out from a customer's events whenever a template asks for it."""

    __tablename__ = "aggregate"

    name: Mapped[str] = mapped_column(primary_key=True)
    event_type: Mapped[str]
    property: Mapped[str | None]
    function: Mapped[str]
    where: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """Properties that an event must have, with these values."""

    __table_args__ = (CheckConstraint("function IN ('last', 'first', 'count')", name="function"),)


class Event(Base):
    """Something that a customer did, as the shop tracked it."""

    __tablename__ = "event"

    id: Mapped[str] = mapped_column(primary_key=True)
    customer_id: Mapped[str]
    event_type: Mapped[str]
    properties: Mapped[dict[str, Any]]
    timestamp: Mapped[datetime]
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        Index("event_customer_idx", "customer_id", "event_type", "timestamp"),
        Index("event_type_idx", "event_type", "timestamp"),
    )
