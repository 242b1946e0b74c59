"""Alerts and their deliveries, the stock history, the audit."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "audit_entry",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=True),
        sa.Column("key_name", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=True),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_entry_pkey")),
    )
    op.create_index("audit_entry_action_idx", "audit_entry", ["action", "id"], unique=False)
    op.create_index(
        "audit_entry_pool_idx",
        "audit_entry",
        ["pool", "id"],
        unique=False,
        postgresql_where=sa.text("pool IS NOT NULL"),
    )
    op.create_table(
        "alert",
        sa.Column("pool_id", sa.BigInteger(), nullable=False),
        sa.Column("webhook_url", sa.Text(), nullable=True),
        sa.Column("webhook_secret", sa.Text(), nullable=True),
        sa.Column("previous_secret", sa.Text(), nullable=True),
        sa.Column("previous_secret_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("expiring_within_days", sa.BigInteger(), nullable=True),
        sa.Column("expiring_told_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["pool_id"], ["pool.id"], name=op.f("alert_pool_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("pool_id", name=op.f("alert_pkey")),
    )
    op.create_table(
        "delivery",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("pool_id", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("response_status", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("attempted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["pool_id"], ["pool.id"], name=op.f("delivery_pool_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("delivery_pkey")),
    )
    op.create_index("delivery_pool_idx", "delivery", ["pool_id", "created_at", "id"], unique=False)
    op.create_table(
        "stock_history",
        sa.Column("pool_id", sa.BigInteger(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("available", sa.BigInteger(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.Column("assigned", sa.BigInteger(), nullable=False),
        sa.Column("redeemed", sa.BigInteger(), nullable=False),
        sa.Column("expired", sa.BigInteger(), nullable=False),
        sa.Column("void", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["pool_id"], ["pool.id"], name=op.f("stock_history_pool_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("pool_id", "hour", name=op.f("stock_history_pkey")),
    )
    op.create_table(
        "alert_threshold",
        sa.Column("pool_id", sa.BigInteger(), nullable=False),
        sa.Column("threshold", sa.BigInteger(), nullable=False),
        sa.Column("fell_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("available", sa.BigInteger(), nullable=True),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["pool_id"], ["alert.pool_id"], name=op.f("alert_threshold_pool_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("pool_id", "threshold", name=op.f("alert_threshold_pkey")),
    )
    op.create_index(
        "voucher_expiring_idx",
        "voucher",
        ["pool_id", "expires_at"],
        unique=False,
        postgresql_where=sa.text("status = 'available' AND expires_at IS NOT NULL"),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index(
        "voucher_expiring_idx",
        table_name="voucher",
        postgresql_where=sa.text("status = 'available' AND expires_at IS NOT NULL"),
    )
    op.drop_table("alert_threshold")
    op.drop_table("stock_history")
    op.drop_index("delivery_pool_idx", table_name="delivery")
    op.drop_table("delivery")
    op.drop_table("alert")
    op.drop_index(
        "audit_entry_pool_idx", table_name="audit_entry", postgresql_where=sa.text("pool IS NOT NULL")
    )
    op.drop_index("audit_entry_action_idx", table_name="audit_entry")
    op.drop_table("audit_entry")
