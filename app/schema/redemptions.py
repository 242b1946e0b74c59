"""Tables of the redemption mapping and of uses of codes."""

import uuid
from datetime import datetime

from sqlalchemy import Index, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.named import OfProject
from app.schema.base import Base


class RedemptionMapping(OfProject, Base):
    """Which property of which event type holds the code."""

    __tablename__ = "redemption_mapping"

    event_type: Mapped[str] = mapped_column(primary_key=True)
    property: Mapped[str] = mapped_column(primary_key=True)
    effect: Mapped[str] = mapped_column(server_default="redeem")
    normalise: Mapped[str | None]


class Redemption(OfProject, Base):
    """What came of a code that an event (or a direct call) says was used: a use of it, or an issue."""

    __tablename__ = "redemption"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    event_id: Mapped[str | None]
    property: Mapped[str | None]
    """The mapped property that held the code; None for a direct redemption."""
    code: Mapped[str | None] = mapped_column(Text(collation="C"))
    """None where the property held nothing that can be a code."""
    customer_id: Mapped[str | None]
    customer_mark: Mapped[bytes | None]
    """Stands for a customer who was erased: tells whether two are the same person, and nothing else."""
    effect: Mapped[str] = mapped_column(server_default="redeem")
    outcome: Mapped[str]
    redeemed_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    arrival: Mapped[int | None] = mapped_column(server_default=text("nextval('arrival')"))
    """Order in which they came; decides where times are equal."""

    __table_args__ = (
        Index("redemption_code_idx", "project_id", "code"),
        Index("redemption_event_idx", "project_id", "event_id", "property", unique=True),
        Index(
            "redemption_customer_idx",
            "project_id",
            "customer_id",
            postgresql_where=text("customer_id IS NOT NULL"),
        ),
        Index(
            "redemption_issue_idx",
            "project_id",
            "outcome",
            "created_at",
            "id",
        ),
        # What decides on a code, with `redemption_once_idx`: a few rows, however often it was used.
        Index(
            "redemption_deciding_idx",
            "project_id",
            "code",
            postgresql_where=text("outcome IN ('not_assigned', 'other_customer', 'cancelled')"),
        ),
        # Whether a cancellation of a code was heard.
        Index("redemption_cancel_idx", "project_id", "code", postgresql_where=text("effect = 'cancel'")),
        # However many events race, a code is redeemed once.
        Index(
            "redemption_once_idx",
            "project_id",
            "code",
            unique=True,
            postgresql_where=text("outcome = 'redeemed'"),
        ),
    )
