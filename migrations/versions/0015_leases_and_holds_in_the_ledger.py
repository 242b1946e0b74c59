"""The ledger knows leases and holds; earlier secrets of a webhook.

New columns are null or constant, so no large table is rewritten.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("assignment", sa.Column("lease_seconds", sa.BigInteger(), nullable=True))
    op.add_column("assignment", sa.Column("lapsed", sa.Boolean(), nullable=True))
    op.add_column("assignment", sa.Column("hold_id", sa.Uuid(), nullable=True))
    # Only what is reserved right now: the index of leases finds it.
    op.execute(
        "UPDATE assignment SET lease_seconds = round(extract(epoch FROM lease_until - assigned_at))::bigint"
        " WHERE lease_until IS NOT NULL"
    )
    op.add_column("hold", sa.Column("drawn_before", sa.BigInteger(), server_default="0", nullable=False))
    op.execute("UPDATE hold SET drawn_before = drawn")
    op.add_column("alert", sa.Column("webhook_disabled_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "alert",
        sa.Column(
            "previous_secrets",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
    )
    op.execute(
        "UPDATE alert SET previous_secrets = jsonb_build_object(previous_secret, previous_secret_until)"
        " WHERE previous_secret_until > now()"
    )
    op.drop_column("alert", "previous_secret_until")
    op.drop_column("alert", "previous_secret")


def downgrade() -> None:
    """Take back; of several earlier secrets the latest is kept."""
    op.add_column("alert", sa.Column("previous_secret", sa.Text(), nullable=True))
    op.add_column("alert", sa.Column("previous_secret_until", sa.DateTime(timezone=True), nullable=True))
    op.execute(
        "UPDATE alert SET previous_secret = key, previous_secret_until = value::timestamptz FROM ("
        " SELECT DISTINCT ON (pool_id) pool_id, key, value FROM alert, jsonb_each_text(previous_secrets)"
        " ORDER BY pool_id, value::timestamptz DESC) AS latest WHERE latest.pool_id = alert.pool_id"
    )
    op.drop_column("alert", "previous_secrets")
    op.drop_column("alert", "webhook_disabled_at")
    op.drop_column("hold", "drawn_before")
    op.drop_column("assignment", "hold_id")
    op.drop_column("assignment", "lapsed")
    op.drop_column("assignment", "lease_seconds")
