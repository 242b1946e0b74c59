"""The table of projects, and what every table has whose rows belong to one.

A row's project is a column that leads every key (docs/architecture.md, Projects). Two belts hold it. Each statement
names its project by a parameter (app/platform/named.py). And row-level security, forced, lets the service's role see
and write the rows of the project that `app.project` says, and no others: a statement that forgets its condition sees
nothing of another project. What stands outside, each for its reason, is in OUTSIDE.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Integer,
    func,
    inspect,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.named import OfProject
from app.schema.base import Base

OUTSIDE = {
    "project": "says what projects there are",
    "api_key": "decides of which project a request is",
    "database": "says where projects live",
    "project_move": "is the service's own work",
    "sealing_key": "is one for the service",
    "erasure_key": "is one for the service",
    "horizon": "is one for the database",
}
"""The tables that are under no policy, and why."""


class Database(Base):
    """A database that projects live in; the first row is the one that holds the table. Further ones hold just that."""

    __tablename__ = "database"

    id: Mapped[int] = mapped_column(Integer, Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    url: Mapped[bytes | None]
    """Sealed; null: it is the control database itself."""
    draining_since: Mapped[datetime | None]
    """Since when no new project is put there."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (CheckConstraint(r"name ~ '^[^\s/]{1,100}$'", name="name"),)


class Project(Base):
    """A shop of its own within the service: its pools, customers, mapping and keys are seen by no other."""

    __tablename__ = "project"

    id: Mapped[int] = mapped_column(Integer, Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleting_since: Mapped[datetime | None]
    """Since when a job deletes what belongs to it; its keys are refused."""
    database_id: Mapped[int] = mapped_column(Integer, ForeignKey("database.id"), server_default="1")
    """Where it lives, by the control database; in a further one that is always the first row."""

    __table_args__ = (CheckConstraint(r"name ~ '^[^\s/]{1,100}$'", name="name"),)


class ProjectMove(Base):
    """A project that is on its way to another database, and how far it is."""

    __tablename__ = "project_move"

    project_id: Mapped[int] = mapped_column(Integer, ForeignKey("project.id"), primary_key=True)
    source_id: Mapped[int] = mapped_column(Integer, ForeignKey("database.id"))
    target_id: Mapped[int] = mapped_column(Integer, ForeignKey("database.id"))
    step: Mapped[str]
    begun_at: Mapped[datetime] = mapped_column(server_default=func.now())
    step_at: Mapped[datetime] = mapped_column(server_default=func.now())
    error: Mapped[str | None]
    progress: Mapped[dict[str, object]] = mapped_column(server_default=text("'{}'"))
    """The key of the last row that was copied, by table; null: all of it."""
    keep: Mapped[timedelta] = mapped_column(server_default=text("'1 day'"))
    """How long the old rows are kept."""


def refers(table: str, column: str, to: str, ondelete: str = "CASCADE") -> ForeignKeyConstraint:
    """Return the foreign key of a table's column to a row of the same project.

    Args:
        table: that refers.
        column: that refers.
        to: table and column that it refers to.
        ondelete: what becomes of the rows that refer to one that is deleted.
    """
    target, _, key = to.partition(".")
    return ForeignKeyConstraint(
        ["project_id", column],
        [f"{target}.project_id", f"{target}.{key}"],
        name=f"{table}_{column}_fkey",
        ondelete=ondelete,
    )


def own_columns(table: type[OfProject]) -> list[ColumnElement[Any]]:  # type: ignore[explicit-any]  # of any type
    """Return what a row says besides of which project it is."""
    return [
        getattr(table, column.key) for column in inspect(table).column_attrs if column.key != "project_id"
    ]


def tables_of_projects() -> list[str]:
    """Return the tables whose rows belong to a project, those that are referred to first."""
    return [table.name for table in Base.metadata.sorted_tables if table.name not in OUTSIDE]
