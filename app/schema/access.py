"""Tables of API keys and the audit trail."""

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.named import OfProject
from app.schema.base import Base


class ApiKey(Base):
    """A key to the service: its scopes, and the digest of its secret."""

    __tablename__ = "api_key"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    project_id: Mapped[int] = mapped_column(Integer, ForeignKey("project.id"), server_default="1")
    """The project that it opens."""
    name: Mapped[str]
    prefix: Mapped[bytes] = mapped_column(index=True)
    """First bytes of the digest, to find the row by; the whole digest is compared in constant time."""
    digest: Mapped[bytes] = mapped_column(unique=True)
    scopes: Mapped[list[str]]
    """None: no key, but the mark of a secret that a rotation took away."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    revoked_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    """To the minute: it is not written more often."""
    requests_per_minute: Mapped[int | None]
    previous_prefix: Mapped[bytes | None]
    previous_digest: Mapped[bytes | None]
    """Of the secret before the last rotation."""
    previous_until: Mapped[datetime | None]
    """Until then the previous secret is good too."""

    __table_args__ = (
        Index("api_key_project_idx", "project_id"),
        Index(
            "api_key_previous_prefix_idx",
            "previous_prefix",
            postgresql_where=text("previous_prefix IS NOT NULL"),
        ),
    )


class SealingKey(Base):
    """The key that seals what is kept secret, where no setting gives one; wrapped. One row."""

    __tablename__ = "sealing_key"

    id: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    salt: Mapped[bytes]
    wrapped: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (CheckConstraint("id", name="one"),)


class KeptReply(OfProject, Base):
    """The reply to a request with an idempotency key, kept for a while to answer the same request again."""

    __tablename__ = "kept_reply"

    key_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    """The API key that sent it."""
    idempotency_key: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[bytes]
    """Digest of what makes the request the same."""
    sealed: Mapped[bytes | None]
    """The reply, encrypted: it may hold a secret. Null while the request is under way, or was broken off."""
    kept_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (Index("kept_reply_kept_at_idx", "kept_at"),)


class AuditEntry(OfProject, Base):
    """Something that a key did. Rows are only ever added."""

    __tablename__ = "audit_entry"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Microseconds of the clock, and greater than the one before: a number of all projects would tell of others."""
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    key_id: Mapped[uuid.UUID | None]
    """No foreign key: the entry outlives the key. None for the command line."""
    key_name: Mapped[str]
    action: Mapped[str]
    pool: Mapped[str | None]
    """Its name: the entry outlives the pool."""
    details: Mapped[dict[str, object]]

    __table_args__ = (
        Index("audit_entry_pool_idx", "project_id", "pool", "id", postgresql_where=text("pool IS NOT NULL")),
        Index("audit_entry_action_idx", "project_id", "action", "id"),
    )
