"""Webhooks for what happens to vouchers and pools."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0086"
down_revision = "0092"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add two tables."""
    op.create_table(
        "webhook",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column(
            "previous_secrets", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("events", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("pool_ids", postgresql.ARRAY(sa.BigInteger()), nullable=True),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.Column("ledger_at", TIME, nullable=False),
        sa.Column("ledger_id", sa.Uuid(), nullable=False),
        sa.Column("change_at", TIME, nullable=False),
        sa.Column("change_id", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("failing_since", TIME, nullable=True),
        sa.Column("next_try_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.Column("leased_until", TIME, nullable=True),
        sa.Column("lease", sa.Uuid(), nullable=True),
        sa.Column("disabled_at", TIME, nullable=True),
        sa.Column("disabled_because", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("webhook_pkey")),
    )
    op.create_table(
        "webhook_delivery",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("webhook_id", sa.Uuid(), nullable=False),
        sa.Column("test", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("first_at", TIME, nullable=True),
        sa.Column("last_at", TIME, nullable=True),
        sa.Column("ledger_at", TIME, nullable=True),
        sa.Column("ledger_id", sa.Uuid(), nullable=True),
        sa.Column("change_at", TIME, nullable=True),
        sa.Column("change_id", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("response_status", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", TIME, server_default=sa.func.clock_timestamp(), nullable=False),
        sa.Column("attempted_at", TIME, nullable=True),
        sa.Column("delivered_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["webhook.id"],
            ondelete="CASCADE",
            name=op.f("webhook_delivery_webhook_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("webhook_delivery_pkey")),
    )
    op.create_index("webhook_delivery_webhook_idx", "webhook_delivery", ["webhook_id", "created_at", "id"])
    op.create_index("webhook_delivery_created_at_idx", "webhook_delivery", ["created_at"])
    op.create_index(
        "webhook_delivery_pending_idx",
        "webhook_delivery",
        ["webhook_id"],
        unique=True,
        postgresql_where=sa.text("status = 'pending' AND NOT test"),
    )


def downgrade() -> None:
    """Remove them."""
    op.drop_table("webhook_delivery")
    op.drop_table("webhook")
