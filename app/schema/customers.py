"""Tables of customers, their events, and aggregates over these."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.named import OfProject
from app.schema.base import ALIKE, ALIKE_BACK, Base, alike_indexes


class Customer(OfProject, Base):
    """What is known of a customer."""

    __tablename__ = "customer"

    id: Mapped[str] = mapped_column(primary_key=True)
    properties: Mapped[dict[str, object]] = mapped_column(server_default=text("'{}'"))
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    property_times: Mapped[dict[str, object] | None]
    """When each property was said to be so, in UNIX seconds; none until an update tells of what time it is."""


class CustomerAlias(OfProject, Base):
    """An id that a merge has concerned, and the person for whom it stands; of the person itself, too.

    Who is in no merge has no row, so that the look-up costs those nothing.
    """

    __tablename__ = "customer_alias"

    id: Mapped[str] = mapped_column(primary_key=True)
    customer_id: Mapped[str]
    merging: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether a merge of this person is under way."""
    by_sign_in: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether a sign-in led it there: it was an anonymous customer's, and is a registered one's who comes with it."""

    __table_args__ = (Index("customer_alias_customer_idx", "project_id", "customer_id"),)


class TrackedId(OfProject, Base):
    """An id as shops track it (`registered`, `cookie`, …), and the customer under whom it was put.

    Where that customer was merged since, `customer_alias` leads on.
    """

    __tablename__ = "tracked_id"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str] = mapped_column(primary_key=True)
    customer_id: Mapped[str]
    shared: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether it came with two registered customers: it stands for neither of them, and nothing is merged by it."""

    __table_args__ = (Index("tracked_id_customer_idx", "project_id", "customer_id"),)


class Aggregate(OfProject, Base):
    """A value that is worked out from a customer's events whenever a template asks for it."""

    __tablename__ = "aggregate"

    name: Mapped[str] = mapped_column(primary_key=True)
    event_type: Mapped[str]
    property: Mapped[str | None]
    function: Mapped[str]
    where: Mapped[dict[str, object]] = mapped_column(server_default=text("'{}'"))
    """Properties that an event must have, with these values."""
    match: Mapped[str] = mapped_column(server_default="contains")
    """Whether these are its values whole (`equal`), or it holds them (`contains`), as was before there was a choice."""
    alike: Mapped[str] = mapped_column(ALIKE)
    alike_back: Mapped[str] = mapped_column(ALIKE_BACK)

    __table_args__ = (
        CheckConstraint("function IN ('last', 'first', 'count')", name="function"),
        CheckConstraint("match IN ('equal', 'contains')", name="match"),
        *alike_indexes("aggregate"),
    )


class Event(OfProject, Base):
    """Something that a customer did, as the shop tracked it."""

    __tablename__ = "event"

    id: Mapped[str] = mapped_column(primary_key=True)
    customer_id: Mapped[str]
    event_type: Mapped[str]
    properties: Mapped[dict[str, object]]
    timestamp: Mapped[datetime]
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())
    arrival: Mapped[int | None] = mapped_column(server_default=text("nextval('arrival')"))
    """Order in which they came, those of a request in its order; decides where times are equal."""

    __table_args__ = (
        Index("event_customer_idx", "project_id", "customer_id", "event_type", "timestamp"),
        Index("event_type_idx", "project_id", "event_type", "timestamp"),
    )


class ErasureKey(Base):
    """The key of the marks that stand for erased persons. One row; without it the marks tell nothing."""

    __tablename__ = "erasure_key"

    key: Mapped[bytes] = mapped_column(primary_key=True)


class ErasedEvent(OfProject, Base):
    """A mark of an event whose customer was erased: sent again, it does not bring the person back."""

    __tablename__ = "erased_event"

    mark: Mapped[bytes] = mapped_column(primary_key=True)
    erased_at: Mapped[datetime] = mapped_column(server_default=func.now())
