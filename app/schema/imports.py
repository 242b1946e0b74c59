"""Tables of imports and their schedules."""

import uuid
from datetime import datetime

from sqlalchemy import Identity, Index, Integer, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.named import OfProject
from app.schema.base import Base, ImportStatus, PoolId
from app.schema.projects import refers


class Import(OfProject, Base):
    """One loading of codes into a pool, its options and its figures."""

    __tablename__ = "import"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    number: Mapped[int] = mapped_column(Integer, Identity(always=True))
    """What its vouchers name it by."""
    pool_id: Mapped[PoolId | None]
    pool: Mapped[str]
    status: Mapped[ImportStatus] = mapped_column(server_default="queued")
    dry_run: Mapped[bool] = mapped_column(server_default=text("false"))
    source: Mapped[dict[str, object]]
    """Where the rows came from, as it may be shown: without secrets."""
    sealed: Mapped[bytes | None]
    """The source whole, encrypted; null where the bytes came with the request."""
    options: Mapped[dict[str, object]]
    schedule_id: Mapped[uuid.UUID | None]
    size: Mapped[int | None]
    """Bytes of the source, known once all of them are in `import_chunk`."""
    sha256: Mapped[str | None]
    repeats: Mapped[uuid.UUID | None]
    """An earlier import of the same bytes into the same pool."""
    seed: Mapped[int]
    """Seed of the draw keys: a repeated run gives each code the same one."""
    merged_to: Mapped[list[int] | None]
    """Draw key up to which the codes of each share are in the pool: where a run that was killed goes on."""
    total: Mapped[int | None]
    """Rows of the source, known once the whole of it is staged."""
    imported: Mapped[int] = mapped_column(server_default="0")
    ignored: Mapped[int] = mapped_column(server_default="0")
    in_other_pool: Mapped[int] = mapped_column(server_default="0")
    invalid: Mapped[int] = mapped_column(server_default="0")
    suspicious: Mapped[int] = mapped_column(server_default="0")
    """Rows that are unlike the rest of the file, and were set aside."""
    scheduled: Mapped[int] = mapped_column(server_default="0")
    """How many of those that are imported have yet to come into the pool, at their time."""
    conflicting: Mapped[int] = mapped_column(server_default="0")
    """Rows of codes that were given elsewhere, and here are somebody else's, or void or expired."""
    columns_not_imported: Mapped[list[str] | None]
    choices: Mapped[dict[str, object] | None]
    """What may be answered where it failed with a question."""
    undone: Mapped[int] = mapped_column(server_default="0")
    """Vouchers that an undo took back."""
    made_pool: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether the pool was not there before: where nothing comes into it, it goes with the import that failed."""
    fetched: Mapped[int | None]
    """Bytes of the source that were fetched so far."""
    progress: Mapped[float] = mapped_column(server_default="0")
    error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        refers("import", "pool_id", to="pool.id", ondelete="SET NULL (pool_id)"),
        Index("import_number_idx", "project_id", "number", unique=True),
        Index("import_schedule_id_idx", "project_id", "schedule_id"),
        Index("import_repeat_idx", "project_id", "pool_id", "sha256"),
        # The last import of each pool in a list.
        Index("import_pool_id_idx", "project_id", "pool_id", "created_at"),
    )


class ImportChunk(OfProject, Base):
    """A piece of an import's raw bytes: what was acknowledged with 202 is safe here until it is merged."""

    __tablename__ = "import_chunk"

    import_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes]

    __table_args__ = (refers("import_chunk", "import_id", to="import.id"),)


class ImportSchedule(OfProject, Base):
    """An import that is repeated by the clock."""

    __tablename__ = "import_schedule"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    pool: Mapped[str]
    source: Mapped[dict[str, object]]
    sealed: Mapped[bytes]
    options: Mapped[dict[str, object]]
    cron: Mapped[str]
    timezone: Mapped[str]
    active: Mapped[bool] = mapped_column(server_default=text("true"))
    next_run: Mapped[datetime | None] = mapped_column(index=True)
    """Null while it is not active."""
    error: Mapped[str | None]
    """Why the last run failed, or could not begin."""
    failures: Mapped[int] = mapped_column(server_default="0")
    """Runs that failed one after another since the last one that was due by the clock."""
    judged: Mapped[uuid.UUID | None]
    """The last run whose end was looked at."""
    gave_up_at: Mapped[datetime | None]
    """When its tries were used up until the next regular run; null once one succeeds."""
    told_at: Mapped[datetime | None]
    """When the alerts of its pool told that it gave up."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        # In which projects it is to be told that one gave up.
        Index(
            "import_schedule_untold_idx",
            "project_id",
            postgresql_where=text("gave_up_at IS NOT NULL AND told_at IS NULL"),
        ),
    )


class ImportIgnored(OfProject, Base):
    """A row whose code was in the pool already, or stands in the file before."""

    __tablename__ = "import_ignored"

    import_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(Text(collation="C"))

    __table_args__ = (refers("import_ignored", "import_id", to="import.id"),)


class ImportReject(OfProject, Base):
    """A row of an import that did not become a voucher, and why."""

    __tablename__ = "import_reject"

    import_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[str]
    reason: Mapped[str]
    other_pool: Mapped[str | None]
    staged: Mapped[dict[str, object] | None]
    """The row as it would have been merged, where it may be taken after all."""

    __table_args__ = (refers("import_reject", "import_id", to="import.id"),)
